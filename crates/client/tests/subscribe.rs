//! Subscriptions: acknowledged when handled, resumed behind the cursor, checked for holes.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{Config, ErrorCode, Event, GapReason, Outcome, Start};
use multibeam_wire::{Payload, Refusal, Seq, SubscriptionId};
use support::{Got, Rig, at, behind, config, gap_event, subscribed_event};

fn subscribed(rig: &mut Rig, start: Start, from: u64) -> SubscriptionId {
    let id = rig.subscribe(start);
    let bytes = rig.node.subscribed(id, from, from);
    rig.say(&bytes);
    assert_eq!(rig.next(id), Some(subscribed_event(from, from)));
    id
}

fn deliver(rig: &mut Rig, id: SubscriptionId, offset: u64, prev: u64, body: &[u8]) {
    let bytes = rig.node.delivery(id, offset, prev, body);
    rig.say(&bytes);
}

fn offset(event: Option<Event>) -> u64 {
    let Some(Event::Message(message)) = event else { panic!("{event:?}") };
    message.position.offset.0
}

#[test]
fn hello_and_known_subscriptions_leave_in_one_write() {
    let mut rig = Rig::new(config());
    rig.subscribe(Start::New);
    rig.subscribe(Start::from(at(3)));
    rig.open();
    let kinds: Vec<_> = rig.got.iter().map(|(_, header, _)| header.frame_type.label()).collect();
    assert_eq!(kinds, ["HELLO", "SUBSCRIBE", "SUBSCRIBE"]);
    assert_eq!(rig.starts(), [Start::New, Start::from(at(3))]);
    assert_eq!(rig.got[0].1.window, 256);
}

#[test]
fn a_delivery_is_acknowledged_when_the_application_comes_back() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::New, 0);
    deliver(&mut rig, id, 1, 0, b"1");
    deliver(&mut rig, id, 2, 1, b"2");
    rig.advance(1_000);
    assert_eq!(offset(rig.next(id)), 1);
    rig.advance(1_000);
    assert_eq!(rig.times(&Got::Ack), [], "it is still in the hands of the application");
    assert_eq!(offset(rig.next(id)), 2);
    rig.advance(499);
    assert_eq!(rig.times(&Got::Ack), []);
    rig.advance(1);
    assert_eq!(rig.times(&Got::Ack), [2_500]);
    assert_eq!(rig.node.acked_by_client, Seq(1));
    assert_eq!(rig.next(id), None);
    rig.publish(b"carries it");
    assert_eq!(rig.node.acked_by_client, Seq(2));
    rig.advance(1_000);
    assert_eq!(rig.times(&Got::Ack), [2_500], "the publish has carried it");
}

#[test]
fn a_quarter_of_the_window_is_acknowledged_at_once() {
    let mut rig = Rig::connected(Config { window_bytes: 8 * 1024, ..config() });
    let id = subscribed(&mut rig, Start::New, 0);
    for n in 1..=5 {
        deliver(&mut rig, id, n, n - 1, &[0; 1000]);
    }
    (0..3).for_each(|_| drop(rig.next(id)));
    assert_eq!(rig.times(&Got::Ack), []);
    rig.next(id);
    assert_eq!(rig.times(&Got::Ack), [0]);
    assert_eq!(rig.node.acked_by_client, Seq(3));
}

#[test]
fn acknowledgements_are_cumulative_over_subscriptions() {
    let mut rig = Rig::connected(config());
    let (slow, fast) = (subscribed(&mut rig, Start::New, 0), subscribed(&mut rig, Start::New, 0));
    deliver(&mut rig, slow, 1, 0, b"1");
    deliver(&mut rig, fast, 1, 0, b"2");
    deliver(&mut rig, fast, 2, 1, b"3");
    while rig.next(fast).is_some() {}
    rig.advance(1_000);
    assert_eq!(rig.node.acked_by_client, Seq(0));
    // Dropping the slow one handles what waits in its queue.
    rig.session.unsubscribe(slow, rig.now_ms);
    rig.pump();
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Unsubscribe(slow)));
    assert_eq!(rig.node.acked_by_client, Seq(3));
    // What was under way to it is done at once.
    deliver(&mut rig, slow, 2, 1, b"4");
    rig.advance(500);
    assert_eq!(rig.node.acked_by_client, Seq(4));
}

