//! Whatever a decoder accepts has one spelling, but for what a later version may add.

use multibeam_wire::link::{LinkDecoder, LinkFrame};
use multibeam_wire::{Decoder, Direction, Encoder, Payload, Seq, Step};

/// Reads frames until there is no more; each must be what its own encoding says.
pub(super) fn check(mut decoder: Decoder, direction: Direction, stream: &[u8]) {
    let (mut rest, mut encoder) = (stream, Encoder::new());
    encoder.agree_compact();
    while let Ok(step) = decoder.step(rest) {
        let (frame, used) = match step {
            Step::Frame(frame, used) => (frame, used),
            Step::Partial(needed) => return assert!(needed > rest.len()),
        };
        let header = frame.header;
        let (seq, ack_seq, window) = (header.seq, header.ack_seq, header.window);
        let found = Spelled::new(&rest[..used], header.len);
        let mut bytes = Vec::new();
        let len = if rest[0] == b'M' {
            frame.payload.encode(seq, ack_seq, window, &mut bytes)
        } else {
            let mut encoder = encoder;
            encoder.encode(&frame.payload, seq, ack_seq, window, &mut bytes)
        };
        found.assert_same(&Spelled::new(&bytes, len as u16), flags(&frame.payload));
        assert_comes_back(&frame.payload, direction);
        // What the frame said is what the next one is seen against, whatever it was written as.
        encoder.encode(&frame.payload, seq, ack_seq, window, &mut Vec::new());
        decoder.advance(&header);
        rest = &rest[used..];
    }
}

/// As [`check`].
pub(super) fn check_link(decoder: LinkDecoder, stream: &[u8]) {
    let mut rest = stream;
    while let Ok(step) = decoder.step(rest) {
        let (frame, used) = match step {
            Step::Frame(frame, used) => (frame, used),
            Step::Partial(needed) => return assert!(needed > rest.len()),
        };
        let LinkFrame { header, payload } = frame;
        let mut bytes = Vec::new();
        let len = payload.encode(header.seq, header.ack_seq, header.window, &mut bytes);
        Spelled::new(&rest[..used], header.len).assert_same(&Spelled::new(&bytes, len as u16), 1);
        match decoder.step(&bytes) {
            Ok(Step::Frame(again, _)) => assert_eq!(again.payload, payload),
            other => panic!("{payload:?} came back as {other:?}"),
        }
        rest = &rest[used..];
    }
}

/// How many flags fields the payload has.
fn flags(payload: &Payload<'_>) -> usize {
    match payload {
        Payload::Publish(_) | Payload::Delivery(_) | Payload::Hello(_) | Payload::Welcome(_) => 1,
        Payload::Subscribed(subscribed) => subscribed.parts.iter().count(),
        Payload::Heartbeat
        | Payload::Ack(_)
        | Payload::WindowUpdate
        | Payload::Subscribe(_)
        | Payload::Unsubscribe(_)
        | Payload::Gap(_)
        | Payload::Error(_)
        | Payload::GoAway(_)
        | Payload::Reject(_)
        | Payload::Bye(_) => 0,
    }
}

fn assert_comes_back(payload: &Payload<'_>, direction: Direction) {
    let mut bytes = Vec::new();
    payload.encode(Seq(1), Seq(2), 3, &mut bytes);
    let mut decoder = Decoder::new(direction);
    decoder.established();
    match decoder.step(&bytes) {
        Ok(Step::Frame(frame, used)) => assert_eq!((&frame.payload, used), (payload, bytes.len())),
        other => panic!("{payload:?} came back as {other:?}"),
    }
}

/// A frame's bytes, taken apart.
struct Spelled<'a> {
    /// The header without the length of the payload.
    head: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Spelled<'a> {
    fn new(bytes: &'a [u8], payload_bytes: u16) -> Self {
        let (header, payload) = bytes.split_at(bytes.len() - usize::from(payload_bytes));
        let len_bytes = match payload_bytes {
            _ if header[0] == b'M' => 2,
            0..0x80 => 1,
            0x80..0x4000 => 2,
            0x4000.. => 3,
        };
        Self { head: &header[..header.len() - len_bytes], payload }
    }

    /// What was found against what it encodes to. Unknown fields make it longer; unknown flags make each
    /// flags field of one byte differ in that byte.
    fn assert_same(&self, encoded: &Self, flags: usize) {
        assert_eq!(self.head, encoded.head);
        assert!(self.payload.len() >= encoded.payload.len());
        if self.payload.len() == encoded.payload.len() {
            let differing = self.payload.iter().zip(encoded.payload).filter(|(a, b)| a != b).count();
            assert!(differing <= flags, "{:x?} {:x?}", self.payload, encoded.payload);
        }
    }
}
