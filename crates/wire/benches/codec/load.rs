//! Frames of one kind, as values to encode and as bytes to decode.

use crate::turns::Contender;
use multibeam_wire::{
    ChannelId, Delivery, Direction, Encoder, Offset, Payload, Position, Publish, Receipt, Receipts, Seq,
};

/// What the frames are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// DATA from a client, with a body of so many bytes.
    Publish(usize),
    /// DATA to a client, with a body of so many bytes.
    Delivery(usize),
    Heartbeat,
    /// ACK from a client.
    Ack,
    /// ACK to a client with four receipts.
    Receipts,
}

impl Kind {
    pub(crate) const ALL: &[Self] = &[
        Self::Publish(0),
        Self::Publish(128),
        Self::Publish(1024),
        Self::Delivery(0),
        Self::Delivery(128),
        Self::Delivery(1024),
        Self::Heartbeat,
        Self::Ack,
        Self::Receipts,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Publish(body_bytes) => format!("publish {body_bytes} B"),
            Self::Delivery(body_bytes) => format!("delivery {body_bytes} B"),
            Self::Heartbeat => "heartbeat".to_owned(),
            Self::Ack => "ack".to_owned(),
            Self::Receipts => "ack, 4 receipts".to_owned(),
        }
    }

    pub(crate) const fn body_bytes(self) -> usize {
        match self {
            Self::Publish(body_bytes) | Self::Delivery(body_bytes) => body_bytes,
            Self::Heartbeat | Self::Ack | Self::Receipts => 0,
        }
    }

    pub(crate) const fn direction(self) -> Direction {
        match self {
            Self::Publish(_) | Self::Heartbeat | Self::Ack => Direction::ToNode,
            Self::Delivery(_) | Self::Receipts => Direction::ToClient,
        }
    }
}

/// Where the bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the first-level cache.
    Hot,
    /// In more memory than the second-level cache of most machines holds.
    Stream,
}

impl Place {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Stream => "stream",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Hot => 8 << 10,
            Self::Stream => 8 << 20,
        }
    }
}

const TOPIC: &str = "alarm.fire.hall7";
const WINDOW: u16 = 64;

/// The frames, and both encodings of them.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) kind: Kind,
    /// What bodies are cut from: as much as all frames together need.
    bodies: Vec<u8>,
    receipts: Vec<Receipt>,
    fixed: Vec<u8>,
    compact: Vec<u8>,
    /// Length of each frame in fixed form.
    lens: Vec<usize>,
}

impl Load {
    pub(crate) fn new(kind: Kind, place: Place) -> Self {
        let receipt = |at: u32| Receipt {
            seq: Seq(1000 + at),
            count: 1,
            partition: 3,
            position: Position::new(1, 100_000),
            copies: 2,
        };
        let mut load = Self {
            kind,
            bodies: vec![b'x'; place.bytes() + kind.body_bytes()],
            receipts: (0..4).map(receipt).collect(),
            fixed: Vec::new(),
            compact: Vec::new(),
            lens: Vec::new(),
        };
        let (mut fixed, mut compact) = (Encoder::new(), load.encoder(Contender::EncodeCompact));
        while load.fixed.len() < place.bytes() {
            let (index, start) = (load.lens.len(), load.fixed.len());
            let (mut fixed_out, mut compact_out) =
                (std::mem::take(&mut load.fixed), std::mem::take(&mut load.compact));
            load.encode(&mut fixed, index, &mut fixed_out);
            load.encode(&mut compact, index, &mut compact_out);
            load.lens.push(fixed_out.len() - start);
            (load.fixed, load.compact) = (fixed_out, compact_out);
        }
        load
    }

    /// An encoder that has said the handshake's last word, so that a steady frame follows.
    pub(crate) fn encoder(&self, contender: Contender) -> Encoder {
        let mut encoder = Encoder::new();
        encoder.encode(&Payload::Heartbeat, Seq(0), Seq(7), WINDOW, &mut Vec::new());
        if contender == Contender::EncodeCompact {
            encoder.agree_compact();
        }
        encoder
    }

    /// The frame number `index`, from 0.
    #[inline(always)]
    pub(crate) fn encode(&self, encoder: &mut Encoder, index: usize, out: &mut Vec<u8>) {
        let number = index as u64 + 1;
        let body_at = |body_bytes: usize| {
            let start = (index * body_bytes) % (self.bodies.len() - body_bytes + 1);
            &self.bodies[start..start + body_bytes]
        };
        let (payload, seq, ack) = match self.kind {
            Kind::Publish(body_bytes) => {
                let body = body_at(body_bytes);
                let publish = Publish::new(100_000 + number, TOPIC, body);
                (Payload::Publish(publish), number as u32, 7)
            }
            Kind::Delivery(body_bytes) => {
                let offset = 100_000 + number;
                let delivery = Delivery {
                    channel: ChannelId(5),
                    position: Position::new(1, offset),
                    prev: Offset(offset - 3),
                    skipped: false,
                    topic: None,
                    body: body_at(body_bytes),
                };
                (Payload::Delivery(delivery), number as u32, 7)
            }
            Kind::Heartbeat => (Payload::Heartbeat, 0, 7),
            Kind::Ack => (Payload::ACK, 0, 7 + number as u32),
            Kind::Receipts => (Payload::Ack(Receipts::new(&self.receipts)), 0, 7 + number as u32),
        };
        encoder.encode(&payload, Seq(seq), Seq(ack), WINDOW, out);
    }

    pub(crate) fn frames(&self) -> usize {
        self.lens.len()
    }

    pub(crate) fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// What a contender reads or writes.
    pub(crate) fn encoded(&self, contender: Contender) -> &[u8] {
        match contender {
            Contender::EncodeCompact | Contender::DecodeCompact => &self.compact,
            Contender::EncodeFixed | Contender::DecodeFixed | Contender::CopyEach | Contender::CopyWhole => {
                &self.fixed
            }
        }
    }

    pub(crate) fn bytes(&self, contender: Contender) -> usize {
        self.encoded(contender).len()
    }

    /// Room for any encoding of all frames, each page touched.
    pub(crate) fn room(&self) -> Vec<u8> {
        let mut room = vec![1; self.fixed.len().max(self.compact.len()) + (64 << 10)];
        room.clear();
        room
    }
}
