//! A node of one connection, which does what a test says and checks the client's headers.

use multibeam_client::{Cursor, PartitionId, Start};
use multibeam_wire::{
    self as wire, ChannelId, Delivery, Direction, Encoder, Features, Gap, GapReason, Generation, Header,
    Inbound, Offset, Part, Parts, Payload, Position, Receipt, Receipts, Seq, Subscribed, SubscriptionId,
    Welcome, WindowUnit,
};

/// A frame of the client, with strings and bodies of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Hello {
        agent: String,
        features: Features,
        system_after: Option<Position>,
    },
    Publish {
        number: u64,
        topic: String,
        keys: Vec<String>,
        ttl_ms: Option<u32>,
        retry_of: Option<u64>,
        body: Vec<u8>,
    },
    Subscribe {
        id: SubscriptionId,
        topic: String,
        start: Start,
    },
    Unsubscribe(SubscriptionId),
    Heartbeat,
    Ack,
    WindowUpdate,
    Bye(u16),
}

/// One side of a connection, as a node; checks the client's headers.
pub struct Node {
    inbound: Inbound,
    encoder: Encoder,
    offered: Features,
    /// What it agrees to.
    pub features: Features,
    pub last_sent: Seq,
    pub last_got: Seq,
    pub acked_by_client: Seq,
    pub client_window: u16,
    /// What the next frames say.
    pub ack: Seq,
    pub window: u16,
    pub generation: u64,
    pub interval_ms: u32,
    pub requests_max: u32,
    /// Whether it holds a lease.
    pub leads: bool,
}

