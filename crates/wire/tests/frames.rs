//! Every frame comes back from its bytes, however the bytes are cut; no bytes panic.

use multibeam_wire::{
    CloseCode, DecodeError, Decoder, Delivery, Direction, ErrorCode, FrameType, Gap, GapReason, Generation,
    Hello, Inbound, Offset, Outcome, Payload, Position, ProducerId, Publish, Refusal, Seq, Start, Step,
    Subscribe, Subscribed, SubscriptionId, Welcome, WindowUnit,
};
use proptest::prelude::*;

/// One frame of each kind and direction, with numbers drawn by proptest.
fn samples<'a>(n: u64, text: &'a str, body: &'a [u8]) -> Vec<(Direction, Payload<'a>)> {
    use Direction::{ToClient, ToNode};
    let small = (n % 1000) as u32;
    let subscription = SubscriptionId(n as u32);
    let position = Position::new(n / 2 + 1, n / 3 + 2);
    let start = [Start::New, Start::Last, Start::After(position)][(n % 3) as usize];
    let reason = GapReason::ALL[(n % 3) as usize];
    let outcome = if n.is_multiple_of(2) { Outcome::Definite } else { Outcome::Unknown };
    let retry_of = n.is_multiple_of(2).then_some(Generation(n));
    let hello =
        Hello { flags: n, window_unit_log2: 10, producer: ProducerId(u128::from(n) << 60), agent: text };
    let welcome = Welcome {
        flags: n,
        window_unit: WindowUnit::DEFAULT,
        heartbeat_interval_ms: small,
        generation: Generation(n),
        session: n,
        requests_in_flight_max: small,
    };
    let to = Position { offset: Offset(position.offset.0 + 1), ..position };
    let refusal =
        Refusal { ref_seq: Seq(n as u32), code: ErrorCode::TopicsMax as u16, outcome, detail: text };
    vec![
        (ToNode, Payload::Publish(Publish { number: n, topic: text, retry_of, body })),
        (ToClient, Payload::Delivery(Delivery { subscription, position, prev: Offset(n / 3), body })),
        (ToNode, Payload::Heartbeat),
        (ToClient, Payload::Ack),
        (ToNode, Payload::WindowUpdate),
        (ToNode, Payload::Hello(hello)),
        (ToClient, Payload::Welcome(welcome)),
        (ToNode, Payload::Subscribe(Subscribe { subscription, topic: text, start })),
        (
            ToClient,
            Payload::Subscribed(Subscribed {
                subscription,
                from: position,
                head: to,
                gap: n.is_multiple_of(2),
            }),
        ),
        (ToNode, Payload::Unsubscribe(subscription)),
        (ToClient, Payload::Gap(Gap { subscription, from: position, to, reason })),
        (ToClient, Payload::Error(refusal)),
        (ToClient, Payload::Bye { code: CloseCode::AckTimeout as u16, detail: text }),
    ]
}

#[test]
fn the_samples_hold_every_type() {
    let samples = samples(7, "t", b"b");
    let seen: std::collections::BTreeSet<_> = samples.iter().map(|(_, p)| p.frame_type()).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), FrameType::ALL);
}

proptest! {
    #[test]
    fn frames_survive_any_chunking(
        n in 0u64..=u64::from(u32::MAX),
        text in "[a-z]{1,40}",
        body in proptest::collection::vec(any::<u8>(), 0..300),
        chunk in 1usize..40,
        seq: u32, ack: u32, window: u16,
    ) {
        for direction in [Direction::ToNode, Direction::ToClient] {
            let sent: Vec<_> = samples(n, &text, &body).into_iter().filter(|(d, _)| *d == direction).collect();
            let mut bytes = Vec::new();
            for (_, payload) in &sent {
                let len = payload.encode(Seq(seq), Seq(ack), window, &mut bytes);
                if let Payload::Delivery(delivery) = payload {
                    prop_assert_eq!(delivery.payload_bytes(), len);
                }
            }
            let mut inbound = Inbound::new(direction);
            inbound.established();
            let mut at = 0;
            for piece in bytes.chunks(chunk) {
                inbound.push(piece);
                while let Some(frame) = inbound.next_frame().unwrap() {
                    prop_assert_eq!(frame.payload, sent[at].1);
                    let header = frame.header;
                    prop_assert_eq!((header.seq.0, header.ack_seq.0, header.window), (seq, ack, window));
                    at += 1;
                }
            }
            prop_assert_eq!(at, sent.len());
        }
    }

    #[test]
    fn trailing_fields_of_a_later_version_are_ignored(n in 0u64..=u64::from(u32::MAX), extra in 1usize..20) {
        for (direction, payload) in samples(n, "topic", b"body") {
            let mut bytes = Vec::new();
            let len = payload.encode(Seq(1), Seq(0), 1, &mut bytes);
            bytes.extend(std::iter::repeat_n(0xEE, extra));
            bytes[14..16].copy_from_slice(&((len + extra) as u16).to_be_bytes());
            let mut decoder = Decoder::new(direction);
            decoder.established();
            let Ok(Step::Frame(frame, used)) = decoder.step(&bytes) else { panic!("{payload:?}") };
            prop_assert_eq!(frame.payload, payload);
            prop_assert_eq!(used, bytes.len());
        }
    }

    #[test]
    fn no_bytes_panic_and_partial_never_asks_for_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = vec![0x4D, 0x42, 1];
        framed.extend_from_slice(&bytes);
        for direction in [Direction::ToNode, Direction::ToClient] {
            for input in [&bytes, &framed] {
                match Decoder::new(direction).step(input) {
                    Ok(Step::Partial(need)) => prop_assert!(need > input.len() && need <= 16 + 65_535),
                    Ok(Step::Frame(_, used)) => prop_assert!(used <= input.len()),
                    Err(_) => {}
                }
            }
        }
    }
}

#[test]
fn bad_bytes_are_named_as_early_as_they_are_seen() {
    let decoder = Decoder::new(Direction::ToNode);
    for (bytes, error) in [
        (&b"G"[..], DecodeError::BadMagic),
        (b"MX", DecodeError::BadMagic),
        (b"MB\x02", DecodeError::BadVersion(2)),
        (b"MB\x01\x0b", DecodeError::UnknownType(11)),
        (b"MB\x01\x05\0\0\0\0\0\0\0\0\0\0\0\0", DecodeError::WrongDirection(FrameType::Welcome)),
        (b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\xff\xff", DecodeError::TooLong { len: 65_535, len_max: 512 }),
        (b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0", DecodeError::BadPayload(FrameType::Hello)),
    ] {
        assert_eq!(decoder.step(bytes), Err(error), "{bytes:?}");
    }
    for len in 0..16 {
        assert_eq!(decoder.step(&b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0"[..len]), Ok(Step::Partial(16)));
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
