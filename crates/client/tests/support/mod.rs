//! A scripted node, a rig that joins it to a session without any I/O, and streams that join it to
//! a client.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::wildcard_enum_match_arm,
    reason = "each test file uses its part"
)]

mod far_end;
mod node;
mod rig;

pub use far_end::{FarEnd, accept, client};
pub use node::{Got, Node, TOPIC_PARTITION, channel, filter_channel};
pub use rig::Rig;

use multibeam_client::{Config, Cursor, Event, PartitionId, PublishError, Published};
use multibeam_wire::Position;
use std::time::Duration;

/// What most tests publish to and follow.
pub const TOPIC: &str = "a.b";

/// A publish that was stored by a node that does not tell where.
pub fn stored() -> Result<Published, PublishError> {
    Ok(Published::default())
}

pub fn config() -> Config {
    Config { publish_deadline: Some(Duration::from_secs(5)), ..Config::new("node:1", 1) }
}

/// The cursor of a topic.
pub fn behind(offset: u64) -> Cursor {
    Cursor::of_topic(at(offset))
}

/// The cursor of a filter, by partition and offset.
pub fn behind_each(parts: &[(u32, u64)]) -> Cursor {
    Cursor::of_filter(parts.iter().map(|&(partition, offset)| (PartitionId(partition), at(offset)))).unwrap()
}

/// What a subscription to one topic begins with.
pub fn subscribed_event(from: u64, head: u64) -> Event {
    let partition = PartitionId(TOPIC_PARTITION);
    let part = multibeam_client::Part {
        partition,
        from: at(from),
        head: at(head),
        replay_count: head - from,
        gap: false,
    };
    Event::Subscribed { parts: vec![part] }
}

/// A gap of a subscription to one topic.
pub fn gap_event(from: u64, to: u64, reason: multibeam_client::GapReason) -> Event {
    Event::Gap { partition: PartitionId(TOPIC_PARTITION), from: at(from), to: at(to), reason }
}

pub fn at(offset: u64) -> Position {
    Position::new(1, offset)
}
