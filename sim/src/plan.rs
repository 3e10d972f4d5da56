//! Everything that a seed decides up front, as plain data: it can be printed, cut down, stored
//! and run again.

mod classes;
mod draw;
mod faults;
mod node;

use crate::cluster::plan::ClusterPlan;
use multibeam_model::core::Time;
use serde::{Deserialize, Serialize};

pub use classes::{ClassPlan, OverflowPlan, class_of, matches};
pub use faults::FaultEvent;
pub(crate) use faults::labels;
pub use node::NodeKnobs;
pub(crate) use node::{ADMIN_PORT, CLIENT_PORT, at_port};

/// What happens in one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where all numbers that are drawn during the run come from.
    pub seed: u64,
    /// The network.
    pub network: Network,
    /// The node's settings.
    pub node: NodeKnobs,
    /// Chances in 65,536 of what the kernel model does, by name.
    pub kernel: Vec<(String, u16)>,
    /// The world around the event loops.
    pub host: HostKnobs,
    /// Well-behaved clients.
    pub workload: Workload,
    /// Ill-behaved ones.
    pub hostile: Vec<HostilePlan>,
    /// The faults, in the order of their times.
    pub faults: Vec<(u64, FaultEvent)>,
    /// When faults end and everything must come back, in milliseconds.
    pub heal_at_ms: u64,
    /// Several nodes in place of one and its clients.
    #[serde(default)]
    pub cluster: Option<ClusterPlan>,
}

/// The network between the hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Length of a step.
    pub tick_ms: u64,
    /// Shortest way of a segment.
    pub latency_ms_min: u64,
    /// Longest way of a segment.
    pub latency_ms_max: u64,
    /// Segments that a connection holds in each direction.
    pub tcp_capacity: usize,
    /// How long an attempt to connect takes to fail.
    pub refusal_ms: u64,
}

/// What surrounds the event loops on the node's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKnobs {
    /// Bytes that a socket holds before the node reads them.
    pub rx_bytes: usize,
    /// Bytes that a socket holds before its peer takes them.
    pub tx_bytes: usize,
    /// Connections that wait to be accepted.
    pub backlog: usize,
    /// Sockets that one shard may hold.
    pub descriptors: usize,
    /// Bytes moved at once between a socket and the network, at the most.
    pub pump_bytes: usize,
    /// Turns in 1000 after which the processor is away for a millisecond.
    pub nap_permille: u64,
    /// A shard whose thread often gets the processor late while there are faults.
    pub slow_shard: Option<usize>,
    /// How late, at the most.
    pub slow_ms: u64,
    /// Starts in 100 at which a durable write fails, with either content.
    pub write_fails_percent: u64,
    /// Reading of the monotonic clock at the start.
    pub clock_base_us: u64,
    /// What the monotonic clock shows of each second, in microseconds.
    pub clock_rate_ppm: u64,
    /// Bytes moved at once on a link, at the most.
    pub link_bytes: usize,
}

impl HostKnobs {
    /// What the node's clock shows at a moment of the simulation.
    #[must_use]
    pub fn clock(&self, time_us: u64) -> Time {
        let shown = u128::from(time_us) * u128::from(self.clock_rate_ppm) / 1_000_000;
        Time(self.clock_base_us + shown as u64)
    }
}

/// Well-behaved clients on [`GOOD_HOSTS`] hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Topics in use.
    pub topics: Vec<String>,
    /// Clients that publish.
    pub publishers: Vec<PublisherPlan>,
    /// Clients that subscribe.
    pub subscribers: Vec<SubscriberPlan>,
    /// Reads and writes in 100 that are cut short on the clients' side.
    pub short_percent: u64,
}

/// A client that publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublisherPlan {
    /// Which of the hosts it runs on.
    pub host: usize,
    /// Indexes of its topics.
    pub topics: Vec<usize>,
    /// Pause between bursts, on average.
    pub pause_ms: u64,
    /// Messages of a burst, at the most.
    pub burst: u64,
    /// Bytes of a body, at the most.
    pub body_bytes: usize,
    /// Publishes in 100 that go to many keys, where there are topics for it.
    pub many_percent: u64,
    /// Publishes in 100 with a time to live.
    pub ttl_percent: u64,
    /// That time, at the most.
    pub ttl_ms: u64,
    /// Settings of its client.
    pub client: ClientKnobs,
}

