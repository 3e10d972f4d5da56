//! Clients that keep to the rules and grant little: a window of nothing, then next to nothing. What the
//! node makes of it is judged on the line (P7).

use super::raw::Raw;
use crate::random::Random;
use multibeam_wire::{CloseCode, Payload};
use std::time::Duration;

/// A window that begins at nothing and grows.
pub(super) async fn tiny(raw: &mut Raw, random: &mut Random) {
    raw.end.excused = true;
    let mut bytes = raw.hello(random.number(), 0);
    bytes.extend(raw.subscribe(random.length(0..=9), 0));
    raw.send(&bytes).await;
    let mut window = 0;
    for round in 0..random.range(8..=20) {
        if raw.listen(Duration::from_millis(100), |_| {}).await {
            return;
        }
        if round >= 3 {
            window = random.pick(&[window, window, 1, 4, 64]).max(window);
        }
        let update = raw.frame(&Payload::WindowUpdate, window);
        raw.send(&update).await;
    }
    leave(raw, window).await;
}

/// A window of nothing, kept alive: nothing may come, and the node has nothing to complain of.
pub(super) async fn zero(raw: &mut Raw, random: &mut Random) {
    raw.end.excused = true;
    let mut bytes = raw.hello(random.number(), 0);
    bytes.extend(raw.subscribe(random.length(0..=9), 0));
    raw.send(&bytes).await;
    for _ in 0..random.range(10..=60) {
        if raw.listen(Duration::from_millis(100), |_| {}).await {
            return;
        }
        let beat = raw.frame(&Payload::Heartbeat, 0);
        raw.send(&beat).await;
    }
    leave(raw, 0).await;
}

async fn leave(raw: &mut Raw, window: u16) {
    let bye = raw.frame(&Payload::bye(CloseCode::Normal), window);
    raw.send(&bye).await;
    raw.listen(Duration::from_secs(2), |_| {}).await;
}