impl Node {
    pub fn new() -> Self {
        Self {
            inbound: Inbound::new(Direction::ToNode),
            encoder: Encoder::new(),
            offered: Features::NONE,
            features: Features::COMPACT.with(Features::RECEIPTS),
            last_sent: Seq(0),
            last_got: Seq(0),
            acked_by_client: Seq(0),
            client_window: 0,
            ack: Seq(0),
            window: 1000,
            generation: 1,
            interval_ms: 10_000,
            requests_max: 256,
            leads: true,
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) -> Vec<(Header, Got)> {
        let mut got = Vec::new();
        self.inbound.push(bytes);
        while let Some(frame) = self.inbound.next_frame().expect("well-formed frames") {
            let header = frame.header;
            if header.frame_type.sequenced() {
                self.last_got = self.last_got.next();
            }
            assert_eq!(header.seq, self.last_got, "numbers without holes: {header:?}");
            assert!(self.acked_by_client.distance(header.ack_seq) >= 0, "acknowledgements never go back");
            assert!(header.ack_seq.distance(self.last_sent) >= 0, "nothing unsent is acknowledged");
            if let Payload::Hello(hello) = &frame.payload {
                self.offered = hello.features;
            }
            self.acked_by_client = header.ack_seq;
            self.client_window = header.window;
            got.push((header, owned(&frame.payload)));
        }
        got
    }

    pub fn frame(&mut self, payload: &Payload<'_>) -> Vec<u8> {
        if payload.frame_type().sequenced() {
            self.last_sent = self.last_sent.next();
        }
        let mut out = Vec::new();
        self.encoder.encode(payload, self.last_sent, self.ack, self.window, &mut out);
        out
    }

    pub fn welcome(&mut self) -> Vec<u8> {
        self.inbound.established();
        let features = self.offered.both(self.features);
        let welcome = self.frame(&Payload::Welcome(Welcome {
            features,
            window_unit: WindowUnit::DEFAULT,
            heartbeat_interval_ms: self.interval_ms,
            generation: Generation(self.generation),
            session: 7,
            requests_in_flight_max: self.requests_max,
            leads: self.leads,
        }));
        if features.has(Features::COMPACT) {
            self.inbound.agree_compact();
            self.encoder.agree_compact();
        }
        welcome
    }

    /// Acknowledges everything up to `seq` with a frame of its own.
    pub fn acks(&mut self, seq: u32) -> Vec<u8> {
        self.ack = Seq(seq);
        self.frame(&Payload::ACK)
    }

    pub fn subscribed(&mut self, id: SubscriptionId, from: u64, head: u64) -> Vec<u8> {
        let part = Part { channel: channel(id), partition: TOPIC_PARTITION, ..self.part(0, from, head) };
        self.subscribed_to(id, &[part])
    }

    pub fn subscribed_to(&mut self, id: SubscriptionId, parts: &[Part]) -> Vec<u8> {
        self.frame(&Payload::Subscribed(Subscribed { subscription: id, parts: Parts::new(parts) }))
    }

    /// The part of a filter in the partition `partition`, whose channel is [`filter_channel`].
    pub fn part(&self, partition: u32, from: u64, head: u64) -> Part {
        Part {
            channel: filter_channel(partition),
            partition,
            from: Position::new(self.generation, from),
            head: Position::new(self.generation, head),
            count: head - from,
            gap: false,
        }
    }

    /// A delivery of a filter, or of the system.
    pub fn delivery_of(&mut self, channel: ChannelId, topic: &str, offset: u64, prev: u64) -> Vec<u8> {
        let (position, prev) = (Position::new(self.generation, offset), Offset(prev));
        let body = topic.as_bytes();
        self.frame(&Payload::Delivery(Delivery {
            channel,
            position,
            prev,
            skipped: false,
            topic: Some(topic),
            body,
        }))
    }

    /// Acknowledges everything up to `seq`, with receipts.
    pub fn acks_with(&mut self, seq: u32, receipts: &[Receipt]) -> Vec<u8> {
        self.ack = Seq(seq);
        self.frame(&Payload::Ack(Receipts::new(receipts)))
    }

    pub fn delivery(&mut self, id: SubscriptionId, offset: u64, prev: u64, body: &[u8]) -> Vec<u8> {
        let position = Position::new(self.generation, offset);
        let (channel, prev) = (channel(id), Offset(prev));
        self.frame(&Payload::Delivery(Delivery {
            channel,
            position,
            prev,
            skipped: false,
            topic: None,
            body,
        }))
    }

    /// A delivery that takes the place of those since `from`, the last one told.
    pub fn conflated(&mut self, id: SubscriptionId, offset: u64, prev: u64) -> Vec<u8> {
        let (position, prev) = (Position::new(self.generation, offset), Offset(prev));
        self.frame(&Payload::Delivery(Delivery {
            channel: channel(id),
            position,
            prev,
            skipped: true,
            topic: None,
            body: b"",
        }))
    }

    pub fn gap(&mut self, id: SubscriptionId, from: u64, to: u64) -> Vec<u8> {
        let (from, to) = (Position::new(self.generation, from), Position::new(self.generation, to));
        self.frame(&Payload::Gap(Gap { channel: channel(id), from, to, reason: GapReason::Overflow }))
    }
}

/// Where this node keeps topics that are subscribed to by name.
pub const TOPIC_PARTITION: u32 = 3 << 16 | 5;

/// What this node calls the part of a filter in a partition.
pub fn filter_channel(partition: u32) -> ChannelId {
    ChannelId(5_000 + partition)
}

/// What this node calls a subscription to one topic.
pub fn channel(id: SubscriptionId) -> ChannelId {
    ChannelId(1_000 - id.0)
}

fn owned(payload: &Payload<'_>) -> Got {
    match payload {
        Payload::Hello(hello) => Got::Hello {
            agent: hello.agent.to_owned(),
            features: hello.features,
            system_after: hello.system_after,
        },
        Payload::Publish(publish) => Got::Publish {
            number: publish.number,
            topic: publish.topic.to_owned(),
            keys: publish.keys.iter().map(str::to_owned).collect(),
            ttl_ms: publish.ttl_ms,
            retry_of: publish.retry_of.map(|generation| generation.0),
            body: publish.body.to_vec(),
        },
        Payload::Subscribe(it) => {
            Got::Subscribe { id: it.subscription, topic: it.topic.to_owned(), start: start(&it.start) }
        }
        Payload::Unsubscribe(id) => Got::Unsubscribe(*id),
        Payload::Heartbeat => Got::Heartbeat,
        Payload::Ack(_) => Got::Ack,
        Payload::WindowUpdate => Got::WindowUpdate,
        Payload::Bye(bye) => Got::Bye(bye.code),
        Payload::Delivery(_)
        | Payload::Welcome(_)
        | Payload::Subscribed(_)
        | Payload::Gap(_)
        | Payload::Error(_)
        | Payload::GoAway(_)
        | Payload::Reject(_) => panic!("{payload:?} from a client"),
    }
}

fn start(start: &wire::Start<'_>) -> Start {
    match start {
        wire::Start::New => Start::New,
        wire::Start::Last => Start::Last,
        wire::Start::First => Start::First,
        wire::Start::After(position) => Start::from(*position),
        wire::Start::AfterEach(cursors) => {
            let parts = cursors.iter().map(|it| (PartitionId(it.partition), it.position));
            Start::After(Cursor::of_filter(parts).expect("a cursor of a filter"))
        }
    }
}
