//! What the node says unasked: acknowledged and dropped until somebody follows it.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{Event, GapReason, PartitionId, SubscribeError};
use multibeam_wire::{ChannelId, CloseCode, Part, SubscriptionId};
use support::{Got, Rig, at, behind, config};

const CHANNEL: ChannelId = ChannelId(77);

fn begin(rig: &mut Rig, from: u64) {
    let part = Part { channel: CHANNEL, ..rig.node.part(9, from, from) };
    let bytes = rig.node.subscribed_to(SubscriptionId::SYSTEM, &[part]);
    rig.say(&bytes);
}

fn deliver(rig: &mut Rig, offset: u64, prev: u64) {
    let bytes = rig.node.delivery_of(CHANNEL, "sys.drain", offset, prev);
    rig.say(&bytes);
}

fn system_after(rig: &Rig) -> Option<u64> {
    match &rig.got[0].2 {
        Got::Hello { system_after, .. } => system_after.map(|position| position.offset.0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn system_messages_are_acknowledged_and_counted_while_nobody_follows_them() {
    let mut rig = Rig::connected(config());
    assert_eq!(system_after(&rig), None);
    begin(&mut rig, 3);
    deliver(&mut rig, 4, 3);
    deliver(&mut rig, 6, 4);
    rig.advance(500);
    assert_eq!(rig.node.acked_by_client.0, 2);
    let stats = rig.session.stats();
    assert_eq!((stats.system_dropped, stats.messages, stats.silent_gaps), (2, 0, 0));
    rig.reopen();
    assert_eq!(system_after(&rig), Some(6), "the cursor outlives the connection");
    assert_eq!(rig.starts(), [], "nobody subscribes to them");
}

#[test]
fn a_follower_gets_what_comes_from_then_on_with_the_same_checks() {
    let mut rig = Rig::connected(config());
    begin(&mut rig, 3);
    deliver(&mut rig, 4, 3);
    let id = rig.session.subscribe_system().unwrap();
    assert_eq!(rig.session.subscribe_system(), Err(SubscribeError::SystemTaken));
    assert_eq!(rig.next(id), None);
    assert_eq!(rig.session.cursor(id), Some(&behind(4)));
    deliver(&mut rig, 5, 4);
    deliver(&mut rig, 9, 8);
    let message = rig.message(id);
    assert_eq!((message.topic.as_str(), message.position), ("sys.drain", at(5)));
    let gap = Event::Gap { partition: PartitionId(9), from: at(5), to: at(8), reason: GapReason::Silent };
    assert_eq!(rig.next(id), Some(gap));
    assert_eq!(rig.message(id).position, at(9));
    assert_eq!(rig.session.stats().system_dropped, 1);
    rig.reopen();
    assert_eq!(system_after(&rig), Some(9));
    begin(&mut rig, 9);
    deliver(&mut rig, 10, 9);
    assert_eq!(rig.message(id).position, at(10));
}

#[test]
fn dropping_the_follower_handles_what_waits_and_drops_what_comes() {
    let mut rig = Rig::connected(config());
    let id = rig.session.subscribe_system().unwrap();
    rig.session.manual_acks(id);
    begin(&mut rig, 0);
    assert!(matches!(rig.next(id), Some(Event::Subscribed { .. })), "it came while somebody listened");
    deliver(&mut rig, 1, 0);
    deliver(&mut rig, 2, 1);
    let (_, held) = rig.owed(id);
    rig.session.unsubscribe(id, rig.now_ms);
    rig.pump();
    deliver(&mut rig, 3, 2);
    rig.advance(500);
    assert_eq!(rig.node.acked_by_client.0, 3);
    assert!(!rig.got.iter().any(|(_, _, got)| matches!(got, Got::Unsubscribe(_))));
    // The next follower has nothing to do with what the first held.
    assert_eq!(rig.session.subscribe_system(), Ok(id));
    rig.ack(id, held);
    deliver(&mut rig, 4, 3);
    assert_eq!(rig.message(id).position, at(4));
    assert_eq!(rig.session.stats().system_dropped, 1);
    rig.ack(id, held);
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(3)));
}

#[test]
fn a_system_message_without_a_topic_ends_the_connection() {
    let mut rig = Rig::connected(config());
    let id = SubscriptionId(1_000);
    let part = Part { channel: support::channel(id), ..rig.node.part(9, 0, 0) };
    let bytes = rig.node.subscribed_to(SubscriptionId::SYSTEM, &[part]);
    rig.say(&bytes);
    let bytes = rig.node.delivery(id, 1, 0, b"x");
    rig.say(&bytes);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(CloseCode::BadPayload as u16)));
}
