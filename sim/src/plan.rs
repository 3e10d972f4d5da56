//! Everything that a seed decides up front, as plain data: it can be printed, cut down, stored
//! and run again.

mod draw;
mod node;

use serde::{Deserialize, Serialize};

pub use node::NodeKnobs;
pub(crate) use node::{ADMIN_PORT, CLIENT_PORT};

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
    /// Settings of its client.
    pub client: ClientKnobs,
}

/// A client that subscribes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberPlan {
    /// Which of the hosts it runs on.
    pub host: usize,
    /// Indexes of its topics.
    pub topics: Vec<usize>,
    /// Begins with the last message stored, not with the next.
    pub from_last: bool,
    /// Starts so late.
    pub start_ms: u64,
    /// Time it takes over a message, at the most.
    pub handle_ms: u64,
    /// Settings of its client.
    pub client: ClientKnobs,
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
        Self::Churn,
    ];
}

/// Hosts of well-behaved clients.
pub const GOOD_HOSTS: usize = 2;
/// The index of the host of hostile clients, behind the well-behaved ones.
pub const HOSTILE_HOST: usize = GOOD_HOSTS;

/// Something bad that happens at a time. Hosts are client hosts, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultEvent {
    /// Nothing passes between a host and the node.
    Partition {
        /// The client host.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// Nothing passes in one direction.
    PartitionOneWay {
        /// The client host.
        host: usize,
        /// From the node, or to it.
        from_node: bool,
        /// How long.
        for_ms: u64,
    },
    /// Everything between a host and the node is late.
    Hold {
        /// The client host.
        host: usize,
        /// How long.
        for_ms: u64,
    },
    /// The node's process is killed, and started again later.
    KillNode {
        /// How long it is away.
        for_ms: u64,
    },
    /// The node's machine loses power: nobody hears of it.
    PowerLoss {
        /// How long it is away.
        for_ms: u64,
    },
    /// The node is killed and started again at once.
    BounceNode,
    /// The node is asked to stop, and started again later.
    StopNode {
        /// How long it is away after it has stopped.
        for_ms: u64,
    },
    /// A client host is killed with all its clients, and started again later.
    KillClients {
        /// The client host.
        host: usize,
        /// How long it is away.
        for_ms: u64,
    },
    /// The connection of one well-behaved client breaks.
    Cut {
        /// Index over publishers, then subscribers.
        client: usize,
    },
    /// A subscriber does not come for its messages.
    SlowReader {
        /// Index of the subscriber.
        subscriber: usize,
        /// How long.
        for_ms: u64,
    },
    /// The node finds no descriptor for most of those who connect.
    NoDescriptors {
        /// How long.
        for_ms: u64,
    },
}

impl FaultEvent {
    /// Its name in reports.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::PartitionOneWay { .. } => "partition one way",
            Self::Hold { .. } => "hold",
            Self::KillNode { .. } => "kill node",
            Self::PowerLoss { .. } => "power loss",
            Self::BounceNode => "bounce node",
            Self::StopNode { .. } => "stop node",
            Self::KillClients { .. } => "kill clients",
            Self::Cut { .. } => "cut connection",
            Self::SlowReader { .. } => "slow reader",
            Self::NoDescriptors { .. } => "no descriptors",
        }
    }

    /// Labels of all kinds: a sweep must see each of them hit.
    pub const LABELS: &[&str] = &[
        "partition",
        "partition one way",
        "hold",
        "kill node",
        "power loss",
        "bounce node",
        "stop node",
        "kill clients",
        "cut connection",
        "slow reader",
        "no descriptors",
    ];
}
