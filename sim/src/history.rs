//! What the clients saw, in one order: the only evidence that oracles look at.
//!
//! A *subscription* here outlives the process of its client: when that is killed, the next one
//! resumes behind the last position that the first had in hand.

use crate::plan::Target;
use multibeam_wire::{GapReason, Position};
use std::collections::BTreeMap;

/// A position in each of several partitions, by their numbers.
pub type Places = BTreeMap<u32, Position>;

/// Name of a publish: who, and its how-many-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishId {
    /// Index of the publisher.
    pub publisher: usize,
    /// Run of the publisher's process; each has an identity of its own.
    pub process: usize,
    /// From 1, in the order of the calls.
    pub number: u64,
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was acknowledged.
    Stored,
    /// It is certainly not stored.
    NotStored,
    /// Nobody knows.
    Unknown,
}

/// One thing that a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A client was asked to publish.
    Invoke {
        /// Which.
        publish: PublishId,
        /// Indexes of the topics: one, or one for each key.
        topics: Vec<usize>,
        /// How long it is worth delivering.
        ttl_ms: Option<u64>,
        /// Bytes of the body.
        bytes: usize,
    },
    /// The publish ended.
    Ended {
        /// Which.
        publish: PublishId,
        /// How.
        end: End,
        /// Where it is stored, if the node said so: partition within the class, and position, for each
        /// of its topics.
        receipts: Vec<(u32, Position)>,
    },
    /// A subscription is asked for, by the first process or a later one.
    Subscribe {
        /// Which.
        subscription: usize,
        /// To what.
        target: Target,
        /// Behind these positions, if the subscription had them.
        after: Option<Places>,
        /// It begins with the oldest message, if it had none.
        first: bool,
    },
    /// The subscription is served.
    Subscribed {
        /// Which.
        subscription: usize,
        /// Messages begin behind these positions.
        from: Places,
    },
    /// The application got a message.
    Delivered {
        /// Which.
        subscription: usize,
        /// Index of the topic; `None` for one that is not of the plan.
        topic: Option<usize>,
        /// Where it stands.
        partition: u32,
        /// Where it stands there.
        position: Position,
        /// Which it is; `None` if nobody published it.
        publish: Option<PublishId>,
    },
    /// The application was told of a gap.
    Gap {
        /// Which.
        subscription: usize,
        /// The partition.
        partition: u32,
        /// Last position before it.
        from: Position,
        /// Last position in it.
        to: Position,
        /// Why; `None` if the node did not tell it, and the client found it.
        reason: Option<GapReason>,
    },
    /// The node sent a message with a time to live.
    Sent {
        /// Which.
        publish: PublishId,
        /// No earlier than then.
        after_us: u64,
    },
    /// Another subscription takes the place of this one.
    Over {
        /// Which.
        subscription: usize,
    },
    /// The node refused the subscription.
    Refused {
        /// Which.
        subscription: usize,
        /// The error.
        error: String,
    },
    /// A client that keeps the rules was closed for breaking one, or saw the node break one.
    Blamed {
        /// Index of the client.
        client: usize,
        /// What either was blamed for.
        error: String,
    },
    /// The processes of a client host were killed.
    Killed {
        /// The host.
        host: usize,
    },
    /// A hostile connection ended.
    HostileEnd(HostileEnd),
    /// Faults are over.
    Healed,
}

/// How a hostile connection ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostileEnd {
    /// What it was up to, with its index.
    pub who: String,
    /// Whole frames that came, BYE included.
    pub frames: u64,
    /// Numbers of the BYEs that came.
    pub byes: Vec<u16>,
    /// Bytes that are no frame, or frames that break a rule.
    pub broken: Option<String>,
    /// Bytes of a frame that was never finished.
    pub rest: usize,
    /// The stream ended, or broke.
    pub closed: bool,
    /// The client ended the connection first, or did not read.
    pub excused: bool,
    /// A fault of the network, the node's process or its descriptors touched it.
    pub disturbed: bool,
    /// It asked for an answer and did not get it.
    pub unanswered: bool,
}

/// An entry of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Simulated time.
    pub time_us: u64,
    /// What happened.
    pub what: What,
}

/// Everything in order.
pub type History = Vec<Entry>;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Who found it.
    pub oracle: String,
    /// What it found, as a sentence.
    pub detail: String,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(oracle: &str, detail: impl Into<String>) -> Self {
        Self { oracle: oracle.to_owned(), detail: detail.into() }
    }
}
