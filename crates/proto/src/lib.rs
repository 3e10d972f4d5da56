//! Every decision of a node, without I/O.
//!
//! [`Shard`] is the machine: bytes of connections, commands of other threads and the passing
//! of time go in; bytes, commands and deadlines come out. Time and randomness are arguments.
//! It never touches a clock, a socket, a thread or a file, and nothing depends on the order
//! of a hash map.

#![forbid(unsafe_code)]

mod class;
mod command;
mod config;
mod dedup;
mod feed;
mod feeds;
mod ids;
mod message;
mod partition;
pub mod planted;
mod rooms;
mod session;
mod shard;
mod stats;
mod time;

pub use class::{PartitionId, TopicClass};
pub use command::{Command, FeedState, PublishRefusal, PublishRequest};
pub use config::ShardConfig;
pub use ids::{ConnectionId, FeedId, ShardId};
pub use message::Message;
pub use session::{Staged, Stall};
pub use shard::{Received, Shard, ShardSetup};
pub use stats::{Stat, StatKind, Stats};
pub use time::Time;
