//! DATA: a publish one way, a delivery the other.

use super::{position, put_position};
use crate::codec::{Reader, Sink, Unreadable, varint_bytes};
use crate::ids::{ChannelId, Generation, Offset, Position};
use crate::limits::{BODY_BYTES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};

const PUBLISH_RETRY: u64 = 1;
const DELIVERY_SKIPPED: u64 = 1;

/// DATA from a client: a message for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The producer's number of this message; grows by one a message over all topics.
    pub number: u64,
    /// Where it goes. Not yet checked to be a valid name.
    pub topic: &'a str,
    /// Set when this number may have been sent before: the generation it was sent in.
    pub retry_of: Option<Generation>,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Publish<'a> {
    #[inline]
    pub(super) fn put_head<S: Sink>(&self, sink: &mut S) {
        sink.varint(if self.retry_of.is_some() { PUBLISH_RETRY } else { 0 });
        sink.varint(self.number);
        sink.str(self.topic, TOPIC_BYTES_MAX);
        if let Some(generation) = self.retry_of {
            sink.varint(generation.0);
        }
        sink.varint(self.body.len() as u64);
    }

    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let flags = reader.varint()?;
        Ok(Self {
            number: reader.varint()?,
            topic: reader.str(TOPIC_BYTES_MAX)?,
            retry_of: if flags & PUBLISH_RETRY != 0 { Some(Generation(reader.varint()?)) } else { None },
            body: reader.bytes(PAYLOAD_BYTES_MAX)?,
        })
    }
}

/// DATA to a client: a message of one of its subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Whose message it is, as SUBSCRIBED said.
    pub channel: ChannelId,
    /// Where it stands in the log.
    pub position: Position,
    /// Offset of the topic's message before this one; every message of the topic between
    /// the two does not exist. Smaller than the message's own offset.
    pub prev: Offset,
    /// Messages between the last position told and `prev` were replaced by this one: a gap of
    /// reason conflated, without a frame of its own.
    pub skipped: bool,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Bytes of the payload that this encodes to: what it costs of a window.
    #[must_use]
    pub const fn payload_bytes(&self) -> usize {
        let Position { generation, offset } = self.position;
        varint_bytes(self.channel.0 as u64)
            + 1
            + varint_bytes(generation.0)
            + varint_bytes(offset.0)
            + varint_bytes(offset.0 - self.prev.0)
            + varint_bytes(self.body.len() as u64)
            + self.body.len()
    }

    #[inline]
    pub(super) fn put_head<S: Sink>(&self, sink: &mut S) {
        assert!(self.prev < self.position.offset, "{:?} does not lie before {}", self.prev, self.position);
        assert!(self.body.len() <= BODY_BYTES_MAX);
        sink.varint(u64::from(self.channel.0));
        sink.varint(if self.skipped { DELIVERY_SKIPPED } else { 0 });
        put_position(sink, self.position);
        sink.varint(self.position.offset.0 - self.prev.0);
        sink.varint(self.body.len() as u64);
    }

    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let channel = ChannelId(reader.varint_u32()?);
        let skipped = reader.varint()? & DELIVERY_SKIPPED != 0;
        let position = position(reader)?;
        let back = reader.varint()?;
        if back == 0 || back > position.offset.0 {
            return Err(Unreadable);
        }
        let prev = Offset(position.offset.0 - back);
        Ok(Self { channel, position, prev, skipped, body: reader.bytes(BODY_BYTES_MAX)? })
    }
}
