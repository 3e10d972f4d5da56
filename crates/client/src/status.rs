//! How a client is doing, as its application sees it.

use crate::error::ConnectionError;

/// What the client is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// A connection is being opened, or its handshake runs.
    #[default]
    Connecting,
    /// The node has answered, and serves.
    Connected,
    /// Connected to a node that serves nobody at present, since it is cut off from the majority of its
    /// cluster. The client stays as long as it finds no better one: nothing is lost, and nothing comes.
    Stale,
    /// The last attempt failed; the client pauses before the next.
    Waiting,
    /// The client is closed and will not connect again.
    Closed,
}

/// The state of a client and what led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Grows with each change; see [`crate::Client::status_after`].
    pub version: u64,
    /// What the client is about.
    pub state: State,
    /// The server of the present attempt or connection.
    pub server: Option<String>,
    /// Number of the session on that server, while connected.
    pub session: Option<u64>,
    /// Attempts and connections that ended before an answer to HELLO came, in a row.
    pub failures_in_row: u32,
    /// Why the last attempt failed or the last connection ended. Kept after a reconnect.
    pub last_error: Option<ConnectionError>,
}

/// Counters since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Handshakes that succeeded.
    pub connects: u64,
    /// Connections and attempts that ended.
    pub disconnects: u64,
    /// Connections left for another one that was made beside them.
    pub moves: u64,
    /// Publishes that the cluster has stored.
    pub publishes_done: u64,
    /// Publishes sent once more after a reconnect.
    pub publishes_resent: u64,
    /// Messages put into the queue of a subscription.
    pub messages: u64,
    /// Gaps that the node told.
    pub gaps_told: u64,
    /// Gaps that the node did not tell. Not zero: a promise of the cluster is broken.
    pub silent_gaps: u64,
    /// Deliveries at or below the cursor of their subscription, dropped.
    pub duplicates_dropped: u64,
    /// Messages handed out once more, because they were dropped without an ack.
    pub redeliveries: u64,
    /// System messages that came while nobody followed them.
    pub system_dropped: u64,
}
