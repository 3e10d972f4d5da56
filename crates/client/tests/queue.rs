//! The queue of publishes: bounded, kept over reconnects, each with an end. Keys, times to live, receipts.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{
    Config, ErrorCode, Outcome, Publish, PublishError, Receipt, TemplateError, TopicError,
};
use multibeam_wire::{self as wire, Features, Payload, Position, Refusal, Seq};
use std::time::Duration;
use support::{Got, Rig, TOPIC, config, stored};

/// Number, keys and time to live of each publish that the node got on this connection.
fn sent(rig: &Rig) -> Vec<(u64, usize, Option<u32>)> {
    let publish = |got: &Got| match got {
        Got::Publish { number, keys, ttl_ms, .. } => Some((*number, keys.len(), *ttl_ms)),
        _ => None,
    };
    rig.got.iter().filter_map(|(_, _, got)| publish(got)).collect()
}

fn to_users(count: usize) -> Publish {
    Publish::to_each("user.*.msg", (0..count).map(|user| user.to_string()), "hello")
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_published_without_a_connection_goes_out_in_order_with_the_next() {
    let mut rig = Rig::new(config());
    for _ in 0..300 {
        rig.publish(b"x");
    }
    assert_eq!(rig.accepted.len(), 300);
    rig.open();
    rig.welcome();
    let numbers: Vec<_> = sent(&rig).iter().map(|sent| sent.0).collect();
    assert_eq!(numbers, (1..=256).collect::<Vec<_>>(), "as many as the cluster recognises");
    rig.reopen();
    let ack = rig.node.acks(256);
    rig.say(&ack);
    assert_eq!(rig.publishes()[..2], [(1, Some(1)), (2, Some(1))]);
    assert_eq!(rig.publishes().last(), Some(&(300, None)));
}

#[test]
fn a_full_queue_hands_the_message_back_and_holds_who_waits() {
    for by_bytes in [false, true] {
        let limits = if by_bytes {
            Config { publish_queue_bytes_max: 65_535, ..config() }
        } else {
            Config { publish_queue_messages_max: 2, ..config() }
        };
        let body = vec![0; if by_bytes { 30_000 } else { 1 }];
        let mut rig = Rig::new(limits);
        let held = [rig.publish(&body), rig.publish(&body)];
        let publish = Publish::to(TOPIC, body.clone()).ttl(SECOND);
        let full = rig.session.reserve(publish.clone()).unwrap_err();
        assert_eq!((&full.publish, full.messages), (&publish, 2));
        assert!(full.is_definite() && full.is_retryable());
        let waits = rig.publish(&body);
        assert_eq!(rig.accepted, held);
        rig.open();
        rig.welcome();
        let ack = rig.node.acks(1);
        rig.say(&ack);
        assert_eq!(rig.accepted.last(), Some(&waits));
        // The one that waited has taken the place.
        assert!(rig.session.reserve(Publish::to(TOPIC, body)).is_err());
        let ack = rig.node.acks(3);
        rig.say(&ack);
        assert_eq!(rig.outcomes, [(held[0], stored()), (held[1], stored()), (waits, stored())]);
        assert!(rig.session.reserve(publish).is_ok());
    }
}

/// A small message behind a large one that waits for room does not overtake it.
#[test]
fn nobody_overtakes_in_the_line() {
    let mut rig = Rig::new(Config { publish_queue_bytes_max: 65_535, ..config() });
    rig.publish(&[0; 30_000]);
    let (large, small) = (rig.publish(&[0; 60_000]), rig.publish(b"x"));
    assert_eq!(rig.accepted.len(), 1);
    assert!(rig.session.reserve(Publish::to(TOPIC, "x")).is_err());
    rig.session.take_back(large);
    rig.pump();
    assert_eq!(rig.accepted.last(), Some(&small));
}

#[test]
fn every_publish_ends_by_its_own_deadline() {
    let mut rig = Rig::new(Config { publish_deadline: None, publish_queue_messages_max: 3, ..config() });
    let long = rig.publish_with(Publish::to(TOPIC, "long").deadline(10 * SECOND));
    let short = rig.publish_with(Publish::to(TOPIC, "short").deadline(SECOND));
    let never = rig.publish(b"never");
    let in_line = rig.publish_with(Publish::to(TOPIC, "in line").deadline(2 * SECOND));
    assert_eq!(rig.accepted.len(), 3);
    rig.advance(999);
    assert_eq!(rig.outcomes, []);
    rig.advance(1);
    assert_eq!(rig.outcomes, [(short, Err(PublishError::TimedOut))]);
    assert_eq!(rig.accepted.last(), Some(&in_line), "its place is free");
    rig.open();
    rig.welcome();
    rig.advance(9_000);
    assert_eq!(
        rig.outcomes[1..],
        [(in_line, Err(PublishError::Unknown)), (long, Err(PublishError::Unknown))]
    );
    assert!(!PublishError::Unknown.is_definite() && PublishError::TimedOut.is_definite());
    rig.reopen();
    assert_eq!(rig.publishes(), [(2, Some(1))], "what has ended is not sent again");
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(rig.outcome(never), Some(stored()));
}

#[test]
fn a_message_whose_time_is_over_in_the_queue_is_not_sent() {
    let mut rig = Rig::new(config());
    let at_once = rig.publish_with(Publish::to(TOPIC, "x").ttl(Duration::ZERO));
    assert_eq!(rig.outcome(at_once), Some(Err(PublishError::Expired)));
    let short = rig.publish_with(Publish::to(TOPIC, "x").ttl(SECOND));
    let long = rig.publish_with(Publish::to(TOPIC, "x").ttl(3 * SECOND));
    let ever = rig.publish_with(Publish::to(TOPIC, "x").ttl(1_000_000_000 * SECOND));
    rig.advance(1_000);
    assert_eq!(rig.outcome(short), Some(Err(PublishError::Expired)));
    assert!(PublishError::Expired.is_definite() && !PublishError::Expired.is_retryable());
    rig.open();
    rig.welcome();
    let opened_ms = u32::try_from(rig.now_ms).unwrap();
    assert_eq!(sent(&rig), [(1, 0, Some(3_000 - opened_ms)), (2, 0, Some(u32::MAX))], "what is left of it");
    // Sent is sent: only the answer tells whether it is stored, so it is asked for again.
    rig.advance(3_000);
    assert_eq!(rig.outcome(long), None);
    rig.reopen();
    assert_eq!(sent(&rig)[0], (1, 0, Some(1)));
    let ack = rig.node.acks(2);
    rig.say(&ack);
    assert_eq!((rig.outcome(long), rig.outcome(ever)), (Some(stored()), Some(stored())));
}

#[test]
fn a_publish_to_many_takes_a_number_for_each_key() {
    let mut rig = Rig::connected(config());
    rig.publish_with(to_users(3));
    rig.publish(b"x");
    assert_eq!(sent(&rig), [(1, 3, None), (4, 0, None)]);
    rig.reopen();
    rig.publish(b"y");
    assert_eq!(rig.publishes(), [(1, Some(1)), (4, Some(1)), (5, None)]);
    let Some((_, _, Got::Publish { topic, keys, .. })) =
        rig.got.iter().find(|(_, header, _)| header.seq.0 == 1)
    else {
        panic!("a publish")
    };
    assert_eq!((topic.as_str(), keys.as_slice()), ("user.*.msg", &["0", "1", "2"].map(str::to_owned)[..]));
}

#[test]
fn the_numbers_in_flight_are_bounded_not_the_frames() {
    let mut rig = Rig::connected(config());
    for _ in 0..5 {
        rig.publish_with(to_users(60));
    }
    assert_eq!(sent(&rig).len(), 4, "240 numbers, and 300 would be too many");
    rig.publish(b"behind them");
    assert_eq!(sent(&rig).len(), 4, "nobody overtakes");
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(sent(&rig)[4..], [(241, 60, None), (301, 0, None)]);
    // The first number that is not done counts, also where later ones are.
    let mut rig = Rig::connected(config());
    for _ in 0..4 {
        rig.publish_with(to_users(64));
    }
    for seq in 2..=4 {
        let refusal = Refusal::new(Seq(seq), ErrorCode::TopicsMax, Outcome::Definite);
        let bytes = rig.node.frame(&Payload::Error(refusal));
        rig.say(&bytes);
    }
    rig.publish(b"x");
    assert_eq!(sent(&rig).len(), 4);
    let ack = rig.node.acks(4);
    rig.say(&ack);
    assert_eq!(sent(&rig).len(), 5);
}

/// Its caller has given up on it, but the node holds it until it has answered.
#[test]
fn numbers_count_until_the_node_has_answered() {
    let mut rig = Rig::connected(Config { publish_in_flight_max: 4, ..config() });
    rig.publish_with(to_users(3).deadline(SECOND));
    rig.advance(1_000);
    assert_eq!(rig.outcomes.len(), 1);
    rig.publish_with(to_users(2));
    assert_eq!(sent(&rig).len(), 1);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    assert_eq!(sent(&rig)[1..], [(4, 2, None)]);
    // Or until the connection is gone, with which it is forgotten.
    rig.advance(4_999);
    rig.publish_with(to_users(3));
    rig.advance(1);
    assert_eq!(sent(&rig).len(), 2);
    rig.reopen();
    assert_eq!(sent(&rig), [(6, 3, None)]);
}

#[test]
fn numbers_that_a_new_connection_has_not_carried_are_free_with_their_publish() {
    let mut rig = Rig::connected(Config { publish_in_flight_max: 4, ..config() });
    rig.publish(&[0; 900]);
    let many = Publish::to_each("user.*.msg", ["1", "2", "3"], [0; 900]).deadline(2 * SECOND);
    rig.publish_with(many);
    rig.node.window = 1;
    rig.reopen();
    assert_eq!(sent(&rig), [(1, 0, None)], "the window has no room for the other");
    rig.advance(2_000);
    assert_eq!(rig.outcomes.len(), 1);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    rig.publish_with(to_users(3));
    assert_eq!(sent(&rig)[1..], [(5, 3, None)]);
}

#[test]
fn a_publish_larger_than_the_limit_of_numbers_goes_alone() {
    let mut rig = Rig::connected(Config { publish_in_flight_max: 2, ..config() });
    rig.publish_with(to_users(5));
    rig.publish(b"x");
    assert_eq!(sent(&rig).len(), 1);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    for _ in 0..2 {
        rig.publish(b"x");
    }
    assert_eq!(sent(&rig)[1..], [(6, 0, None), (7, 0, None)]);
}

#[test]
fn bad_publishes_are_refused_before_they_are_queued() {
    let mut rig = Rig::new(config());
    let key = "k".repeat(129);
    for (publish, error) in [
        (Publish::to("a..b", "x"), PublishError::Topic(TopicError::EmptySegment)),
        (Publish::to("a.*", "x"), PublishError::Topic(TopicError::BadCharacter)),
        (Publish::to_each("a.b", ["1"], "x"), PublishError::Template(TemplateError::Wildcard)),
        (Publish::to_each("a.*", ["1", "2.3"], "x"), PublishError::Template(TemplateError::Key)),
        (Publish::to_each("a.*", [""; 0], "x"), PublishError::KeyCount { count: 0 }),
        (to_users(65), PublishError::KeyCount { count: 65 }),
        (Publish::to_each("a.*", [key], "x"), PublishError::KeyTooLong { len: 129 }),
        (Publish::to("a", [0; 65_025]), PublishError::BodyTooLong { len: 65_025, len_max: 65_024 }),
        (
            Publish::to_each("a.*", ["1", "2"], [0; 65_018]),
            PublishError::BodyTooLong { len: 65_018, len_max: 65_017 },
        ),
    ] {
        assert!(error.is_definite() && !error.is_retryable());
        assert_eq!(rig.session.publish(publish, 0), Err(error));
    }
    assert_eq!(rig.session.next_deadline_ms(), Some(0), "nothing is queued");
}

/// The longest of everything is no more than a frame takes.
#[test]
fn the_longest_publish_fits() {
    let keys: Vec<_> = (0..64).map(|number| format!("{number:0>128}")).collect();
    let template = format!("{}.*", "t".repeat(126));
    let body = vec![7; 65_024 - 1 - 64 * 130];
    let mut rig = Rig::connected(Config { window_bytes: 1 << 20, ..config() });
    rig.publish_with(Publish::to_each(template, keys, body).ttl(SECOND * 4_000_000));
    rig.publish_with(Publish::to("t".repeat(255), vec![7; 65_024]).ttl(SECOND * 4_000_000));
    rig.reopen();
    assert_eq!(sent(&rig).len(), 2);
}

fn receipt(seq: u32, count: u32, partition: u32, offset: u64) -> wire::Receipt {
    wire::Receipt { seq: Seq(seq), count, partition, position: Position::new(1, offset), copies: 2 }
}

fn told(partition: u32, offset: u64) -> Receipt {
    Receipt { partition, position: Position::new(1, offset), copies: 2 }
}

#[test]
fn receipts_say_where_each_message_is_stored() {
    let mut rig = Rig::connected(config());
    let tickets = [rig.publish(b"1"), rig.publish(b"2"), rig.publish_with(to_users(2)), rig.publish(b"4")];
    // One early, which its acknowledgement follows; a range; several for one frame.
    let early = rig.node.acks_with(0, &[receipt(3, 1, 8, 70)]);
    rig.say(&early);
    assert_eq!(rig.outcomes, []);
    let bytes = rig.node.acks_with(3, &[receipt(1, 2, 5, 41), receipt(3, 1, 9, 30), receipt(3, 1, 9, 31)]);
    rig.say(&bytes);
    let ack = rig.node.acks(4);
    rig.say(&ack);
    let receipts: Vec<_> = tickets.map(|ticket| rig.outcome(ticket).unwrap().unwrap().receipts).into();
    assert_eq!(receipts, [vec![told(5, 41)], vec![told(5, 42)], vec![told(8, 70), told(9, 30)], vec![]]);
    assert_eq!(rig.outcome(tickets[0]).unwrap().unwrap().receipt(), Some(told(5, 41)));
}

#[test]
fn receipts_of_a_connection_that_broke_do_not_count() {
    let mut rig = Rig::connected(config());
    let ticket = rig.publish(b"1");
    let early = rig.node.acks_with(0, &[receipt(1, 1, 5, 41)]);
    rig.say(&early);
    rig.reopen();
    let ack = rig.node.acks_with(1, &[receipt(1, 1, 5, 40)]);
    rig.say(&ack);
    assert_eq!(rig.outcome(ticket).unwrap().unwrap().receipts, [told(5, 40)]);
}

#[test]
fn receipts_for_what_was_never_sent_end_the_connection() {
    let far_below = receipt(1 << 31 | 2, (1 << 31) - 2, 0, 1);
    for bad in [receipt(2, 1, 0, 1), receipt(1, 2, 0, 1), receipt(1, u32::MAX, 0, 1), far_below] {
        let mut rig = Rig::connected(config());
        rig.publish(b"1");
        let bytes = rig.node.acks_with(1, &[bad]);
        rig.say(&bytes);
        assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(304)), "{bad:?}");
        assert_eq!(rig.outcomes, []);
    }
}

#[test]
fn receipts_are_asked_for_by_the_settings_and_ignored_where_they_are_not() {
    for asked in [true, false] {
        let mut rig = Rig::connected(Config { receipts: asked, ..config() });
        let Got::Hello { features, .. } = rig.got[0].2 else { panic!("HELLO") };
        assert_eq!(features.has(Features::RECEIPTS), asked);
        let ticket = rig.publish(b"1");
        let bytes = rig.node.acks_with(1, &[receipt(1, 1, 5, 41)]);
        rig.say(&bytes);
        assert_eq!(rig.outcome(ticket).unwrap().unwrap().receipts.len(), usize::from(asked));
    }
}
