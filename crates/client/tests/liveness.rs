//! Signs of life, time-outs, pauses between attempts.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::session::Dial;
use multibeam_client::{CloseClass, Config, ConnectionError, Session, State};
use multibeam_wire::{CloseCode, Payload};
use std::io;
use std::time::Duration;
use support::{Got, Rig, config};

#[test]
fn a_heartbeat_is_sent_within_each_interval_and_not_much_earlier() {
    let mut rig = Rig::connected(config());
    for _ in 0..30 {
        rig.advance(2_000);
        let bytes = rig.node.frame(&Payload::Heartbeat);
        rig.say(&bytes);
    }
    let mut times = rig.times(&Got::Heartbeat);
    times.insert(0, 0);
    assert!(times.len() > 6, "{times:?}");
    assert!(times.windows(2).all(|pair| (7_500..=10_000).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn other_frames_take_the_place_of_heartbeats() {
    let mut rig = Rig::connected(config());
    for n in 1..=20 {
        rig.advance(2_000);
        rig.publish(b"x");
        let ack = rig.node.acks(n);
        rig.say(&ack);
    }
    assert_eq!(rig.times(&Got::Heartbeat), []);
}

#[test]
fn a_node_that_is_silent_for_three_intervals_is_given_up() {
    let mut rig = Rig::connected(config());
    rig.advance(29_999);
    assert!(!rig.closing);
    rig.advance(1);
    assert!(rig.closing);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(306)));
    rig.lose();
    let status = rig.session.status().clone();
    assert_eq!(status.state, State::Waiting);
    assert_eq!(
        status.last_error.map(|error| error.to_string()).as_deref(),
        Some("node:1 was silent for 30000 ms; the connection was given up")
    );
    rig.open();
    rig.welcome();
    assert_eq!(rig.session.status().state, State::Connected);
}

#[test]
fn opening_and_handshake_have_time_outs() {
    let mut rig = Rig::new(config());
    assert_eq!(rig.session.poll_dial(0), Dial::Now("node:1".to_owned()));
    assert_eq!(rig.session.next_deadline_ms(), Some(5_000));
    rig.session.handle_timeout(5_000);
    assert!(!rig.session.is_dialing());
    rig.now_ms = 5_000;
    let timeout = ConnectionError::ConnectTimeout { server: "node:1".to_owned(), timeout_ms: 5_000 };
    assert_eq!(rig.session.status().last_error, Some(timeout));
    rig.open();
    rig.advance(5_000);
    assert!(rig.closing);
    rig.lose();
    assert!(matches!(rig.session.status().last_error, Some(ConnectionError::HandshakeTimeout { .. })));
    assert_eq!(rig.session.status().failures_in_row, 2);
    rig.open();
    rig.welcome();
    assert_eq!(rig.session.status().failures_in_row, 0);
}

fn pauses(seed: u64) -> Vec<u64> {
    let mut session = Session::new(Config { seed, ..config() });
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let mut now_ms = 0;
    (0..30)
        .map(|_| {
            assert!(matches!(session.poll_dial(now_ms), Dial::Now(_)));
            session.disconnected(Some(&refused), now_ms);
            let retry_at_ms = session.next_deadline_ms().unwrap();
            assert_eq!(session.poll_dial(retry_at_ms - 1), Dial::Wait);
            let pause_ms = retry_at_ms - now_ms;
            now_ms = retry_at_ms;
            pause_ms
        })
        .collect()
}

#[test]
fn pauses_between_attempts_are_bounded_and_follow_the_seed() {
    let pauses_1 = pauses(1);
    assert!(pauses_1.iter().all(|ms| (100..=15_000).contains(ms)), "{pauses_1:?}");
    assert!(pauses_1.iter().any(|&ms| ms > 3_000), "{pauses_1:?}");
    assert_eq!(pauses_1, pauses(1));
    assert_ne!(pauses_1, pauses(2));
}

#[test]
fn pauses_begin_short_again_only_after_a_connection_has_held() {
    for (held_ms, short) in [(10, false), (10_000, true)] {
        // Settings whose pauses pass 300 ms at once, so that a reset can be told.
        let config = Config { backoff_max: Duration::from_secs(3600), seed: 11, ..config() };
        let mut rig = Rig::new(config);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let mut pause_ms = 0;
        while pause_ms < 100_000 {
            let dial_at_ms = rig.session.next_deadline_ms().unwrap();
            rig.now_ms = rig.now_ms.max(dial_at_ms);
            assert!(matches!(rig.session.poll_dial(rig.now_ms), Dial::Now(_)));
            rig.session.disconnected(Some(&refused), rig.now_ms);
            pause_ms = rig.session.next_deadline_ms().unwrap() - rig.now_ms;
        }
        rig.open();
        rig.welcome();
        rig.advance(held_ms);
        rig.lose();
        let pause_ms = rig.session.next_deadline_ms().unwrap() - rig.now_ms;
        assert_eq!(pause_ms <= 300, short, "{pause_ms} ms after {held_ms} ms");
    }
}

#[test]
fn servers_are_tried_in_turn() {
    let servers = ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec();
    let mut session = Session::new(Config { servers, ..config() });
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    let mut tried = Vec::new();
    for _ in 0..4 {
        let now_ms = session.next_deadline_ms().unwrap();
        let Dial::Now(server) = session.poll_dial(now_ms) else { panic!("a dial") };
        tried.push(server);
        session.disconnected(Some(&refused), now_ms);
    }
    assert_eq!(tried, ["a:1", "b:1", "c:1", "a:1"]);
    let error = session.status().last_error.clone().unwrap().to_string();
    assert_eq!(error, "can't reach a:1: connection refused");
}

#[test]
fn a_bye_of_the_node_is_kept_with_its_class() {
    let mut rig = Rig::connected(config());
    let bytes = rig.node.frame(&Payload::bye(CloseCode::BadWindowUnit));
    rig.say(&bytes);
    assert!(rig.closing);
    rig.lose();
    let error = rig.session.status().last_error.clone().unwrap();
    assert_eq!(error.close_class(), Some(CloseClass::Incompatible));
    assert_eq!(
        error.to_string(),
        "node:1 ended the connection: The window unit is outside 16 B to 32 KiB. (BAD_WINDOW_UNIT)"
    );
    assert_eq!(rig.session.status().state, State::Waiting);
}

#[test]
fn a_server_that_speaks_something_else_is_recognised() {
    let mut rig = Rig::new(config());
    rig.open();
    rig.say(b"HTTP/1.1 400 Bad Request\r\n");
    assert!(rig.closing);
    rig.lose();
    let error = rig.session.status().last_error.clone().unwrap().to_string();
    assert_eq!(error, "node:1 broke the protocol: the frame does not begin with \"MB\" (BAD_MAGIC)");
    assert_eq!(rig.session.status().failures_in_row, 1);
}

#[test]
fn frames_out_of_turn_in_the_handshake_end_the_connection() {
    let mut rig = Rig::new(config());
    rig.open();
    let bytes = rig.node.frame(&Payload::Heartbeat);
    rig.say(&bytes);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(300)));
    rig.lose();
    rig.open();
    rig.welcome();
    rig.welcome();
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(302)));
}
