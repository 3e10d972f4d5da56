//! REQUEST, RESPONSE and STATE: opaque messages, in parts that fit a frame.

use super::greeting::Epoch;
use crate::codec::{Reader, Sink, Unreadable};
use crate::limits::LINK_PART_BYTES_MAX;

const PART_MORE: u64 = 1;
const STATE_SNAPSHOT: u64 = 2;

/// A piece of a longer message. The pieces of one message follow each other in order; those of
/// different messages may be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Whether another piece follows.
    pub more: bool,
    /// The piece, at most [`LINK_PART_BYTES_MAX`] bytes.
    pub bytes: &'a [u8],
}

impl<'a> Part<'a> {
    const fn flags(&self) -> u64 {
        if self.more { PART_MORE } else { 0 }
    }

    fn put_bytes<S: Sink>(&self, sink: &mut S) {
        assert!(self.bytes.len() <= LINK_PART_BYTES_MAX);
        sink.bytes(self.bytes);
    }

    fn decode(flags: u64, reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self { more: flags & PART_MORE != 0, bytes: reader.bytes(LINK_PART_BYTES_MAX)? })
    }
}

/// REQUEST: a question to the other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Number of the question on this connection; its answer repeats it.
    pub number: u64,
    /// What kind of question; the receiver's consensus knows the kinds.
    pub kind: u16,
    /// The question.
    pub part: Part<'a>,
}

impl<'a> Request<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.number);
        sink.varint(u64::from(self.kind));
        sink.varint(self.part.flags());
        self.part.put_bytes(sink);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let (number, kind, flags) = (reader.varint()?, reader.varint_u16()?, reader.varint()?);
        Ok(Self { number, kind, part: Part::decode(flags, reader)? })
    }
}

/// RESPONSE: the answer to a REQUEST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The question's number.
    pub number: u64,
    /// The answer.
    pub part: Part<'a>,
}

impl<'a> Response<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.number);
        sink.varint(self.part.flags());
        self.part.put_bytes(sink);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let (number, flags) = (reader.varint()?, reader.varint()?);
        Ok(Self { number, part: Part::decode(flags, reader)? })
    }
}

/// STATE: what was agreed on, for whoever dialled and is behind: all of it, or what changed behind `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    /// The view that this builds on; for a snapshot, 0.
    pub from: Epoch,
    /// The view that the receiver has with this.
    pub to: Epoch,
    /// Whether this is the whole state.
    pub snapshot: bool,
    /// The state.
    pub part: Part<'a>,
}

impl<'a> State<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        assert!(self.from < self.to, "state from {:?} to {:?}", self.from, self.to);
        sink.varint(self.from.0);
        sink.varint(self.to.0);
        sink.varint(self.part.flags() | if self.snapshot { STATE_SNAPSHOT } else { 0 });
        self.part.put_bytes(sink);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        let (from, to, flags) = (Epoch(reader.varint()?), Epoch(reader.varint()?), reader.varint()?);
        let part = Part::decode(flags, reader)?;
        let state = Self { from, to, snapshot: flags & STATE_SNAPSHOT != 0, part };
        if from < to { Ok(state) } else { Err(Unreadable) }
    }
}
