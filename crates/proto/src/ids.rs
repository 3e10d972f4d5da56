//! Identifiers within one node.

/// A connection of one shard: a slot, and how often the slot was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index into the shard's columns.
    pub slot: u32,
    /// Use of that slot; an id whose generation is over finds nothing.
    pub generation: u32,
}

/// A feed of one shard: a slot, and how often the slot was used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId {
    /// Index into the shard's feeds.
    pub slot: u32,
    /// Use of that slot.
    pub generation: u32,
}

/// A thread of this node: shards count from 0, the runtime comes after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);
