//! Each close code and each error code has an act that brings it about, and no other does.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use multibeam::event_loop::LoopLimits;
use multibeam_model::sockets::Caps;
use multibeam_proto::{ClassSet, Overflow, ShardConfig, Stat, built_in};
use multibeam_wire::{
    CloseCode, Cursors, ErrorCode, Features, Generation, Hello, Keys, Payload, Position, ProducerId, Publish,
    Seq, Start, SubscriptionId, limits,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use support::{Node, Peer, hello, publish, subscribe};

type Act = fn(&mut Node) -> Peer;

fn small() -> Node {
    let config = ShardConfig {
        publish_window_bytes: 64,
        subscriptions_max: 2,
        topics_max: 3,
        heartbeat_interval: Duration::from_secs(10),
        ..ShardConfig::default()
    };
    let limits = LoopLimits { connections_max: 3, parked_bytes_max: 1000, ..LoopLimits::default() };
    Node::new(config, limits, Caps { descriptors: 8, ..Caps::default() })
}

fn raw(node: &mut Node, bytes: &[u8]) -> Peer {
    let mut peer = node.connect();
    peer.rave(node, bytes);
    peer
}

fn client_saying(node: &mut Node, payload: &Payload<'_>) -> Peer {
    let mut peer = node.client();
    peer.say(node, payload);
    peer
}

fn greeted(node: &mut Node, features: Features, window_unit_log2: u64) -> Peer {
    let mut peer = node.connect();
    let hello = Hello { features, window_unit_log2, producer: ProducerId(1), agent: "", system_after: None };
    peer.say(node, &Payload::Hello(hello));
    peer
}

/// Only other nodes get these, on links.
const OF_LINKS: [CloseCode; 3] =
    [CloseCode::WrongCluster, CloseCode::FeatureMissing, CloseCode::StaleIncarnation];

const ACTS: &[(CloseCode, Act)] = &[
    (CloseCode::Normal, |node| client_saying(node, &Payload::bye(CloseCode::Normal))),
    (CloseCode::BadMagic, |node| raw(node, b"GET / HTTP/1.1")),
    (CloseCode::UnknownType, |node| raw(node, b"MB\x01\xee")),
    (CloseCode::BadPayload, |node| raw(node, b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0")),
    (CloseCode::FrameTooLong, |node| raw(node, b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\xff\xff")),
    (CloseCode::BadVersion, |node| raw(node, b"MB\x02")),
    (CloseCode::BadCompactHeader, |node| {
        let mut peer = greeted(node, Features::COMPACT, 4);
        peer.rave(node, &[0x80]);
        peer
    }),
    (CloseCode::BadWindowUnit, |node| greeted(node, Features::NONE, 16)),
    (CloseCode::HelloExpected, |node| {
        let mut peer = node.connect();
        peer.say(node, &Payload::Heartbeat);
        peer
    }),
    (CloseCode::HelloTimeout, |node| {
        let peer = raw(node, b"MB\x01");
        node.pass(Duration::from_secs(5));
        peer
    }),
    (CloseCode::HelloTwice, |node| client_saying(node, &hello())),
    (CloseCode::SeqBroken, |node| {
        let mut peer = node.client();
        peer.seq = Seq(5);
        peer.say(node, &publish(1, "a", b""));
        peer
    }),
    (CloseCode::AckInvalid, |node| {
        let mut peer = node.client();
        peer.ack = Seq(1);
        peer.say(node, &Payload::ACK);
        peer
    }),
    (CloseCode::WindowExceeded, |node| {
        // What is refused is in flight until the refusal is on its way.
        let mut peer = node.client();
        let mut bytes = Vec::new();
        publish(1, "a..b", &[0; 50]).encode(Seq(1), peer.ack, 1, &mut bytes);
        publish(2, "a..b", &[0; 50]).encode(Seq(2), peer.ack, 1, &mut bytes);
        peer.rave(node, &bytes);
        peer
    }),
    (CloseCode::HeartbeatTimeout, |node| {
        let peer = node.client();
        node.pass(Duration::from_secs(31));
        peer
    }),
    (CloseCode::AckTimeout, |node| {
        let mut peer = node.client();
        peer.say(node, &subscribe(1, "a", Start::New));
        peer.say(node, &publish(1, "a", b"never acknowledged"));
        for _ in 0..6 {
            node.pass(Duration::from_secs(6));
            peer.say(node, &Payload::Heartbeat);
        }
        peer
    }),
    (CloseCode::WrongDirection, |node| raw(node, b"MB\x01\x05\0\0\0\0\0\0\0\0\0\0\0\0")),
    (CloseCode::ConnectionsMax, |node| {
        let _first: Vec<Peer> = (0..3).map(|_| node.client()).collect();
        node.connect()
    }),
    (CloseCode::MemoryMax, |node| {
        let mut peer = node.client();
        let mut bytes = Vec::new();
        publish(1, "a", &[0; 4000]).encode(peer.seq.next(), peer.ack, 1, &mut bytes);
        peer.rave(node, &bytes[..2000]);
        peer
    }),
    (CloseCode::DescriptorsMax, |node| {
        *node = Node::new(
            ShardConfig::default(),
            LoopLimits::default(),
            Caps { descriptors: 1, ..Caps::default() },
        );
        let _first = node.client();
        node.connect()
    }),
    (CloseCode::TooSlow, |node| {
        let classes = built_in().into_iter().map(|mut class| {
            (class.overflow, class.retain.messages) = (Overflow::Disconnect, 1);
            class
        });
        let classes = Arc::new(ClassSet::new(classes.collect()).unwrap());
        let config = ShardConfig { classes, ..ShardConfig::default() };
        *node = Node::new(config, LoopLimits::default(), Caps::default());
        let mut peer = node.connect();
        peer.window = 1;
        peer.say(node, &hello());
        peer.say(node, &subscribe(1, "a", Start::New));
        let mut publisher = node.client();
        for number in 1..=3 {
            publisher.say(node, &publish(number, "a", &[7; 50]));
        }
        assert!(peer.hear(node).iter().any(|frame| frame.starts_with("Delivery")));
        peer.ack = Seq(1);
        peer.say(node, &Payload::ACK);
        peer
    }),
    (CloseCode::Shutdown, |node| {
        let peer = node.client();
        node.stop();
        peer
    }),
];

#[test]
fn each_close_code_is_brought_about_and_the_stream_ends_behind_it() {
    let mut seen = BTreeSet::new();
    for (code, act) in ACTS {
        let mut node = small();
        let mut peer = act(&mut node);
        assert_eq!(peer.bye(&mut node), Some(*code as u16), "{}", code.label());
        assert!(peer.ended(&node), "{}: the stream goes on", code.label());
        // The peer's end, or time, is the end of it all.
        node.pass(Duration::from_secs(2));
        assert!(node.sockets.borrow().gone(peer.socket), "{}: the socket stays", code.label());
        seen.insert(*code);
    }
    let expected = CloseCode::ALL.iter().copied().filter(|code| !OF_LINKS.contains(code));
    assert!(seen.into_iter().eq(expected));
}

type Request = fn(&mut Node, &mut Peer);

const REQUESTS: &[(ErrorCode, Request)] = &[
    (ErrorCode::TopicInvalid, |node, peer| peer.say(node, &publish(1, "a..b", b""))),
    (ErrorCode::BodyTooLong, |node, peer| {
        let body = vec![0; limits::BODY_BYTES_MAX + 1];
        peer.say(node, &publish(1, "a", &body));
    }),
    (ErrorCode::DedupExpired, |node, peer| {
        let other = Some(Generation(2));
        peer.say(node, &Payload::Publish(Publish { retry_of: other, ..Publish::new(1, "a", b"") }));
    }),
    (ErrorCode::TopicsMax, |node, peer| {
        for (subscription, topic) in [(1, "a"), (2, "b")] {
            peer.say(node, &subscribe(subscription, topic, Start::New));
        }
        let mut other = node.client();
        other.say(node, &subscribe(1, "c", Start::New));
        peer.say(node, &publish(1, "d", b""));
    }),
    (ErrorCode::SubscriptionsMax, |node, peer| {
        for (subscription, topic) in [(1, "a"), (2, "b"), (3, "c")] {
            peer.say(node, &subscribe(subscription, topic, Start::New));
        }
    }),
    (ErrorCode::SubscriptionTaken, |node, peer| {
        for _ in 0..2 {
            peer.say(node, &subscribe(1, "a", Start::New));
        }
    }),
    (ErrorCode::SubscriptionUnknown, |node, peer| peer.say(node, &Payload::Unsubscribe(SubscriptionId(4)))),
    (ErrorCode::CursorAhead, |node, peer| {
        peer.say(node, &subscribe(1, "a", Start::After(Position::new(4, 1))));
    }),
    (ErrorCode::FilterInvalid, |node, peer| peer.say(node, &subscribe(1, "a*", Start::New))),
    (ErrorCode::FilterMatchesNothing, |node, peer| peer.say(node, &subscribe(1, "user.*.msg", Start::New))),
    (ErrorCode::FilterTooWide, |node, peer| {
        let mut classes = built_in();
        classes.iter_mut().for_each(|class| {
            if class.pattern.is_everything() {
                class.partitions = 1000;
            }
        });
        let classes = Arc::new(ClassSet::new(classes).unwrap());
        let config = ShardConfig { classes, ..ShardConfig::default() };
        *node = Node::new(config, LoopLimits::default(), Caps::default());
        *peer = node.client();
        peer.say(node, &subscribe(1, "*.b", Start::New));
    }),
    (ErrorCode::KeysInvalid, |node, peer| {
        let keys = Keys::new(&["7"]);
        peer.say(node, &Payload::Publish(Publish { keys, ..Publish::new(1, "user.7.msg", b"") }));
    }),
    (ErrorCode::CursorMismatch, |node, peer| {
        peer.say(node, &subscribe(1, "a", Start::AfterEach(Cursors::new(&[]))));
    }),
];

#[test]
fn each_error_code_is_brought_about_and_the_session_goes_on() {
    let mut seen = BTreeSet::new();
    for (code, request) in REQUESTS {
        let mut node = Node::new(
            ShardConfig { subscriptions_max: 2, topics_max: 3, ..ShardConfig::default() },
            LoopLimits::default(),
            Caps { rx_bytes: 100_000, ..Caps::default() },
        );
        let mut peer = node.client();
        request(&mut node, &mut peer);
        let heard = peer.hear(&mut node);
        let error = format!("code: {},", *code as u16);
        assert!(
            heard.iter().any(|frame| frame.starts_with("Error") && frame.contains(&error)),
            "{code:?}: {heard:?}"
        );
        peer.say(&mut node, &Payload::Unsubscribe(SubscriptionId(77)));
        assert!(!peer.hear(&mut node).is_empty(), "{code:?} ended the session");
        seen.insert(*code);
    }
    // See below: it takes a shard that never answers.
    seen.insert(ErrorCode::Deadline);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ErrorCode::ALL);
}

#[test]
fn a_refusal_stands_before_the_acknowledgement_that_covers_it() {
    let mut node = small();
    let mut peer = node.client();
    peer.say(&mut node, &publish(1, "a..b", b"x"));
    let heard = peer.hear(&mut node);
    let error = heard.iter().position(|frame| frame.starts_with("Error"));
    let ack = heard.iter().position(|frame| frame == "Ack(Receipts([]))");
    assert!(error.is_some() && error < ack, "{heard:?}");
}

#[test]
fn everybody_is_told_of_a_stop_and_it_ends() {
    let mut node = small();
    let mut peers: Vec<Peer> = (0..3).map(|_| node.client()).collect();
    node.stop();
    for peer in &mut peers {
        assert_eq!(peer.bye(&mut node), Some(CloseCode::Shutdown as u16));
    }
    assert!(node.sockets.borrow_mut().connect().is_none(), "a stopping node is connected to");
    // None of them ever ends its half.
    node.pass(Duration::from_secs(4));
    assert!(node.done && node.sockets.borrow().held() == 0);
}

#[test]
fn a_publish_that_its_home_never_answers_ends_as_unknown() {
    let config = ShardConfig { ring_replies: 8, ..ShardConfig::default() };
    let mut node = Node::beside(1, config, LoopLimits::default(), Caps::default());
    let classes = ClassSet::default();
    let home_of = |topic: &str| classes.home(classes.partition_of(topic), 2).0;
    let elsewhere = ["a", "b", "c", "d", "e"].into_iter().find(|topic| home_of(topic) == 1).unwrap();
    let mut peer = node.client();
    peer.say(&mut node, &publish(1, elsewhere, b"x"));
    node.pass(Duration::from_secs(4));
    assert!(peer.hear(&mut node).is_empty());
    node.pass(Duration::from_secs(2));
    let heard = peer.hear(&mut node);
    let code = format!("code: {}, outcome: Unknown", ErrorCode::Deadline as u16);
    assert!(heard[0].contains(&code), "{heard:?}");
    assert_eq!(heard[1], "Ack(Receipts([]))");
    assert_eq!(node.stat(Stat::DeadlinePassed), 1);
}
