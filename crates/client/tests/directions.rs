//! What a node says of the next connection, and what both sides agree on for this one.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{Config, ConnectionError, Event, Start, State};
use multibeam_wire::{Addresses, CloseCode, Features, GoAway, GoAwayReason, Payload, Reject};
use support::{Got, Rig, config};

fn go_away<'a>(retry_after_ms: u32, deadline_ms: u32, addresses: &'a [&'a str]) -> Payload<'a> {
    let reason = GoAwayReason::Drain as u16;
    Payload::GoAway(GoAway { reason, deadline_ms, retry_after_ms, addresses: Addresses::new(addresses) })
}

#[test]
fn a_client_that_finds_no_other_node_leaves_at_the_deadline_and_tries_the_named_ones_first() {
    let mut rig = Rig::connected(Config { servers: vec!["node:1".into(), "node:2".into()], ..config() });
    rig.advance(15_000);
    let beat = rig.node.frame(&Payload::Heartbeat);
    rig.say(&beat);
    let bytes = rig.node.frame(&go_away(700, 2_000, &["b:9", "c:9"]));
    rig.say(&bytes);
    rig.publish(b"still served");
    assert_eq!(rig.publishes(), [(1, None)]);
    let ack = rig.node.acks(1);
    rig.say(&ack);
    rig.advance(699);
    assert!(!rig.closing && rig.beside.is_empty());
    rig.advance(1);
    assert_eq!(rig.beside, [(rig.now_ms, "b:9".to_owned())]);
    rig.advance(1_299);
    assert!(!rig.closing);
    rig.advance(1);
    assert!(rig.closing);
    assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(CloseCode::Normal as u16)));
    rig.lose();
    let status = rig.session.status().clone();
    assert_eq!(
        status.last_error.map(|error| error.to_string()).as_deref(),
        Some("node:1 sent this client elsewhere (drain)")
    );
    let left_at_ms = rig.now_ms;
    let mut tried = Vec::new();
    for _ in 0..4 {
        rig.open();
        tried.push(rig.server.clone());
        rig.lose();
    }
    assert_eq!(tried, ["b:9", "c:9", "node:2", "node:1"]);
    rig.open();
    rig.welcome();
    assert_eq!(rig.session.status().state, State::Connected);
    assert!(rig.now_ms > left_at_ms, "pauses between attempts that fail");
}

#[test]
fn a_client_with_nowhere_else_to_go_leaves_at_its_slot_or_by_the_deadline() {
    for (slot_ms, deadline_ms) in [(60_000, 500), (500, 60_000)] {
        let mut rig = Rig::connected(config());
        let bytes = rig.node.frame(&go_away(slot_ms, deadline_ms, &[]));
        rig.say(&bytes);
        rig.advance(499);
        assert!(!rig.closing);
        rig.advance(1);
        assert!(rig.closing && rig.beside.is_empty());
    }
}

/// After a connection that held it goes at once: it has waited for its slot. After one that did not,
/// two nodes could send it back and forth without pause.
#[test]
fn a_client_that_is_sent_to_and_fro_pauses() {
    for (held_ms, pauses) in [(9_000, true), (10_001, false)] {
        let mut rig = Rig::connected(config());
        rig.advance(held_ms);
        let bytes = rig.node.frame(&go_away(0, 0, &["b:9"]));
        rig.say(&bytes);
        rig.advance(0);
        assert!(rig.closing);
        rig.lose();
        let left_at_ms = rig.now_ms;
        rig.open();
        assert_eq!((rig.now_ms > left_at_ms, rig.server.as_str()), (pauses, "b:9"), "held for {held_ms} ms");
    }
}

#[test]
fn a_client_turned_away_comes_back_at_its_slot() {
    let mut rig = Rig::new(config());
    rig.open();
    let (code, detail) = (CloseCode::ConnectionsMax as u16, "Come back later.");
    let bytes = rig.node.frame(&Payload::Reject(Reject { code, retry_after_ms: 123_456, detail }));
    rig.say(&bytes);
    assert!(rig.closing);
    rig.lose();
    match rig.session.status().last_error.clone().unwrap() {
        ConnectionError::Bye { number, detail, .. } => {
            assert_eq!((number, &*detail), (400, "Come back later."))
        }
        other => panic!("{other}"),
    }
    assert_eq!(rig.session.next_deadline_ms(), Some(rig.now_ms + 123_456));
    rig.open();
    rig.welcome();
    assert_eq!(rig.session.status().state, State::Connected);
}

#[test]
fn no_node_can_keep_a_client_away_for_ever() {
    let mut rig = Rig::new(config());
    rig.open();
    let reject = Reject { code: CloseCode::ConnectionsMax as u16, retry_after_ms: u32::MAX, detail: "" };
    let bytes = rig.node.frame(&Payload::Reject(reject));
    rig.say(&bytes);
    rig.lose();
    assert_eq!(rig.session.next_deadline_ms(), Some(rig.now_ms + 3_600_000));
}

#[test]
fn headers_are_compact_where_both_sides_want_it() {
    for (client, node, compact) in
        [(true, Features::COMPACT, true), (false, Features::COMPACT, false), (true, Features::NONE, false)]
    {
        let mut rig = Rig::new(Config { compact: client, ..config() });
        rig.node.features = node;
        rig.open();
        rig.welcome();
        let id = rig.subscribe(Start::New);
        let told = rig.node.subscribed(id, 0, 0);
        rig.say(&told);
        let bytes = rig.node.delivery(id, 1, 0, b"body");
        assert_eq!(bytes.len() < 16, compact, "{bytes:?}");
        // All but the last byte, then the last: frames may be cut anywhere.
        rig.say(&bytes[..bytes.len() - 1]);
        rig.say(&bytes[bytes.len() - 1..]);
        assert!(matches!(rig.next(id), Some(Event::Subscribed { .. })));
        assert!(matches!(rig.next(id), Some(Event::Message(message)) if *message.body == *b"body"));
        assert_eq!(rig.next(id), None);
        rig.publish(b"there");
        assert_eq!(rig.publishes(), [(1, None)]);
        rig.advance(500);
        assert_eq!(rig.node.acked_by_client.0, 1, "compact: {compact}");
    }
}

/// What a node takes for agreed on changes what its frames mean.
#[test]
fn a_node_that_claims_a_feature_nobody_offered_is_told_so() {
    let all = [Features::COMPACT, Features::RECEIPTS, Features(1 << 40)];
    for claimed in all {
        let mut rig = Rig::new(Config { compact: false, receipts: false, ..config() });
        rig.open();
        let welcome = rig.node.frame(&Payload::Welcome(multibeam_wire::Welcome {
            features: claimed,
            window_unit: multibeam_wire::WindowUnit::DEFAULT,
            heartbeat_interval_ms: 1_000,
            generation: multibeam_wire::Generation(1),
            session: 1,
            requests_in_flight_max: 1,
            leads: true,
        }));
        rig.say(&welcome);
        assert_eq!(rig.got.last().map(|(_, _, got)| got.clone()), Some(Got::Bye(203)), "{claimed:?}");
        rig.lose();
        let error = rig.session.status().last_error.clone().unwrap();
        assert!(error.to_string().contains("features in force that HELLO did not offer"), "{error}");
        assert!(!error.is_retryable());
    }
}
