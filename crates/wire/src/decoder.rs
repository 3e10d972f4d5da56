//! From a stream of bytes, cut anywhere, to frames.
//!
//! [`Decoder`] looks at a slice and copies nothing; who calls it keeps the bytes it did not
//! use. [`Inbound`] is that keeper for callers that own one buffer a connection.

use crate::compact::{self, COMPACT_HEADER_BYTES_MIN, FIXED_LEAD, Last, Parsed};
use crate::frame::{Direction, Frame, Payload};
use crate::header::{FrameType, HEADER_BYTES, Header, parse_fixed};
use crate::limits::{HELLO_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::rejection::{Malformed, Misbehaved, Rejection};

/// What the bytes at hand amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<F> {
    /// A whole frame, and the bytes it took.
    Frame(F, usize),
    /// The start of a frame that takes this many bytes in all, as far as is known: more than
    /// there are.
    Partial(usize),
}

/// Reads the frames of one direction. Keeps no bytes; its state is how far the handshake is, and
/// what the last frame said, from which a compact header leaves out what follows.
///
/// For each frame: [`step`](Self::step), then [`advance`](Self::advance) once it is handled. A
/// frame that has to wait is simply looked at again.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    last: Last,
    payload_bytes_max: u16,
    direction: Direction,
    compact: bool,
}

impl Decoder {
    /// A decoder of a connection that has just been opened.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        let payload_bytes_max = match direction {
            Direction::ToNode => HELLO_BYTES_MAX,
            Direction::ToClient => PAYLOAD_BYTES_MAX,
        };
        Self { last: Last::default(), payload_bytes_max: payload_bytes_max as u16, direction, compact: false }
    }

    /// Allows frames of full length: the handshake is over.
    pub const fn established(&mut self) {
        self.payload_bytes_max = PAYLOAD_BYTES_MAX as u16;
    }

    /// Allows compact headers, beside fixed ones.
    pub const fn agree_compact(&mut self) {
        self.compact = true;
    }

    /// Looks at the start of `input`.
    ///
    /// # Errors
    /// See [`Rejection`]. The connection can only be closed: frame borders are lost.
    #[inline]
    pub fn step<'a>(&self, input: &'a [u8]) -> Result<Step<Frame<'a>>, Rejection> {
        let travels = |frame_type| travels(frame_type, self.direction);
        // The fields by themselves, not as a whole: moved from place to place in words, they would be
        // read back wider than they were just written, which costs more than the rest of this.
        let (Header { frame_type, seq, ack_seq, window, len }, start) = match input.first() {
            Some(&lead) if self.compact && lead != FIXED_LEAD => {
                match compact::parse(input, &self.last, travels)? {
                    Parsed::Header(header, bytes) => (header, bytes),
                    Parsed::Partial => return Ok(Step::Partial(input.len() + 1)),
                }
            }
            None if self.compact => return Ok(Step::Partial(COMPACT_HEADER_BYTES_MIN)),
            Some(_) | None => match parse_fixed(input)? {
                Some(header) => {
                    travels(header.frame_type)?;
                    (header, HEADER_BYTES)
                }
                None => return Ok(Step::Partial(HEADER_BYTES)),
            },
        };
        if len > self.payload_bytes_max {
            let len_max = self.payload_bytes_max.into();
            return Err(Malformed::TooLong { len: len.into(), len_max }.into());
        }
        let end = start + usize::from(len);
        let Some(payload) = input.get(start..end) else { return Ok(Step::Partial(end)) };
        let payload = Payload::decode(frame_type, self.direction, payload)
            .map_err(|_| Malformed::Payload(frame_type.label()))?;
        Ok(Step::Frame(Frame { header: Header { frame_type, seq, ack_seq, window, len }, payload }, end))
    }

    /// The frame with this header, which [`step`](Self::step) returned, is handled.
    pub const fn advance(&mut self, header: &Header) {
        self.last = Last::of(header);
    }
}

fn travels(frame_type: FrameType, direction: Direction) -> Result<(), Rejection> {
    let travels = match frame_type {
        FrameType::Data
        | FrameType::Heartbeat
        | FrameType::Ack
        | FrameType::WindowUpdate
        | FrameType::Bye => true,
        FrameType::Hello | FrameType::Subscribe | FrameType::Unsubscribe => direction == Direction::ToNode,
        FrameType::Welcome
        | FrameType::Subscribed
        | FrameType::Gap
        | FrameType::Error
        | FrameType::GoAway
        | FrameType::Reject => direction == Direction::ToClient,
    };
    if travels { Ok(()) } else { Err(Misbehaved::WrongDirection(frame_type.label()).into()) }
}

/// A decoder with a buffer of its own, for one connection of a client.
///
/// Never holds more than one frame of the longest kind beyond what was pushed last.
#[derive(Debug)]
pub struct Inbound {
    decoder: Decoder,
    buffer: Vec<u8>,
    used: usize,
}

impl Inbound {
    /// An empty buffer for frames that travel in `direction`.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        Self { decoder: Decoder::new(direction), buffer: Vec::new(), used: 0 }
    }

    /// See [`Decoder::established`].
    pub const fn established(&mut self) {
        self.decoder.established();
    }

    /// See [`Decoder::agree_compact`]. Frames that are already pushed are read so.
    pub const fn agree_compact(&mut self) {
        self.decoder.agree_compact();
    }

    /// Adds what was read. Drain with [`Self::next_frame`] before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes pushed that are part of no whole frame yet, or of frames not asked for yet.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.used
    }

    /// The next whole frame; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// See [`Decoder::step`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Rejection> {
        match self.decoder.step(&self.buffer[self.used..])? {
            Step::Partial(_) => Ok(None),
            Step::Frame(frame, bytes) => {
                self.used += bytes;
                self.decoder.advance(&frame.header);
                Ok(Some(frame))
            }
        }
    }
}
