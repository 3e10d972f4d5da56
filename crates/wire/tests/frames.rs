//! Every frame between client and node comes back from its bytes: in both forms, however the bytes
//! are cut. `hostile.rs` has the bytes that nobody should send.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/drawn.rs"]
mod drawn;
#[path = "support/reference.rs"]
mod reference;
#[path = "support/stream.rs"]
mod stream;
#[path = "support/values.rs"]
mod values;

use drawn::{Drawn, frames, payload, payload_of, types};
use multibeam_wire::{
    ChannelId, CloseCode, Decoder, Delivery, Direction, Encoder, ErrorCode, FrameType, Header, Hello, Offset,
    Payload, Position, Receipts, Seq, Step, Welcome, limits::PAYLOAD_BYTES_MAX,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use stream::Stream;

const DIRECTIONS: [Direction; 2] = [Direction::ToNode, Direction::ToClient];

fn direction() -> impl Strategy<Value = Direction> {
    proptest::sample::select(&DIRECTIONS[..])
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1usize..4, 3 => 1usize..60, 1 => 1usize..70_000], 1..9)
}

#[test]
fn every_type_is_drawn_and_no_other_travels() {
    let drawn: BTreeSet<_> = DIRECTIONS.iter().flat_map(|d| types(*d)).copied().collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), FrameType::ALL);
    let mut runner = TestRunner::deterministic();
    for direction in DIRECTIONS {
        for frame_type in types(direction) {
            let drawn = payload_of(*frame_type, direction).new_tree(&mut runner).unwrap().current();
            assert_eq!(drawn.with(|payload| payload.frame_type()), *frame_type);
        }
    }
}

proptest! {
    #[test]
    fn every_type_comes_back_alone(seq: u32, ack: u32, window: u16, seed: [u8; 32]) {
        let rng = proptest::test_runner::TestRng::from_seed(Default::default(), &seed);
        let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
        for direction in DIRECTIONS {
            for frame_type in types(direction) {
                let drawn = payload_of(*frame_type, direction).new_tree(&mut runner).unwrap().current();
                drawn.with(|payload| {
                    let mut bytes = Vec::new();
                    let len = payload.encode(Seq(seq), Seq(ack), window, &mut bytes);
                    assert_eq!(bytes.len(), 16 + len);
                    if let Payload::Delivery(delivery) = &payload {
                        assert_eq!(delivery.payload_bytes(), len);
                    }
                    if let Payload::Publish(publish) = &payload {
                        assert_eq!(publish.payload_bytes(), len);
                    }
                    let mut decoder = Decoder::new(direction);
                    decoder.established();
                    let Ok(Step::Frame(frame, used)) = decoder.step(&bytes) else { panic!("{payload:?}") };
                    assert_eq!((frame.payload, used), (payload, bytes.len()));
                    let header = frame.header;
                    assert_eq!((header.seq.0, header.ack_seq.0, header.window), (seq, ack, window));
                    assert_eq!((header.frame_type, usize::from(header.len)), (*frame_type, len));
                    assert_eq!(header.to_bytes(), bytes[..16]);
                    assert_eq!(Header::parse(&bytes), Ok(Some(header)));
                });
            }
        }
    }

    /// Numbers jump, the forms alternate, compact headers are agreed on somewhere on the way.
    #[test]
    fn a_stream_of_both_forms_survives_any_cut(
        (direction, sent) in direction().prop_flat_map(|d| (Just(d), frames(d, 12))),
        agreed_at in 0usize..8,
        forms: u16,
        pieces in pieces(),
    ) {
        let stream = Stream::write(direction, &sent, agreed_at, |index| forms >> index & 1 == 1);
        stream.read_in_pieces(&sent, &pieces).unwrap();
        stream.read_with_stalls(&sent).unwrap();
    }

    /// The same frames in either form are the same frames, and the compact headers are those of
    /// the document.
    #[test]
    fn both_forms_say_the_same(
        (direction, sent) in direction().prop_flat_map(|d| (Just(d), frames(d, 12))),
    ) {
        let fixed = Stream::write(direction, &sent, 0, |_| false);
        let compact = Stream::write(direction, &sent, 0, |_| true);
        prop_assert_eq!(&fixed.headers, &compact.headers);
        prop_assert!(compact.bytes.len() <= fixed.bytes.len() + sent.len());
        fixed.read_with_stalls(&sent).unwrap();
        compact.read_with_stalls(&sent).unwrap();
        let mut last = Header { frame_type: FrameType::Bye, seq: Seq(0), ack_seq: Seq(0), window: 0, len: 0 };
        let mut at = 0;
        for header in &compact.headers {
            let expected = if header.frame_type.has_compact_form() {
                reference::compact_header(header, &last)
            } else {
                header.to_bytes().to_vec()
            };
            prop_assert_eq!(&compact.bytes[at..at + expected.len()], &expected[..], "{:?} behind {:?}", header, last);
            at += expected.len() + usize::from(header.len);
            last = *header;
        }
    }

    /// An encoder is a value: what one copy encodes, another does, and a copy of before the frame
    /// encodes what should go out in its place.
    #[test]
    fn a_copy_of_the_encoder_takes_a_frame_back(
        first in frames(Direction::ToClient, 4),
        tried in payload(Direction::ToClient),
    ) {
        let mut encoder = Encoder::new();
        encoder.agree_compact();
        let mut out = Vec::new();
        for frame in &first {
            frame.payload.with(|p| encoder.encode(&p, frame.seq, frame.ack_seq, frame.window, &mut out));
        }
        let (before, mut twice) = (encoder, Vec::new());
        tried.with(|p| encoder.encode(&p, Seq(9), Seq(8), 7, &mut twice));
        let len = twice.len();
        encoder = before;
        tried.with(|p| encoder.encode(&p, Seq(9), Seq(8), 7, &mut twice));
        prop_assert_eq!(&twice[..len], &twice[len..]);
    }

    #[test]
    fn trailing_fields_of_a_later_version_are_ignored(
        (direction, sent) in direction().prop_flat_map(|d| (Just(d), payload(d))),
        extra in 1usize..20,
    ) {
        for is_compact in [false, true] {
            let (bytes, header) = with_trailing_fields(&sent, direction, extra, is_compact);
            let mut decoder = Decoder::new(direction);
            decoder.established();
            decoder.agree_compact();
            let Ok(Step::Frame(frame, used)) = decoder.step(&bytes) else { panic!("{sent:?}") };
            stream::assert_same(&sent, &frame.payload);
            prop_assert_eq!((frame.header, used), (header, bytes.len()));
        }
    }
}

