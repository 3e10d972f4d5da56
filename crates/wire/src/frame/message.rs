//! DATA: a publish one way, a delivery the other.

use super::{position, put_position};
use crate::codec::{Count, Reader, Sink, Unreadable, varint_bytes};
use crate::ids::{ChannelId, Generation, Offset, Position};
use crate::limits::{BODY_BYTES_MAX, KEYS_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::list::List;

const PUBLISH_RETRY: u64 = 1;
const PUBLISH_TTL: u64 = 2;
const PUBLISH_KEYS: u64 = 4;
const DELIVERY_SKIPPED: u64 = 1;
const DELIVERY_TOPIC: u64 = 2;

/// DATA from a client: a message for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The producer's number of this message; grows by one a message over all topics. A publish to many
    /// keys takes as many numbers, of which this is the first; the last of them fits 64 bits, too.
    pub number: u64,
    /// Where it goes. Not yet checked to be a valid name; with keys, a template: a name in which one
    /// segment is `*`.
    pub topic: &'a str,
    /// What stands for the `*` of the template, one message each; none for a plain topic.
    pub keys: Keys<'a>,
    /// Set when this number may have been sent before: the generation it was sent in.
    pub retry_of: Option<Generation>,
    /// Milliseconds after which it is not delivered any more.
    pub ttl_ms: Option<u32>,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Publish<'a> {
    /// A first attempt to publish `body` to one topic, for as long as its class keeps it.
    #[must_use]
    pub const fn new(number: u64, topic: &'a str, body: &'a [u8]) -> Self {
        Self { number, topic, keys: Keys::NONE, retry_of: None, ttl_ms: None, body }
    }

    /// Numbers of its producer that it takes.
    #[must_use]
    pub fn numbers(&self) -> u64 {
        self.keys.len().max(1) as u64
    }

    /// Bytes of the payload that this encodes to. Keys take from the room of the body, so a publish to many
    /// may come out longer than [`PAYLOAD_BYTES_MAX`], and can't be sent then.
    ///
    /// # Panics
    /// When the topic or a key is longer than its limit in [`crate::limits`], or there are too many keys.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        let mut head = Count::default();
        self.put_head(&mut head);
        head.0 + self.body.len()
    }

    /// Whether the last of its numbers is one.
    fn numbers_fit(&self) -> bool {
        self.number.checked_add(self.numbers() - 1).is_some()
    }

    #[inline]
    pub(super) fn put_head<S: Sink>(&self, sink: &mut S) {
        assert!(self.numbers_fit(), "{} numbers from {} on", self.numbers(), self.number);
        let flag = |set, flag| if set { flag } else { 0 };
        sink.varint(
            flag(self.retry_of.is_some(), PUBLISH_RETRY)
                | flag(self.ttl_ms.is_some(), PUBLISH_TTL)
                | flag(!self.keys.is_empty(), PUBLISH_KEYS),
        );
        sink.varint(self.number);
        sink.str(self.topic, TOPIC_BYTES_MAX);
        if let Some(generation) = self.retry_of {
            sink.varint(generation.0);
        }
        if let Some(ttl_ms) = self.ttl_ms {
            sink.varint(ttl_ms.into());
        }
        if !self.keys.is_empty() {
            self.keys.0.put(sink, KEYS_MAX);
        }
        sink.varint(self.body.len() as u64);
    }

    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let flags = reader.varint()?;
        let publish = Self {
            number: reader.varint()?,
            topic: reader.str(TOPIC_BYTES_MAX)?,
            retry_of: if flags & PUBLISH_RETRY != 0 { Some(Generation(reader.varint()?)) } else { None },
            ttl_ms: if flags & PUBLISH_TTL != 0 { Some(reader.varint_u32()?) } else { None },
            keys: if flags & PUBLISH_KEYS != 0 { Keys::decode(reader)? } else { Keys::NONE },
            body: reader.bytes(PAYLOAD_BYTES_MAX)?,
        };
        // Whoever counts through them must not have to think of a number beyond the last.
        if publish.numbers_fit() { Ok(publish) } else { Err(Unreadable) }
    }
}

/// The keys of a publish to many topics, at most [`KEYS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys<'a>(List<'a, &'a str>);

impl<'a> Keys<'a> {
    /// No keys: a publish to one topic.
    pub const NONE: Keys<'static> = Keys(List::Listed(&[]));

    /// These; with none, it is a publish to one topic.
    #[must_use]
    pub const fn new(keys: &'a [&'a str]) -> Self {
        Self(List::Listed(keys))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + 'a {
        self.0.iter()
    }

    /// A publish that says it has keys has some.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let keys = Self(List::read(reader, KEYS_MAX)?);
        if keys.is_empty() { Err(Unreadable) } else { Ok(keys) }
    }
}

/// DATA to a client: a message of one of its subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Whose message it is, as SUBSCRIBED said.
    pub channel: ChannelId,
    /// Where it stands in the log.
    pub position: Position,
    /// Offset of the message before this one: of the topic, or where the subscription has many, of any of
    /// them in this partition. Between the two there is none. Smaller than the message's own offset.
    pub prev: Offset,
    /// Messages between the last position told and `prev` were replaced by this one: a gap of
    /// reason conflated, without a frame of its own.
    pub skipped: bool,
    /// Its topic, where the subscription has many: a filter, or that of the system. Else the topic is the
    /// subscription's.
    pub topic: Option<&'a str>,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Bytes of the payload that this encodes to: what it costs of a window.
    #[must_use]
    pub const fn payload_bytes(&self) -> usize {
        let Position { generation, offset } = self.position;
        let topic_bytes = match self.topic {
            Some(topic) => varint_bytes(topic.len() as u64) + topic.len(),
            None => 0,
        };
        varint_bytes(self.channel.0 as u64)
            + 1
            + varint_bytes(generation.0)
            + varint_bytes(offset.0)
            + varint_bytes(offset.0 - self.prev.0)
            + topic_bytes
            + varint_bytes(self.body.len() as u64)
            + self.body.len()
    }

    #[inline]
    pub(super) fn put_head<S: Sink>(&self, sink: &mut S) {
        assert!(self.prev < self.position.offset, "{:?} does not lie before {}", self.prev, self.position);
        assert!(self.body.len() <= BODY_BYTES_MAX);
        sink.varint(u64::from(self.channel.0));
        let skipped = if self.skipped { DELIVERY_SKIPPED } else { 0 };
        sink.varint(skipped | if self.topic.is_some() { DELIVERY_TOPIC } else { 0 });
        put_position(sink, self.position);
        sink.varint(self.position.offset.0 - self.prev.0);
        if let Some(topic) = self.topic {
            sink.str(topic, TOPIC_BYTES_MAX);
        }
        sink.varint(self.body.len() as u64);
    }

    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let channel = ChannelId(reader.varint_u32()?);
        let flags = reader.varint()?;
        let position = position(reader)?;
        let back = reader.varint()?;
        if back == 0 || back > position.offset.0 {
            return Err(Unreadable);
        }
        let prev = Offset(position.offset.0 - back);
        let topic = if flags & DELIVERY_TOPIC != 0 { Some(reader.str(TOPIC_BYTES_MAX)?) } else { None };
        let skipped = flags & DELIVERY_SKIPPED != 0;
        Ok(Self { channel, position, prev, skipped, topic, body: reader.bytes(BODY_BYTES_MAX)? })
    }
}
