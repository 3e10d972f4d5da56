//! Frames: a header and what each type carries behind it.
//!
//! Payload fields have a fixed order; numbers are varints, strings and bodies have their
//! length in front. Bytes behind the last known field are ignored: a later version may put
//! more there.

use crate::codec::{Malformed, Reader, put_bytes, put_varint, varint_bytes};
use crate::header::{FrameType, HEADER_BYTES, Header};
use crate::ids::{Generation, Offset, Position, ProducerId, Seq, SubscriptionId, WindowUnit};
use crate::limits::{AGENT_BYTES_MAX, BODY_BYTES_MAX, DETAIL_BYTES_MAX, PAYLOAD_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::{CloseCode, ErrorCode, Outcome};

/// Which way a frame travels; DATA means publish one way and delivery the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a node.
    ToNode,
    /// From a node to a client.
    ToClient,
}

/// A frame that borrows strings and bodies from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// What follows it.
    pub payload: Payload<'a>,
}

/// What a frame carries, by type and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// DATA from a client.
    Publish(Publish<'a>),
    /// DATA to a client.
    Delivery(Delivery<'a>),
    /// HEARTBEAT.
    Heartbeat,
    /// ACK.
    Ack,
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// HELLO.
    Hello(Hello<'a>),
    /// WELCOME.
    Welcome(Welcome),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBSCRIBED.
    Subscribed(Subscribed),
    /// UNSUBSCRIBE.
    Unsubscribe(SubscriptionId),
    /// GAP.
    Gap(Gap),
    /// ERROR.
    Error(Refusal<'a>),
    /// BYE: the number of a close code, which a newer peer may have and we may not, and a
    /// sentence for a person.
    Bye {
        /// See [`CloseCode`].
        code: u16,
        /// A sentence for a person.
        detail: &'a str,
    },
}

/// DATA from a client: a message for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The producer's number of this message; grows by one a message over all topics.
    pub number: u64,
    /// Where it goes. Not yet checked to be a valid name.
    pub topic: &'a str,
    /// Set when this number may have been sent before: the generation it was sent in.
    pub retry_of: Option<Generation>,
    /// The message.
    pub body: &'a [u8],
}

/// DATA to a client: a message of one of its subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Whose message it is.
    pub subscription: SubscriptionId,
    /// Where it stands in the log.
    pub position: Position,
    /// Offset of the topic's message before this one; every message of the topic between
    /// the two does not exist. Smaller than the message's own offset.
    pub prev: Offset,
    /// The message.
    pub body: &'a [u8],
}

/// HELLO. The header's window is the client's first grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Reserved; 0.
    pub flags: u64,
    /// Base-two logarithm of the window unit for both directions; not yet checked.
    pub window_unit_log2: u64,
    /// Who publishes, for deduplication.
    pub producer: ProducerId,
    /// Name and version of the client, for logs.
    pub agent: &'a str,
}

/// WELCOME. The header's window is the node's first grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Reserved; 0.
    pub flags: u64,
    /// The unit in force.
    pub window_unit: WindowUnit,
    /// Each side sends some frame at least this often, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// The generation that publishes of this session are stored in.
    pub generation: Generation,
    /// Number of this session on this node, for logs of both sides.
    pub session: u64,
    /// Requests without an answer that the node holds for this session; it reads no further
    /// while there are as many.
    pub requests_in_flight_max: u32,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message stored from now on.
    New,
    /// With the last message stored, if there is one.
    Last,
    /// With the first message behind this position.
    After(Position),
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The client's name for it; free within the session.
    pub subscription: SubscriptionId,
    /// What to follow. Not yet checked to be a valid name.
    pub topic: &'a str,
    /// Where to begin.
    pub start: Start,
}

/// SUBSCRIBED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Which one.
    pub subscription: SubscriptionId,
    /// Deliveries begin behind this position.
    pub from: Position,
    /// The topic's last message when this was said: what lies between is replay, what lies
    /// behind is live.
    pub head: Position,
    /// Whether a GAP will say that messages behind the asked cursor are gone.
    pub gap: bool,
}

