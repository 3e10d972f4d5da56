//! Frames that a fuzzer's bytes describe: well-formed, with any numbers, texts and bodies.

use multibeam_wire::limits::{
    ADDRESS_BYTES_MAX, AGENT_BYTES_MAX, BODY_BYTES_MAX, DETAIL_BYTES_MAX, KEY_BYTES_MAX, TOPIC_BYTES_MAX,
};
use multibeam_wire::{
    Addresses, Bye, ChannelId, Cursor, Cursors, Delivery, Direction, Features, FrameType, Gap, GapReason,
    Generation, GoAway, Header, Hello, Keys, Offset, Outcome, Part, Parts, Payload, Position, ProducerId,
    Publish, Receipt, Receipts, Refusal, Reject, Seq, Start, Subscribe, Subscribed, SubscriptionId, Welcome,
    WindowUnit,
};

/// Items of a list at most; enough for a loop.
const ITEMS_MAX: u8 = 4;

/// Hands all frames that the bytes describe to `each`, with headers whose numbers move.
pub(super) fn frames(bytes: &[u8], direction: Direction, mut each: impl FnMut(&Header, &Payload<'_>)) {
    let mut bytes = Bytes(bytes);
    let (mut seq, mut ack_seq, mut window) = (Seq(bytes.number() as u32), Seq(bytes.number() as u32), 0);
    while !bytes.0.is_empty() {
        let steps = bytes.byte();
        let mut step = |shift: u8| match steps >> shift & 3 {
            3 => bytes.number() as u32,
            small => small.into(),
        };
        (seq, ack_seq) = (seq.plus(step(0)), ack_seq.plus(step(2)));
        if steps & 0x40 != 0 {
            window = bytes.number() as u16;
        }
        let types = FrameType::ALL;
        let frame_type = types[usize::from(bytes.byte()) % types.len()];
        let header = Header { frame_type, seq, ack_seq, window, len: 0 };
        bytes.payload(frame_type, direction, |payload| each(&header, payload));
    }
}

/// What is left to draw from. Numbers are 0 and texts empty behind its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A small number by itself, or one of as many bytes as the first says.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xF8 => small.into(),
            long => {
                self.take(usize::from(long - 0xF8) + 1).iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
            }
        }
    }

    fn number_u32(&mut self) -> u32 {
        self.number() as u32
    }

    fn body(&mut self) -> &'a [u8] {
        let len = (self.number() as usize).min(BODY_BYTES_MAX);
        self.take(len)
    }

    /// As much of the next bytes as is UTF-8.
    fn text(&mut self, bytes_max: usize) -> &'a str {
        let len = usize::from(self.byte()).min(bytes_max);
        let taken = self.take(len);
        match std::str::from_utf8(taken) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&taken[..error.valid_up_to()]).unwrap_or_default(),
        }
    }

    fn position(&mut self) -> Position {
        Position::new(self.number(), self.number())
    }

    /// A few items.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % (ITEMS_MAX + 1)).map(|_| item(self)).collect()
    }

    /// A partition behind the last one; none behind the largest number.
    fn partition_behind(&mut self, last: Option<u32>) -> Option<u32> {
        let step = self.number_u32();
        last.map_or(Some(step), |last| last.checked_add(step.max(1)))
    }

    fn payload(&mut self, frame_type: FrameType, direction: Direction, each: impl FnOnce(&Payload<'_>)) {
        let to_node = direction == Direction::ToNode;
        let payload = match frame_type {
            FrameType::Data if to_node => return self.publish(each),
            FrameType::Data => Payload::Delivery(self.delivery()),
            FrameType::Heartbeat => Payload::Heartbeat,
            FrameType::Ack if to_node => Payload::ACK,
            FrameType::Ack => {
                let receipts = self.list(Self::receipt);
                return each(&Payload::Ack(Receipts::new(&receipts)));
            }
            FrameType::WindowUpdate => Payload::WindowUpdate,
            FrameType::Hello if to_node => Payload::Hello(self.hello()),
            FrameType::Subscribe if to_node => return self.subscribe(each),
            FrameType::Unsubscribe if to_node => Payload::Unsubscribe(SubscriptionId(self.number_u32())),
            FrameType::Welcome if !to_node => Payload::Welcome(self.welcome()),
            FrameType::Subscribed if !to_node => return self.subscribed(each),
            FrameType::Gap if !to_node => Payload::Gap(self.gap()),
            FrameType::Error if !to_node => Payload::Error(self.refusal()),
            FrameType::GoAway if !to_node => {
                let (reason, deadline_ms, retry_after_ms) =
                    (self.number() as u16, self.number_u32(), self.number_u32());
                let addresses = self.list(|bytes| bytes.text(ADDRESS_BYTES_MAX));
                let addresses = Addresses::new(&addresses);
                return each(&Payload::GoAway(GoAway { reason, deadline_ms, retry_after_ms, addresses }));
            }
            FrameType::Reject if !to_node => Payload::Reject(Reject {
                code: self.number() as u16,
                retry_after_ms: self.number_u32(),
                detail: self.text(DETAIL_BYTES_MAX),
            }),
            FrameType::Bye => {
                Payload::Bye(Bye { code: self.number() as u16, detail: self.text(DETAIL_BYTES_MAX) })
            }
            FrameType::Hello
            | FrameType::Subscribe
            | FrameType::Unsubscribe
            | FrameType::Welcome
            | FrameType::Subscribed
            | FrameType::Gap
            | FrameType::Error
            | FrameType::GoAway
            | FrameType::Reject => return,
        };
        each(&payload);
    }

    fn publish(&mut self, each: impl FnOnce(&Payload<'_>)) {
        let flags = self.byte();
        let (number, topic) = (self.number(), self.text(TOPIC_BYTES_MAX));
        let retry_of = (flags & 1 != 0).then(|| Generation(self.number()));
        let ttl_ms = (flags & 2 != 0).then(|| self.number_u32());
        let keys = if flags & 4 != 0 { self.list(|bytes| bytes.text(KEY_BYTES_MAX)) } else { Vec::new() };
        // The last of its numbers is one, too.
        let number = number.min(u64::MAX - (keys.len() as u64).saturating_sub(1));
        let body = self.body();
        each(&Payload::Publish(Publish { number, topic, keys: Keys::new(&keys), retry_of, ttl_ms, body }));
    }

    fn delivery(&mut self) -> Delivery<'a> {
        let flags = self.byte();
        let (channel, mut position, back) = (ChannelId(self.number_u32()), self.position(), self.number());
        position.offset.0 = position.offset.0.max(1);
        let prev = Offset(position.offset.0 - back.clamp(1, position.offset.0));
        let topic = (flags & 2 != 0).then(|| self.text(TOPIC_BYTES_MAX));
        Delivery { channel, position, prev, skipped: flags & 1 != 0, topic, body: self.body() }
    }

    fn receipt(&mut self) -> Receipt {
        Receipt {
            seq: Seq(self.number_u32()),
            count: self.number_u32().max(1),
            partition: self.number_u32(),
            position: self.position(),
            copies: self.number_u32(),
        }
    }

    fn hello(&mut self) -> Hello<'a> {
        Hello {
            features: Features(self.number()),
            window_unit_log2: self.number(),
            producer: ProducerId(u128::from(self.number()) << 64 | u128::from(self.number())),
            agent: self.text(AGENT_BYTES_MAX),
            system_after: (self.byte() & 1 != 0).then(|| self.position()),
        }
    }

    fn welcome(&mut self) -> Welcome {
        Welcome {
            features: Features(self.number()),
            window_unit: WindowUnit::from_log2(4 + self.byte() % 12).unwrap_or(WindowUnit::DEFAULT),
            heartbeat_interval_ms: self.number_u32(),
            generation: Generation(self.number()),
            session: self.number(),
            requests_in_flight_max: self.number_u32(),
            leads: self.byte() & 1 != 0,
        }
    }

    fn subscribe(&mut self, each: impl FnOnce(&Payload<'_>)) {
        let (subscription, topic) = (SubscriptionId(self.number_u32()), self.text(TOPIC_BYTES_MAX));
        let cursors;
        let start = match self.byte() % 5 {
            0 => Start::New,
            1 => Start::Last,
            2 => Start::After(self.position()),
            3 => Start::First,
            _ => {
                cursors = self.cursors();
                Start::AfterEach(Cursors::new(&cursors))
            }
        };
        each(&Payload::Subscribe(Subscribe { subscription, topic, start }));
    }

    fn cursors(&mut self) -> Vec<Cursor> {
        let mut last = None;
        let cursors = self.list(|bytes| {
            let partition = bytes.partition_behind(last)?;
            last = Some(partition);
            Some(Cursor { partition, position: bytes.position() })
        });
        cursors.into_iter().flatten().collect()
    }

    /// One part at least.
    fn subscribed(&mut self, each: impl FnOnce(&Payload<'_>)) {
        let subscription = SubscriptionId(self.number_u32());
        let first = self.number_u32();
        let mut parts = vec![self.part(first)];
        let mut last = Some(first);
        let others = self.list(|bytes| {
            let partition = bytes.partition_behind(last)?;
            last = Some(partition);
            Some(bytes.part(partition))
        });
        parts.extend(others.into_iter().flatten());
        each(&Payload::Subscribed(Subscribed { subscription, parts: Parts::new(&parts) }));
    }

    fn part(&mut self, partition: u32) -> Part {
        Part {
            channel: ChannelId(self.number_u32()),
            partition,
            from: self.position(),
            head: self.position(),
            count: self.number(),
            gap: self.byte() & 1 != 0,
        }
    }

    fn gap(&mut self) -> Gap {
        let channel = ChannelId(self.number_u32());
        let reason = GapReason::ALL[usize::from(self.byte()) % GapReason::ALL.len()];
        let (a, b) = (self.position(), self.position());
        let (from, to) =
            if a == b { (Position::default(), Position::new(1, b.offset.0)) } else { (a.min(b), a.max(b)) };
        Gap { channel, from, to, reason }
    }

    fn refusal(&mut self) -> Refusal<'a> {
        Refusal {
            ref_seq: Seq(self.number_u32()),
            code: self.number() as u16,
            outcome: if self.byte() & 1 == 0 { Outcome::Definite } else { Outcome::Unknown },
            detail: self.text(DETAIL_BYTES_MAX),
        }
    }
}
