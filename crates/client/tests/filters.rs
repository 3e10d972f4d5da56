//! Filters: a part a partition, each checked by itself, resumed behind all of them.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{
    Config, Cursor, Event, FilterError, GapReason, Part, PartitionId, Start, SubscribeError,
};
use multibeam_wire::{CloseCode, Seq, SubscriptionId};
use support::{Got, Rig, at, behind, behind_each, config, filter_channel};

const FILTER: &str = "alarm.>";

/// A subscription to the filter that begins in partitions 1 and 2, at 10 and 20.
fn filter(rig: &mut Rig, start: Start) -> SubscriptionId {
    let id = rig.subscribe_to(FILTER, start);
    begin(rig, id, &[(1, 10), (2, 20)]);
    assert!(matches!(rig.next(id), Some(Event::Subscribed { parts }) if parts.len() == 2));
    id
}

fn begin(rig: &mut Rig, id: SubscriptionId, froms: &[(u32, u64)]) {
    let parts: Vec<_> = froms.iter().map(|&(partition, from)| rig.node.part(partition, from, from)).collect();
    let bytes = rig.node.subscribed_to(id, &parts);
    rig.say(&bytes);
}

fn deliver(rig: &mut Rig, partition: u32, topic: &str, offset: u64, prev: u64) {
    let bytes = rig.node.delivery_of(filter_channel(partition), topic, offset, prev);
    rig.say(&bytes);
}

#[track_caller]
fn ended_with(rig: &Rig, code: CloseCode) {
    assert!(rig.closing);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(code as u16)));
}

#[test]
fn subscribed_says_where_each_partition_begins_and_how_much_is_replayed() {
    let mut rig = Rig::connected(config());
    let id = rig.subscribe_to(FILTER, Start::First);
    assert_eq!(rig.starts(), [Start::First]);
    let gone = multibeam_wire::Part { gap: true, count: 3, ..rig.node.part(2, 4, 9) };
    let bytes = rig.node.subscribed_to(id, &[rig.node.part(1, 7, 7), gone]);
    rig.say(&bytes);
    let part = |partition, from, head, replay_count, gap| Part {
        partition: PartitionId(partition),
        from: at(from),
        head: at(head),
        replay_count,
        gap,
    };
    let parts = vec![part(1, 7, 7, 0, false), part(2, 4, 9, 3, true)];
    assert_eq!(rig.next(id), Some(Event::Subscribed { parts }));
    assert_eq!(rig.session.cursor(id), Some(&behind_each(&[(1, 7), (2, 4)])));
}

#[test]
fn messages_name_their_topic_and_partition_and_are_checked_by_partition() {
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::New);
    deliver(&mut rig, 2, "alarm.fire.north", 21, 20);
    deliver(&mut rig, 1, "alarm.fire", 11, 10);
    // A hole in one partition is none in the other, and a repeat is one only in its own.
    deliver(&mut rig, 1, "alarm.water", 14, 13);
    deliver(&mut rig, 2, "alarm.fire", 21, 20);
    let topics: Vec<_> =
        (0..2).map(|_| rig.message(id)).map(|it| (it.topic.to_string(), it.partition.0)).collect();
    assert_eq!(topics, [("alarm.fire.north".to_owned(), 2), ("alarm.fire".to_owned(), 1)]);
    let gap = Event::Gap { partition: PartitionId(1), from: at(11), to: at(13), reason: GapReason::Silent };
    assert_eq!(rig.next(id), Some(gap));
    assert_eq!(rig.message(id).position, at(14));
    assert_eq!(rig.next(id), None);
    let stats = rig.session.stats();
    assert_eq!((stats.silent_gaps, stats.duplicates_dropped, stats.messages), (1, 1, 3));
    assert_eq!(rig.session.cursor(id), Some(&behind_each(&[(1, 14), (2, 21)])));
    rig.advance(500);
    assert_eq!(rig.node.acked_by_client, Seq(4), "one acknowledgement for all channels");
}

#[test]
fn a_told_gap_moves_the_cursor_of_its_partition_alone() {
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::New);
    let gap = multibeam_wire::Gap {
        channel: filter_channel(2),
        from: at(20),
        to: at(25),
        reason: multibeam_wire::GapReason::Expired,
    };
    let bytes = rig.node.frame(&multibeam_wire::Payload::Gap(gap));
    rig.say(&bytes);
    deliver(&mut rig, 2, "alarm.a", 26, 25);
    deliver(&mut rig, 1, "alarm.a", 11, 10);
    let reason = GapReason::Told(multibeam_wire::GapReason::Expired);
    let gap = Event::Gap { partition: PartitionId(2), from: at(20), to: at(25), reason };
    assert_eq!(rig.next(id), Some(gap));
    assert_eq!(rig.session.cursor(id), Some(&behind_each(&[(1, 10), (2, 25)])));
    assert_eq!((rig.message(id).position, rig.message(id).position), (at(26), at(11)));
    assert_eq!(rig.session.stats().silent_gaps, 0);
}

#[test]
fn a_reconnect_resumes_behind_every_partition_that_is_known() {
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::New);
    deliver(&mut rig, 2, "alarm.a", 21, 20);
    rig.reopen();
    assert_eq!(rig.starts(), [Start::After(behind_each(&[(1, 10), (2, 21)]))]);
    begin(&mut rig, id, &[(1, 10), (2, 21)]);
    deliver(&mut rig, 1, "alarm.b", 11, 10);
    assert_eq!((rig.message(id).position, rig.message(id).position), (at(21), at(11)));
    assert_eq!(rig.next(id), None, "it is not told twice that it is subscribed");
}

