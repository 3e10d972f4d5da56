//! Every frame of a link comes back from its bytes, and no bytes panic.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/drawn_link.rs"]
mod drawn_link;
#[path = "support/values.rs"]
#[allow(dead_code, reason = "each test draws what it needs")]
mod values;

use drawn_link::{payload, payload_of, types};
use multibeam_wire::link::{LinkDecoder, LinkDirection, LinkFrame, LinkFrameType};
use multibeam_wire::{Incompatible, Malformed, Misbehaved, Rejection, Seq, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;

const DIRECTIONS: [LinkDirection; 2] = [LinkDirection::ToAcceptor, LinkDirection::ToDialler];

fn decoder(direction: LinkDirection) -> LinkDecoder {
    let mut decoder = LinkDecoder::new(direction);
    decoder.established();
    decoder
}

fn direction() -> impl Strategy<Value = LinkDirection> {
    proptest::sample::select(&DIRECTIONS[..])
}

#[test]
fn every_type_is_drawn_and_no_other_travels() {
    let drawn: BTreeSet<_> = DIRECTIONS.iter().flat_map(|direction| types(*direction)).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), LinkFrameType::ALL);
    let mut runner = TestRunner::deterministic();
    for direction in DIRECTIONS {
        for frame_type in LinkFrameType::ALL {
            let drawn = payload_of(*frame_type).new_tree(&mut runner).unwrap().current();
            let mut bytes = Vec::new();
            drawn.with(|payload| payload.encode(Seq(1), Seq(2), 3, &mut bytes));
            assert_eq!(bytes[3], *frame_type as u8);
            let travels = types(direction).contains(frame_type);
            let wrong = Misbehaved::WrongDirection(frame_type.label());
            match decoder(direction).step(&bytes) {
                Ok(Step::Frame(frame, _)) if travels => assert_eq!(frame.payload.frame_type(), *frame_type),
                other => assert_eq!(other, Err(wrong.into())),
            }
        }
    }
}

proptest! {
    /// With no more bytes at hand than the decoder asked for, each looked at twice.
    #[test]
    fn a_stream_comes_back(
        (direction, sent) in direction().prop_flat_map(|d| (Just(d), vec((payload(d), any::<(u32, u32, u16)>()), 0..8))),
    ) {
        let (mut bytes, mut lens) = (Vec::new(), Vec::new());
        for (payload, (seq, ack, window)) in &sent {
            lens.push(payload.with(|payload| payload.encode(Seq(*seq), Seq(*ack), *window, &mut bytes)));
        }
        let decoder = decoder(direction);
        let (mut at, mut at_hand, mut found) = (0, 0, 0);
        while found < sent.len() {
            let input = &bytes[at..at + at_hand];
            let step = decoder.step(input).unwrap();
            prop_assert_eq!(decoder.step(input), Ok(step));
            match step {
                Step::Partial(needed) => {
                    prop_assert!(needed > at_hand);
                    at_hand = needed;
                }
                Step::Frame(frame, used) => {
                    prop_assert_eq!(used, at_hand);
                    let (payload, (seq, ack, window)) = &sent[found];
                    payload.with(|payload| assert_eq!(payload, frame.payload));
                    let header = frame.header;
                    prop_assert_eq!((header.seq.0, header.ack_seq.0, header.window), (*seq, *ack, *window));
                    prop_assert_eq!(usize::from(header.len), lens[found]);
                    (at, at_hand, found) = (at + used, 0, found + 1);
                }
            }
        }
        prop_assert_eq!(at, bytes.len());
    }

    #[test]
    fn trailing_fields_of_a_later_version_are_ignored(
        (direction, sent) in direction().prop_flat_map(|d| (Just(d), payload(d))),
        extra in 1usize..20,
    ) {
        let mut bytes = Vec::new();
        let len = sent.with(|payload| payload.encode(Seq(1), Seq(0), 1, &mut bytes)) + extra;
        bytes.extend(std::iter::repeat_n(0xEE, extra));
        bytes[14..16].copy_from_slice(&(len as u16).to_be_bytes());
        let Ok(Step::Frame(frame, used)) = decoder(direction).step(&bytes) else { panic!("{sent:?}") };
        sent.with(|payload| assert_eq!(payload, frame.payload));
        prop_assert_eq!(used, bytes.len());
    }

    /// What is accepted encodes to something no longer that says the same.
    #[test]
    fn damaged_frames_are_judged_without_a_panic(
        (direction, sent) in direction().prop_flat_map(|d| (Just(d), payload(d))),
        damages in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
        is_established: bool,
    ) {
        let mut bytes = Vec::new();
        sent.with(|payload| payload.encode(Seq(1), Seq(0), 1, &mut bytes));
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let reader = if is_established { decoder(direction) } else { LinkDecoder::new(direction) };
        match reader.step(&bytes) {
            Ok(Step::Partial(needed)) => prop_assert!(needed > bytes.len() && needed <= 16 + 65_535),
            Ok(Step::Frame(frame, used)) => {
                let header = frame.header;
                prop_assert!(used <= bytes.len());
                let mut again = Vec::new();
                let len = frame.payload.encode(header.seq, header.ack_seq, header.window, &mut again);
                prop_assert!(len <= usize::from(header.len));
                prop_assert_eq!(&again[..14], &bytes[..14]);
                let Ok(Step::Frame(twin, _)) = decoder(direction).step(&again) else { panic!("{frame:?}") };
                prop_assert_eq!(twin.payload, frame.payload);
            }
            Err(_) => {}
        }
    }
}

