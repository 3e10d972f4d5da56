//! A client that follows topics and leaves them at once, over and over, while messages of
//! theirs are on their way: what comes late must not reach whoever took the place.

use super::raw::Raw;
use crate::random::Random;
use multibeam_wire::{Payload, Publish, Start, Subscribe, SubscriptionId};
use std::time::Duration;

/// A window that does not stand in the way.
const WIDE: u16 = u16::MAX;

/// Topics that nobody else follows. Several, so that a place is taken by another one.
const TOPICS: &[&str] = &["churn.1", "churn.2", "churn.3", "churn.4", "churn.5", "churn.6"];

pub(super) async fn act(raw: &mut Raw, random: &mut Random) {
    raw.end.excused = true;
    let mut bytes = raw.hello(random.number(), WIDE);
    let mut number = 0;
    for round in 1..=random.range(10..=40) {
        let topic = random.pick(TOPICS);
        let subscription = SubscriptionId(round as u32);
        raw.follows.insert(subscription, topic);
        bytes.extend(
            raw.frame(&Payload::Subscribe(Subscribe { subscription, topic, start: Start::New }), WIDE),
        );
        for _ in 0..random.range(0..=3) {
            number += 1;
            let publish = Publish::new(number, topic, topic.as_bytes());
            bytes.extend(raw.frame(&Payload::Publish(publish), WIDE));
        }
        if random.chance(50) && !pause(raw, &mut bytes, random).await {
            return;
        }
        bytes.extend(raw.frame(&Payload::Unsubscribe(subscription), WIDE));
        if !pause(raw, &mut bytes, random).await {
            return;
        }
    }
    if random.chance(50) {
        // The other half just leaves.
        let bye = raw.frame(&Payload::bye(multibeam_wire::CloseCode::Normal), WIDE);
        raw.send(&bye).await;
        raw.listen(Duration::from_secs(2), |_| {}).await;
    }
}

/// Sends what has gathered and listens for a moment. False: it is over.
async fn pause(raw: &mut Raw, bytes: &mut Vec<u8>, random: &mut Random) -> bool {
    let sent = raw.send(bytes).await;
    bytes.clear();
    let over = raw.listen(Duration::from_millis(random.range(0..=30)), |_| {}).await;
    sent && !over
}
