//! The compact header: what differs from what the frame before implies.
//!
//! ```text
//!   bit    7    6      5     4      3 … 0
//!        ┌───┬────────┬─────┬─────┬────────┐  ┌─────┐┌─────┐┌────────┐┌─────┐
//!        │ 0 │ window │ ack │ seq │  type  │  │ seq ││ ack ││ window ││ len │ payload …
//!        └───┴────────┴─────┴─────┴────────┘  └─────┘└─────┘└────────┘└─────┘
//!                 which of these follow        varints; len always
//! ```
//!
//! Implied are the next sequence number (the same for a frame without one), and the same
//! acknowledgement and window. `seq` and `ack` are how far the header's numbers lie ahead of
//! what is implied, `window` is the field itself. A field that says what was implied is
//! malformed: equal frames are equal bytes.
//!
//! A fixed frame begins with 0x4D, which would be a BYE here, and BYE has no compact form: so
//! the two forms can follow each other in any order.

use crate::codec::{Reader, Sink, VARINT_BYTES_MAX};
use crate::header::{FrameType, Header, MAGIC};
use crate::ids::Seq;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::rejection::{Malformed, Rejection};

const TYPE: u8 = 0x0F;
const SEQ: u8 = 0x10;
const ACK: u8 = 0x20;
const WINDOW: u8 = 0x40;
const RESERVED: u8 = 0x80;

/// Longest compact header: lead, seq, ack, window, len.
pub const COMPACT_HEADER_BYTES_MAX: usize = 1 + 5 + 5 + 3 + 3;

/// Shortest compact header: lead and len.
pub(crate) const COMPACT_HEADER_BYTES_MIN: usize = 2;

/// First byte of each fixed frame.
pub(crate) const FIXED_LEAD: u8 = MAGIC.to_be_bytes()[0];

const _: () = {
    assert!(FIXED_LEAD & TYPE == FrameType::Bye as u8 && !FrameType::Bye.has_compact_form());
    let mut at = 0;
    while at < FrameType::ALL.len() {
        let frame_type = FrameType::ALL[at];
        assert!(!frame_type.has_compact_form() || frame_type as u8 <= TYPE);
        at += 1;
    }
};

/// What the last frame of a direction said, whatever its form. Zeros before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) seq: Seq,
    pub(crate) ack_seq: Seq,
    pub(crate) window: u16,
}

impl Last {
    pub(crate) const fn of(header: &Header) -> Self {
        Self { seq: header.seq, ack_seq: header.ack_seq, window: header.window }
    }

    const fn implied_seq(&self, frame_type: FrameType) -> Seq {
        if frame_type.sequenced() { self.seq.next() } else { self.seq }
    }
}

/// What a compact header says.
pub(crate) struct Compact {
    lead: u8,
    seq_ahead: u32,
    ack_ahead: u32,
    window: u16,
    len: u16,
}

impl Compact {
    /// # Panics
    /// If the type has no compact form.
    #[inline]
    pub(crate) fn new(header: &Header, last: &Last) -> Self {
        assert!(header.frame_type.has_compact_form(), "a compact {}", header.frame_type.label());
        let seq_ahead = last.implied_seq(header.frame_type).distance(header.seq).cast_unsigned();
        let ack_ahead = last.ack_seq.distance(header.ack_seq).cast_unsigned();
        let mut lead = header.frame_type as u8;
        if seq_ahead != 0 {
            lead |= SEQ;
        }
        if ack_ahead != 0 {
            lead |= ACK;
        }
        if header.window != last.window {
            lead |= WINDOW;
        }
        Self { lead, seq_ahead, ack_ahead, window: header.window, len: header.len }
    }

    #[inline]
    pub(crate) fn put<S: Sink>(&self, sink: &mut S) {
        sink.byte(self.lead);
        if self.lead & (SEQ | ACK | WINDOW) != 0 {
            self.put_fields(sink);
        }
        sink.varint(u64::from(self.len));
    }

    fn put_fields<S: Sink>(&self, sink: &mut S) {
        for (flag, value) in [(SEQ, self.seq_ahead), (ACK, self.ack_ahead), (WINDOW, u32::from(self.window))]
        {
            if self.lead & flag != 0 {
                sink.varint(u64::from(value));
            }
        }
    }
}

/// What the start of the input amounts to.
pub(crate) enum Parsed {
    /// A whole header, and its bytes.
    Header(Header, usize),
    Partial,
}

/// Reads the compact header at the start of `input`, whose type `travels` must allow.
#[inline]
pub(crate) fn parse(
    input: &[u8],
    last: &Last,
    travels: impl Fn(FrameType) -> Result<(), Rejection>,
) -> Result<Parsed, Rejection> {
    let Some((&lead, rest)) = input.split_first() else { return Ok(Parsed::Partial) };
    if lead & RESERVED != 0 {
        return Err(Malformed::CompactHeader.into());
    }
    let frame_type = FrameType::from_number(lead & TYPE).ok_or(Malformed::UnknownType(lead & TYPE))?;
    if !frame_type.has_compact_form() {
        return Err(Malformed::CompactHeader.into());
    }
    travels(frame_type)?;
    let mut reader = Reader::new(rest);
    let (mut seq, mut ack_seq, mut window) = (last.implied_seq(frame_type), last.ack_seq, last.window);
    if lead & SEQ != 0 {
        let Some(ahead) = number_other_than(0, &mut reader)? else { return Ok(Parsed::Partial) };
        seq = seq.plus(ahead);
    }
    if lead & ACK != 0 {
        let Some(ahead) = number_other_than(0, &mut reader)? else { return Ok(Parsed::Partial) };
        ack_seq = ack_seq.plus(ahead);
    }
    if lead & WINDOW != 0 {
        let Some(told) = number_other_than(window.into(), &mut reader)? else { return Ok(Parsed::Partial) };
        window = u16::try_from(told).map_err(|_| Malformed::CompactHeader)?;
    }
    let Some(len) = number(&mut reader)? else { return Ok(Parsed::Partial) };
    let len = u16::try_from(len).map_err(|_| Malformed::TooLong { len, len_max: PAYLOAD_BYTES_MAX })?;
    let bytes = input.len() - reader.rest().len();
    Ok(Parsed::Header(Header { frame_type, seq, ack_seq, window, len }, bytes))
}

/// The next varint, which says what is not implied; `None` if its end is not there yet.
#[inline]
fn number_other_than(implied: u32, reader: &mut Reader<'_>) -> Result<Option<u32>, Malformed> {
    match number(reader)?.map(u32::try_from) {
        None => Ok(None),
        Some(Ok(told)) if told != implied => Ok(Some(told)),
        Some(_) => Err(Malformed::CompactHeader),
    }
}

/// The next varint; `None` if its end is not there yet.
#[inline]
fn number(reader: &mut Reader<'_>) -> Result<Option<u64>, Malformed> {
    let before = reader.rest();
    match reader.varint() {
        Ok(value) => Ok(Some(value)),
        Err(_) => unfinished(before).map(|()| None),
    }
}

/// Whether these bytes may still become a varint.
#[cold]
fn unfinished(bytes: &[u8]) -> Result<(), Malformed> {
    let goes_on = bytes.len() < VARINT_BYTES_MAX && bytes.iter().all(|byte| byte & 0x80 != 0);
    if goes_on { Ok(()) } else { Err(Malformed::CompactHeader) }
}
