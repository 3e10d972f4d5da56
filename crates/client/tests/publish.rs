//! Publishes: acknowledged, refused, repeated, too late, held back by the window.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{Config, ErrorCode, Outcome, PublishError};
use multibeam_wire::{HEADER_BYTES, Payload, Refusal, Seq};
use std::time::Duration;
use support::{Got, Rig, config, stored};

#[test]
fn a_publish_ends_when_the_acknowledgement_covers_it_and_not_before() {
    let mut rig = Rig::connected(config());
    let (first, second) = (rig.publish(b"1"), rig.publish(b"2"));
    assert_eq!(rig.publishes(), [(1, None), (2, None)]);
    assert!(rig.outcomes.is_empty());
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.outcomes, [(first, stored())]);
    let ack = rig.node.acks(2);
    rig.say(&ack);
    assert_eq!(rig.outcomes, [(first, stored()), (second, stored())]);
    assert_eq!(rig.session.stats().publishes_done, 2);
}

#[test]
fn nothing_is_published_before_welcome() {
    let mut rig = Rig::new(config());
    rig.publish(b"1");
    rig.open();
    assert_eq!(rig.publishes(), []);
    rig.welcome();
    assert_eq!(rig.publishes(), [(1, None)]);
}

#[test]
fn an_error_ends_its_publish_even_when_its_own_header_acknowledges_it() {
    let mut rig = Rig::connected(config());
    let (first, second) = (rig.publish(b"1"), rig.publish(b"2"));
    rig.node.ack = Seq(2);
    let error = Payload::Error(Refusal::new(Seq(1), ErrorCode::DedupExpired, Outcome::Unknown));
    let bytes = rig.node.frame(&error);
    rig.say(&bytes);
    let Some(Err(PublishError::Refused(refusal))) = rig.outcome(first) else { panic!("{:?}", rig.outcomes) };
    assert_eq!((refusal.code, refusal.outcome), (Some(ErrorCode::DedupExpired), Outcome::Unknown));
    assert_eq!(rig.outcome(second), Some(stored()));
    rig.reopen();
    assert_eq!(rig.publishes(), []);
}

#[test]
fn after_a_reconnect_unanswered_publishes_come_first_with_their_numbers() {
    let mut rig = Rig::connected(config());
    for _ in 0..3 {
        rig.publish(b"x");
    }
    let ack = rig.node.acks(1);
    rig.say(&ack);
    rig.lose();
    rig.publish(b"new");
    rig.node.generation = 5;
    rig.open();
    rig.welcome();
    assert_eq!(rig.publishes(), [(2, Some(1)), (3, Some(1)), (4, None)]);
    // The generation stays that of the first time, over any number of connections.
    rig.node.generation = 6;
    rig.reopen();
    assert_eq!(rig.publishes(), [(2, Some(1)), (3, Some(1)), (4, Some(5))]);
    let ack = rig.node.acks(3);
    rig.say(&ack);
    assert_eq!(rig.outcomes.len(), 4);
    assert!(rig.outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(rig.session.stats().publishes_resent, 5);
}

#[test]
fn past_its_deadline_a_sent_publish_is_unknown_and_not_sent_again() {
    let mut rig = Rig::connected(config());
    let late = rig.publish(b"late");
    rig.advance(2_000);
    let later = rig.publish(b"later");
    rig.advance(2_999);
    assert_eq!(rig.outcomes, []);
    rig.advance(1);
    assert_eq!(rig.outcomes, [(late, Err(PublishError::Unknown))]);
    // Its number on the connection still counts: the acknowledgement of 2 is the second's.
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.outcome(later), None);
    rig.reopen();
    assert_eq!(rig.publishes(), [(2, Some(1))]);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.outcome(later), Some(stored()));
}

#[test]
fn past_its_deadline_a_publish_that_was_never_sent_is_certainly_not_stored() {
    let mut rig = Rig::new(config());
    let ticket = rig.publish(b"x");
    rig.now_ms = 5_000;
    rig.session.handle_timeout(rig.now_ms);
    rig.pump();
    assert_eq!(rig.outcomes, [(ticket, Err(PublishError::TimedOut))]);
    rig.open();
    rig.welcome();
    rig.publish(b"y");
    assert_eq!(rig.publishes(), [(1, None)], "numbers have no holes");
}

