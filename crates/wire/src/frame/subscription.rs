//! SUBSCRIBE, SUBSCRIBED and GAP: what a client follows, and what it missed of it.

use super::{position, put_position, subscription_id};
use crate::codec::{Reader, Sink, Unreadable};
use crate::ids::{ChannelId, Position, SubscriptionId};
use crate::limits::{PARTS_MAX, TOPIC_BYTES_MAX};
use crate::list::{Item, List};

const START_NEW: u64 = 0;
const START_LAST: u64 = 1;
const START_AFTER: u64 = 2;
const START_FIRST: u64 = 3;
const START_AFTER_EACH: u64 = 4;
const PART_GAP: u64 = 1;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// With the first message stored from now on.
    New,
    /// With the last message stored, if there is one.
    Last,
    /// With the oldest message that is kept.
    First,
    /// Of a topic: with the first message behind this position.
    After(Position),
    /// Of a filter: in each partition with the first message behind its cursor. A partition that is not
    /// named begins with the oldest message kept, and a GAP if any were there before.
    AfterEach(Cursors<'a>),
}

/// How far a client has come in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The partition, as SUBSCRIBED named it.
    pub partition: u32,
    /// The last position that it was told of.
    pub position: Position,
}

impl Item<'_> for Cursor {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.partition.into());
        put_position(sink, self.position);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self { partition: reader.varint_u32()?, position: position(reader)? })
    }
}

/// The cursor of a filter: a position a partition, in the order of their numbers; at most [`PARTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors<'a>(List<'a, Cursor>);

impl<'a> Cursors<'a> {
    /// These; each partition once, in the order of their numbers.
    #[must_use]
    pub const fn new(cursors: &'a [Cursor]) -> Self {
        Self(List::Listed(cursors))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Cursor> + Clone + 'a {
        self.0.iter()
    }

    fn put<S: Sink>(&self, sink: &mut S) {
        assert!(self.are_in_order(), "cursors out of order: {self:?}");
        self.0.put(sink, PARTS_MAX);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let cursors = Self(List::read(reader, PARTS_MAX)?);
        if cursors.are_in_order() { Ok(cursors) } else { Err(Unreadable) }
    }

    /// A partition has one cursor, and a list one order: so it need not be sorted, nor searched.
    fn are_in_order(&self) -> bool {
        self.iter().map(|cursor| cursor.partition).is_sorted_by(|a, b| a < b)
    }
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The client's name for it; free within the session.
    pub subscription: SubscriptionId,
    /// What to follow: a topic, or a filter. Not yet checked.
    pub topic: &'a str,
    /// Where to begin.
    pub start: Start<'a>,
}

impl<'a> Subscribe<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.subscription.0));
        sink.str(self.topic, TOPIC_BYTES_MAX);
        match self.start {
            Start::New => sink.varint(START_NEW),
            Start::Last => sink.varint(START_LAST),
            Start::First => sink.varint(START_FIRST),
            Start::After(position) => {
                sink.varint(START_AFTER);
                put_position(sink, position);
            }
            Start::AfterEach(cursors) => {
                sink.varint(START_AFTER_EACH);
                cursors.put(sink);
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
                START_FIRST => Start::First,
                START_AFTER => Start::After(position(reader)?),
                START_AFTER_EACH => Start::AfterEach(Cursors::decode(reader)?),
                _ => return Err(Unreadable),
            },
        })
    }
}

/// SUBSCRIBED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// Which one; [`SubscriptionId::SYSTEM`] for the one that every session has unasked.
    pub subscription: SubscriptionId,
    /// Where it begins: one part for a topic, one a partition for a filter.
    pub parts: Parts<'a>,
}

impl<'a> Subscribed<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.subscription.0));
        self.parts.put(sink);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self { subscription: subscription_id(reader)?, parts: Parts::decode(reader)? })
    }
}

/// A subscription's beginning in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What its deliveries and gaps are called from here on.
    pub channel: ChannelId,
    /// The partition, for a cursor: its class in the upper half, its number within that in the lower.
    pub partition: u32,
    /// Deliveries begin behind this position.
    pub from: Position,
    /// The last message when this was said: what lies between is replay, what lies behind is live.
    pub head: Position,
    /// Messages of the replay, as far as the node knew when it said so; some may be evicted before they
    /// are sent, and a GAP then tells.
    pub count: u64,
    /// Whether a GAP will say that messages behind the asked cursor are gone.
    pub gap: bool,
}

impl Item<'_> for Part {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.channel.0.into());
        sink.varint(self.partition.into());
        sink.varint(if self.gap { PART_GAP } else { 0 });
        put_position(sink, self.from);
        put_position(sink, self.head);
        sink.varint(self.count);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let channel = ChannelId(reader.varint_u32()?);
        let partition = reader.varint_u32()?;
        let gap = reader.varint()? & PART_GAP != 0;
        let (from, head) = (position(reader)?, position(reader)?);
        Ok(Self { channel, partition, from, head, count: reader.varint()?, gap })
    }
}

/// The parts of a SUBSCRIBED, in the order of their partitions' numbers; at most [`PARTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a>(List<'a, Part>);

impl<'a> Parts<'a> {
    /// These, at least one; each partition once, in the order of their numbers.
    #[must_use]
    pub const fn new(parts: &'a [Part]) -> Self {
        Self(List::Listed(parts))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Part> + Clone + 'a {
        self.0.iter()
    }

    fn put<S: Sink>(&self, sink: &mut S) {
        assert!(self.are_in_order(), "no parts, or out of order: {self:?}");
        self.0.put(sink, PARTS_MAX);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let parts = Self(List::read(reader, PARTS_MAX)?);
        if parts.are_in_order() { Ok(parts) } else { Err(Unreadable) }
    }

    /// A subscription that has begun has a part, and one a partition.
    fn are_in_order(&self) -> bool {
        self.0.len() > 0 && self.iter().map(|part| part.partition).is_sorted_by(|a, b| a < b)
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
    /// Their time to live was over.
    Expired,
}

impl GapReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: &[Self] =
        &[Self::Overflow, Self::Generation, Self::Uncertain, Self::Conflated, Self::Expired];

    /// Number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Overflow => 1,
            Self::Generation => 2,
            Self::Uncertain => 3,
            Self::Conflated => 4,
            Self::Expired => 5,
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
            Self::Expired => "expired",
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