#[test]
fn a_reconnect_resumes_behind_the_last_queued_event_and_keeps_the_queue() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::New, 4);
    deliver(&mut rig, id, 5, 3, b"5");
    deliver(&mut rig, id, 7, 5, b"7");
    assert_eq!(offset(rig.next(id)), 5);
    assert_eq!(rig.session.cursor(id), Some(&behind(5)), "another process resumes behind what was taken");
    rig.reopen();
    assert_eq!(rig.starts(), [Start::from(at(7))]);
    let bytes = rig.node.subscribed(id, 7, 9);
    rig.say(&bytes);
    deliver(&mut rig, id, 9, 7, b"9");
    assert_eq!(offset(rig.next(id)), 7);
    assert_eq!(offset(rig.next(id)), 9);
    assert_eq!(rig.next(id), None);
    rig.advance(500);
    assert_eq!(rig.node.acked_by_client, Seq(1), "frames of the old connection do not count on the new");
}

#[test]
fn a_subscription_that_was_never_answered_begins_where_it_was_asked_to() {
    let mut rig = Rig::connected(config());
    let (new, last) = (rig.subscribe(Start::New), rig.subscribe(Start::Last));
    rig.reopen();
    assert_eq!(rig.starts(), [Start::New, Start::Last]);
    for (id, from) in [(new, 8), (last, 7)] {
        let bytes = rig.node.subscribed(id, from, 8);
        rig.say(&bytes);
    }
    rig.reopen();
    assert_eq!(rig.starts(), [Start::from(at(8)), Start::from(at(7))]);
}

#[test]
fn what_waits_over_a_reconnect_lowers_the_grant_until_it_is_taken() {
    let mut rig = Rig::connected(Config { window_bytes: 8 * 1024, ..config() });
    let id = subscribed(&mut rig, Start::New, 0);
    for n in 1..=8 {
        deliver(&mut rig, id, n, n - 1, &[0; 1000]);
    }
    rig.reopen();
    assert_eq!(rig.got[0].1.window, 0);
    let mut granted = vec![rig.node.client_window];
    while rig.next(id).is_some() {
        granted.push(rig.node.client_window);
    }
    assert!(granted.is_sorted(), "{granted:?}");
    assert!(rig.node.client_window >= 6, "{granted:?}");
    rig.publish(b"carries the rest");
    assert_eq!(rig.node.client_window, 8);
}

#[test]
fn a_duplicate_is_dropped_and_counted() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::from(at(5)), 5);
    deliver(&mut rig, id, 6, 5, b"6");
    deliver(&mut rig, id, 6, 5, b"6");
    deliver(&mut rig, id, 3, 1, b"3");
    let gap = rig.node.gap(id, 2, 6);
    rig.say(&gap);
    assert_eq!(offset(rig.next(id)), 6);
    assert_eq!(rig.next(id), None);
    assert_eq!(rig.session.stats().duplicates_dropped, 3);
    assert_eq!(rig.session.stats().silent_gaps, 0);
    rig.advance(500);
    assert_eq!(rig.node.acked_by_client, Seq(4));
}

#[test]
fn a_gap_that_was_not_told_is_surfaced() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::from(at(5)), 5);
    deliver(&mut rig, id, 9, 8, b"9");
    assert_eq!(rig.next(id), Some(gap_event(5, 8, GapReason::Silent)));
    assert_eq!(offset(rig.next(id)), 9);
    assert_eq!(rig.session.stats().silent_gaps, 1);
    // Other topics of the partition leave holes between offsets that are none in the topic.
    deliver(&mut rig, id, 20, 9, b"20");
    assert_eq!(offset(rig.next(id)), 20);
    // A new generation that was not told is one, too.
    rig.node.generation = 2;
    deliver(&mut rig, id, 1, 0, b"1");
    assert!(matches!(rig.next(id), Some(Event::Gap { reason: GapReason::Silent, .. })));
    assert_eq!(rig.session.stats().silent_gaps, 2);
}