/// The frame with so many bytes more than this version knows of, or as many as fit.
fn with_trailing_fields(
    sent: &Drawn,
    direction: Direction,
    extra: usize,
    compact: bool,
) -> (Vec<u8>, Header) {
    let zeros = Header { frame_type: FrameType::Bye, seq: Seq(0), ack_seq: Seq(0), window: 0, len: 0 };
    let mut payload_bytes = Vec::new();
    let frame_type = sent.with(|payload| {
        payload.encode(Seq(1), Seq(0), 1, &mut payload_bytes);
        payload_bytes.drain(..16);
        // No receipts are no payload at all, and no cursor and no lease are no flags; if something is to
        // follow them, their number or the flags must be there.
        let without_receipts = payload == Payload::Ack(Receipts::NONE) && direction == Direction::ToClient;
        let without_flags = matches!(
            payload,
            Payload::Hello(Hello { system_after: None, .. }) | Payload::Welcome(Welcome { leads: false, .. })
        );
        if without_receipts || without_flags {
            payload_bytes.push(0);
        }
        payload.frame_type()
    });
    // The longest have no room for more.
    let extra = extra.min(PAYLOAD_BYTES_MAX - payload_bytes.len());
    payload_bytes.extend(std::iter::repeat_n(0xEE, extra));
    let len = payload_bytes.len() as u16;
    let header = Header { frame_type, seq: Seq(1), ack_seq: Seq(0), window: 1, len };
    let mut bytes = if compact && frame_type.has_compact_form() {
        reference::compact_header(&header, &zeros)
    } else {
        header.to_bytes().to_vec()
    };
    bytes.extend_from_slice(&payload_bytes);
    (bytes, header)
}

fn delivery(offset: u64, body: &[u8]) -> Payload<'_> {
    Payload::Delivery(Delivery {
        channel: ChannelId(3),
        position: Position::new(1, offset),
        prev: Offset(offset - 1),
        skipped: false,
        topic: None,
        body,
    })
}

/// The figures that a compact form is for.
#[test]
fn a_steady_stream_of_data_has_headers_of_two_or_three_bytes() {
    let mut encoder = Encoder::new();
    encoder.agree_compact();
    encoder.encode(&delivery(1, &[7; 100]), Seq(1), Seq(5), 64, &mut Vec::new());
    for (seq, body_len, header_bytes) in [(2, 100, 2), (3, 1000, 3), (4, 0, 2)] {
        let mut out = Vec::new();
        let body = vec![7; body_len];
        let len = encoder.encode(&delivery(u64::from(seq), &body), Seq(seq), Seq(5), 64, &mut out);
        assert_eq!(out.len() - len, header_bytes);
    }
}

#[test]
fn codes_are_unique_and_come_back_from_their_numbers() {
    for code in CloseCode::ALL {
        assert_eq!(CloseCode::from_number(*code as u64), Some(*code));
        assert_eq!(CloseCode::ALL[code.index()], *code);
    }
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::from_number(*code as u64), Some(*code));
    }
    for frame_type in FrameType::ALL {
        assert_eq!(FrameType::from_number(*frame_type as u8), Some(*frame_type));
    }
}
