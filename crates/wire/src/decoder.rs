//! From a stream of bytes, cut anywhere, to frames.
//!
//! [`Decoder`] looks at a slice and copies nothing; who calls it keeps the bytes it did not
//! use. [`Inbound`] is that keeper for callers that own one buffer a connection.

use crate::close::CloseCode;
use crate::frame::{Direction, Frame, Payload};
use crate::header::{FrameType, HEADER_BYTES, Header};
use crate::limits::{HELLO_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// Why the bytes are no frame. Nothing behind the bad bytes can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first two bytes are not "MB".
    #[error("the frame does not begin with \"MB\"")]
    BadMagic,
    /// Another version of the protocol.
    #[error("protocol version {0} is not spoken here")]
    BadVersion(u8),
    /// No such frame type.
    #[error("frame type {0} is unknown")]
    UnknownType(u8),
    /// A type that only the other side sends.
    #[error("{} came from the wrong side", .0.label())]
    WrongDirection(FrameType),
    /// More payload than is allowed at this point.
    #[error("{len} bytes of payload where {len_max} are allowed")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// The payload does not fit its type.
    #[error("the payload of a {} is malformed", .0.label())]
    BadPayload(FrameType),
}

impl DecodeError {
    /// The code that a connection closes with for this error.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::BadMagic => CloseCode::BadMagic,
            Self::BadVersion(_) => CloseCode::BadVersion,
            Self::UnknownType(_) => CloseCode::UnknownType,
            Self::WrongDirection(_) => CloseCode::WrongDirection,
            Self::TooLong { .. } => CloseCode::FrameTooLong,
            Self::BadPayload(_) => CloseCode::BadPayload,
        }
    }
}

/// What the bytes at hand amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole frame, and the bytes it took.
    Frame(Frame<'a>, usize),
    /// The start of a frame that takes this many bytes in all, as far as is known.
    Partial(usize),
}

/// Reads frames that travel in one direction. Keeps no bytes; its only state is whether the
/// handshake is over, before which frames must be short.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    direction: Direction,
    payload_bytes_max: usize,
}

impl Decoder {
    /// A decoder of a connection that has just been opened.
    #[must_use]
    pub const fn new(direction: Direction) -> Self {
        let payload_bytes_max = match direction {
            Direction::ToNode => HELLO_BYTES_MAX,
            Direction::ToClient => PAYLOAD_BYTES_MAX,
        };
        Self { direction, payload_bytes_max }
    }

    /// Allows frames of full length: the handshake is over.
    pub const fn established(&mut self) {
        self.payload_bytes_max = PAYLOAD_BYTES_MAX;
    }

    /// Looks at the start of `input`.
    ///
    /// # Errors
    /// See [`DecodeError`]. The connection can only be closed: frame borders are lost.
    pub fn step<'a>(&self, input: &'a [u8]) -> Result<Step<'a>, DecodeError> {
        if input.is_empty() {
            return Ok(Step::Partial(HEADER_BYTES));
        }
        let Some(header) = Header::parse(input)? else { return Ok(Step::Partial(HEADER_BYTES)) };
        if !travels(header.frame_type, self.direction) {
            return Err(DecodeError::WrongDirection(header.frame_type));
        }
        let len = usize::from(header.len);
        if len > self.payload_bytes_max {
            return Err(DecodeError::TooLong { len, len_max: self.payload_bytes_max });
        }
        let end = HEADER_BYTES + len;
        let Some(payload) = input.get(HEADER_BYTES..end) else { return Ok(Step::Partial(end)) };
        let payload = Payload::decode(header.frame_type, self.direction, payload)
            .map_err(|_| DecodeError::BadPayload(header.frame_type))?;
        Ok(Step::Frame(Frame { header, payload }, end))
    }
}

const fn travels(frame_type: FrameType, direction: Direction) -> bool {
    match frame_type {
        FrameType::Data
        | FrameType::Heartbeat
        | FrameType::Ack
        | FrameType::WindowUpdate
        | FrameType::Bye => true,
        FrameType::Hello | FrameType::Subscribe | FrameType::Unsubscribe => {
            matches!(direction, Direction::ToNode)
        }
        FrameType::Welcome | FrameType::Subscribed | FrameType::Gap | FrameType::Error => {
            matches!(direction, Direction::ToClient)
        }
    }
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
    pub const fn new(direction: Direction) -> Self {
        Self { decoder: Decoder::new(direction), buffer: Vec::new(), used: 0 }
    }

    /// See [`Decoder::established`].
    pub const fn established(&mut self) {
        self.decoder.established();
    }

    /// Adds what was read. Drain with [`Self::next_frame`] before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// See [`Decoder::step`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, DecodeError> {
        match self.decoder.step(&self.buffer[self.used..])? {
            Step::Partial(_) => Ok(None),
            Step::Frame(frame, bytes) => {
                self.used += bytes;
                Ok(Some(frame))
            }
        }
    }
}
