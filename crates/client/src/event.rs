//! What a subscription tells its application.

use crate::ack::AckHandle;
use crate::cursor::PartitionId;
use crate::error::RefusalError;
use multibeam_wire::{self as wire, Offset, Position, TopicName};
use std::sync::Arc;

/// One thing that happened on a subscription. What concerns one partition, and so one topic, comes in
/// the order of its positions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node serves the subscription. Comes once, before any message; reconnects do not
    /// repeat it. On [`crate::Client::system`] only where it is called before the first connection.
    Subscribed {
        /// One for a topic, one a partition for a filter.
        parts: Vec<Part>,
    },
    /// A message.
    Message(Message),
    /// Messages of this partition behind `from` up to and including `to` will not come. Of a filter:
    /// those that it matches.
    Gap {
        /// The partition, which for a topic is its own.
        partition: PartitionId,
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

/// Where a subscription begins in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition.
    pub partition: PartitionId,
    /// Messages begin behind this position.
    pub from: Position,
    /// Last message at that moment: what lies up to here is replay, what lies behind is live.
    pub head: Position,
    /// Messages of the replay, as far as the node knew; some may turn out to be a gap.
    pub replay_count: u64,
    /// A gap follows: messages behind the cursor that was asked for are gone.
    pub gap: bool,
}

impl From<wire::Part> for Part {
    fn from(part: wire::Part) -> Self {
        let wire::Part { partition, from, head, count, gap, .. } = part;
        Self { partition: PartitionId(partition), from, head, replay_count: count, gap }
    }
}

/// A message in the hands of the application.
///
/// With manual acks it owes an [`ack`](Self::ack): dropped without, it is given back, and the
/// subscription hands it out again before anything newer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Message {
    /// Its topic.
    pub topic: TopicName,
    /// The partition it is stored in.
    pub partition: PartitionId,
    /// Its place in the history of that partition.
    pub position: Position,
    /// Offset of the message before it, of this topic or filter.
    pub prev: Offset,
    /// It took the place of messages before it; an [`Event::Gap`] of reason conflated came first, unless
    /// none of them was new.
    pub skipped: bool,
    /// How often it was handed out, this time included: above 1 only where it was given back.
    pub attempt: u32,
    /// What was published.
    pub body: Arc<[u8]>,
    pub(crate) ack: Option<AckHandle>,
}

impl Message {
    /// Says that the message is handled. Does nothing with automatic acks, and once its subscription
    /// or client is gone.
    pub fn ack(mut self) {
        if let Some(ack) = self.ack.take() {
            ack.handled();
        }
    }
}

/// The same message without the right to acknowledge it.
impl Clone for Message {
    fn clone(&self) -> Self {
        Self { topic: self.topic.clone(), body: Arc::clone(&self.body), ack: None, ..*self }
    }
}

/// Whether both are the same message, at the same attempt.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.partition, it.position, it.prev, it.skipped, it.attempt);
        self.topic == other.topic && place(self) == place(other) && self.body == other.body
    }
}

impl Eq for Message {}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// The node told it.
    Told(wire::GapReason),
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
