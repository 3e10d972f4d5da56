//! SUBSCRIBE, SUBSCRIBED and GAP: what a client follows, and what it missed of it.

use super::{position, put_position, subscription_id};
use crate::codec::{Reader, Sink, Unreadable};
use crate::ids::{ChannelId, Position, SubscriptionId};
use crate::limits::TOPIC_BYTES_MAX;

const START_NEW: u64 = 0;
const START_LAST: u64 = 1;
const START_AFTER: u64 = 2;
const SUBSCRIBED_GAP: u64 = 1;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message stored from now on.
    New,
    /// With the last message stored, if there is one.
    Last,
    /// With the first message behind this position.
    After(Position),
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The client's name for it; free within the session.
    pub subscription: SubscriptionId,
    /// What to follow. Not yet checked to be a valid name.
    pub topic: &'a str,
    /// Where to begin.
    pub start: Start,
}

impl<'a> Subscribe<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.subscription.0));
        sink.str(self.topic, TOPIC_BYTES_MAX);
        match self.start {
            Start::New => sink.varint(START_NEW),
            Start::Last => sink.varint(START_LAST),
            Start::After(position) => {
                sink.varint(START_AFTER);
                put_position(sink, position);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self {
            subscription: subscription_id(reader)?,
            topic: reader.str(TOPIC_BYTES_MAX)?,
            start: match reader.varint()? {
                START_NEW => Start::New,
                START_LAST => Start::Last,
                START_AFTER => Start::After(position(reader)?),
                _ => return Err(Unreadable),
            },
        })
    }
}

/// SUBSCRIBED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Which one.
    pub subscription: SubscriptionId,
    /// What its deliveries and gaps are called from here on.
    pub channel: ChannelId,
    /// Deliveries begin behind this position.
    pub from: Position,
    /// The topic's last message when this was said: what lies between is replay, what lies
    /// behind is live.
    pub head: Position,
    /// Whether a GAP will say that messages behind the asked cursor are gone.
    pub gap: bool,
}

impl Subscribed {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.subscription.0));
        sink.varint(u64::from(self.channel.0));
        sink.varint(if self.gap { SUBSCRIBED_GAP } else { 0 });
        put_position(sink, self.from);
        put_position(sink, self.head);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let subscription = subscription_id(reader)?;
        let channel = ChannelId(reader.varint_u32()?);
        let gap = reader.varint()? & SUBSCRIBED_GAP != 0;
        Ok(Self { subscription, channel, gap, from: position(reader)?, head: position(reader)? })
    }
}

/// Why messages are missing from a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// The subscriber was slower than its topic and the messages are evicted.
    Overflow,
    /// The history could not be kept; a new generation began.
    Generation,
    /// Nothing of the topic is left that tells whether there were messages.
    Uncertain,
    /// A later message replaced them.
    Conflated,
}

impl GapReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: &[Self] = &[Self::Overflow, Self::Generation, Self::Uncertain, Self::Conflated];

    /// Number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Overflow => 1,
            Self::Generation => 2,
            Self::Uncertain => 3,
            Self::Conflated => 4,
        }
    }

    /// Name in documents, logs, metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Generation => "generation",
            Self::Uncertain => "uncertain",
            Self::Conflated => "conflated",
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.number() == number)
    }
}

/// GAP: messages behind `from` up to and including `to` will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose messages, as SUBSCRIBED said.
    pub channel: ChannelId,
    /// The last position before the gap.
    pub from: Position,
    /// The last position inside the gap; later deliveries lie behind it.
    pub to: Position,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        assert!(self.from < self.to, "an empty gap {}..{}", self.from, self.to);
        sink.varint(u64::from(self.channel.0));
        put_position(sink, self.from);
        put_position(sink, self.to);
        sink.varint(self.reason.number());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let gap = Self {
            channel: ChannelId(reader.varint_u32()?),
            from: position(reader)?,
            to: position(reader)?,
            reason: GapReason::from_number(reader.varint()?).ok_or(Unreadable)?,
        };
        if gap.from < gap.to { Ok(gap) } else { Err(Unreadable) }
    }
}
