//! Decoding allocates nothing, and neither does encoding into a vector with room.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/drawn.rs"]
#[allow(dead_code, reason = "each test draws what it needs")]
mod drawn;
#[path = "support/drawn_link.rs"]
#[allow(dead_code, reason = "each test draws what it needs")]
mod drawn_link;
#[path = "support/values.rs"]
#[allow(dead_code, reason = "each test draws what it needs")]
mod values;

use drawn::{payload_of, types};
use multibeam_wire::link::{LinkDecoder, LinkDirection, LinkFrameType, LinkPayload};
use multibeam_wire::{Decoder, Direction, Encoder, Inbound, Payload, Seq, Start, Step, Subscribe};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::hint::black_box;

/// Runs `f` and says how many allocations it made.
fn allocations<R>(f: impl FnOnce() -> R) -> (u64, R) {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(f()));
    (info.count_total, result.unwrap())
}

/// Values of each type, the longest among them.
const DRAWS: usize = 200;

fn draws<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, mut each: impl FnMut(T)) {
    let mut runner = TestRunner::deterministic();
    for _ in 0..DRAWS {
        each(strategy.new_tree(&mut runner).unwrap().current());
    }
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| ()).0, 0);
    assert_eq!(allocations(|| black_box(vec![1])).0, 1);
    assert_eq!(allocations(|| black_box(vec![1]).extend(black_box([1; 100]))).0, 2);
}

/// Looks at all that was decoded, lists too.
fn touch(payload: &Payload<'_>) -> u64 {
    match payload {
        Payload::Ack(receipts) => receipts.iter().map(|receipt| u64::from(receipt.count)).sum(),
        Payload::GoAway(go_away) => go_away.addresses.iter().map(|address| address.len() as u64).sum(),
        Payload::Publish(publish) => publish.keys.iter().map(|key| key.len() as u64).sum(),
        Payload::Subscribe(Subscribe { start: Start::AfterEach(cursors), .. }) => {
            cursors.iter().map(|cursor| cursor.position.offset.0 >> 8).sum()
        }
        Payload::Subscribed(subscribed) => subscribed.parts.iter().map(|part| part.count >> 8).sum(),
        Payload::Delivery(_)
        | Payload::Heartbeat
        | Payload::WindowUpdate
        | Payload::Hello(_)
        | Payload::Welcome(_)
        | Payload::Subscribe(_)
        | Payload::Unsubscribe(_)
        | Payload::Gap(_)
        | Payload::Error(_)
        | Payload::Reject(_)
        | Payload::Bye(_) => 0,
    }
}

#[test]
fn frames_between_client_and_node() {
    let mut out = Vec::with_capacity(1 << 17);
    for direction in [Direction::ToNode, Direction::ToClient] {
        for frame_type in types(direction) {
            for is_compact in [false, true] {
                let mut encoder = Encoder::new();
                let mut decoder = Decoder::new(direction);
                decoder.established();
                if is_compact {
                    encoder.agree_compact();
                    decoder.agree_compact();
                }
                draws(&payload_of(*frame_type, direction), |drawn| {
                    drawn.with(|payload| {
                        out.clear();
                        let label = frame_type.label();
                        let (count, _) =
                            allocations(|| encoder.encode(&payload, Seq(7), Seq(1 << 20), 9, &mut out));
                        assert_eq!(count, 0, "encoding {label}");
                        let (count, same) = allocations(|| {
                            for cut in [0, 1, 2, 15, 16, out.len() - 1] {
                                black_box(decoder.step(&out[..cut.min(out.len())])).unwrap();
                            }
                            let Ok(Step::Frame(frame, _)) = decoder.step(&out) else { return false };
                            decoder.advance(&frame.header);
                            black_box(touch(&frame.payload));
                            frame.payload == payload
                        });
                        assert_eq!((count, same), (0, true), "decoding {label}");
                    });
                });
            }
        }
    }
}

#[test]
fn frames_of_a_link() {
    let mut out = Vec::with_capacity(1 << 17);
    for frame_type in LinkFrameType::ALL {
        let mut decoder = LinkDecoder::new(if *frame_type == LinkFrameType::Welcome {
            LinkDirection::ToDialler
        } else {
            LinkDirection::ToAcceptor
        });
        decoder.established();
        draws(&drawn_link::payload_of(*frame_type), |drawn| {
            drawn.with(|payload: LinkPayload<'_>| {
                out.clear();
                let (count, _) = allocations(|| payload.encode(Seq(7), Seq(8), 9, &mut out));
                assert_eq!(count, 0, "encoding {}", frame_type.label());
                let (count, same) = allocations(
                    || matches!(decoder.step(&out), Ok(Step::Frame(frame, _)) if frame.payload == payload),
                );
                assert_eq!((count, same), (0, true), "decoding {}", frame_type.label());
            });
        });
    }
}

/// Room for the frame is enough: nothing beyond it is asked for.
#[test]
fn a_vector_with_room_for_just_the_frame() {
    for direction in [Direction::ToNode, Direction::ToClient] {
        for frame_type in types(direction) {
            for is_compact in [false, true] {
                let mut encoder = Encoder::new();
                if is_compact {
                    encoder.agree_compact();
                }
                draws(&payload_of(*frame_type, direction), |drawn| {
                    drawn.with(|payload| {
                        let (mut twin, mut measure) = (encoder, Vec::new());
                        twin.encode(&payload, Seq(7), Seq(8), 9, &mut measure);
                        let mut out = Vec::with_capacity(measure.len());
                        let (count, _) =
                            allocations(|| encoder.encode(&payload, Seq(7), Seq(8), 9, &mut out));
                        assert_eq!((count, out), (0, measure), "{}", frame_type.label());
                    });
                });
            }
        }
    }
}

/// Bytes that are refused are refused for nothing.
#[test]
fn rejections() {
    for bytes in [&b"G"[..], b"MB\x02", b"MB\x01\x63", b"MB\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0", b"\x80"] {
        let mut decoder = Decoder::new(Direction::ToNode);
        decoder.agree_compact();
        let (count, result) = allocations(|| decoder.step(bytes).map_err(|rejection| rejection.close_code()));
        assert_eq!(count, 0);
        assert!(result.is_err());
    }
}

/// A buffer that has grown to what it needs does not grow again.
#[test]
fn an_inbound_buffer_grows_only_at_first() {
    let mut bytes = Vec::new();
    for _ in 0..10 {
        Payload::Heartbeat.encode(Seq(0), Seq(0), 1, &mut bytes);
    }
    let mut inbound = Inbound::new(Direction::ToNode);
    let read = |inbound: &mut Inbound| {
        for piece in bytes.chunks(37) {
            inbound.push(piece);
            while inbound.next_frame().unwrap().is_some() {}
        }
    };
    read(&mut inbound);
    assert_eq!(allocations(|| read(&mut inbound)).0, 0);
}
