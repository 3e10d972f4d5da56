//! Clients that are as good as dead: one falls silent, one keeps its heart beating and handles nothing.
//! How long the node puts up with them is judged where its bytes leave (P8).

use super::raw::Raw;
use crate::random::Random;
use multibeam_wire::Payload;
use std::time::Duration;

/// A window that does not stand in the way.
const WIDE: u16 = u16::MAX;

/// Longer than any node waits for a word or an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(8);

/// Reads all that comes and says nothing more.
pub(super) async fn mute(raw: &mut Raw, random: &mut Random) {
    let mut bytes = raw.hello(random.number(), WIDE);
    bytes.extend(raw.subscribe(random.length(0..=9), WIDE));
    raw.send(&bytes).await;
    raw.listen(PATIENCE, |_| {}).await;
}

/// Says that it lives, over and over, and acknowledges nothing.
pub(super) async fn never_acks(raw: &mut Raw, random: &mut Random) {
    raw.end.excused = true;
    raw.acks_nothing = true;
    let mut bytes = raw.hello(random.number(), WIDE);
    bytes.extend(raw.subscribe(random.length(0..=9), WIDE));
    raw.send(&bytes).await;
    for _ in 0..80 {
        if raw.listen(Duration::from_millis(100), |_| {}).await {
            return;
        }
        let beat = raw.frame(&Payload::Heartbeat, WIDE);
        raw.send(&beat).await;
    }
}
