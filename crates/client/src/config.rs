//! Settings of a client. Every one has a default but the server and the seed.

use multibeam_wire::limits::{AGENT_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX};
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
    /// How long a publish may take from the call on, over reconnects.
    pub publish_deadline: Duration,
    /// Publishes that the client holds; further ones wait for a place. At most 256.
    pub publish_in_flight_max: usize,
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
            publish_deadline: Duration::from_secs(5),
            publish_in_flight_max: REQUESTS_IN_FLIGHT_MAX,
        }
    }

    /// What HELLO offers.
    pub(crate) const fn features(&self) -> Features {
        if self.compact { Features::COMPACT } else { Features::NONE }
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
        self.publish_in_flight_max = self.publish_in_flight_max.clamp(1, REQUESTS_IN_FLIGHT_MAX);
        self
    }
}

/// Whole milliseconds, the unit of time in the core.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}