#[test]
fn publishes_in_flight_never_pass_the_window_of_the_node() {
    let mut rig = Rig::new(config());
    rig.node.window = 3;
    rig.open();
    rig.welcome();
    for _ in 0..10 {
        rig.publish(&[0; 1000]);
    }
    let bytes = |rig: &Rig| -> usize { rig.got.iter().map(|(_, header, _)| payload_of_data(header)).sum() };
    assert_eq!(rig.publishes().len(), 3);
    assert!(bytes(&rig) <= 3 * 1024);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.publishes().len(), 4);
    // A window of nothing stops even the frame that may otherwise go alone.
    rig.node.window = 0;
    let ack = rig.node.acks(4);
    rig.say(&ack);
    assert_eq!(rig.publishes().len(), 4);
    rig.node.window = 1;
    let update = rig.node.frame(&Payload::WindowUpdate);
    rig.say(&update);
    assert_eq!(rig.publishes().len(), 5);
}

fn payload_of_data(header: &multibeam_wire::Header) -> usize {
    assert_eq!(HEADER_BYTES, 16);
    if header.frame_type == multibeam_wire::FrameType::Data { header.len.into() } else { 0 }
}

#[test]
fn one_publish_larger_than_the_window_goes_when_nothing_is_in_flight() {
    let mut rig = Rig::new(config());
    rig.node.window = 1;
    rig.open();
    rig.welcome();
    rig.publish(b"small");
    rig.publish(&[0; 50_000]);
    rig.publish(b"small");
    assert_eq!(rig.publishes().len(), 1);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.publishes().len(), 2);
    let ack = rig.node.acks(2);
    rig.say(&ack);
    assert_eq!(rig.publishes().len(), 3);
}

#[test]
fn unanswered_requests_never_pass_the_limit_of_the_node() {
    let mut rig = Rig::new(config());
    rig.node.requests_max = 2;
    rig.open();
    rig.welcome();
    for _ in 0..5 {
        rig.publish(b"x");
    }
    assert_eq!(rig.publishes().len(), 2);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.publishes().len(), 3);
}

#[test]
fn a_publish_without_a_place_can_be_taken_back_and_an_accepted_one_can_not() {
    let mut rig = Rig::new(Config { publish_queue_messages_max: 1, ..config() });
    let (accepted, waiting, last) = (rig.publish(b"1"), rig.publish(b"2"), rig.publish(b"3"));
    rig.session.take_back(accepted);
    rig.session.take_back(waiting);
    rig.open();
    rig.welcome();
    for seq in [1, 2] {
        let ack = rig.node.acks(seq);
        rig.say(&ack);
    }
    assert_eq!(rig.outcomes, [(accepted, stored()), (last, stored())]);
    let bodies: Vec<_> = rig.got.iter().filter_map(|(_, _, got)| body(got)).collect();
    assert_eq!(bodies, [b"1", b"3"]);
}

fn body(got: &Got) -> Option<&[u8]> {
    if let Got::Publish { body, .. } = got { Some(body) } else { None }
}

#[test]
fn numbers_in_flight_stay_within_what_the_cluster_can_recognise() {
    let mut rig = Rig::connected(Config { publish_deadline: Some(Duration::from_secs(60)), ..config() });
    for _ in 0..300 {
        rig.publish(b"x");
    }
    assert_eq!(rig.publishes().len(), 256);
    // All but the first are refused, which leaves 255 places, yet the first may come again.
    for seq in 2..=256 {
        let refusal = Refusal::new(Seq(seq), ErrorCode::TopicsMax, Outcome::Definite);
        let bytes = rig.node.frame(&Payload::Error(refusal));
        rig.say(&bytes);
    }
    rig.reopen();
    assert_eq!(rig.publishes(), [(1, Some(1))]);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.publishes().len(), 45);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_ends_the_connection() {
    for acks in [[2, 2], [1, 0]] {
        let mut rig = Rig::connected(config());
        rig.publish(b"x");
        for ack in acks {
            let bytes = rig.node.acks(ack);
            rig.say(&bytes);
        }
        assert!(rig.closing);
        assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(304)));
        rig.lose();
        let error = rig.session.status().last_error.clone().unwrap().to_string();
        assert!(error.starts_with("node:1 broke the protocol: "), "{error}");
        assert!(error.contains("was acknowledged, outside of"), "{error}");
    }
}

#[test]
fn closing_ends_sent_publishes_as_unknown_and_others_as_not_sent() {
    let mut rig = Rig::connected(Config { publish_queue_messages_max: 1, ..config() });
    let (sent, waiting) = (rig.publish(b"1"), rig.publish(b"2"));
    rig.session.close();
    rig.pump();
    assert_eq!(rig.outcomes, [(sent, Err(PublishError::Unknown)), (waiting, Err(PublishError::Closed))]);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(0)));
    let after = rig.publish(b"3");
    assert_eq!(rig.outcome(after), Some(Err(PublishError::Closed)));
}
