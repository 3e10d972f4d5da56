//! A client made of nothing but frames: it sends what it is told and checks what it gets.

use crate::history::HostileEnd;
use crate::lines::Line;
use crate::plan::CLIENT_PORT;
use crate::world::World;
use multibeam_wire::{
    ChannelId, Direction, Encoder, Features, Frame, Hello, Inbound, Payload, ProducerId, Seq, Start,
    Subscribe, SubscriptionId,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use turmoil::net::TcpStream;

/// Bytes written at once: the simulated network counts segments, not bytes.
const CHUNK: usize = 256;

/// How long a client waits until the node takes its bytes.
const WRITE_MAX: Duration = Duration::from_secs(3);

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What is left of a frame after it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Delivery {
        seq: Seq,
        payload_bytes: u32,
    },
    /// WELCOME, SUBSCRIBED, GAP, ERROR or a frame without payload.
    Other,
    Refused(Seq),
    Bye,
}

/// One connection.
pub(super) struct Raw {
    pub(super) world: Rc<World>,
    stream: TcpStream,
    line: Line,
    inbound: Inbound,
    encoder: Encoder,
    /// Number of the last sequenced frame sent.
    pub(super) seq: Seq,
    /// Number of the last sequenced frame that came.
    pub(super) seen: Seq,
    /// What comes is never acknowledged.
    pub(super) acks_nothing: bool,
    /// What the node acknowledged.
    pub(super) acked: Seq,
    /// Topics by subscription, where each message's body is its topic.
    pub(super) follows: BTreeMap<SubscriptionId, &'static str>,
    /// What the node calls them.
    channels: BTreeMap<ChannelId, SubscriptionId>,
    /// Garbage was sent: acknowledgements mean nothing.
    pub(super) lawless: bool,
    pub(super) end: HostileEnd,
}

impl Raw {
    /// Connects; `None` if that does not work.
    pub(super) async fn connect(world: &Rc<World>, who: String) -> Option<Self> {
        let deadline = Instant::now() + CONNECT_MAX;
        let stream = timeout_at(deadline, TcpStream::connect(("node", CLIENT_PORT))).await.ok()?.ok()?;
        Some(Self {
            world: Rc::clone(world),
            stream,
            line: world.lines.open(format!("hostile {who}"), None),
            inbound: Inbound::new(Direction::ToClient),
            encoder: Encoder::new(),
            channels: BTreeMap::new(),
            seq: Seq(0),
            seen: Seq(0),
            acks_nothing: false,
            acked: Seq(0),
            follows: BTreeMap::new(),
            lawless: false,
            end: HostileEnd { who, ..HostileEnd::default() },
        })
    }

    pub(super) fn into_end(self) -> HostileEnd {
        self.end
    }

