//! Settings of a client. Every one has a default but the server and the seed.

use multibeam_wire::limits::{AGENT_BYTES_MAX, DEDUP_WINDOW, PAYLOAD_BYTES_MAX};
use multibeam_wire::{Features, ProducerId, WindowUnit};
use std::time::Duration;

/// Settings of a [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to try in turn, as `host:port`.
    pub servers: Vec<String>,
    /// Name and version that the node writes to its log; cut at 64 bytes.
    pub agent: String,
    /// Payload bytes that the node may have in flight to this client. It bounds what the
    /// client holds for the application over all subscriptions.
    pub window_bytes: u32,
    /// Unit of the windows on the wire, in both directions.
    pub window_unit: WindowUnit,
    /// Whether frames have compact headers, where the node knows them.
    pub compact: bool,
    /// Source of all jitter and, unless [`Self::producer`] is set, of the producer's identity.
    /// Draw it from the operating system, so that no two clients share it.
    pub seed: u64,
    /// Identity for deduplication. Never use one for two clients: both number from 1.
    pub producer: Option<ProducerId>,
    /// Shortest pause before another attempt to connect.
    pub backoff_min: Duration,
    /// Longest pause before another attempt to connect.
    pub backoff_max: Duration,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long the node may take to answer HELLO.
    pub handshake_timeout: Duration,
    /// Whether the node is asked to say where publishes are stored; see
    /// [`Published`](crate::Published).
    pub receipts: bool,
    /// How long a publish may take from the call on, over reconnects; `None`: as long as the client
    /// lives. By default 30 s, which outlasts the restart of a node and the slot it gives.
    pub publish_deadline: Option<Duration>,
    /// Publishes sent and not answered; each key of a publish to many counts. At most 256, what the
    /// cluster recognises when they are sent again. A publish that counts more than this may go when no
    /// other is under way.
    pub publish_in_flight_max: usize,
    /// Publishes that the client holds, sent or not; further ones wait with their callers. By default
    /// 4,096: 16 full windows of 256, so that a reconnect of a second or two holds up nobody who publishes
    /// at a usual rate, and none waits behind more than it can send in that time.
    pub publish_queue_messages_max: usize,
    /// Bytes of these: bodies, topics, keys. By default 4 MiB, a sixteenth of what a small container
    /// has; at least 64 KiB, for the longest message.
    pub publish_queue_bytes_max: usize,
    /// Shortest time between two saves of one stored cursor. By default 200 ms: some five syncs of a
    /// disk a second, and as much to be handled once more after a crash.
    pub cursor_save_interval: Duration,
}

impl Config {
    /// The default settings for one server.
    #[must_use]
    pub fn new(server: impl Into<String>, seed: u64) -> Self {
        Self {
            servers: vec![server.into()],
            agent: concat!("multibeam-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            window_bytes: 256 * 1024,
            window_unit: WindowUnit::DEFAULT,
            compact: true,
            seed,
            producer: None,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            receipts: true,
            publish_deadline: Some(Duration::from_secs(30)),
            publish_in_flight_max: DEDUP_WINDOW,
            publish_queue_messages_max: 16 * DEDUP_WINDOW,
            publish_queue_bytes_max: 4 << 20,
            cursor_save_interval: Duration::from_millis(200),
        }
    }

    /// What HELLO offers.
    pub(crate) const fn features(&self) -> Features {
        let compact = if self.compact { Features::COMPACT } else { Features::NONE };
        compact.with(if self.receipts { Features::RECEIPTS } else { Features::NONE })
    }

    /// The same settings with every value inside its range.
    pub(crate) fn in_range(mut self) -> Self {
        let mut end = self.agent.len().min(AGENT_BYTES_MAX);
        while !self.agent.is_char_boundary(end) {
            end -= 1;
        }
        self.agent.truncate(end);
        let unit_bytes = self.window_unit.bytes(1);
        self.window_bytes = self.window_bytes.clamp(unit_bytes, self.window_unit.bytes(u16::MAX));
        self.backoff_min = self.backoff_min.max(Duration::from_millis(1));
        self.backoff_max = self.backoff_max.max(self.backoff_min);
        self.publish_in_flight_max = self.publish_in_flight_max.clamp(1, DEDUP_WINDOW);
        self.publish_queue_messages_max = self.publish_queue_messages_max.max(1);
        self.publish_queue_bytes_max = self.publish_queue_bytes_max.max(PAYLOAD_BYTES_MAX);
        self
    }
}

/// Whole milliseconds, the unit of time in the core.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}
