//! One connection of a client: what it sends, by the rules or not.
//!
//! What it gets is checked in [`super::checks`], as long as it has kept the rules itself; one that broke
//! them is still owed valid frames.

use super::bytes::Bytes;
use super::checks::{Made, Received};
use super::plan::{KEYS, Names, TEMPLATES};
use super::truth::Truth;
use multibeam_proto::{ConnectionId, Time};
use multibeam_wire::{
    CloseCode, Cursor, Cursors, Encoder, Features, Generation, Hello, Keys, Offset, Payload, Position,
    ProducerId, Publish, Seq, Start, Subscribe, SubscriptionId, WindowUnit, flow,
};

/// Who publishes: numbers go up over all connections.
#[derive(Default)]
pub(super) struct Producer {
    number: u64,
    sent: Vec<Attempt>,
}

/// A publish that may be sent again.
#[derive(Clone)]
struct Attempt {
    number: u64,
    topic: &'static str,
    keys: Vec<&'static str>,
    ttl_ms: Option<u32>,
    sent: usize,
    body: Vec<u8>,
}

/// What a sequenced frame asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// Where it goes, and of how many messages the place is to be told.
    Publish {
        topic: &'static str,
        sent: usize,
        messages: usize,
        bytes: u64,
    },
    Subscribe {
        subscription: SubscriptionId,
        text: &'static str,
        start: Begin,
    },
    Unsubscribe(SubscriptionId),
}

/// A start whose cursors are its own.
#[derive(Clone, Debug)]
pub(super) enum Begin {
    New,
    Last,
    First,
    After(Position),
    AfterEach(Vec<Cursor>),
}

pub(super) struct Client {
    pub(super) id: ConnectionId,
    producer: usize,
    encoder: Encoder,
    /// Bytes that the shard has not taken.
    pub(super) outgoing: Vec<u8>,
    /// Bytes that the socket is owed, and when they were made.
    pub(super) tail: Vec<u8>,
    pub(super) tail_made: Made,
    /// Publishes among the bytes outgoing: where each ends there, and which it is.
    pub(super) on_their_way: Vec<(usize, usize)>,
    /// Sends no more; the shard was told.
    pub(super) ending: bool,
    pub(super) ended: bool,
    pub(super) unit: WindowUnit,
    window: u16,
    sent: Seq,
    pub(super) received: Received,
}

impl Client {
    pub(super) fn new(id: ConnectionId, bytes: &mut Bytes<'_>) -> Self {
        Self {
            id,
            producer: bytes.pick(3),
            encoder: Encoder::new(),
            outgoing: Vec::new(),
            tail: Vec::new(),
            tail_made: Made { at: Time(0), led: true },
            on_their_way: Vec::new(),
            ending: false,
            ended: false,
            unit: WindowUnit::SMALLEST,
            window: 0,
            sent: Seq(0),
            received: Received::new(),
        }
    }

    /// Whether it is in use and has kept the rules.
    pub(super) const fn sane(&self) -> bool {
        !self.received.wild && !self.ending && self.received.greeted
    }

    pub(super) fn hello(&mut self, bytes: &mut Bytes<'_>) {
        if self.received.greeted || self.ending {
            return;
        }
        let features = bytes.of(&[
            Features::COMPACT,
            Features::COMPACT.with(Features::RECEIPTS),
            Features::NONE,
            Features::RECEIPTS,
        ]);
        self.window = bytes.of(&[1000, 0, 1, 4, 20]);
        let system_after = bytes.of(&[None, None, Some(Position::new(1, 1)), Some(Position::default())]);
        self.received.greeted = true;
        self.received.offered = features;
        self.received.unit = self.unit;
        let hello = Hello {
            features,
            window_unit_log2: u64::from(self.unit.log2()),
            producer: ProducerId(self.producer as u128),
            agent: "fuzz",
            system_after,
        };
        self.say(&Payload::Hello(hello), Seq(0));
    }

