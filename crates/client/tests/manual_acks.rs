//! Manual acks: in any order, over a contiguous prefix, given back when dropped.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{Config, Event, GapReason, Start};
use multibeam_wire::{Seq, SubscriptionId};
use support::{Rig, at, behind, config, gap_event, subscribed_event};

fn manual(rig: &mut Rig) -> SubscriptionId {
    let id = rig.subscribe(Start::New);
    rig.session.manual_acks(id);
    let bytes = rig.node.subscribed(id, 0, 0);
    rig.say(&bytes);
    assert_eq!(rig.next(id), Some(subscribed_event(0, 0)));
    id
}

fn deliver(rig: &mut Rig, id: SubscriptionId, offsets: std::ops::RangeInclusive<u64>) {
    for offset in offsets {
        let bytes = rig.node.delivery(id, offset, offset - 1, &[0; 1000]);
        rig.say(&bytes);
    }
}

/// What the node has been told is done, after the longest pause that an acknowledgement may make.
fn acked(rig: &mut Rig) -> u32 {
    rig.advance(500);
    rig.node.acked_by_client.0
}

#[test]
fn acks_in_any_order_move_the_acknowledgement_over_the_contiguous_prefix() {
    let mut rig = Rig::connected(config());
    let id = manual(&mut rig);
    deliver(&mut rig, id, 1..=4);
    let owed: Vec<_> = (1..=4).map(|offset| (offset, rig.owed(id))).collect();
    assert!(owed.iter().all(|(offset, (told, _))| offset == told));
    assert_eq!(rig.next(id), None);
    assert_eq!(acked(&mut rig), 0, "coming for more says nothing");
    for (index, prefix) in [(2, 0), (1, 0), (0, 3), (3, 4)] {
        rig.ack(id, owed[index].1.1);
        assert_eq!(rig.session.cursor_handled(id), Some(&behind(prefix)));
        assert_eq!(u64::from(acked(&mut rig)), prefix);
    }
    assert_eq!(rig.session.cursor(id), Some(&behind(4)));
    // Once is enough.
    rig.ack(id, owed[1].1.1);
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(4)));
}

#[test]
fn a_message_that_is_given_back_comes_again_before_anything_newer() {
    let mut rig = Rig::connected(config());
    let id = manual(&mut rig);
    deliver(&mut rig, id, 1..=4);
    let owed: Vec<_> = (1..=3).map(|_| rig.owed(id).1).collect();
    rig.session.give_back(id, owed[2]);
    rig.session.give_back(id, owed[0]);
    rig.session.give_back(id, owed[0]);
    let again = rig.message(id);
    assert_eq!((again.position, again.attempt), (at(1), 2));
    assert_eq!(rig.owed(id), (3, owed[2]));
    assert_eq!(rig.owed(id).0, 4);
    assert_eq!(rig.next(id), None);
    assert_eq!(rig.session.stats().redeliveries, 2);
    assert_eq!(rig.session.stats().messages, 4);
    // An ack of what was given back and not taken again counts for nothing.
    rig.session.give_back(id, owed[1]);
    rig.ack(id, owed[1]);
    assert_eq!(rig.message(id).attempt, 2);
    rig.ack(id, owed[1]);
    rig.ack(id, owed[0]);
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(2)));
    assert_eq!(acked(&mut rig), 2);
}

#[test]
fn gaps_are_handled_by_coming_back_and_do_not_pass_what_is_owed() {
    let mut rig = Rig::connected(config());
    let id = manual(&mut rig);
    deliver(&mut rig, id, 1..=1);
    let gap = rig.node.gap(id, 1, 5);
    rig.say(&gap);
    deliver(&mut rig, id, 6..=6);
    let (_, first) = rig.owed(id);
    let reason = GapReason::Told(multibeam_wire::GapReason::Overflow);
    assert_eq!(rig.next(id), Some(gap_event(1, 5, reason)));
    let (_, sixth) = rig.owed(id);
    rig.ack(id, sixth);
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(0)));
    rig.ack(id, first);
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(6)));
    assert_eq!(acked(&mut rig), 3);
}

#[test]
fn what_is_held_is_bounded_by_the_window_over_reconnects() {
    let mut rig = Rig::connected(Config { window_bytes: 4 * 1024, ..config() });
    let id = manual(&mut rig);
    deliver(&mut rig, id, 1..=4);
    let owed: Vec<_> = (1..=4).map(|_| rig.owed(id).1).collect();
    assert_eq!(rig.node.client_window, 4);
    rig.reopen();
    assert_eq!(rig.got[0].1.window, 0, "four messages are still held");
    assert_eq!(rig.starts(), [Start::from(at(4))], "what is held is not asked for again");
    let mut granted = vec![0];
    for owed in owed {
        rig.ack(id, owed);
        granted.push(rig.node.client_window);
    }
    assert!(granted.is_sorted() && granted[4] >= 3, "{granted:?}");
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(4)));
}

#[test]
fn dropping_the_subscription_frees_what_is_held_and_later_acks_count_for_nothing() {
    let mut rig = Rig::connected(config());
    let id = manual(&mut rig);
    deliver(&mut rig, id, 1..=3);
    let held = [rig.owed(id).1, rig.owed(id).1];
    rig.session.give_back(id, held[1]);
    rig.session.unsubscribe(id, rig.now_ms);
    rig.pump();
    assert_eq!(acked(&mut rig), 3);
    rig.ack(id, held[0]);
    rig.session.give_back(id, held[1]);
    assert_eq!(rig.next(id), None);
    assert_eq!(acked(&mut rig), 3);
}

#[test]
fn one_that_holds_on_holds_up_the_acknowledgement_of_others_but_not_their_cursors() {
    let mut rig = Rig::connected(config());
    let slow = manual(&mut rig);
    let other = rig.subscribe(Start::New);
    let bytes = rig.node.subscribed(other, 0, 0);
    rig.say(&bytes);
    deliver(&mut rig, slow, 1..=1);
    deliver(&mut rig, other, 1..=1);
    let (_, held) = rig.owed(slow);
    while rig.next(other).is_some() {}
    assert_eq!(rig.session.cursor_handled(other), Some(&behind(1)));
    assert_eq!(acked(&mut rig), 0);
    rig.ack(slow, held);
    assert_eq!(acked(&mut rig), 2);
}

#[test]
fn without_manual_acks_the_event_in_hand_is_not_handled_before_the_next_call() {
    let mut rig = Rig::connected(config());
    let id = rig.subscribe(Start::New);
    let bytes = rig.node.subscribed(id, 0, 0);
    rig.say(&bytes);
    deliver(&mut rig, id, 1..=2);
    rig.next(id);
    assert_eq!((rig.session.cursor(id), rig.session.cursor_handled(id)), (Some(&behind(0)), None));
    let Some((Event::Message(_), None)) = rig.take(id) else { panic!("a message that owes nothing") };
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(0)));
    rig.session.come_back(id, rig.now_ms);
    assert_eq!(rig.session.cursor_handled(id), Some(&behind(1)));
    assert_eq!(rig.node.last_sent, Seq(2));
    assert_eq!(acked(&mut rig), 1);
}