/// Why messages are missing from a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// The subscriber was slower than its topic and the messages are evicted.
    Overflow,
    /// The history could not be kept; a new generation began.
    Generation,
    /// Nothing of the topic is left that tells whether there were messages.
    Uncertain,
}

impl GapReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: &[Self] = &[Self::Overflow, Self::Generation, Self::Uncertain];

    /// Number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Overflow => 1,
            Self::Generation => 2,
            Self::Uncertain => 3,
        }
    }

    /// Name in documents, logs, metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Generation => "generation",
            Self::Uncertain => "uncertain",
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.number() == number)
    }
}

/// GAP: messages behind `from` up to and including `to` will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose messages.
    pub subscription: SubscriptionId,
    /// The last position before the gap.
    pub from: Position,
    /// The last position inside the gap; later deliveries lie behind it.
    pub to: Position,
    /// Why.
    pub reason: GapReason,
}

/// ERROR: a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Number of the request's frame.
    pub ref_seq: Seq,
    /// Number of an [`ErrorCode`], which a newer node may have and we may not.
    pub code: u16,
    /// Whether the request may have had its effect.
    pub outcome: Outcome,
    /// A sentence for a person.
    pub detail: &'a str,
}

impl Refusal<'static> {
    /// A refusal with the code's own sentence.
    #[must_use]
    pub const fn new(ref_seq: Seq, code: ErrorCode, outcome: Outcome) -> Self {
        Self { ref_seq, code: code as u16, outcome, detail: code.sentence() }
    }
}

const PUBLISH_RETRY: u64 = 1;
const START_NEW: u64 = 0;
const START_LAST: u64 = 1;
const START_AFTER: u64 = 2;
const SUBSCRIBED_GAP: u64 = 1;

impl<'a> Payload<'a> {
    /// A BYE with the code's own sentence.
    #[must_use]
    pub const fn bye(code: CloseCode) -> Payload<'static> {
        Payload::Bye { code: code as u16, detail: code.sentence() }
    }

    /// The type that the header says for this payload.
    #[must_use]
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Publish(_) | Self::Delivery(_) => FrameType::Data,
            Self::Heartbeat => FrameType::Heartbeat,
            Self::Ack => FrameType::Ack,
            Self::WindowUpdate => FrameType::WindowUpdate,
            Self::Hello(_) => FrameType::Hello,
            Self::Welcome(_) => FrameType::Welcome,
            Self::Subscribe(_) => FrameType::Subscribe,
            Self::Subscribed(_) => FrameType::Subscribed,
            Self::Unsubscribe(_) => FrameType::Unsubscribe,
            Self::Gap(_) => FrameType::Gap,
            Self::Error(_) => FrameType::Error,
            Self::Bye { .. } => FrameType::Bye,
        }
    }

    /// Appends the whole frame to `out` and returns the bytes of its payload.
    ///
    /// # Panics
    /// When a string or body is longer than its limit in [`crate::limits`]: whoever builds a
    /// frame has checked what it was given.
    pub fn encode(&self, seq: Seq, ack_seq: Seq, window: u16, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        self.encode_payload(out);
        let len = out.len() - start - HEADER_BYTES;
        assert!(len <= PAYLOAD_BYTES_MAX, "{} bytes of payload in a {:?}", len, self.frame_type());
        let header = Header { frame_type: self.frame_type(), seq, ack_seq, window, len: len as u16 };
        out[start..start + HEADER_BYTES].copy_from_slice(&header.to_bytes());
        len
    }

    fn encode_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::Heartbeat | Self::Ack | Self::WindowUpdate => {}
            Self::Publish(publish) => publish.encode(out),
            Self::Delivery(delivery) => delivery.encode(out),
            Self::Hello(hello) => hello.encode(out),
            Self::Welcome(welcome) => welcome.encode(out),
            Self::Subscribe(subscribe) => subscribe.encode(out),
            Self::Subscribed(subscribed) => subscribed.encode(out),
            Self::Unsubscribe(subscription) => put_varint(out, u64::from(subscription.0)),
            Self::Gap(gap) => gap.encode(out),
            Self::Error(refusal) => refusal.encode(out),
            Self::Bye { code, detail } => {
                put_varint(out, u64::from(*code));
                put_limited(out, detail, DETAIL_BYTES_MAX);
            }
        }
    }

    pub(crate) fn decode(
        frame_type: FrameType,
        direction: Direction,
        payload: &'a [u8],
    ) -> Result<Self, Malformed> {
        let reader = &mut Reader::new(payload);
        Ok(match frame_type {
            FrameType::Data => match direction {
                Direction::ToNode => Self::Publish(Publish::decode(reader)?),
                Direction::ToClient => Self::Delivery(Delivery::decode(reader)?),
            },
            FrameType::Heartbeat => Self::Heartbeat,
            FrameType::Ack => Self::Ack,
            FrameType::WindowUpdate => Self::WindowUpdate,
            FrameType::Hello => Self::Hello(Hello::decode(reader)?),
            FrameType::Welcome => Self::Welcome(Welcome::decode(reader)?),
            FrameType::Subscribe => Self::Subscribe(Subscribe::decode(reader)?),
            FrameType::Subscribed => Self::Subscribed(Subscribed::decode(reader)?),
            FrameType::Unsubscribe => Self::Unsubscribe(subscription(reader)?),
            FrameType::Gap => Self::Gap(Gap::decode(reader)?),
            FrameType::Error => Self::Error(Refusal::decode(reader)?),
            FrameType::Bye => Self::Bye { code: code(reader)?, detail: reader.str(DETAIL_BYTES_MAX)? },
        })
    }
}