/// A client that subscribes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberPlan {
    /// Which of the hosts it runs on.
    pub host: usize,
    /// What it follows.
    pub follows: Vec<FollowPlan>,
    /// Its cursors are kept by the client's own store.
    pub stored: bool,
    /// Starts so late.
    pub start_ms: u64,
    /// Time it takes over a message, at the most.
    pub handle_ms: u64,
    /// Settings of its client.
    pub client: ClientKnobs,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowPlan {
    /// To what.
    pub target: Target,
    /// Where the first of its processes begins.
    pub start: StartPlan,
    /// Messages are handled when the application says so, in any order; some are given back first.
    pub manual_acks: bool,
}

/// What a subscription is to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// A topic, by its index.
    Topic(usize),
    /// The topics of broadcast classes that match.
    Filter(String),
    /// What every session is told.
    System,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each stands for the client's start of the same name")]
pub enum StartPlan {
    New,
    Last,
    First,
}

/// Settings of the real client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKnobs {
    /// Payload bytes that the node may have in flight to it.
    pub window_bytes: u32,
    /// Base-two logarithm of the window unit.
    pub window_unit_log2: u8,
    /// Whether it wants compact headers.
    pub compact: bool,
    /// Shortest pause before another attempt.
    pub backoff_ms_min: u64,
    /// Longest pause before another attempt.
    pub backoff_ms_max: u64,
    /// How long a connection may take to open, and the handshake too.
    pub connect_timeout_ms: u64,
    /// How long a publish may take.
    pub publish_deadline_ms: u64,
    /// Publishes under way.
    pub publish_in_flight_max: usize,
    /// Publishes that it holds.
    pub publish_queue_messages_max: usize,
    /// Whether it asks where they are stored.
    pub receipts: bool,
}

impl Plan {
    /// The place of a topic's class.
    #[must_use]
    pub fn class_of(&self, topic: usize) -> usize {
        class_of(&self.node.classes, &self.workload.topics[topic])
    }

    /// The class of a topic.
    #[must_use]
    pub fn class(&self, topic: usize) -> &ClassPlan {
        &self.node.classes[self.class_of(topic)]
    }

    /// Whether a subscription to `target` is to get a topic's messages.
    #[must_use]
    pub fn wants(&self, target: &Target, topic: usize) -> bool {
        match target {
            Target::Topic(own) => *own == topic,
            Target::Filter(filter) => {
                self.class(topic).broadcast && matches(filter, &self.workload.topics[topic])
            }
            Target::System => self.class(topic).on_connect,
        }
    }

    /// All topics that a subscription to `target` is to get.
    #[must_use]
    pub fn wanted(&self, target: &Target) -> Vec<usize> {
        (0..self.workload.topics.len()).filter(|topic| self.wants(target, *topic)).collect()
    }
}

/// A client that does not keep to the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostilePlan {
    /// When it connects.
    pub start_ms: u64,
    /// What it does.
    pub kind: HostileKind,
    /// Its own stream of numbers.
    pub seed: u64,
}

/// What a hostile client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostileKind {
    /// Random bytes from the start.
    RandomBytes,
    /// Half a frame, then silence.
    Truncated,
    /// Frames of another protocol.
    WrongMagic,
    /// Frames of a version to come.
    FutureVersion,
    /// Nothing at all.
    Silence,
    /// A handshake, then garbage or frames against the rules.
    GarbageAfterHello,
    /// A handshake, a publish, and at once the end of its half; waits for the answer.
    HalfClose,
    /// Subscribes and never reads.
    NeverReads,
    /// Keeps to the rules, with windows that begin at nothing and grow.
    TinyWindow,
    /// Keeps to the rules, with a window of nothing.
    ZeroWindow,
    /// Subscribes and reads, and never says a word again.
    Mute,
    /// Subscribes, keeps its heart beating, and never acknowledges anything.
    NeverAcks,
    /// Follows topics and leaves them at once, over and over.
    Churn,
}

impl HostileKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::RandomBytes,
        Self::Truncated,
        Self::WrongMagic,
        Self::FutureVersion,
        Self::Silence,
        Self::GarbageAfterHello,
        Self::HalfClose,
        Self::NeverReads,
        Self::TinyWindow,
        Self::ZeroWindow,
        Self::Mute,
        Self::NeverAcks,
        Self::Churn,
    ];
}

/// Hosts of well-behaved clients.
pub const GOOD_HOSTS: usize = 2;
/// The index of the host of hostile clients, behind the well-behaved ones.
pub const HOSTILE_HOST: usize = GOOD_HOSTS;
