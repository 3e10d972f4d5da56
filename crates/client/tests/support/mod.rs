//! A scripted node, and a rig that joins it to a [`Session`] without any I/O.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "each test file uses its part"
)]

use multibeam_client::session::{Dial, Flow, Next, Notice, Ticket};
use multibeam_client::{Config, Event, PublishError, Session, Start, TopicName};
use multibeam_wire::{
    ChannelId, Delivery, Direction, Encoder, Features, Gap, GapReason, Generation, Header, Inbound, Offset,
    Payload, Position, Seq, Subscribed, SubscriptionId, Welcome, WindowUnit,
};

/// A frame of the client, with strings and bodies of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Hello { agent: String, unit_log2: u64, producer: u128 },
    Publish { number: u64, topic: String, retry_of: Option<u64>, body: Vec<u8> },
    Subscribe { id: SubscriptionId, topic: String, start: Start },
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
}

impl Node {
    pub fn new() -> Self {
        Self {
            inbound: Inbound::new(Direction::ToNode),
            encoder: Encoder::new(),
            offered: Features::NONE,
            features: Features::COMPACT,
            last_sent: Seq(0),
            last_got: Seq(0),
            acked_by_client: Seq(0),
            client_window: 0,
            ack: Seq(0),
            window: 1000,
            generation: 1,
            interval_ms: 10_000,
            requests_max: 256,
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
        let (from, head) = (Position::new(self.generation, from), Position::new(self.generation, head));
        self.frame(&Payload::Subscribed(Subscribed {
            subscription: id,
            channel: channel(id),
            from,
            head,
            gap: false,
        }))
    }

    pub fn delivery(&mut self, id: SubscriptionId, offset: u64, prev: u64, body: &[u8]) -> Vec<u8> {
        let position = Position::new(self.generation, offset);
        let (channel, prev) = (channel(id), Offset(prev));
        self.frame(&Payload::Delivery(Delivery { channel, position, prev, skipped: false, body }))
    }

    /// A delivery that takes the place of those since `from`, the last one told.
    pub fn conflated(&mut self, id: SubscriptionId, offset: u64, prev: u64) -> Vec<u8> {
        let (position, prev) = (Position::new(self.generation, offset), Offset(prev));
        self.frame(&Payload::Delivery(Delivery {
            channel: channel(id),
            position,
            prev,
            skipped: true,
            body: b"",
        }))
    }

    pub fn gap(&mut self, id: SubscriptionId, from: u64, to: u64) -> Vec<u8> {
        let (from, to) = (Position::new(self.generation, from), Position::new(self.generation, to));
        self.frame(&Payload::Gap(Gap { channel: channel(id), from, to, reason: GapReason::Overflow }))
    }
}

/// What this node calls a subscription.
pub fn channel(id: SubscriptionId) -> ChannelId {
    ChannelId(1_000 - id.0)
}

fn owned(payload: &Payload<'_>) -> Got {
    match payload {
        Payload::Hello(hello) => Got::Hello {
            agent: hello.agent.to_owned(),
            unit_log2: hello.window_unit_log2,
            producer: hello.producer.0,
        },
        Payload::Publish(publish) => Got::Publish {
            number: publish.number,
            topic: publish.topic.to_owned(),
            retry_of: publish.retry_of.map(|generation| generation.0),
            body: publish.body.to_vec(),
        },
        Payload::Subscribe(it) => {
            Got::Subscribe { id: it.subscription, topic: it.topic.to_owned(), start: it.start }
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

/// A session and its node, joined by calls.
pub struct Rig {
    pub session: Session,
    pub node: Node,
    pub now_ms: u64,
    /// Everything that the client sent on this connection, with the time.
    pub got: Vec<(u64, Header, Got)>,
    pub outcomes: Vec<(Ticket, Result<(), PublishError>)>,
    /// The session asked for the end of the connection.
    pub closing: bool,
    /// The server dialled last.
    pub server: String,
    open: bool,
}

impl Rig {
    pub fn new(config: Config) -> Self {
        Self {
            session: Session::new(config),
            node: Node::new(),
            now_ms: 0,
            got: Vec::new(),
            outcomes: Vec::new(),
            closing: false,
            server: String::new(),
            open: false,
        }
    }

    /// A rig whose handshake is over.
    pub fn connected(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.open();
        rig.welcome();
        rig
    }

    /// Waits for the session to dial, and opens the connection to a fresh node.
    pub fn open(&mut self) {
        let mut dial = self.session.poll_dial(self.now_ms);
        while dial == Dial::Wait {
            self.now_ms = self.session.next_deadline_ms().expect("a deadline while waiting");
            self.session.handle_timeout(self.now_ms);
            dial = self.session.poll_dial(self.now_ms);
        }
        match dial {
            Dial::Now(server) => self.server = server,
            Dial::Wait | Dial::Never => panic!("{dial:?}"),
        }
        let old = std::mem::replace(&mut self.node, Node::new());
        self.node.generation = old.generation;
        self.node.interval_ms = old.interval_ms;
        self.node.requests_max = old.requests_max;
        self.node.window = old.window;
        self.node.features = old.features;
        self.got.clear();
        self.closing = false;
        self.open = true;
        self.session.connected(self.now_ms);
        self.pump();
    }

    pub fn welcome(&mut self) {
        let bytes = self.node.welcome();
        self.say(&bytes);
    }

    pub fn lose(&mut self) {
        self.open = false;
        self.session.disconnected(None, self.now_ms);
        self.pump();
    }

    pub fn reopen(&mut self) {
        self.lose();
        self.open();
        self.welcome();
    }

    /// Hands bytes of the node to the session.
    pub fn say(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(bytes, self.now_ms);
        self.pump();
    }

    pub fn pump(&mut self) {
        let mut out = Vec::new();
        let flow = self.session.poll_output(self.now_ms, &mut out);
        self.closing |= self.open && flow == Flow::Close;
        for (header, got) in self.node.receive(&out) {
            self.got.push((self.now_ms, header, got));
        }
        while let Some(notice) = self.session.poll_notice() {
            if let Notice::PublishEnded(ticket, outcome) = notice {
                self.outcomes.push((ticket, outcome));
            }
        }
    }

    /// Lets time pass, deadline by deadline.
    pub fn advance(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some(due_ms) = self.session.next_deadline_ms().filter(|&due_ms| due_ms <= end_ms) {
            if self.closing {
                break;
            }
            self.now_ms = self.now_ms.max(due_ms);
            self.session.handle_timeout(self.now_ms);
            self.pump();
        }
        self.now_ms = end_ms;
    }

    pub fn publish(&mut self, body: &[u8]) -> Ticket {
        let ticket = self.session.publish(topic(), body.to_vec(), self.now_ms);
        self.pump();
        ticket
    }

    pub fn subscribe(&mut self, start: Start) -> SubscriptionId {
        let id = self.session.subscribe(topic(), start).expect("room for a subscription");
        self.pump();
        id
    }

    pub fn next(&mut self, id: SubscriptionId) -> Option<Event> {
        let next = self.session.next_event(id, self.now_ms);
        self.pump();
        match next {
            Next::Event(event) => Some(event),
            Next::Wait | Next::End => None,
        }
    }

    /// Numbers and retry marks of the publishes on this connection.
    pub fn publishes(&self) -> Vec<(u64, Option<u64>)> {
        let publish = |(_, _, got): &(u64, Header, Got)| match got {
            Got::Publish { number, retry_of, .. } => Some((*number, *retry_of)),
            _ => None,
        };
        self.got.iter().filter_map(publish).collect()
    }

    /// Where subscriptions began on this connection.
    pub fn starts(&self) -> Vec<Start> {
        let start = |(_, _, got): &(u64, Header, Got)| match got {
            Got::Subscribe { start, .. } => Some(*start),
            _ => None,
        };
        self.got.iter().filter_map(start).collect()
    }

    /// Times at which a frame of this kind came.
    pub fn times(&self, kind: &Got) -> Vec<u64> {
        self.got.iter().filter(|(_, _, got)| got == kind).map(|(at, _, _)| *at).collect()
    }

    pub fn outcome(&self, ticket: Ticket) -> Option<Result<(), PublishError>> {
        self.outcomes.iter().find(|(it, _)| *it == ticket).map(|(_, outcome)| outcome.clone())
    }
}

pub fn topic() -> TopicName {
    TopicName::new("a.b").unwrap()
}

pub fn config() -> Config {
    Config::new("node:1", 1)
}

pub fn at(offset: u64) -> Position {
    Position::new(1, offset)
}