impl<'a> Publish<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, if self.retry_of.is_some() { PUBLISH_RETRY } else { 0 });
        put_varint(out, self.number);
        put_limited(out, self.topic, TOPIC_BYTES_MAX);
        if let Some(generation) = self.retry_of {
            put_varint(out, generation.0);
        }
        put_bytes(out, self.body);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let flags = reader.varint()?;
        Ok(Self {
            number: reader.varint()?,
            topic: reader.str(TOPIC_BYTES_MAX)?,
            retry_of: if flags & PUBLISH_RETRY != 0 { Some(Generation(reader.varint()?)) } else { None },
            body: reader.bytes(PAYLOAD_BYTES_MAX)?,
        })
    }
}

impl<'a> Delivery<'a> {
    /// Bytes of the payload that this encodes to: what it costs of a window.
    #[must_use]
    pub const fn payload_bytes(&self) -> usize {
        let Position { generation, offset } = self.position;
        varint_bytes(self.subscription.0 as u64)
            + 1
            + varint_bytes(generation.0)
            + varint_bytes(offset.0)
            + varint_bytes(offset.0 - self.prev.0)
            + varint_bytes(self.body.len() as u64)
            + self.body.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.prev < self.position.offset, "{:?} does not lie before {}", self.prev, self.position);
        assert!(self.body.len() <= BODY_BYTES_MAX);
        put_varint(out, u64::from(self.subscription.0));
        put_varint(out, 0);
        put_position(out, self.position);
        put_varint(out, self.position.offset.0 - self.prev.0);
        put_bytes(out, self.body);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let subscription = subscription(reader)?;
        let _flags = reader.varint()?;
        let position = position(reader)?;
        let back = reader.varint()?;
        if back == 0 || back > position.offset.0 {
            return Err(Malformed);
        }
        let prev = Offset(position.offset.0 - back);
        Ok(Self { subscription, position, prev, body: reader.bytes(BODY_BYTES_MAX)? })
    }
}

