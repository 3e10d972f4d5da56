//! Frames as they pass a point of the wire, read by code of its own: nothing here is shared with the
//! node or the client, so that a mistake of theirs is not repeated where they are judged.
//!
//! [`Splitter`] takes the bytes of one direction, cut anywhere, and says what each whole frame's header
//! says. Bytes that are no frame make it deaf for good: what they deserve is another oracle's matter.

/// Numbers of frame types.
pub mod kind {
    /// A message.
    pub const DATA: u8 = 0;
    /// A sign of life.
    pub const HEARTBEAT: u8 = 1;
    /// The first word of a client.
    pub const HELLO: u8 = 4;
    /// The first word of a node.
    pub const WELCOME: u8 = 5;
    /// Messages that will not come.
    pub const GAP: u8 = 9;
    /// A request is refused.
    pub const ERROR: u8 = 10;
    /// Look elsewhere.
    pub const GOAWAY: u8 = 11;
    /// Not now.
    pub const REJECT: u8 = 12;
    /// The last word of either.
    pub const BYE: u8 = 13;
}

const MAGIC: [u8; 2] = [0x4d, 0x42];
const FIXED_BYTES: usize = 16;

/// A frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Where it begins in the stream.
    pub start: u64,
    /// Number of its type; see [`kind`].
    pub kind: u8,
    /// The sender's newest number.
    pub seq: u32,
    /// Up to where the sender has handled the other side's.
    pub ack: u32,
    /// What it allows, in units.
    pub window: u16,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Seen {
    /// The number that stands at the beginning of the payload, and what follows.
    #[must_use]
    pub fn numbers<const N: usize>(&self) -> Option<[u64; N]> {
        let (mut numbers, mut rest) = ([0; N], self.payload.as_slice());
        for number in &mut numbers {
            let (value, bytes) = varint(rest)?;
            *number = value;
            rest = &rest[bytes..];
        }
        Some(numbers)
    }

    /// The body of a message to a client: behind channel, flags, position, distance and, with flag 2, its
    /// topic.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        let mut rest = self.payload.as_slice();
        let number = |rest: &mut &[u8]| {
            let (value, bytes) = varint(rest)?;
            *rest = &rest[bytes..];
            Some(value as usize)
        };
        let (_channel, flags) = (number(&mut rest)?, number(&mut rest)?);
        for _generation_offset_distance in 0..3 {
            number(&mut rest)?;
        }
        if flags & 2 != 0 {
            let topic_bytes = number(&mut rest)?;
            rest = rest.get(topic_bytes..)?;
        }
        number(&mut rest)?;
        Some(rest)
    }
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
    /// Where these begin in the stream.
    start: u64,
    last: Seen,
    deaf: bool,
}

impl Splitter {
    /// Whether the last byte was the last one of a frame that goes by itself: a gap goes with the message
    /// behind it.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.bytes.is_empty() && self.last.kind != kind::GAP
    }

    /// Takes bytes and hands out each frame that they complete.
    pub fn push(&mut self, bytes: &[u8], mut on: impl FnMut(&Seen)) {
        if self.deaf {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            match next(&self.bytes[used..], &self.last) {
                Some(Ok((mut frame, bytes))) => {
                    frame.start = self.start + used as u64;
                    used += bytes;
                    on(&frame);
                    self.last = Seen { payload: Vec::new(), ..frame };
                }
                Some(Err(())) => {
                    self.deaf = true;
                    self.bytes.clear();
                    return;
                }
                None => break,
            }
        }
        self.bytes.drain(..used);
        self.start += used as u64;
    }
}

/// The frame at the start of `bytes`, `None` if it is not whole yet.
fn next(bytes: &[u8], last: &Seen) -> Option<Result<(Seen, usize), ()>> {
    let (mut frame, start, len) =
        if *bytes.first()? == MAGIC[0] { fixed(bytes)? } else { compact(bytes, last)? };
    if frame.kind > kind::BYE {
        return Some(Err(()));
    }
    let end = start + usize::try_from(len).ok().filter(|len| *len <= usize::from(u16::MAX))?;
    frame.payload = bytes.get(start..end)?.to_vec();
    Some(Ok((frame, end)))
}