#[test]
fn the_parts_of_a_new_answer_replace_those_of_the_old() {
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::New);
    deliver(&mut rig, 1, "alarm.a", 11, 10);
    rig.reopen();
    // Partition 1 is gone, 3 is new.
    begin(&mut rig, id, &[(2, 20), (3, 5)]);
    deliver(&mut rig, 3, "alarm.c", 6, 5);
    assert_eq!(rig.message(id).position, at(11));
    assert_eq!(rig.message(id).position, at(6));
    assert_eq!(rig.session.stats().silent_gaps, 0);
    assert_eq!(rig.session.cursor(id), Some(&behind_each(&[(2, 20), (3, 6)])));
    rig.reopen();
    assert_eq!(rig.starts(), [Start::After(behind_each(&[(2, 20), (3, 6)]))]);
}

#[test]
fn a_cursor_that_was_asked_for_stays_where_the_node_begins_ahead_of_it() {
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::After(behind_each(&[(1, 7)])));
    deliver(&mut rig, 1, "alarm.a", 11, 10);
    deliver(&mut rig, 2, "alarm.a", 21, 20);
    let gap = Event::Gap { partition: PartitionId(1), from: at(7), to: at(10), reason: GapReason::Silent };
    assert_eq!(rig.next(id), Some(gap));
    assert_eq!((rig.message(id).position, rig.message(id).position), (at(11), at(21)));
}

#[test]
fn a_delivery_that_the_filter_does_not_match_ends_the_connection() {
    for topic in ["news.fire", "alarm", "alarm..x"] {
        let mut rig = Rig::connected(config());
        filter(&mut rig, Start::New);
        deliver(&mut rig, 1, topic, 11, 10);
        ended_with(&rig, CloseCode::BadPayload);
        assert_eq!(rig.session.stats().messages, 0);
    }
    // Without a topic it can't be one of a filter, and with another none of a topic.
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::New);
    let part = multibeam_wire::Part { channel: support::channel(id), ..rig.node.part(1, 10, 10) };
    let bytes = rig.node.subscribed_to(id, &[part]);
    rig.say(&bytes);
    let bytes = rig.node.delivery(id, 11, 10, b"x");
    rig.say(&bytes);
    ended_with(&rig, CloseCode::BadPayload);
    let mut rig = Rig::connected(config());
    let id = rig.subscribe(Start::New);
    let bytes = rig.node.subscribed(id, 0, 0);
    rig.say(&bytes);
    let bytes = rig.node.delivery_of(support::channel(id), "a.c", 1, 0);
    rig.say(&bytes);
    ended_with(&rig, CloseCode::BadPayload);
}

#[test]
fn parts_that_contradict_each_other_end_the_connection() {
    // A partition twice is no frame at all: the wire's own tests have it.
    let mut rig = Rig::connected(config());
    let id = rig.subscribe_to(FILTER, Start::New);
    let one = rig.node.part(1, 0, 0);
    let mut other = rig.node.part(2, 0, 0);
    other.channel = one.channel;
    let bytes = rig.node.subscribed_to(id, &[one, other]);
    rig.say(&bytes);
    ended_with(&rig, CloseCode::BadPayload);
    let mut rig = Rig::connected(config());
    let id = rig.subscribe(Start::New);
    begin(&mut rig, id, &[(1, 0), (2, 0)]);
    ended_with(&rig, CloseCode::BadPayload);
}

#[test]
fn a_channel_that_goes_to_a_subscription_nobody_has_is_no_others_any_more() {
    let mut rig = Rig::connected(config());
    let id = filter(&mut rig, Start::New);
    let dropped = rig.subscribe_to("alarm.*", Start::New);
    rig.session.unsubscribe(dropped, rig.now_ms);
    rig.pump();
    begin(&mut rig, dropped, &[(1, 50)]);
    deliver(&mut rig, 1, "alarm.x", 51, 50);
    assert_eq!(rig.next(id), None);
    assert!(!rig.closing);
    assert_eq!(rig.session.stats().silent_gaps, 0);
}

#[test]
fn filters_and_cursors_are_checked_before_anything_is_sent() {
    let mut rig = Rig::connected(config());
    let filter_cursor = Start::After(behind_each(&[(1, 1)]));
    for (topic, start, error) in [
        ("alarm.>.x", Start::New, SubscribeError::Filter(FilterError::Wildcard)),
        ("alarm.*", Start::After(behind(3)), SubscribeError::CursorMismatch),
        ("alarm.fire", filter_cursor, SubscribeError::CursorMismatch),
    ] {
        assert!(!error.is_retryable());
        assert_eq!(rig.session.subscribe(topic, start), Err(error), "{topic}");
    }
    rig.pump();
    assert_eq!(rig.starts(), []);
}

/// A node takes no more than 512 bytes before it has said WELCOME.
#[test]
fn a_long_cursor_waits_for_welcome() {
    let cursor = Cursor::of_filter((0..256).map(|number| (PartitionId(number), at(1 << 40)))).unwrap();
    let mut rig = Rig::new(Config { window_bytes: 8 * 1024, ..config() });
    rig.subscribe_to(FILTER, Start::After(cursor.clone()));
    rig.open();
    assert_eq!(rig.starts(), []);
    rig.welcome();
    assert_eq!(rig.starts(), [Start::After(cursor)]);
}