impl<'a> Hello<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.flags);
        put_varint(out, self.window_unit_log2);
        out.extend_from_slice(&self.producer.0.to_be_bytes());
        put_limited(out, self.agent, AGENT_BYTES_MAX);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            flags: reader.varint()?,
            window_unit_log2: reader.varint()?,
            producer: ProducerId(u128::from_be_bytes(reader.take(16)?.try_into().map_err(|_| Malformed)?)),
            agent: reader.str(AGENT_BYTES_MAX)?,
        })
    }
}

impl Welcome {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.flags);
        put_varint(out, u64::from(self.window_unit.log2()));
        put_varint(out, u64::from(self.heartbeat_interval_ms));
        put_varint(out, self.generation.0);
        put_varint(out, self.session);
        put_varint(out, u64::from(self.requests_in_flight_max));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            flags: reader.varint()?,
            window_unit: u8::try_from(reader.varint()?)
                .ok()
                .and_then(WindowUnit::from_log2)
                .ok_or(Malformed)?,
            heartbeat_interval_ms: reader.varint_u32()?,
            generation: Generation(reader.varint()?),
            session: reader.varint()?,
            requests_in_flight_max: reader.varint_u32()?,
        })
    }
}

impl<'a> Subscribe<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.subscription.0));
        put_limited(out, self.topic, TOPIC_BYTES_MAX);
        match self.start {
            Start::New => put_varint(out, START_NEW),
            Start::Last => put_varint(out, START_LAST),
            Start::After(position) => {
                put_varint(out, START_AFTER);
                put_position(out, position);
            }
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            subscription: subscription(reader)?,
            topic: reader.str(TOPIC_BYTES_MAX)?,
            start: match reader.varint()? {
                START_NEW => Start::New,
                START_LAST => Start::Last,
                START_AFTER => Start::After(position(reader)?),
                _ => return Err(Malformed),
            },
        })
    }
}

impl Subscribed {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.subscription.0));
        put_varint(out, if self.gap { SUBSCRIBED_GAP } else { 0 });
        put_position(out, self.from);
        put_position(out, self.head);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let subscription = subscription(reader)?;
        let gap = reader.varint()? & SUBSCRIBED_GAP != 0;
        Ok(Self { subscription, gap, from: position(reader)?, head: position(reader)? })
    }
}

impl Gap {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.from < self.to, "an empty gap {}..{}", self.from, self.to);
        put_varint(out, u64::from(self.subscription.0));
        put_position(out, self.from);
        put_position(out, self.to);
        put_varint(out, self.reason.number());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let gap = Self {
            subscription: subscription(reader)?,
            from: position(reader)?,
            to: position(reader)?,
            reason: GapReason::from_number(reader.varint()?).ok_or(Malformed)?,
        };
        if gap.from < gap.to { Ok(gap) } else { Err(Malformed) }
    }
}

impl<'a> Refusal<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.ref_seq.0));
        put_varint(out, u64::from(self.code));
        put_varint(
            out,
            match self.outcome {
                Outcome::Definite => 0,
                Outcome::Unknown => 1,
            },
        );
        put_limited(out, self.detail, DETAIL_BYTES_MAX);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            ref_seq: Seq(reader.varint_u32()?),
            code: code(reader)?,
            outcome: match reader.varint()? {
                0 => Outcome::Definite,
                1 => Outcome::Unknown,
                _ => return Err(Malformed),
            },
            detail: reader.str(DETAIL_BYTES_MAX)?,
        })
    }
}

fn put_limited(out: &mut Vec<u8>, text: &str, len_max: usize) {
    assert!(text.len() <= len_max, "{} bytes where {len_max} fit", text.len());
    put_bytes(out, text.as_bytes());
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put_varint(out, position.generation.0);
    put_varint(out, position.offset.0);
}

fn position(reader: &mut Reader<'_>) -> Result<Position, Malformed> {
    Ok(Position { generation: Generation(reader.varint()?), offset: Offset(reader.varint()?) })
}

fn subscription(reader: &mut Reader<'_>) -> Result<SubscriptionId, Malformed> {
    reader.varint_u32().map(SubscriptionId)
}

fn code(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(reader.varint()?).map_err(|_| Malformed)
}