    /// Sends a frame by the rules, unless `ack` breaks them.
    fn say(&mut self, payload: &Payload<'_>, ack: Seq) {
        if self.ending {
            return;
        }
        if payload.frame_type().sequenced() {
            self.sent = self.sent.next();
        }
        if self.received.compact {
            self.encoder.agree_compact();
        }
        self.received.granted(ack, self.window);
        self.encoder.encode(payload, self.sent, ack, self.window, &mut self.outgoing);
    }

    fn say_too(&mut self, payload: &Payload<'_>) {
        self.say(payload, self.received.acked);
    }

    pub(super) fn subscribe(&mut self, names: &Names, bytes: &mut Bytes<'_>, truth: &Truth) {
        if !self.sane() {
            return;
        }
        let subscription = SubscriptionId(bytes.of(&[0, 1, 2, 3, 4, u32::MAX]));
        // An answer must mean one of them.
        if self.received.abandoned(subscription) {
            return;
        }
        let filter = bytes.pick(3) == 2;
        let text = if filter { bytes.of(&names.filters) } else { bytes.of(&names.topics) };
        let somewhere = Position::new(bytes.of(&[1, 1, 1, 0, 2]), u64::from(bytes.next() % 12));
        let start = match bytes.pick(5) {
            0 => Begin::First,
            1 => Begin::New,
            2 => Begin::Last,
            3 => Begin::After(self.received.last_of(text).unwrap_or(somewhere)),
            _ => Begin::AfterEach(self.cursors(text, somewhere, bytes, truth)),
        };
        let cursors = if let Begin::AfterEach(cursors) = &start { &cursors[..] } else { &[] };
        let wire = match &start {
            Begin::New => Start::New,
            Begin::Last => Start::Last,
            Begin::First => Start::First,
            Begin::After(position) => Start::After(*position),
            Begin::AfterEach(_) => Start::AfterEach(Cursors::new(cursors)),
        };
        self.say_too(&Payload::Subscribe(Subscribe { subscription, topic: text, start: wire }));
        self.received.ask(self.sent, Asked::Subscribe { subscription, text, start });
    }

    fn cursors(&self, text: &str, somewhere: Position, bytes: &mut Bytes<'_>, truth: &Truth) -> Vec<Cursor> {
        let partitions: Vec<_> = truth.classes.partitions_of_filter(text).collect();
        let mut cursors: Vec<Cursor> = partitions
            .into_iter()
            .filter(|_| bytes.pick(4) != 3)
            .map(|partition| partition.number())
            .map(|partition| {
                let known = truth.last(partition, text).filter(|_| somewhere.generation.0 == 1);
                let back = |known: Position| {
                    let offset = known.offset.0.saturating_sub(somewhere.offset.0 % 4);
                    Position { offset: Offset(offset), ..known }
                };
                Cursor { partition, position: known.map_or(somewhere, back) }
            })
            .collect();
        cursors.sort_by_key(|cursor| cursor.partition);
        cursors
    }

    pub(super) fn unsubscribe(&mut self, bytes: &mut Bytes<'_>) {
        if self.sane() {
            let subscription = SubscriptionId(bytes.of(&[0, 1, 2, 3, 4, u32::MAX]));
            self.say_too(&Payload::Unsubscribe(subscription));
            self.received.ask(self.sent, Asked::Unsubscribe(subscription));
        }
    }

