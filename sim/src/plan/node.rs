//! The node's settings as a plan has them, and how they become the node's own.

use super::classes::{ClassPlan, class_set};
use multibeam::config::NodeConfig;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The port for clients.
pub(crate) const CLIENT_PORT: u16 = 7400;
/// The port of the admin server.
pub(crate) const ADMIN_PORT: u16 = 7480;

/// A port of all addresses of a simulated node.
pub(crate) const fn at_port(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// The knobs that a plan turns. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each stands for the setting of the same name")]
pub struct NodeKnobs {
    pub shards: usize,
    pub ring_commands: usize,
    pub ring_replies: usize,
    pub heartbeat_ms: u64,
    pub hello_timeout_ms: u64,
    pub ack_timeout_ms: u64,
    pub publish_deadline_ms: u64,
    pub publish_window_bytes: u32,
    pub requests_in_flight_max: usize,
    pub deliveries_in_flight_max: usize,
    pub producers_max: usize,
    pub topics_max: usize,
    pub messages_bytes_max: usize,
    pub classes: Vec<ClassPlan>,
    pub command_batch: usize,
    pub read_budget: usize,
    pub read_chunk: usize,
    pub accept_budget: usize,
    pub send_budget: usize,
    pub send_bytes: usize,
    pub stage_bytes: usize,
    pub command_budget: usize,
    pub connections_max: usize,
    pub refusals_max: usize,
    pub linger_bytes_max: usize,
    pub parked_bytes_max: usize,
}

impl NodeKnobs {
    /// The settings of the simulated node.
    #[must_use]
    pub fn config(&self) -> NodeConfig {
        let mut config = NodeConfig::with_data_dir(PathBuf::from("simulated"));
        config.listen = at_port(CLIENT_PORT);
        config.admin = at_port(ADMIN_PORT);
        config.shards = self.shards;
        config.ring_commands = self.ring_commands;
        let shard = &mut config.shard;
        shard.ring_replies = self.ring_replies;
        shard.heartbeat_interval = Duration::from_millis(self.heartbeat_ms);
        shard.hello_timeout = Duration::from_millis(self.hello_timeout_ms);
        shard.ack_timeout = Duration::from_millis(self.ack_timeout_ms);
        shard.publish_deadline = Duration::from_millis(self.publish_deadline_ms);
        shard.publish_window_bytes = self.publish_window_bytes;
        shard.requests_in_flight_max = self.requests_in_flight_max;
        shard.deliveries_in_flight_max = self.deliveries_in_flight_max;
        shard.producers_max = self.producers_max;
        shard.topics_max = self.topics_max;
        shard.messages_bytes_max = self.messages_bytes_max;
        shard.classes = class_set(&self.classes);
        shard.command_batch = self.command_batch;
        let limits = &mut config.limits;
        limits.read_budget = self.read_budget;
        limits.read_chunk = self.read_chunk;
        limits.accept_budget = self.accept_budget;
        limits.send_budget = self.send_budget;
        limits.send_bytes = self.send_bytes;
        limits.stage_bytes = self.stage_bytes;
        limits.command_budget = self.command_budget;
        limits.connections_max = self.connections_max;
        limits.refusals_max = self.refusals_max;
        limits.linger_bytes_max = self.linger_bytes_max;
        limits.parked_bytes_max = self.parked_bytes_max;
        config
    }
}
