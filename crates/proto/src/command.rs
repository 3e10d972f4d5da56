//! Everything that crosses a thread of one node.
//!
//! Each variant belongs to one of three kinds of flow, and no fourth exists:
//!
//! * *request with a reserved reply slot*: [`Command::Publish`], [`Command::Follow`],
//!   [`Command::Probe`]; the replies need no room, for the asker set it aside;
//! * *cursor with credit*: [`Command::Append`]: sent while the ring has room, otherwise the
//!   follower's cursor in the home shard's log just stays, and if the log overruns it, the
//!   next message says so by its `prev`;
//! * *latest value*: [`Command::Unfollow`], [`Command::Isolated`], [`Command::Rejoined`], [`Command::Stop`]: kept at their source as a
//!   state until there is room.

use crate::class::PartitionId;
use crate::ids::{ConnectionId, FeedId};
use crate::message::Message;
use multibeam_wire::{ErrorCode, Generation, Offset, Outcome, Position, ProducerId, Seq};
use smol_str::SmolStr;
use std::sync::Arc;

/// What one thread of a node tells another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Shard → home shard: store this message. Answered by [`Command::Published`].
    Publish(Box<PublishRequest>),
    /// Home shard → shard: how a publish ended; the request comes back with its results, and is filled
    /// again for a later one.
    Published(Box<PublishRequest>),
    /// Shard → home shard: send me this topic's messages. Answered by
    /// [`Command::Followed`], behind which the retained messages follow as appends.
    /// Asked again for a feed that is followed already, it is only answered.
    Follow {
        /// The asker's feed.
        feed: FeedId,
        /// What it follows.
        name: FeedName,
    },
    /// Home shard → shard: the feed is followed from here on.
    Followed {
        /// The asker's feed.
        feed: FeedId,
        /// What the home shard has, or why it can't.
        result: Result<FeedState, ErrorCode>,
    },
    /// Home shard → shard: the next message of a followed topic.
    Append {
        /// The follower's feed.
        feed: FeedId,
        /// The message.
        message: Arc<Message>,
    },
    /// Shard → home shard: nobody here wants this feed any more.
    Unfollow {
        /// The asker's feed.
        feed: FeedId,
        /// What it followed.
        name: FeedName,
    },
    /// Runtime → shard: are you turning? Answered by [`Command::Probed`].
    Probe {
        /// Comes back in the answer.
        id: u64,
    },
    /// Shard → runtime: I am.
    Probed {
        /// Of the probe.
        id: u64,
    },
    /// Runtime → shard: the node is cut off from the majority: tell all clients, and those who come, that they
    /// are better served elsewhere. Again with other addresses, all are told again.
    Isolated {
        /// Nodes for them to try: at most [`multibeam_wire::limits::ADDRESSES_MAX`], each of at most
        /// [`multibeam_wire::limits::ADDRESS_BYTES_MAX`] bytes.
        addresses: Arc<[SmolStr]>,
    },
    /// Runtime → shard: it is not cut off any more: tell those who were told otherwise.
    Rejoined,
    /// Runtime → shard: accept nobody, say BYE to all, end.
    Stop,
}

impl Command {
    /// Whether the receiver of the original request set a slot aside for this one.
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        match self {
            Self::Published(_) | Self::Followed { .. } | Self::Probed { .. } => true,
            Self::Publish(_)
            | Self::Follow { .. }
            | Self::Append { .. }
            | Self::Unfollow { .. }
            | Self::Probe { .. }
            | Self::Isolated { .. }
            | Self::Rejoined
            | Self::Stop => false,
        }
    }

    /// Whether this one will be answered.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Follow { .. } | Self::Probe { .. })
    }
}

/// What a feed follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedName {
    /// A topic's name, or the text of a filter.
    pub text: SmolStr,
    /// The partition it lives in; one of those that a filter reaches.
    pub partition: PartitionId,
    /// Whether it is a filter.
    pub filter: bool,
}

/// A message, or one for each of several keys, on its way to the home shard of its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PublishRequest {
    /// Who asks.
    pub connection: ConnectionId,
    /// Number of the frame that asks.
    pub seq: Seq,
    /// Where it goes: a topic, or with keys a template.
    pub topic: String,
    /// Those of its keys whose home this is, each with the producer's number of its message.
    pub keys: Vec<(u64, String)>,
    /// Who publishes.
    pub producer: ProducerId,
    /// The producer's number of it, without keys.
    pub number: u64,
    /// Set on a retry: the generation of the first attempt.
    pub retry_of: Option<Generation>,
    /// Milliseconds for which it is worth delivering; 0 for no end.
    pub ttl_ms: u32,
    /// The message, at most [`multibeam_wire::limits::BODY_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
    /// What became of it, one for each key, or one; filled by the home shard.
    pub results: Vec<Result<Stored, PublishRefusal>>,
}

/// Where a message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub position: Position,
}

/// Why a message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublishRefusal {
    /// Why.
    pub code: ErrorCode,
    /// Whether an earlier attempt may have stored it.
    pub outcome: Outcome,
}

/// What a home shard holds of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeedState {
    /// The partition's generation.
    pub generation: Generation,
    /// Everything of the topic up to here is gone from the home shard.
    pub floor: Offset,
    /// The topic's last message, or `floor` if nothing is left.
    pub head: Offset,
    /// The one before it, for subscriptions that begin with the last message.
    pub head_prev: Offset,
    /// Whether `floor` stands for a topic whose history is forgotten: nobody can tell
    /// whether it had messages up to there.
    pub uncertain: bool,
}
