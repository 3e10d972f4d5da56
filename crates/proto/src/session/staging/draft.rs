//! Frames that are made and not yet taken, with what each will have done.

use super::Run;
use crate::log::StoredFrame;
use multibeam_wire::{ChannelId, Encoder, FrameType, Header, Payload, Position, Seq};

/// A part of what was made and not yet taken.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    pub(super) bytes: usize,
    /// The acknowledgement that it makes known.
    pub(super) ack: Seq,
    pub(super) effect: Effect,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    /// The queued answer behind so many others, which only a leader may give, is on its way.
    Answer {
        behind: u32,
    },
    /// So many receipts are.
    Receipts(usize),
    /// Carried nothing but the header.
    Header,
    /// The word of this number, on whether to go elsewhere, is on its way.
    Away(u8),
    /// A gap up to there. `joined`: it goes with the frame behind it, wholly or not at all: on a slow line
    /// that message would be evicted before its turn, and gap would follow gap for ever.
    Gap {
        sub: u32,
        to: Position,
        joined: bool,
    },
    /// So many messages of the sub's feed, from that index on.
    Run {
        sub: u32,
        first: u64,
        count: u32,
    },
    Farewell,
}

/// Frames under way to the output, as if all were taken already.
pub(super) struct Draft<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) staged: &'a mut Vec<Staged>,
    pub(super) start: usize,
    pub(super) bytes_max: usize,
    pub(super) compact: bool,
    pub(super) seq: Seq,
    pub(super) told: Seq,
    pub(super) ack: Seq,
    pub(super) window: u16,
    pub(super) in_flight_bytes: u32,
    pub(super) in_flight_frames: usize,
    pub(super) run: Option<Run>,
}

impl Draft<'_> {
    pub(super) fn bytes(&self) -> usize {
        self.out.len() - self.start + self.run.map_or(0, |run| run.bytes)
    }

    pub(super) fn full(&self) -> bool {
        self.bytes() >= self.bytes_max
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    pub(super) fn frame(&mut self, payload: &Payload<'_>, effect: Effect) {
        let mut encoder =
            if self.compact { Encoder::resume(self.seq, self.told, self.window) } else { Encoder::new() };
        if payload.frame_type().sequenced() {
            self.seq = self.seq.next();
        }
        let before = self.out.len();
        encoder.encode(payload, self.seq, self.ack, self.window, self.out);
        self.told = self.ack;
        self.staged.push(Staged { bytes: self.out.len() - before, ack: self.ack, effect });
    }

    /// Makes the newest acknowledgement known, so that frames that repeat it can follow.
    pub(super) fn tell_ack(&mut self) {
        if self.compact && self.told != self.ack {
            self.frame(&Payload::ACK, Effect::Header);
        }
    }

    /// One message of a feed, with the session's own header and channel.
    pub(super) fn copy(&mut self, stored: &StoredFrame<'_>, channel: ChannelId, skipped: bool) {
        let len = varint_bytes(channel.0) + stored.rest.len();
        self.seq = self.seq.next();
        if self.compact {
            self.out.push(FrameType::Data as u8);
            put_varint(self.out, len as u32);
        } else {
            let header = Header {
                frame_type: FrameType::Data,
                seq: self.seq,
                ack_seq: self.ack,
                window: self.window,
                len: len as u16,
            };
            self.out.extend_from_slice(&header.to_bytes());
            self.told = self.ack;
        }
        put_varint(self.out, channel.0);
        let flags = self.out.len();
        self.out.extend_from_slice(stored.rest);
        if skipped {
            self.out[flags] |= SKIPPED;
        }
    }
}

/// The bit of a delivery's flags.
const SKIPPED: u8 = 1;

pub(super) fn varint_bytes(value: u32) -> usize {
    (31 - (value | 1).leading_zeros()) as usize / 7 + 1
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
