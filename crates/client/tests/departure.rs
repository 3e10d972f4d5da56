//! A client that is sent away makes a connection to another node before it breaks the present one.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::{Config, ConnectionError, Start, State};
use multibeam_wire::{Addresses, CloseCode, GoAway, GoAwayReason, Payload, Seq};
use support::{Got, Rig, accept, behind, client, config, stored};

const BYE: Got = Got::Bye(CloseCode::Normal as u16);

fn go_away<'a>(reason: GoAwayReason, slot_ms: u32, addresses: &'a [&'a str]) -> Payload<'a> {
    let addresses = Addresses::new(addresses);
    Payload::GoAway(GoAway { reason: reason as u16, deadline_ms: 10_000, retry_after_ms: slot_ms, addresses })
}

fn two_servers() -> Config {
    Config { servers: vec!["node:1".into(), "node:2".into()], ..config() }
}

/// A rig whose connection has held, and whose node has become isolated.
fn isolated(config: Config, addresses: &[&str]) -> Rig {
    let mut rig = Rig::connected(config);
    rig.advance(11_000);
    let bytes = rig.node.frame(&go_away(GoAwayReason::Isolated, 700, addresses));
    rig.say(&bytes);
    rig
}

fn servers(rig: &Rig) -> Vec<&str> {
    rig.beside.iter().map(|(_, server)| server.as_str()).collect()
}

/// Waits for the next attempt.
fn next_attempt(rig: &mut Rig) {
    let before = rig.beside.len();
    while rig.beside.len() == before {
        let beat = rig.node.frame(&Payload::Heartbeat);
        rig.say(&beat);
        rig.advance(1);
    }
}

#[test]
fn it_moves_only_to_a_node_that_leads_and_takes_everything_along() {
    let mut rig = Rig::connected(two_servers());
    let id = rig.subscribe(Start::New);
    let bytes = [rig.node.subscribed(id, 0, 0), rig.node.delivery(id, 1, 0, b"one")].concat();
    rig.say(&bytes);
    rig.advance(11_000);
    rig.node.ack = Seq(1);
    let bytes = rig.node.frame(&go_away(GoAwayReason::Isolated, 700, &["b:9"]));
    rig.say(&bytes);
    assert_eq!(rig.session.status().state, State::Stale);
    let ticket = rig.publish(b"held up");
    rig.advance(699);
    assert!(rig.beside.is_empty());
    rig.advance(1);
    assert_eq!(servers(&rig), ["b:9"]);

    // It says no more than HELLO there, and leaves again: that node does not lead either.
    rig.open_beside();
    assert!(matches!(rig.got_beside[..], [Got::Hello { .. }]), "{:?}", rig.got_beside);
    rig.welcome_beside(false);
    assert_eq!(rig.got_beside.last(), Some(&BYE));
    assert!(!rig.closing && rig.second.is_none());
    let status = rig.session.status();
    assert_eq!(status.last_error, Some(ConnectionError::NoLease { server: "b:9".into() }));
    assert_eq!((status.state, status.server.as_deref()), (State::Stale, Some("node:1")));

    next_attempt(&mut rig);
    assert_eq!(servers(&rig), ["b:9", "node:2"]);
    rig.open_beside();
    rig.welcome_beside(true);
    assert_eq!(rig.got_before, [BYE]);
    assert_eq!((rig.starts(), rig.publishes()), (vec![Start::After(behind(1))], vec![(1, Some(1))]));
    let status = rig.session.status();
    assert_eq!((status.state, status.server.as_deref()), (State::Connected, Some("node:2")));
    assert_eq!(rig.session.stats().moves, 1);
    let ack = rig.node.acks(2);
    rig.say(&ack);
    assert_eq!(rig.outcome(ticket), Some(stored()));
    let bytes = [rig.node.subscribed(id, 1, 1), rig.node.delivery(id, 2, 1, b"two")].concat();
    rig.say(&bytes);
    rig.next(id);
    assert_eq!([&*rig.message(id).body, &*rig.message(id).body], [b"one", b"two"]);
    assert_eq!(rig.session.stats().silent_gaps + rig.session.stats().duplicates_dropped, 0);
}

#[test]
fn a_client_whose_only_server_is_isolated_stays_and_tries_it_with_pauses_that_grow() {
    let mut rig = isolated(config(), &[]);
    for attempt in 0..12 {
        next_attempt(&mut rig);
        // It is refused, or answered by a node that does not lead.
        if attempt % 2 == 0 {
            rig.fail_beside();
        } else {
            rig.open_beside();
            rig.welcome_beside(false);
        }
        assert!(!rig.closing && rig.second.is_none());
        assert_eq!(rig.session.status().state, State::Stale);
    }
    assert!(servers(&rig).iter().all(|server| *server == "node:1"));
    let pauses: Vec<u64> = rig.beside.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert!(pauses.iter().all(|ms| (100..=15_000).contains(ms)), "{pauses:?}");
    assert!(pauses.iter().max().unwrap() > &2_000, "{pauses:?}");
}

#[test]
fn a_word_of_return_or_of_a_leader_ends_it() {
    let leader: fn(&mut Rig) -> Vec<u8> = |rig| rig.node.acks(1);
    let withdrawn: fn(&mut Rig) -> Vec<u8> = |rig| rig.node.frame(&go_away(GoAwayReason::Withdrawn, 0, &[]));
    for word in [leader, withdrawn] {
        let mut rig = isolated(two_servers(), &["b:9"]);
        rig.publish(b"held up");
        next_attempt(&mut rig);
        rig.open_beside();
        let beat = rig.node.frame(&Payload::Heartbeat);
        rig.say(&beat);
        assert_eq!(rig.session.status().state, State::Stale);
        let bytes = word(&mut rig);
        rig.say(&bytes);
        assert_eq!(rig.session.status().state, State::Connected);
        assert_eq!((rig.got_beside.last(), rig.second.is_none()), (Some(&BYE), true));
        rig.advance(25_000);
        assert_eq!(rig.beside.len(), 1);
        assert!(!rig.closing);
    }
}

#[test]
fn who_is_welcomed_without_a_lease_is_stale_until_the_node_leads() {
    let mut rig = Rig::new(config());
    rig.open();
    rig.node.leads = false;
    rig.welcome();
    assert_eq!(rig.session.status().state, State::Stale);
    let id = rig.subscribe(Start::New);
    let bytes = rig.node.subscribed(id, 0, 0);
    rig.say(&bytes);
    assert_eq!(rig.session.status().state, State::Connected);
}

#[test]
fn an_attempt_that_is_not_answered_gives_way_to_the_next() {
    let mut rig = isolated(two_servers(), &["b:9", "c:9"]);
    next_attempt(&mut rig);
    next_attempt(&mut rig);
    rig.open_beside();
    next_attempt(&mut rig);
    assert_eq!(servers(&rig), ["b:9", "c:9", "node:2"]);
    let [(b, _), (c, _), (d, _)] = rig.beside[..] else { unreachable!() };
    // The times to connect and to answer, and a pause.
    assert!(c - b > 5_000 && d - c > 5_000, "{:?}", rig.beside);
}

#[test]
fn a_connection_that_is_lost_meanwhile_is_replaced_by_the_named_nodes() {
    let mut rig = isolated(two_servers(), &["b:9", "c:9"]);
    next_attempt(&mut rig);
    rig.open_beside();
    rig.lose();
    let lost_at_ms = rig.now_ms;
    rig.open();
    assert_eq!((rig.now_ms, rig.server.as_str()), (lost_at_ms, "b:9"));
    rig.welcome();
    assert_eq!(rig.session.status().state, State::Connected);
    rig.advance(20_000);
    assert_eq!(rig.beside.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_driver_keeps_the_old_connection_until_the_new_one_is_welcomed() {
    let (client, mut accepted) = client(config());
    let mut old = accept(&mut accepted).await;
    client.wait_connected().await.unwrap();
    let bytes = old.node.frame(&go_away(GoAwayReason::Isolated, 0, &["b:9"]));
    old.say(&bytes).await;
    let publish = client.publish("a.b", vec![7; 3000]);
    assert_eq!(old.next_publish().await, (1, None));
    let mut new = accept(&mut accepted).await;
    // Longer than what the stream holds: both ends go on meanwhile.
    assert_eq!(new.next_publish().await, (1, Some(1)));
    loop {
        match old.next().await {
            Some(Got::Bye(code)) => break assert_eq!(code, 0),
            Some(_) => {}
            None => panic!("no BYE"),
        }
    }
    assert_eq!(old.next().await, None);
    let ack = new.node.acks(1);
    new.say(&ack).await;
    assert_eq!(publish.await, stored());
    assert_eq!((client.stats().moves, client.state()), (1, State::Connected));
}
