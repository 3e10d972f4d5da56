//! Once everything has its size, nothing is allocated between a publish and its acknowledged delivery.
//!
//! Real loops turn, with the node's own rings between shards; the sockets alone are the test's. Counted
//! is all that happens in a turn and its release: read, store, evict, tell, stage, send, commit, the
//! subscribers' acknowledgements, the publisher's.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/wires.rs"]
mod wires;

use multibeam_proto::{Class, ClassSet, Overflow, Pattern, Retention, Route, ShardConfig, ShardId, Stat};
use multibeam_wire::Features;
use std::sync::Arc;
use std::time::Duration;
use wires::{Client, Node};

/// Rounds until everything has its size: the producer's window of numbers, the log, the order.
const WARM_UP: u64 = 1500;

/// Rounds in which nothing may be allocated: several times what any topic keeps.
const ROUNDS: u64 = 1500;

/// Time between publishes. All rounds take less than three heartbeats, since nobody sends any.
const PACE: Duration = Duration::from_millis(10);

const SUBSCRIBERS: usize = 20;

/// What makes messages go.
struct Case {
    name: &'static str,
    retain: Retention,
    overflow: Overflow,
    messages_bytes_max: usize,
    topics: u64,
    /// What says that they went.
    evicted: Stat,
}

const KEPT: Retention = Retention { messages: 256, bytes: 4 << 20, age: None };

fn by_count() -> Case {
    Case {
        name: "count",
        retain: KEPT,
        overflow: Overflow::Gap,
        messages_bytes_max: 1 << 30,
        topics: 1,
        evicted: Stat::Stored,
    }
}

fn cases() -> [Case; 5] {
    [
        Case { name: "a small count", retain: Retention { messages: 8, ..KEPT }, ..by_count() },
        Case {
            name: "the last value",
            retain: Retention { messages: 1, ..KEPT },
            overflow: Overflow::Conflate,
            ..by_count()
        },
        Case { name: "bytes", retain: Retention { bytes: 16 << 10, ..KEPT }, ..by_count() },
        Case {
            name: "age",
            retain: Retention { age: Some(Duration::from_secs(1)), ..KEPT },
            evicted: Stat::EvictedByAge,
            ..by_count()
        },
        by_count(),
    ]
}

fn config(case: &Case) -> ShardConfig {
    let class = Class {
        pattern: Pattern::new("test.>").unwrap(),
        partitions: 16,
        route: Route::Broadcast,
        overflow: case.overflow,
        retain: case.retain,
        on_connect: false,
    };
    ShardConfig {
        classes: Arc::new(ClassSet::new(vec![class]).unwrap()),
        messages_bytes_max: case.messages_bytes_max,
        ..ShardConfig::default()
    }
}

/// Topics of which shard `home` of `shards` is the home.
fn topics_of(config: &ShardConfig, home: u16, shards: u16) -> impl Iterator<Item = String> {
    let names = (0..).map(|n| format!("test.topic.{n}"));
    names.filter(move |name| config.classes.home(config.classes.partition_of(name), shards) == ShardId(home))
}

struct Scene {
    node: Node,
    topics: Vec<String>,
    publisher: Client,
    subscribers: Vec<Client>,
    rounds: u64,
}

impl Scene {
    /// A node of `shards`, whose last is the topics' home; the publisher is on the first, subscribers on
    /// all, to the topics or to a filter.
    fn new(case: &Case, shards: u16, features: Features, filter: bool) -> Self {
        let config = config(case);
        let topics: Vec<String> = topics_of(&config, shards - 1, shards).take(case.topics as usize).collect();
        let mut node = Node::new(shards, &config);
        let publisher = node.client(0, features.with(Features::RECEIPTS), 1 << 16);
        let subscribe = |at| {
            let mut client = node.client(at % usize::from(shards), features, 1 << 16);
            let names = if filter { &["test.topic.*".to_owned()] } else { &topics[..] };
            (1..).zip(names).for_each(|(number, name)| client.subscribe(&mut node, number, name));
            client
        };
        let subscribers = (0..SUBSCRIBERS).map(subscribe).collect();
        Self { node, topics, publisher, subscribers, rounds: 0 }
    }

    /// A message, from its publisher's frame to the acknowledgements of all.
    fn round(&mut self) {
        let Self { node, topics, publisher, subscribers, rounds } = self;
        *rounds += 1;
        let topic = &topics[(*rounds % topics.len() as u64) as usize];
        publisher.publish(node, *rounds, topic, &[7; 100]);
        node.run();
        for subscriber in &mut *subscribers {
            subscriber.hear(node);
            assert_eq!((subscriber.deliveries, subscriber.gaps), (*rounds, 0));
            subscriber.acknowledge(node);
        }
        publisher.hear(node);
        node.run();
        node.pass(PACE);
    }

    fn allocations(&mut self, name: &str) -> u64 {
        for _ in 0..WARM_UP {
            self.round();
        }
        self.node.forget_counts();
        let mut allocations = 0;
        for _ in 0..ROUNDS {
            self.round();
            if self.node.allocations > allocations {
                allocations = self.node.allocations;
                println!("{name}: {allocations} allocations up to round {}", self.rounds);
            }
        }
        self.node.check();
        allocations
    }
}

fn nothing_is_allocated(shards: u16, filter: bool) {
    for features in [Features::COMPACT, Features::NONE] {
        for case in cases() {
            let mut scene = Scene::new(&case, shards, features, filter);
            let name = format!("{} {features:?}", case.name);
            assert_eq!(scene.allocations(&name), 0, "{name}");
            let copies = if filter { 2 } else { 1 };
            assert_eq!(scene.node.stat(Stat::Stored), WARM_UP + ROUNDS);
            assert!(scene.node.stat(case.evicted) >= ROUNDS, "{name}: nothing was evicted");
            let kept = scene.node.stat(Stat::Messages);
            assert!(
                kept <= u64::from(case.retain.messages) * case.topics * copies * u64::from(shards),
                "{name}: {kept}"
            );
        }
    }
}

#[test]
fn on_one_shard() {
    nothing_is_allocated(1, false);
}

/// The publish travels to its home shard, and the message to the follower.
#[test]
fn from_one_shard_over_another() {
    nothing_is_allocated(2, false);
}

/// Filters keep copies, which are told and evicted like all others.
#[test]
fn to_a_filter() {
    nothing_is_allocated(1, true);
    nothing_is_allocated(2, true);
}

/// At the shard's budget memory moves from topic to topic: one grows, and another one is cut for it. That
/// is an allocation now and then, in no proportion to subscribers.
#[test]
fn at_the_memory_budget_few() {
    let case = Case {
        name: "memory",
        messages_bytes_max: 64 << 10,
        topics: 32,
        evicted: Stat::EvictedByBudget,
        ..by_count()
    };
    for features in [Features::COMPACT, Features::NONE] {
        let mut scene = Scene::new(&case, 1, features, false);
        let allocations = scene.allocations(case.name);
        assert!(allocations < ROUNDS / 10, "{allocations} for {ROUNDS} messages");
        assert!(scene.node.stat(case.evicted) >= ROUNDS, "nothing was evicted");
    }
}

#[test]
fn counting_sees_what_a_new_topic_costs() {
    let mut scene = Scene::new(&by_count(), 1, Features::COMPACT, false);
    assert_eq!(scene.allocations("known"), 0);
    scene.publisher.publish(&mut scene.node, scene.rounds + 1, "test.another", b"");
    scene.node.run();
    assert!(scene.node.allocations > 0);
}
