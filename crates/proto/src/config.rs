//! What a shard is told when it starts. Every number is a run-time knob: the simulator
//! draws them down to 2.

use crate::class::ClassSet;
use std::sync::Arc;
use std::time::Duration;

/// Settings of one shard's sessions and topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// The classes of topics, the same on all nodes of a cluster.
    pub classes: Arc<ClassSet>,
    /// Bytes of stored messages, their indexes included, that this shard holds; beyond them the oldest go
    /// first, as by retention.
    pub messages_bytes_max: usize,
    /// Each side sends some frame at least this often.
    pub heartbeat_interval: Duration,
    /// A peer must say HELLO this soon after its connection was accepted.
    pub hello_timeout: Duration,
    /// A delivered message must be acknowledged this soon after the kernel took it.
    pub ack_timeout: Duration,
    /// A publish ends this soon, then as *unknown*.
    pub publish_deadline: Duration,
    /// An isolated node asks its clients to look for another one, each in a slot of its own within this time.
    pub goaway_spread: Duration,
    /// Payload bytes of publishes that a client may have unacknowledged.
    pub publish_window_bytes: u32,
    /// Requests of one session that wait for their answer; see
    /// [`multibeam_wire::limits::REQUESTS_IN_FLIGHT_MAX`].
    pub requests_in_flight_max: usize,
    /// Deliveries and gaps that one session may have unacknowledged.
    pub deliveries_in_flight_max: usize,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Topics that one shard holds, as home or as follower. Idle ones are forgotten first.
    pub topics_max: usize,
    /// Producers that one partition remembers for deduplication.
    pub producers_max: usize,
    /// Replies of another shard that this one may wait for: the reply part of a ring's
    /// quota.
    pub ring_replies: usize,
    /// Commands put into one ring before they are published.
    pub command_batch: usize,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            classes: Arc::default(),
            messages_bytes_max: 1 << 30,
            heartbeat_interval: Duration::from_secs(20),
            hello_timeout: Duration::from_secs(4),
            ack_timeout: Duration::from_secs(30),
            publish_deadline: Duration::from_secs(5),
            goaway_spread: Duration::from_secs(10),
            publish_window_bytes: 64 * 1024,
            requests_in_flight_max: multibeam_wire::limits::REQUESTS_IN_FLIGHT_MAX,
            deliveries_in_flight_max: 4096,
            subscriptions_max: 1024,
            topics_max: 1 << 20,
            producers_max: 4096,
            ring_replies: 256,
            command_batch: 16,
        }
    }
}
