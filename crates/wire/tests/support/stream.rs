//! Frames of one direction as one stream of bytes, in both forms mixed, and readers of it.

use crate::drawn::{Drawn, DrawnFrame};
use multibeam_wire::{Decoder, Direction, Encoder, Header, Inbound, Payload, Rejection, Step};

/// What was written, and what a reader is to find.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) direction: Direction,
    pub(crate) bytes: Vec<u8>,
    pub(crate) headers: Vec<Header>,
    /// So many frames in, compact headers are agreed on.
    pub(crate) agreed_at: usize,
}

impl Stream {
    /// Writes the frames. Behind the first `agreed_at`, those have a compact header that
    /// `is_compact` says so of, if their type has that form.
    pub(crate) fn write(
        direction: Direction,
        frames: &[DrawnFrame],
        agreed_at: usize,
        is_compact: impl Fn(usize) -> bool,
    ) -> Self {
        let mut stream = Self { direction, bytes: Vec::new(), headers: Vec::new(), agreed_at };
        let mut fixed = Encoder::new();
        for (index, frame) in frames.iter().enumerate() {
            let (seq, ack_seq, window) = (frame.seq, frame.ack_seq, frame.window);
            frame.payload.with(|payload| {
                let mut compact = fixed;
                compact.agree_compact();
                let mut twin = Vec::new();
                let len = fixed.encode(&payload, seq, ack_seq, window, &mut twin);
                let start = stream.bytes.len();
                if index >= agreed_at && is_compact(index) {
                    assert_eq!(len, compact.encode(&payload, seq, ack_seq, window, &mut stream.bytes));
                } else {
                    stream.bytes.append(&mut twin);
                }
                let is_fixed = stream.bytes[start..].starts_with(b"MB\x01");
                let has_compact = payload.frame_type().has_compact_form();
                assert_eq!(is_fixed, !(index >= agreed_at && is_compact(index) && has_compact));
                let frame_type = payload.frame_type();
                stream.headers.push(Header { frame_type, seq, ack_seq, window, len: len as u16 });
            });
        }
        stream
    }

    /// Reads the stream in pieces of these lengths, repeated, and compares each frame.
    ///
    /// # Errors
    /// What the decoder says.
    ///
    /// # Panics
    /// If a frame is not what was written, or one is missing.
    pub(crate) fn read_in_pieces(&self, sent: &[DrawnFrame], pieces: &[usize]) -> Result<(), Rejection> {
        let mut inbound = Inbound::new(self.direction);
        inbound.established();
        let (mut rest, mut found) = (self.bytes.as_slice(), 0);
        if self.agreed_at == 0 {
            inbound.agree_compact();
        }
        for piece in pieces.iter().cycle() {
            let (pushed, behind) = rest.split_at((*piece).clamp(1, rest.len().max(1)).min(rest.len()));
            inbound.push(pushed);
            rest = behind;
            while let Some(frame) = inbound.next_frame()? {
                assert_eq!(frame.header, self.headers[found]);
                assert_same(&sent[found].payload, &frame.payload);
                found += 1;
                if found == self.agreed_at {
                    inbound.agree_compact();
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(found, sent.len());
        Ok(())
    }

    /// Reads the stream with no more bytes at hand than the decoder asked for, and looks at each
    /// frame twice before it is handled.
    ///
    /// # Errors
    /// What the decoder says.
    ///
    /// # Panics
    /// If a frame is not what was written, one is missing, or the second look differs.
    pub(crate) fn read_with_stalls(&self, sent: &[DrawnFrame]) -> Result<(), Rejection> {
        let mut decoder = Decoder::new(self.direction);
        decoder.established();
        let (mut at, mut at_hand, mut found) = (0, 0, 0);
        while found < sent.len() {
            if found == self.agreed_at {
                decoder.agree_compact();
            }
            let input = &self.bytes[at..at + at_hand];
            let step = decoder.step(input)?;
            assert_eq!(decoder.step(input)?, step);
            match step {
                Step::Partial(needed) => {
                    assert!(needed > at_hand, "{needed} asked for where there are {at_hand}");
                    at_hand = needed;
                }
                Step::Frame(frame, used) => {
                    assert_eq!(used, at_hand, "more was asked for than the frame takes");
                    assert_eq!(frame.header, self.headers[found]);
                    assert_same(&sent[found].payload, &frame.payload);
                    decoder.advance(&frame.header);
                    (at, at_hand, found) = (at + used, 0, found + 1);
                }
            }
        }
        assert_eq!(at, self.bytes.len());
        Ok(())
    }
}

/// # Panics
/// If what was received is not what was sent.
pub(crate) fn assert_same(sent: &Drawn, received: &Payload<'_>) {
    sent.with(|sent| assert_eq!(&sent, received));
}
