//! Every decision of a node, without I/O.
//!
//! [`Shard`] is the machine: bytes of connections, commands of other threads and the passing
//! of time go in; bytes, commands and deadlines come out. Time and randomness are arguments.
//! It never touches a clock, a socket, a thread or a file, and nothing depends on the order
//! of a hash map.

#![forbid(unsafe_code)]

mod class;
pub mod cluster;
mod columns;
mod command;
mod config;
mod dedup;
mod feed;
mod feeds;
mod footprint;
mod ids;
mod log;
mod message;
mod order;
mod partition;
mod placement;
pub mod planted;
mod rooms;
mod session;
mod shard;
mod stats;
mod time;
pub mod view;

pub use class::{
    CLASSES_MAX, Class, ClassError, ClassId, ClassSet, Overflow, PARTITIONS_MAX, PartitionId, Pattern,
    PatternError, RETAIN_BYTES_MAX, RETAIN_MESSAGES_MAX, Retention, Route, built_in,
};
pub use columns::{Column, Table};
pub use command::{Command, FeedName, FeedState, PublishRefusal, PublishRequest, Stored};
pub use config::ShardConfig;
pub use footprint::{Footprint, footprint};
pub use ids::{ConnectionId, FeedId, ShardId};
pub use message::Message;
pub use multibeam_wire::link::NodeId;
pub use placement::{MEMBERS_MAX, Placement, PlacementError, WEIGHT_MAX};
pub use session::{Made, Run, Staged, Stall};
pub use shard::{Received, Shard, ShardSetup};
pub use stats::{Stat, StatKind, Stats};
pub use time::Time;
