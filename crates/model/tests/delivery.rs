//! What a subscriber gets: where it begins, what it is told is missing, and what its window
//! lets through.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use multibeam::event_loop::LoopLimits;
use multibeam::kernel::Mail;
use multibeam_model::classes_keeping;
use multibeam_model::sockets::Caps;
use multibeam_proto::{ClassSet, Command, FeedId, FeedName, ShardConfig, Stat};
use multibeam_wire::{Payload, Position, Seq, Start, SubscriptionId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::{Node, Peer, publish, subscribe};

fn node(retain: u32) -> Node {
    let config = ShardConfig { classes: classes_keeping(retain), topics_max: 5, ..ShardConfig::default() };
    Node::new(config, LoopLimits::default(), Caps { tx_bytes: 1 << 20, ..Caps::default() })
}

/// Publishes `count` messages to `topic`, with numbers from `first` on.
fn fill(node: &mut Node, publisher: &mut Peer, topic: &str, first: u64, count: u64) {
    for number in first..first + count {
        publisher.say(node, &publish(number, topic, b"body"));
    }
    publisher.hear(node);
}

/// The channel that a frame names.
fn channel(frame: &str) -> Option<&str> {
    frame.split("ChannelId(").nth(1)?.split(')').next()
}

/// The channel that SUBSCRIBED tells of a subscription.
fn channel_of(heard: &[String], subscription: u32) -> Option<&str> {
    let name = format!("SubscriptionId({subscription})");
    channel(heard.iter().find(|frame| frame.starts_with("Subscribed") && frame.contains(&name))?)
}

/// What came, shortened: `s 3:2..3:4` subscribed, `d 3:5` delivered, `g 3:1..3:4 why` a gap.
fn told(peer: &mut Peer, node: &mut Node) -> Vec<String> {
    let position = |text: &str| {
        let numbers: Vec<&str> =
            text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
        format!("{}:{}", numbers[0], numbers[1])
    };
    let field =
        |frame: &str, name: &str| position(frame.split(&format!(" {name}: Position")).nth(1).unwrap());
    let shorten = |frame: String| {
        if frame.starts_with("Subscribed") {
            Some(format!("s {}..{}", field(&frame, "from"), field(&frame, "head")))
        } else if frame.starts_with("Delivery") {
            Some(format!("d {}", field(&frame, "position")))
        } else if frame.starts_with("Gap") {
            let reason = frame.rsplit("reason: ").next().unwrap().split(' ').next().unwrap().to_lowercase();
            Some(format!("g {}..{} {reason}", field(&frame, "from"), field(&frame, "to")))
        } else {
            None
        }
    };
    peer.hear(node).into_iter().filter_map(shorten).collect()
}

#[test]
fn a_subscription_begins_new_last_or_behind_a_cursor_and_goes_on_live() {
    let mut node = node(8);
    let mut publisher = node.client();
    fill(&mut node, &mut publisher, "a", 1, 3);
    let mut subscriber = node.client();
    subscriber.say(&mut node, &subscribe(1, "a", Start::New));
    assert_eq!(told(&mut subscriber, &mut node), ["s 3:3..3:3"]);
    subscriber.say(&mut node, &subscribe(2, "a", Start::Last));
    assert_eq!(told(&mut subscriber, &mut node), ["s 3:2..3:3", "d 3:3"]);
    subscriber.say(&mut node, &subscribe(3, "a", Start::After(Position::new(3, 1))));
    assert_eq!(told(&mut subscriber, &mut node), ["s 3:1..3:3", "d 3:2", "d 3:3"]);
    fill(&mut node, &mut publisher, "a", 4, 1);
    assert_eq!(told(&mut subscriber, &mut node), ["d 3:4"; 3]);
}

#[test]
fn who_is_overrun_is_told_once_and_gets_what_is_left() {
    let mut node = node(2);
    let mut publisher = node.client();
    let mut subscriber = node.client();
    subscriber.window = 0;
    subscriber.say(&mut node, &subscribe(1, "a", Start::New));
    assert_eq!(told(&mut subscriber, &mut node), ["s 3:0..3:0"]);
    fill(&mut node, &mut publisher, "a", 1, 5);
    assert_eq!(told(&mut subscriber, &mut node), [""; 0], "there is no window");
    assert!(node.stat(Stat::WindowZero) > 0);
    subscriber.window = 100;
    subscriber.say(&mut node, &Payload::WindowUpdate);
    assert_eq!(told(&mut subscriber, &mut node), ["g 3:0..3:3 overflow", "d 3:4", "d 3:5"]);
}

#[test]
fn a_cursor_of_an_earlier_generation_is_answered_with_a_gap() {
    let mut node = node(8);
    let mut subscriber = node.client();
    // Nothing was stored yet: the gap does not wait for a message.
    subscriber.say(&mut node, &subscribe(1, "a", Start::After(Position::new(2, 7))));
    assert_eq!(told(&mut subscriber, &mut node), ["s 2:7..3:0", "g 2:7..3:0 generation"]);
    let mut publisher = node.client();
    fill(&mut node, &mut publisher, "a", 1, 1);
    assert_eq!(told(&mut subscriber, &mut node), ["d 3:1"]);
    subscriber.say(&mut node, &subscribe(2, "a", Start::After(Position::new(1, 900))));
    assert_eq!(told(&mut subscriber, &mut node), ["s 1:900..3:1", "g 1:900..3:0 generation", "d 3:1"]);
}

#[test]
fn a_cursor_of_a_forgotten_topic_is_answered_with_an_uncertain_gap() {
    let mut node = node(8);
    let mut publisher = node.client();
    // One partition, so that they share its memory of what is forgotten.
    for (number, topic) in (1..).zip(["alarm.a", "alarm.b", "alarm.c", "alarm.d", "alarm.e"]) {
        fill(&mut node, &mut publisher, topic, number, 1);
    }
    assert_eq!(node.stat(Stat::TopicsForgotten), 1);
    let mut subscriber = node.client();
    subscriber.say(&mut node, &subscribe(1, "alarm.a", Start::After(Position::new(3, 0))));
    // To hold it again, the next one had to be forgotten: `alarm.b` at 2.
    assert_eq!(told(&mut subscriber, &mut node), ["s 3:0..3:2", "g 3:0..3:2 uncertain"]);
    fill(&mut node, &mut publisher, "alarm.a", 6, 1);
    assert_eq!(told(&mut subscriber, &mut node), ["d 3:6"]);
}

#[test]
fn channels_of_a_session_are_distinct() {
    let mut node = node(8);
    let mut publisher = node.client();
    let mut subscriber = node.client();
    for subscription in 1..=9 {
        let topic = if subscription == 5 { "b" } else { "a" };
        subscriber.say(&mut node, &subscribe(subscription, topic, Start::New));
    }
    let heard = subscriber.hear(&mut node);
    let told = |heard: &[String], name| channel_of(heard, name).unwrap().to_owned();
    let mut channels: BTreeMap<_, _> = (1..=9).map(|name| (name, told(&heard, name))).collect();
    // The first has the feed's own number, which the next one to come may get.
    for gone in [1, 4, 7] {
        subscriber.say(&mut node, &Payload::Unsubscribe(SubscriptionId(gone)));
    }
    for again in [4, 1, 7] {
        subscriber.say(&mut node, &subscribe(again, "a", Start::New));
        channels.insert(again, told(&subscriber.hear(&mut node), again));
    }
    let distinct: BTreeSet<_> = channels.values().collect();
    assert_eq!(distinct.len(), 9, "{channels:?}");
    fill(&mut node, &mut publisher, "a", 1, 1);
    let heard = subscriber.hear(&mut node);
    let heard: BTreeSet<_> = heard.iter().map(|frame| channel(frame).unwrap()).collect();
    let expected = channels.iter().filter(|(subscription, _)| **subscription != 5);
    assert_eq!(heard, expected.map(|(_, channel)| channel.as_str()).collect());
}

/// Once the messages behind the unknown are evicted too, what is missing before the first one left is
/// known to have been there, and a follower must say so like the home shard.
#[test]
fn what_was_evicted_is_no_longer_uncertain_to_a_follower() {
    let config = ShardConfig { classes: classes_keeping(2), topics_max: 5, ..ShardConfig::default() };
    let mut node = Node::beside(1, config, LoopLimits::default(), Caps::default());
    // They share a partition, and so its memory of what was forgotten.
    let names = (0..).map(|n| format!("t{n}"));
    let classes = ClassSet::default();
    let mut here = names.filter(|name| classes.home(classes.partition_of(name), 2).0 == 0);
    let first = here.next().unwrap();
    let partition = classes.partition_of(&first);
    let topics: Vec<_> = std::iter::once(first.clone())
        .chain(here.filter(|name| classes.partition_of(name) == partition).take(4))
        .collect();
    let mut publisher = node.client();
    for (number, topic) in (1..).zip(&topics) {
        fill(&mut node, &mut publisher, topic, number, 1);
    }
    let mut follower = node.mail_of(1);
    let mut state_after = |node: &mut Node, publisher: &mut Peer, first, count| {
        fill(node, publisher, &topics[0], first, count);
        let name = FeedName { text: topics[0].as_str().into(), partition, filter: false };
        follower.push(0, Command::Follow { feed: FeedId { slot: 0, generation: 0 }, name });
        follower.flush();
        follower.arm();
        node.run();
        let mut told = None;
        while let Some((_, command)) = follower.pop() {
            if let Command::Followed { result, .. } = command {
                told = Some(result.unwrap());
            }
            follower.drained();
            node.run();
        }
        let state = told.unwrap();
        (state.floor.0, state.uncertain)
    };
    assert_eq!(state_after(&mut node, &mut publisher, 6, 2), (2, true), "the second was forgotten last");
    assert_eq!(state_after(&mut node, &mut publisher, 8, 2), (7, false));
}

#[test]
fn who_unsubscribes_hears_no_more() {
    let mut node = node(8);
    let mut publisher = node.client();
    let mut subscriber = node.client();
    subscriber.say(&mut node, &subscribe(1, "a", Start::New));
    subscriber.say(&mut node, &subscribe(2, "a", Start::New));
    subscriber.say(&mut node, &Payload::Unsubscribe(SubscriptionId(1)));
    let subscribed = subscriber.hear(&mut node);
    fill(&mut node, &mut publisher, "a", 1, 1);
    let heard = subscriber.hear(&mut node);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(channel(&heard[0]), channel_of(&subscribed, 2));
    // One of theirs, and the system's of each.
    assert_eq!(node.stat(Stat::Subscriptions), 1 + 2);
}

#[test]
fn the_window_lets_through_what_it_says_and_one_frame_of_any_size_when_nothing_is_in_flight() {
    let mut node = node(8);
    let mut publisher = node.client();
    let mut subscriber = node.client();
    // One unit of 16 bytes: less than any delivery.
    subscriber.window = 1;
    subscriber.say(&mut node, &subscribe(1, "a", Start::New));
    subscriber.hear(&mut node);
    for number in 1..=3 {
        publisher.say(&mut node, &publish(number, "a", &[7; 50]));
    }
    for expected in 1..=3 {
        assert_eq!(told(&mut subscriber, &mut node), [format!("d 3:{expected}")]);
        assert_eq!(told(&mut subscriber, &mut node), [""; 0]);
        subscriber.ack = Seq(expected);
        subscriber.say(&mut node, &Payload::ACK);
    }
}

#[test]
fn a_publish_sent_again_is_acknowledged_and_stored_once() {
    let mut node = node(8);
    let mut subscriber = node.client();
    subscriber.say(&mut node, &subscribe(1, "a", Start::New));
    subscriber.hear(&mut node);
    for _ in 0..2 {
        let mut publisher = node.client();
        publisher.say(&mut node, &publish(5, "a", b"once"));
        assert_eq!(publisher.hear(&mut node), ["Ack(Receipts([]))"]);
    }
    assert_eq!(told(&mut subscriber, &mut node), ["d 3:1"]);
    assert_eq!((node.stat(Stat::Stored), node.stat(Stat::Duplicates)), (1, 1));
}

#[test]
fn a_busy_topic_does_not_starve_the_others_of_a_connection() {
    let limits = LoopLimits { send_bytes: 1, ..LoopLimits::default() };
    let mut node = Node::new(ShardConfig::default(), limits, Caps::default());
    let mut publisher = node.client();
    let mut subscriber = node.client();
    subscriber.window = 3;
    for (subscription, topic) in [(1, "busy"), (2, "calm")] {
        subscriber.say(&mut node, &subscribe(subscription, topic, Start::New));
    }
    let subscribed = subscriber.hear(&mut node);
    fill(&mut node, &mut publisher, "busy", 1, 20);
    fill(&mut node, &mut publisher, "calm", 21, 1);
    let calm = channel_of(&subscribed, 2);
    let mut heard = Vec::new();
    for ack in 1..=4 {
        heard.extend(subscriber.hear(&mut node));
        subscriber.ack = Seq(ack);
        subscriber.say(&mut node, &Payload::ACK);
    }
    assert!(heard.iter().any(|frame| channel(frame) == calm), "{heard:?}");
}

#[test]
fn each_side_shows_a_sign_of_life_in_each_interval() {
    let config = ShardConfig { heartbeat_interval: Duration::from_secs(2), ..ShardConfig::default() };
    let mut node = Node::new(config, LoopLimits::default(), Caps::default());
    let mut peer = node.client();
    for _ in 0..5 {
        node.pass(Duration::from_secs(2));
        assert_eq!(peer.hear(&mut node), ["Heartbeat"]);
        peer.say(&mut node, &Payload::Heartbeat);
    }
}

#[test]
fn topics_that_nobody_follows_make_room_for_others() {
    let mut node = node(8);
    let mut client = node.client();
    for (subscription, topic) in (1..).zip(["a", "b", "c", "d"]) {
        client.say(&mut node, &subscribe(subscription, topic, Start::New));
    }
    client.hear(&mut node);
    client.say(&mut node, &publish(1, "e", b"x"));
    assert!(client.hear(&mut node)[0].starts_with("Error"), "all of them are in use");
    for subscription in 1..=4 {
        client.say(&mut node, &Payload::Unsubscribe(SubscriptionId(subscription)));
    }
    client.hear(&mut node);
    for (number, topic) in (2..).zip(["e", "f", "g", "h", "i"]) {
        client.say(&mut node, &publish(number, topic, b"x"));
        assert_eq!(client.hear(&mut node), ["Ack(Receipts([]))"], "{topic}");
    }
    // The system's is one of five. The first four went without anything to forget.
    assert_eq!((node.stat(Stat::Topics), node.stat(Stat::TopicsForgotten)), (5, 1));
}