    /// Publishes as far as the window allows: something new, or one of those before.
    pub(super) fn publish(
        &mut self,
        again: bool,
        many: bool,
        names: &Names,
        bytes: &mut Bytes<'_>,
        producers: &mut [Producer],
        truth: &mut Truth,
    ) {
        if !self.sane() || !self.received.welcomed {
            return;
        }
        let producer = &mut producers[self.producer];
        let attempt = if again {
            let Some(at) = producer.sent.len().checked_sub(1 + bytes.pick(8)) else { return };
            producer.sent[at].clone()
        } else {
            let ttl_ms = bytes.of(&[None, None, None, Some(500), Some(2000)]);
            let size = bytes.of(&[8, 40, 200]);
            let topic = if many { bytes.of(&TEMPLATES) } else { bytes.of(&names.topics) };
            let count = if many { 1 + bytes.pick(KEYS.len()) } else { 0 };
            let (sent, body) = truth.publish(ttl_ms.unwrap_or(0), size);
            // From 0 on, which is as good a number as any.
            let number = producer.number;
            producer.number += count.max(1) as u64;
            Attempt { number, topic, keys: KEYS[..count].to_vec(), ttl_ms, sent, body }
        };
        let retry_of = again.then(|| Generation(bytes.of(&[1, 1, 1, 2])));
        let Attempt { number, topic, ref keys, ttl_ms, sent, ref body } = attempt;
        let publish = Publish { number, topic, keys: Keys::new(keys), retry_of, ttl_ms, body };
        let size = publish.payload_bytes() as u64;
        if !flow::fits_window(self.received.node_window, self.received.publish_bytes(), size) {
            return;
        }
        self.say_too(&Payload::Publish(publish));
        let messages = attempt.keys.len().max(1);
        self.received.ask(self.sent, Asked::Publish { topic, sent, messages, bytes: size });
        self.on_their_way.push((self.outgoing.len(), sent));
        if !again {
            producer.sent.push(attempt);
        }
    }

    /// Acknowledges a part of what came, and sets the window.
    pub(super) fn acknowledge(&mut self, bytes: &mut Bytes<'_>) {
        if self.sane() {
            self.window = bytes.of(&[1000, self.window, 0, 1, 4, 20]);
            let owed = self.received.acked.distance(self.received.last).unsigned_abs();
            let part = [owed, owed / 2, 1.min(owed), 0, owed.saturating_sub(1)];
            self.received.acked = self.received.acked.plus(bytes.of(&part));
            let payload = bytes.of(&[Payload::ACK, Payload::WindowUpdate, Payload::Heartbeat]);
            self.say_too(&payload);
        }
    }

    /// Everything is done, and there is room for all.
    pub(super) fn catch_up(&mut self) -> bool {
        let behind = self.received.acked != self.received.last || self.window != u16::MAX;
        if !self.sane() || self.ended || !behind {
            return false;
        }
        self.window = u16::MAX;
        self.received.acked = self.received.last;
        self.say_too(&Payload::ACK);
        true
    }

    /// Breaks a rule for certain.
    pub(super) fn misbehave(&mut self, bytes: &mut Bytes<'_>) {
        if !self.sane() {
            return;
        }
        self.received.doomed = true;
        let back = Seq(self.received.acked.0.wrapping_sub(1));
        match bytes.pick(4) {
            0 => self.say(&Payload::ACK, self.received.last.plus(1000)),
            1 => self.say(&Payload::ACK, back),
            2 => {
                self.sent = self.sent.next();
                self.say_too(&Payload::Heartbeat);
            }
            _ => self.say_too(&Payload::Hello(Hello {
                features: Features::NONE,
                window_unit_log2: 4,
                producer: ProducerId(0),
                agent: "",
                system_after: None,
            })),
        }
        self.received.wild = true;
    }

    /// Bytes by no rules.
    pub(super) fn rave(&mut self, bytes: &mut Bytes<'_>) {
        let count = 1 + bytes.pick(24);
        let raw = bytes.raw(count);
        if !self.ending && !raw.is_empty() {
            self.received.wild = true;
            self.outgoing.extend_from_slice(raw);
        }
    }

    pub(super) fn say_bye(&mut self) {
        if self.sane() {
            self.say_too(&Payload::bye(CloseCode::Normal));
            self.received.doomed = true;
            self.received.wild = true;
        }
    }

    /// The first `count` bytes were taken: which publishes were among them.
    pub(super) fn taken(&mut self, count: usize, truth: &mut Truth, now: Time) {
        self.outgoing.drain(..count);
        self.on_their_way.retain_mut(|(end, sent)| {
            let whole = *end <= count;
            if whole {
                truth.taken(*sent, now);
            } else {
                *end -= count;
            }
            !whole
        });
    }
}
