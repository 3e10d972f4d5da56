//! One pass of a contender over a load, and the clock.

use crate::load::Load;
use multibeam_wire::{Decoder, FrameType, Header, Payload, Seq, Step};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

/// Who takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    EncodeFixed,
    EncodeCompact,
    DecodeFixed,
    DecodeCompact,
    /// The fixed frames, one `memcpy` each: what it takes to move a frame without looking at it.
    CopyEach,
    /// The fixed frames in one `memcpy`.
    CopyWhole,
}

impl Contender {
    pub(crate) const ALL: &[Self] = &[
        Self::EncodeFixed,
        Self::EncodeCompact,
        Self::DecodeFixed,
        Self::DecodeCompact,
        Self::CopyEach,
        Self::CopyWhole,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EncodeFixed => "encode fixed",
            Self::EncodeCompact => "encode compact",
            Self::DecodeFixed => "decode fixed",
            Self::DecodeCompact => "decode compact",
            Self::CopyEach => "memcpy each",
            Self::CopyWhole => "memcpy whole",
        }
    }
}

/// Processor time of this thread.
pub(crate) fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Goes through the whole load once.
pub(crate) fn pass(contender: Contender, load: &Load, room: &mut Vec<u8>) {
    room.clear();
    match contender {
        Contender::EncodeFixed | Contender::EncodeCompact => encode(contender, load, room),
        Contender::DecodeFixed | Contender::DecodeCompact => {
            black_box(decode(contender, load));
        }
        Contender::CopyEach => copy_each(load, room),
        Contender::CopyWhole => room.extend_from_slice(black_box(load.encoded(contender))),
    }
    black_box(room.as_slice());
}

#[inline(never)]
fn encode(contender: Contender, load: &Load, room: &mut Vec<u8>) {
    let mut encoder = load.encoder(contender);
    for index in 0..load.frames() {
        load.encode(&mut encoder, index, room);
    }
    debug_assert_eq!(room.as_slice(), load.encoded(contender));
}

#[inline(never)]
fn copy_each(load: &Load, room: &mut Vec<u8>) {
    let mut rest = load.encoded(Contender::CopyEach);
    for len in load.lens() {
        let (frame, behind) = rest.split_at(*len);
        room.extend_from_slice(frame);
        rest = behind;
    }
}

/// Reads all frames and adds up what they say, so that nothing of them is left undone.
#[inline(never)]
fn decode(contender: Contender, load: &Load) -> u64 {
    let mut decoder = Decoder::new(load.kind.direction());
    decoder.established();
    let before =
        Header { frame_type: FrameType::Heartbeat, seq: Seq(0), ack_seq: Seq(7), window: 64, len: 0 };
    decoder.advance(&before);
    if contender == Contender::DecodeCompact {
        decoder.agree_compact();
    }
    let (mut rest, mut sum, mut frames) = (load.encoded(contender), 0, 0);
    while let Step::Frame(frame, used) = decoder.step(rest).unwrap() {
        decoder.advance(&frame.header);
        sum += u64::from(frame.header.seq.0) + u64::from(frame.header.window) + said(&frame.payload);
        frames += 1;
        rest = &rest[used..];
    }
    assert_eq!(frames, load.frames());
    sum
}

#[inline(always)]
fn said(payload: &Payload<'_>) -> u64 {
    match payload {
        Payload::Publish(publish) => publish.number + (publish.topic.len() + publish.body.len()) as u64,
        Payload::Delivery(delivery) => {
            delivery.position.generation.0
                + delivery.position.offset.0
                + delivery.prev.0
                + u64::from(delivery.channel.0)
                + delivery.body.len() as u64
        }
        Payload::Ack(receipts) => receipts.iter().map(|receipt| receipt.position.offset.0).sum(),
        Payload::Heartbeat
        | Payload::WindowUpdate
        | Payload::Hello(_)
        | Payload::Welcome(_)
        | Payload::Subscribe(_)
        | Payload::Subscribed(_)
        | Payload::Unsubscribe(_)
        | Payload::Gap(_)
        | Payload::Error(_)
        | Payload::GoAway(_)
        | Payload::Reject(_)
        | Payload::Bye(_) => 0,
    }
}