    /// Sends bytes; false if the node does not take them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        let deadline = Instant::now() + WRITE_MAX;
        for chunk in bytes.chunks(CHUNK) {
            match timeout_at(deadline, self.stream.write_all(chunk)).await {
                Ok(Ok(())) if self.lawless => {}
                Ok(Ok(())) => self.line.up(chunk),
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }

    /// Encodes a frame with the right numbers.
    pub(super) fn frame(&mut self, payload: &Payload<'_>, window: u16) -> Vec<u8> {
        if payload.frame_type().sequenced() {
            self.seq = self.seq.next();
        }
        let mut bytes = Vec::new();
        let ack = if self.acks_nothing { Seq(0) } else { self.seen };
        self.encoder.encode(payload, self.seq, ack, window, &mut bytes);
        bytes
    }

    /// HELLO with a unit of 16 bytes; every other one wants compact headers.
    pub(super) fn hello(&mut self, producer: u64, window: u16) -> Vec<u8> {
        let hello = Hello {
            features: if producer.is_multiple_of(2) { Features::COMPACT } else { Features::NONE },
            window_unit_log2: 4,
            producer: ProducerId(u128::from(producer)),
            agent: "hostile",
            system_after: None,
        };
        self.frame(&Payload::Hello(hello), window)
    }

    /// SUBSCRIBE to one of the topics in use.
    pub(super) fn subscribe(&mut self, topic: usize, window: u16) -> Vec<u8> {
        let world = Rc::clone(&self.world);
        let topics = &world.plan.workload.topics;
        let topic = &topics[topic % topics.len()];
        let subscribe = Subscribe { subscription: SubscriptionId(1), topic, start: Start::New };
        self.frame(&Payload::Subscribe(subscribe), window)
    }

    /// The client's half ends.
    pub(super) async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads for `span`, or until the end, and gives each frame to `on`. True: the end came.
    pub(super) async fn listen(&mut self, span: Duration, mut on: impl FnMut(&Got)) -> bool {
        let deadline = Instant::now() + span;
        let mut buffer = [0; 512];
        while !self.end.closed {
            match timeout_at(deadline, self.stream.read(&mut buffer)).await {
                Err(_) => return false,
                Ok(Ok(0) | Err(_)) => self.end.closed = true,
                Ok(Ok(count)) => {
                    if !self.lawless {
                        self.line.down(&buffer[..count]);
                    }
                    self.take(&buffer[..count], &mut on);
                }
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8], on: &mut impl FnMut(&Got)) {
        if !self.end.byes.is_empty() {
            self.broken("bytes behind BYE".to_owned());
        }
        self.inbound.push(bytes);
        loop {
            self.end.rest = self.inbound.pending_bytes();
            let got = match self.inbound.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    let checked = check(&frame, self.seen, self.seq, self.lawless)
                        .and_then(|()| check_topic(&frame, &self.follows, &self.channels));
                    if let Payload::Bye(bye) = frame.payload {
                        self.end.byes.push(bye.code);
                    }
                    if let Payload::Subscribed(told) = frame.payload {
                        self.channels.extend(told.parts.iter().map(|part| (part.channel, told.subscription)));
                    }
                    let compact = matches!(
                        frame.payload,
                        Payload::Welcome(welcome) if welcome.features.has(Features::COMPACT)
                    );
                    if frame.header.frame_type.sequenced() {
                        self.seen = frame.header.seq;
                    }
                    self.acked = frame.header.ack_seq;
                    self.end.frames += 1;
                    let got = reduce(&frame);
                    if compact {
                        self.inbound.agree_compact();
                        self.encoder.agree_compact();
                    }
                    checked.map(|()| got)
                }
                Err(error) => Err(error.to_string()),
            };
            match got {
                Ok(got) => {
                    if matches!(got, Got::Delivery { .. }) {
                        let count = &self.world.hostile_deliveries;
                        count.set(count.get() + 1);
                    }
                    on(&got);
                }
                Err(error) => return self.broken(error),
            }
        }
    }

    fn broken(&mut self, what: String) {
        self.end.broken.get_or_insert(what);
    }
}

fn reduce(frame: &Frame<'_>) -> Got {
    match frame.payload {
        Payload::Delivery(_) => {
            Got::Delivery { seq: frame.header.seq, payload_bytes: u32::from(frame.header.len) }
        }
        Payload::Error(refusal) => Got::Refused(refusal.ref_seq),
        Payload::Bye(_) => Got::Bye,
        Payload::Welcome(_)
        | Payload::Subscribed(_)
        | Payload::Gap(_)
        | Payload::Heartbeat
        | Payload::Ack(_)
        | Payload::WindowUpdate
        | Payload::Publish(_)
        | Payload::Hello(_)
        | Payload::Subscribe(_)
        | Payload::GoAway(_)
        | Payload::Reject(_)
        | Payload::Unsubscribe(_) => Got::Other,
    }
}

/// The rules of every header.
fn check(frame: &Frame<'_>, seen: Seq, sent: Seq, lawless: bool) -> Result<(), String> {
    let header = &frame.header;
    let expected = if header.frame_type.sequenced() { seen.next() } else { seen };
    if header.seq != expected {
        return Err(format!("{:?} where {expected:?} was due: {frame:?}", header.seq));
    }
    if !lawless && header.ack_seq.distance(sent) < 0 {
        return Err(format!("{:?} acknowledged, {sent:?} sent", header.ack_seq));
    }
    Ok(())
}

/// Where messages name their topic, it must be the one that was subscribed to.
fn check_topic(
    frame: &Frame<'_>,
    follows: &BTreeMap<SubscriptionId, &'static str>,
    channels: &BTreeMap<ChannelId, SubscriptionId>,
) -> Result<(), String> {
    let Payload::Delivery(delivery) = &frame.payload else { return Ok(()) };
    let Some(subscription) = channels.get(&delivery.channel) else {
        return Err(format!("{:?} was never told", delivery.channel));
    };
    match follows.get(subscription) {
        Some(topic) if topic.as_bytes() != delivery.body => {
            Err(format!("{topic} has a message of {}", String::from_utf8_lossy(delivery.body)))
        }
        Some(_) | None => Ok(()),
    }
}