#[test]
fn a_delivery_that_replaces_others_tells_the_gap_itself() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::from(at(5)), 5);
    let skipping = rig.node.conflated(id, 9, 8);
    rig.say(&skipping);
    let reason = GapReason::Told(multibeam_wire::GapReason::Conflated);
    assert_eq!(rig.next(id), Some(gap_event(5, 8, reason)));
    assert_eq!(offset(rig.next(id)), 9);
    let stats = rig.session.stats();
    assert_eq!((stats.gaps_told, stats.silent_gaps), (1, 0));
}

/// Channels are the node's: it may give one of an ended subscription to another, and say nothing of
/// a subscription for so long.
#[test]
fn a_channel_belongs_to_the_subscription_that_was_told_last() {
    let mut rig = Rig::connected(config());
    let first = subscribed(&mut rig, Start::from(at(5)), 5);
    let second = rig.subscribe(Start::from(at(5)));
    deliver(&mut rig, second, 6, 5, b"too early");
    assert_eq!(rig.next(second), None);
    let part = multibeam_wire::Part { channel: support::channel(first), ..rig.node.part(5, 5, 5) };
    let told = rig.node.subscribed_to(second, &[part]);
    rig.say(&told);
    deliver(&mut rig, first, 6, 5, b"6");
    assert_eq!(rig.next(first), None);
    assert!(matches!(rig.next(second), Some(Event::Subscribed { .. })));
    assert_eq!(offset(rig.next(second)), 6);
}

#[test]
fn a_told_gap_moves_the_cursor() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::from(at(5)), 5);
    let gap = rig.node.gap(id, 3, 9);
    rig.say(&gap);
    deliver(&mut rig, id, 11, 9, b"11");
    let reason = GapReason::Told(multibeam_wire::GapReason::Overflow);
    assert_eq!(rig.next(id), Some(gap_event(5, 9, reason)));
    assert_eq!(rig.session.cursor(id), Some(&behind(9)));
    assert_eq!(offset(rig.next(id)), 11);
    let stats = rig.session.stats();
    assert_eq!((stats.gaps_told, stats.silent_gaps, stats.duplicates_dropped), (1, 0, 0));
}

#[test]
fn a_refused_subscription_ends_with_the_error_and_is_not_asked_for_again() {
    let mut rig = Rig::connected(config());
    let id = rig.subscribe(Start::from(at(5)));
    let refusal = Refusal::new(Seq(1), ErrorCode::CursorAhead, Outcome::Definite);
    let bytes = rig.node.frame(&Payload::Error(refusal));
    rig.say(&bytes);
    let Some(Event::Ended(error)) = rig.next(id) else { panic!("an end") };
    assert_eq!(error.code, Some(ErrorCode::CursorAhead));
    assert_eq!(rig.session.next_event(id, 0), multibeam_client::session::Next::End);
    rig.reopen();
    assert_eq!(rig.starts(), []);
}

#[test]
fn a_node_that_passes_the_window_is_told_so() {
    let mut rig = Rig::connected(Config { window_bytes: 2 * 1024, ..config() });
    let id = subscribed(&mut rig, Start::New, 0);
    deliver(&mut rig, id, 1, 0, &[0; 5000]);
    assert!(!rig.closing, "one frame of any size may come");
    deliver(&mut rig, id, 2, 1, b"x");
    assert!(rig.closing);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(305)));
}

#[test]
fn a_hole_in_the_numbers_of_the_node_ends_the_connection() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::New, 0);
    deliver(&mut rig, id, 1, 0, b"1");
    rig.node.last_sent = Seq(2);
    deliver(&mut rig, id, 2, 1, b"2");
    assert!(rig.closing);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(303)));
    rig.reopen();
    assert_eq!(rig.starts(), [Start::from(at(1))]);
}

#[test]
fn a_delivery_with_a_bad_acknowledgement_ends_the_connection_and_is_not_counted() {
    let mut rig = Rig::connected(config());
    let id = subscribed(&mut rig, Start::New, 0);
    rig.node.ack = Seq(9);
    deliver(&mut rig, id, 1, 0, b"1");
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(304)));
    assert_eq!(rig.session.stats().messages, 0);
}
