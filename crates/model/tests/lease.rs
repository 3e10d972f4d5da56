//! A node without a lease keeps its clients and promises nothing; with one, everything goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use multibeam::event_loop::LoopLimits;
use multibeam_model::sockets::Caps;
use multibeam_proto::{Command, ShardConfig, Time};
use multibeam_wire::Start;
use std::time::Duration;
use support::{Node, Peer, publish, subscribe};

const ALWAYS: Time = Time(u64::MAX);
const NEVER: Time = Time(0);

fn node() -> Node {
    let config = ShardConfig { heartbeat_interval: Duration::from_secs(4), ..ShardConfig::default() };
    Node::new(config, LoopLimits::default(), Caps::default())
}

#[test]
fn a_client_is_welcomed_and_kept_and_gets_everything_once_there_is_a_lease() {
    let mut node = node();
    node.lease.set(NEVER);
    let mut client = node.client();
    client.say(&mut node, &subscribe(1, "alarm.fire", Start::New));
    client.say(&mut node, &publish(1, "alarm.fire", b"smoke"));
    node.pass(Duration::from_millis(4500));
    // Nothing but signs of life, whose acknowledgement is what the client knows.
    let heard = client.hear(&mut node);
    assert!(!heard.is_empty() && heard.iter().all(|frame| frame == "Heartbeat"), "{heard:?}");
    assert_eq!(client.acked.0, 0);
    node.lease.set(ALWAYS);
    node.pass(Duration::from_millis(40));
    let heard = client.hear(&mut node);
    let begins = |start: &str| heard.iter().position(|frame| frame.starts_with(start));
    assert!(begins("Subscribed").unwrap() < begins("Delivery").unwrap(), "{heard:?}");
    assert_eq!(client.acked.0, 2);
}

#[test]
fn a_publish_ends_as_unknown_when_the_lease_stays_away() {
    let mut node = node();
    let mut client = node.client();
    node.lease.set(NEVER);
    client.say(&mut node, &publish(1, "alarm.fire", b"smoke"));
    // Definite under a lease: nobody says so without one.
    client.say(&mut node, &publish(2, "alarm..fire", b"smoke"));
    node.pass(Duration::from_secs(4));
    client.say(&mut node, &multibeam_wire::Payload::Heartbeat);
    node.pass(Duration::from_millis(1100));
    let heard: Vec<String> =
        client.hear(&mut node).into_iter().filter(|frame| frame.starts_with("Error")).collect();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard.iter().all(|frame| frame.contains("outcome: Unknown")), "{heard:?}");
    assert_eq!(client.acked.0, 0);
    node.lease.set(ALWAYS);
    client.say(&mut node, &subscribe(1, "alarm.fire", Start::First));
    let heard = client.hear(&mut node);
    // It was stored all the same.
    assert!(heard.iter().any(|frame| frame.starts_with("Delivery")), "{heard:?}");
    assert_eq!(client.acked.0, 3);
}

#[test]
fn a_lease_that_runs_out_between_the_halves_of_a_turn_lets_nothing_out() {
    let mut node = node();
    let mut subscriber = node.client();
    subscriber.say(&mut node, &subscribe(1, "alarm.fire", Start::New));
    subscriber.hear(&mut node);
    let mut publisher = node.client();
    let (lease, now) = (node.lease.clone(), node.now);
    node.between_halves = Some(Box::new(move || lease.set(now)));
    publisher.say(&mut node, &publish(1, "alarm.fire", b"smoke"));
    assert_eq!((subscriber.hear(&mut node), publisher.hear(&mut node)), (vec![], vec![]));
    node.between_halves = None;
    node.lease.set(ALWAYS);
    node.pass(Duration::from_millis(20));
    assert!(subscriber.hear(&mut node)[0].starts_with("Delivery"));
    publisher.hear(&mut node);
    assert_eq!(publisher.acked.0, 1);
}

fn isolated(address: &str) -> Command {
    Command::Isolated { addresses: [address].into_iter().map(Into::into).collect() }
}

/// The GOAWAYs among frames: reason, deadline, slot.
fn words(heard: &[String]) -> Vec<(u16, u32, u32)> {
    let number = |frame: &str, name: &str| {
        let (_, rest) = frame.split_once(&format!("{name}: ")).unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    };
    let words = heard.iter().filter(|frame| frame.starts_with("GoAway"));
    words
        .map(|it| (number(it, "reason") as u16, number(it, "deadline_ms"), number(it, "retry_after_ms")))
        .collect()
}

#[test]
fn an_isolated_node_tells_everybody_once_and_who_comes_behind_the_welcome() {
    let mut node = node();
    let mut old: Vec<Peer> = (0..40).map(|_| node.client()).collect();
    node.command(isolated("n2:7400"));
    node.command(isolated("n2:7400"));
    let mut slots = Vec::new();
    for client in &mut old {
        let heard = client.hear(&mut node);
        let [(reason, deadline, slot)] = words(&heard)[..] else { panic!("{heard:?}") };
        assert!(reason == 2 && deadline == 10_000 && slot < deadline, "{heard:?}");
        assert!(heard[0].contains("n2:7400"));
        slots.push(slot);
    }
    // In each quarter of the time there are some.
    assert!((0..4).all(|part| slots.iter().any(|slot| slot / 2500 == part)), "{slots:?}");

    let mut new = node.connect();
    new.say(&mut node, &support::hello());
    let heard = new.hear(&mut node);
    assert!(heard[0].starts_with("Welcome") && words(&heard[1..]).len() == 1, "{heard:?}");

    // Other addresses are another word.
    node.command(isolated("n3:7400"));
    assert!(new.hear(&mut node)[0].contains("n3:7400"));
    node.command(Command::Rejoined);
    for client in old.iter_mut().chain([&mut new]) {
        assert_eq!(words(&client.hear(&mut node)).last(), Some(&(4, 0, 0)));
    }
    let mut late = node.client();
    assert_eq!(late.hear(&mut node), Vec::<String>::new());
}