fn fixed(bytes: &[u8]) -> Option<(Seen, usize, u64)> {
    let head = bytes.get(..FIXED_BYTES)?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let known = head[..2] == MAGIC && head[2] == 1;
    let kind = if known { head[3] } else { u8::MAX };
    let frame = Seen { kind, seq: word(4), ack: word(8), window: half(12), ..Seen::default() };
    Some((frame, FIXED_BYTES, half(14).into()))
}

fn compact(bytes: &[u8], last: &Seen) -> Option<(Seen, usize, u64)> {
    let lead = bytes[0];
    let kind = if lead & 0x80 == 0 { lead & 0x0f } else { u8::MAX };
    let mut at = 1;
    let mut field = |present: bool| {
        if !present {
            return Some(0);
        }
        let (value, bytes) = varint(&bytes[at..])?;
        at += bytes;
        Some(value)
    };
    let implied = last.seq.wrapping_add(u32::from(matches!(kind, 0 | 6 | 8 | 9)));
    let seq = implied.wrapping_add(field(lead & 0x10 != 0)? as u32);
    let ack = last.ack.wrapping_add(field(lead & 0x20 != 0)? as u32);
    let window = field(lead & 0x40 != 0)?;
    let window = if lead & 0x40 == 0 { last.window } else { window as u16 };
    let len = field(true)?;
    Some((Seen { kind, seq, ack, window, ..Seen::default() }, at, len))
}

/// An unsigned number in groups of seven bits, lowest first, and its bytes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    fn split(bytes: &[u8], piece: usize) -> Vec<(u8, u32, u32, u16, usize)> {
        let mut splitter = Splitter::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(piece) {
            splitter.push(piece, |frame| {
                seen.push((frame.kind, frame.seq, frame.ack, frame.window, frame.payload.len()));
            });
        }
        seen
    }

    /// The compact example of the protocol's document.
    #[test]
    fn both_forms_are_read_in_any_pieces() {
        let bytes = hex(
            "4D42 01 05 00000000 00000000 0040 0008  02 0A 904E 01 4D 8002   27 01 07  01 05 00 0129 0129 \
             00 0B  05 00 012A 01 05 736D6F6B65   22 01 00   01 00   63 02 AC 02 00",
        );
        let all = [
            (kind::WELCOME, 0, 0, 64, 8),
            (7, 0, 1, 64, 7),
            (kind::DATA, 1, 1, 64, 11),
            (2, 1, 2, 64, 0),
            (1, 1, 2, 64, 0),
            (3, 1, 4, 300, 0),
        ];
        for piece in [1, 2, 7, 1000] {
            assert_eq!(split(&bytes, piece), all, "in pieces of {piece}");
        }
    }

    #[test]
    fn numbers_stand_at_the_beginning() {
        let welcome = Seen { payload: hex("02 0A 904E 01"), ..Seen::default() };
        assert_eq!(welcome.numbers::<3>(), Some([2, 10, 10_000]));
        assert_eq!(welcome.numbers::<5>(), None);
    }

    #[test]
    fn a_message_has_its_body_at_the_end() {
        let plain = Seen { payload: hex("05 00 012A 01 05 736D6F6B65"), ..Seen::default() };
        assert_eq!(plain.body(), Some(b"smoke".as_slice()));
        let filtered = Seen { payload: hex("05 02 012A 01 01 61 04 66697265"), ..Seen::default() };
        assert_eq!(filtered.body(), Some(b"fire".as_slice()));
    }

    #[test]
    fn who_speaks_nonsense_is_not_heard_again() {
        let bytes = hex("4D42 02 05 00000000 00000000 0040 0000  4D42 01 01 00000000 00000000 0040 0000");
        assert_eq!(split(&bytes, 3), []);
    }
}
