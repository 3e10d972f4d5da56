//! What this process tells the generators that it starts, and what they answer: one JSON
//! document a line, over their standard input and output.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What a generator is for; its first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Clients take turns over them; publishers come first.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) target: Target,
    pub(super) load: Load,
    /// Draws the users that messages go to; the same for a node and its floor.
    pub(super) seed: u64,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    /// A node: publishes are frames.
    Node,
    /// A floor: what is published are the bytes to be forwarded, see [`super::floor`].
    Floor,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Load {
    /// Everybody follows one topic.
    Fanout { subscribers: usize, outstanding: usize },
    /// Each client follows its own topic.
    Unicast { users: usize, outstanding: usize },
    /// One client follows the topic that it publishes to.
    PingPong,
    /// Each client follows its own topic, and nobody publishes. As many as [`Order::Connect`] says.
    Idle,
}

/// What a generator is to do next. Each is answered by one [`Reply`] other than progress.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Opens clients until there are so many subscribers, all subscribed.
    Connect { subscribers: usize },
    /// So many rounds: publish what may be outstanding, wait until all of it was delivered.
    Run { rounds: usize },
    /// What was counted since the last time it was asked.
    Count,
    /// Closes all clients.
    Leave,
}

/// What a generator says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// So many clients are connected, on the way to more.
    Progress(usize),
    Connected,
    Ran(Turn),
    Counted(Tally),
    Left,
    /// It has ended.
    Failed(String),
}

/// What went over the connections.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) deliveries: u64,
    /// Reads from sockets that brought a delivery: sends, as the receivers see them.
    pub(super) receives: u64,
    /// ACK frames sent.
    pub(super) acks: u64,
    pub(super) heartbeats_sent: u64,
    pub(super) heartbeats_received: u64,
}

/// What one [`Order::Run`] brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) tally: Tally,
    pub(super) publishes: u64,
    /// From the first publish to the last delivery.
    pub(super) wall_ns: u64,
    /// From each publish to its delivery; only of a ping-pong.
    pub(super) round_trips_ns: Vec<u32>,
}