#[test]
fn bad_bytes_are_named_as_early_as_they_are_seen() {
    let step = |bytes| -> Result<Step<LinkFrame<'_>>, Rejection> {
        LinkDecoder::new(LinkDirection::ToAcceptor).step(bytes)
    };
    for (bytes, rejection) in [
        (&b"\x00"[..], Malformed::Magic.into()),
        (b"MB\x00", Incompatible::Version(0).into()),
        (b"MB\x01\x00", Malformed::UnknownType(0).into()),
        (b"MB\x01\x47", Malformed::UnknownType(71).into()),
        (b"MB\x01\x41\0\0\0\0\0\0\0\0\0\0\0\0", Misbehaved::WrongDirection("LINK_WELCOME").into()),
        (b"MB\x01\x40\0\0\0\0\0\0\0\0\0\0\x02\x01", Malformed::TooLong { len: 513, len_max: 512 }.into()),
    ] {
        assert_eq!(step(bytes), Err(rejection), "{bytes:?}");
        assert_eq!(step(&bytes[..bytes.len() - 1]), Ok(Step::Partial(16)), "{bytes:?}");
    }
}

#[test]
fn each_type_refuses_payloads_that_break_its_rules() {
    let identity = [&[1; 17][..], &[1; 9], &[1; 2]].concat();
    for (what, frame_type, payload) in [
        ("a detail cut short", LinkFrameType::Bye, &b"\x00\x05abcd"[..]),
        ("a store cut short", LinkFrameType::Hello, &identity[..22]),
        ("a purpose of no kind", LinkFrameType::Hello, &[&identity[..], &[2, 0]].concat()),
        (
            "an address of 129 bytes",
            LinkFrameType::Hello,
            &[&identity[..], &[0, 0x81, 1], &[b'a'; 129], &[0, 1]].concat(),
        ),
        ("no epoch", LinkFrameType::Heartbeat, b"\x01"),
        ("a lease cut short", LinkFrameType::Lease, b"\x01\x01\x01\x01"),
        (
            "eight voters",
            LinkFrameType::Lease,
            &[&b"\x01\x01\x01\x01\x01\x09\x08"[..], &[0; 64], b"\x00"].concat(),
        ),
        (
            "a voter twice",
            LinkFrameType::Lease,
            &[&b"\x01\x01\x01\x01\x01\x09\x02"[..], &[1; 16], b"\x00"].concat(),
        ),
        ("a kind of 17 bits", LinkFrameType::Request, b"\x01\x80\x80\x04\x00\x00"),
        ("a part cut short", LinkFrameType::Response, b"\x01\x00\x02a"),
        (
            "a part of 65025 bytes",
            LinkFrameType::Response,
            &[&b"\x01\x00\x81\xfc\x03"[..], &[0; 65_025]].concat(),
        ),
        ("a state of no view", LinkFrameType::State, b"\x05\x05\x00\x00"),
        ("a state backwards", LinkFrameType::State, b"\x05\x04\x02\x00"),
    ] {
        let mut bytes = b"MB\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        bytes[3] = frame_type as u8;
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(payload);
        let expected = Err(Malformed::Payload(frame_type.label()).into());
        assert_eq!(decoder(LinkDirection::ToAcceptor).step(&bytes), expected, "{what}");
    }
}

/// Bits that this version does not name are those of a later one.
#[test]
fn unknown_flags_are_ignored() {
    for (frame_type, known, unknown) in [
        (
            LinkFrameType::Lease,
            &b"\x01\x00\x01\x01\x01\x09\x00\x00"[..],
            &b"\x01\xfe\x01\x01\x01\x01\x09\x00\x00"[..],
        ),
        (LinkFrameType::Lease, b"\x01\x01\x01\x01\x01\x09\x00\x00", b"\x01\xff\x01\x01\x01\x01\x09\x00\x00"),
        (LinkFrameType::Request, b"\x01\x02\x01\x00", b"\x01\x02\xff\x01\x00"),
        (LinkFrameType::Response, b"\x01\x00\x00", b"\x01\xfe\x01\x00"),
        (LinkFrameType::State, b"\x01\x02\x03\x00", b"\x01\x02\xff\x01\x00"),
        (LinkFrameType::State, b"\x01\x02\x02\x00", b"\x01\x02\xfe\x01\x00"),
    ] {
        let [known, unknown] = [known, unknown].map(|payload| {
            let mut bytes = b"MB\x01\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
            bytes[3] = frame_type as u8;
            bytes.push(payload.len() as u8);
            [&bytes, payload].concat()
        });
        let payload_of = |bytes| match decoder(LinkDirection::ToDialler).step(bytes) {
            Ok(Step::Frame(frame, _)) => frame.payload,
            other => panic!("{other:?}"),
        };
        assert_eq!(payload_of(&known), payload_of(&unknown));
    }
}

#[test]
fn payloads_are_short_until_the_handshake_is_over() {
    for (direction, frame_type) in [
        (LinkDirection::ToAcceptor, LinkFrameType::Hello),
        (LinkDirection::ToDialler, LinkFrameType::Welcome),
    ] {
        let mut bytes = b"MB\x01\0\0\0\0\0\0\0\0\0\0\0\x02\x00".to_vec();
        bytes[3] = frame_type as u8;
        bytes.resize(16 + 512, 0);
        assert!(matches!(LinkDecoder::new(direction).step(&bytes), Ok(Step::Frame(_, 528))));
        bytes[15] = 1;
        let too_long = Malformed::TooLong { len: 513, len_max: 512 };
        assert_eq!(LinkDecoder::new(direction).step(&bytes), Err(too_long.into()));
        assert_eq!(decoder(direction).step(&bytes), Ok(Step::Partial(529)));
    }
}
