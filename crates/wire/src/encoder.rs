//! From frames to bytes, for one direction of one connection.

use crate::codec::{Count, Writer};
use crate::compact::{Compact, Last};
use crate::frame::Payload;
use crate::header::{FrameType, HEADER_BYTES, Header};
use crate::ids::Seq;
use crate::limits::PAYLOAD_BYTES_MAX;

/// So many zeros are a few stores, where a number that is not known beforehand is a call. Most heads
/// are shorter.
const SHORT_BYTES: usize = 64;

/// Writes the frames of one direction, in fixed or compact form.
///
/// Its state is what the last frame said: a compact header leaves out what follows from it.
/// It is `Copy`, so that a caller can try what frames would become, and keep the encoder of the
/// last one that was really sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoder {
    last: Last,
    compact: bool,
}

impl Encoder {
    /// An encoder of a connection that has just been opened: fixed headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder with compact headers, behind a frame that said these.
    #[must_use]
    pub const fn resume(seq: Seq, ack_seq: Seq, window: u16) -> Self {
        Self { last: Last { seq, ack_seq, window }, compact: true }
    }

    /// Compact headers from here on, where a type has that form.
    pub const fn agree_compact(&mut self) {
        self.compact = true;
    }

    /// Appends a whole frame to `out` and returns the bytes of its payload.
    ///
    /// # Panics
    /// When a string, a list or a delivery's body is longer than its limit in [`crate::limits`], a
    /// payload than a frame can hold, or a field against the rule that its documentation says: whoever
    /// builds a frame has checked what it was given.
    pub fn encode(
        &mut self,
        payload: &Payload<'_>,
        seq: Seq,
        ack_seq: Seq,
        window: u16,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut head = Count::default();
        payload.put_head(&mut head);
        let tail = payload.tail();
        let len = head.0 + tail.len();
        let frame_type = payload.frame_type();
        let header = header(frame_type, seq, ack_seq, window, len);
        if self.compact && frame_type.has_compact_form() {
            let compact = Compact::new(&header, &self.last);
            compact.put(&mut head);
            append(out, head.0, tail, |writer| {
                compact.put(writer);
                payload.put_head(writer);
            });
        } else {
            out.reserve(HEADER_BYTES + len);
            out.extend_from_slice(&header.to_bytes());
            if len > 0 {
                append(out, head.0, tail, |writer| payload.put_head(writer));
            }
        }
        self.last = Last::of(&header);
        len
    }
}

/// Appends `head_bytes` that `put` writes, and the tail.
#[inline]
fn append(out: &mut Vec<u8>, head_bytes: usize, tail: &[u8], put: impl FnOnce(&mut Writer<'_>)) {
    out.reserve(head_bytes + tail.len());
    let start = out.len();
    if head_bytes <= SHORT_BYTES && out.capacity() - start >= SHORT_BYTES {
        out.extend_from_slice(&[0; SHORT_BYTES]);
        out.truncate(start + head_bytes);
    } else {
        out.resize(start + head_bytes, 0);
    }
    let mut writer = Writer::new(&mut out[start..]);
    put(&mut writer);
    writer.finish();
    out.extend_from_slice(tail);
}

fn header(frame_type: FrameType, seq: Seq, ack_seq: Seq, window: u16, len: usize) -> Header {
    assert!(len <= PAYLOAD_BYTES_MAX, "{len} bytes of payload in a {}", frame_type.label());
    Header { frame_type, seq, ack_seq, window, len: len as u16 }
}

impl Payload<'_> {
    /// Appends this as a frame in fixed form; see [`Encoder::encode`].
    ///
    /// # Panics
    /// As [`Encoder::encode`].
    pub fn encode(&self, seq: Seq, ack_seq: Seq, window: u16, out: &mut Vec<u8>) -> usize {
        Encoder::new().encode(self, seq, ack_seq, window, out)
    }
}
