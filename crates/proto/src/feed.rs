//! One topic on one shard: its recent messages, and who here follows it.
//!
//! On its home shard a feed is the topic's log, and other shards follow it by a cursor. On
//! every other shard it is a tail of that log, and only sessions follow it. Either way a
//! follower that is too slow is overrun and finds out by the next message's `prev`.
//!
//! ```text
//!        floor        first_index              next_index
//!          ▼              ▼                        ▼
//!  ······gone·······│ m │ m │ m │ m │ m │ m │ m │
//!                         ▲cursor of a session
//! ```

use crate::class::PartitionId;
use crate::command::FeedState;
use crate::ids::{ConnectionId, FeedId, ShardId};
use crate::message::Message;
use multibeam_wire::{Generation, Offset, Position, SubscriptionId, TopicName};
use std::collections::VecDeque;
use std::sync::Arc;

/// A subscription that follows a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) connection: ConnectionId,
    pub(crate) subscription: SubscriptionId,
}

/// Another shard that follows a feed of this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    pub(crate) shard: ShardId,
    pub(crate) feed: FeedId,
    /// Index of the next message to send.
    pub(crate) next_index: u64,
    /// Whether it stands in its shard's queue of those that are behind.
    pub(crate) queued: bool,
}

/// Where a feed's messages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This is the home shard.
    Home,
    /// The home shard was asked for the first time and has not answered.
    Asked,
    /// The home shard sends what it has.
    Following,
}

/// One topic on this shard.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionId,
    pub(crate) home: ShardId,
    pub(crate) source: Source,
    pub(crate) members: Vec<Member>,
    pub(crate) followers: Vec<Follower>,
    /// When it was last published to or left, in uses of the table; for forgetting.
    pub(crate) used: u64,
    /// Whether it stands in the queue of those that may be forgotten.
    pub(crate) idle_queued: bool,
    generation: Generation,
    floor: Offset,
    uncertain: bool,
    head: Offset,
    head_prev: Offset,
    messages: VecDeque<Arc<Message>>,
    first_index: u64,
    retain_messages: usize,
}

impl Feed {
    pub(crate) fn new(
        topic: TopicName,
        partition: PartitionId,
        home: ShardId,
        source: Source,
        state: FeedState,
        retain_messages: usize,
    ) -> Self {
        assert!(retain_messages > 0, "a feed keeps at least its last message");
        Self {
            topic,
            partition,
            home,
            source,
            members: Vec::new(),
            followers: Vec::new(),
            used: 0,
            idle_queued: false,
            generation: state.generation,
            floor: state.floor,
            uncertain: state.uncertain,
            head: state.head,
            head_prev: state.head_prev,
            messages: VecDeque::new(),
            first_index: 0,
            retain_messages,
        }
    }

    /// What a follower must know before it gets messages.
    pub(crate) fn state(&self) -> FeedState {
        let floor = self.first_prev().offset;
        FeedState {
            generation: self.generation,
            floor,
            head: self.head,
            head_prev: self.head_prev,
            // What was evicted since is known to have been there.
            uncertain: self.uncertain && floor == self.floor,
        }
    }

    /// The home shard answered: before this, nothing was known of the topic.
    pub(crate) fn followed(&mut self, state: FeedState) {
        assert!(self.messages.is_empty() || self.source == Source::Following);
        if self.source == Source::Asked {
            self.source = Source::Following;
            self.generation = state.generation;
            self.floor = state.floor;
            self.uncertain = state.uncertain;
        }
        if state.head > self.head || self.head == Offset(0) {
            self.head = state.head;
            self.head_prev = state.head_prev;
        }
        self.invariants();
    }

    /// Adds the next message and drops what is beyond retention.
    pub(crate) fn append(&mut self, message: Arc<Message>) {
        let last = self.messages.back().map_or(self.floor, |last| last.position.offset);
        assert!(message.position.generation == self.generation, "{} in another generation", message.position);
        assert!(
            last <= message.prev && message.prev < message.position.offset,
            "{} out of order",
            self.topic
        );
        if message.position.offset > self.head {
            self.head = message.position.offset;
            self.head_prev = message.prev;
        }
        self.messages.push_back(message);
        if self.messages.len() > self.retain_messages {
            self.messages.pop_front();
            self.first_index += 1;
        }
        self.invariants();
    }

    pub(crate) fn head(&self) -> Position {
        Position { generation: self.generation, offset: self.head }
    }

    /// The position before the last message; the head where nothing is left.
    pub(crate) fn before_last(&self) -> Position {
        let offset = if self.head > self.floor { self.head_prev } else { self.head };
        Position { generation: self.generation, offset }
    }

    /// The highest offset up to which a follower can be told that all is gone: its first
    /// message, if it has one, follows right behind.
    pub(crate) fn first_prev(&self) -> Position {
        let offset = self.messages.front().map_or(self.floor, |first| first.prev);
        Position { generation: self.generation, offset }
    }

    /// Whether a gap that ends at `to` may be no gap at all.
    pub(crate) fn is_uncertain_up_to(&self, to: Position) -> bool {
        self.uncertain && to.offset <= self.floor
    }

    /// Index of the first message behind `cursor` that is here, or that comes next.
    pub(crate) fn index_after(&self, cursor: Position) -> u64 {
        if cursor.generation != self.generation {
            return self.first_index;
        }
        let passed = self.messages.partition_point(|message| message.position.offset <= cursor.offset);
        self.first_index + passed as u64
    }

    /// The message at `index` or, if that one is gone, the first that is left.
    pub(crate) fn at(&self, index: u64) -> Option<(u64, &Arc<Message>)> {
        let index = index.max(self.first_index);
        let message = self.messages.get((index - self.first_index) as usize)?;
        Some((index, message))
    }

    /// Index that the next message will have.
    pub(crate) fn next_index(&self) -> u64 {
        self.first_index + self.messages.len() as u64
    }

    /// Index of the oldest message here.
    pub(crate) fn first_index(&self) -> u64 {
        self.first_index
    }

    /// Nobody follows it.
    pub(crate) fn idle(&self) -> bool {
        self.members.is_empty() && self.followers.is_empty()
    }

    fn invariants(&self) {
        debug_assert!(self.messages.len() <= self.retain_messages);
        debug_assert!(self.head >= self.messages.back().map_or(Offset(0), |last| last.position.offset));
        debug_assert!(self.head_prev <= self.head);
    }
}
