//! What a subscription tells its application.

use crate::error::RefusalError;
use multibeam_wire::{Offset, Position, TopicName};

/// One thing that happened on a subscription, in the order of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node serves the subscription. Comes once, before any message; reconnects do not
    /// repeat it.
    Subscribed {
        /// Messages begin behind this position.
        from: Position,
        /// Last message of the topic at that moment: what lies up to here is replay.
        head: Position,
    },
    /// A message.
    Message {
        /// Its topic.
        topic: TopicName,
        /// Its place in the history.
        position: Position,
        /// Offset of the topic's message before it.
        prev: Offset,
        /// What was published.
        body: Vec<u8>,
    },
    /// Messages behind `from` up to and including `to` will not come.
    Gap {
        /// Last position before the gap.
        from: Position,
        /// Last position inside it.
        to: Position,
        /// Why.
        reason: GapReason,
    },
    /// The node refused the subscription. Nothing comes after this.
    Ended(RefusalError),
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// The node told it.
    Told(multibeam_wire::GapReason),
    /// The node did not tell it; this client found it by the positions of two messages. This
    /// breaks a promise of the cluster and is worth a report.
    Silent,
}

impl GapReason {
    /// Name in logs, metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Told(reason) => reason.label(),
            Self::Silent => "silent",
        }
    }
}
