//! Frames between client and node: a header and what each type carries behind it.
//!
//! Payload fields have a fixed order; numbers are varints, strings and bodies have their
//! length in front. Bytes behind the last known field are ignored: a later version may put
//! more there. Each file below holds one group of payloads, both ways.

mod answer;
mod farewell;
mod greeting;
mod message;
mod subscription;

pub use answer::{Receipt, Receipts, Refusal};
pub use farewell::{Addresses, Bye, GoAway, GoAwayReason, Reject};
pub use greeting::{Hello, Welcome};
pub use message::{Delivery, Keys, Publish};
pub use subscription::{Cursor, Cursors, Gap, GapReason, Part, Parts, Start, Subscribe, Subscribed};

use crate::close::CloseCode;
use crate::codec::{Reader, Sink, Unreadable};
use crate::header::{FrameType, Header};
use crate::ids::{Generation, Offset, Position, SubscriptionId};

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
    /// ACK; towards a client that asked for them, with receipts.
    Ack(Receipts<'a>),
    /// WINDOW_UPDATE.
    WindowUpdate,
    /// HELLO.
    Hello(Hello<'a>),
    /// WELCOME.
    Welcome(Welcome),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBSCRIBED.
    Subscribed(Subscribed<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(SubscriptionId),
    /// GAP.
    Gap(Gap),
    /// ERROR.
    Error(Refusal<'a>),
    /// GOAWAY.
    GoAway(GoAway<'a>),
    /// REJECT.
    Reject(Reject<'a>),
    /// BYE.
    Bye(Bye<'a>),
}

impl<'a> Payload<'a> {
    /// An ACK that says nothing but its header.
    pub const ACK: Payload<'static> = Payload::Ack(Receipts::NONE);

    /// A BYE with the code's own sentence.
    #[must_use]
    pub const fn bye(code: CloseCode) -> Payload<'static> {
        Payload::Bye(Bye::new(code))
    }

    /// The type that the header says for this payload.
    #[must_use]
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Publish(_) | Self::Delivery(_) => FrameType::Data,
            Self::Heartbeat => FrameType::Heartbeat,
            Self::Ack(_) => FrameType::Ack,
            Self::WindowUpdate => FrameType::WindowUpdate,
            Self::Hello(_) => FrameType::Hello,
            Self::Welcome(_) => FrameType::Welcome,
            Self::Subscribe(_) => FrameType::Subscribe,
            Self::Subscribed(_) => FrameType::Subscribed,
            Self::Unsubscribe(_) => FrameType::Unsubscribe,
            Self::Gap(_) => FrameType::Gap,
            Self::Error(_) => FrameType::Error,
            Self::GoAway(_) => FrameType::GoAway,
            Self::Reject(_) => FrameType::Reject,
            Self::Bye(_) => FrameType::Bye,
        }
    }

    /// Writes everything but the [`tail`](Self::tail).
    #[inline]
    pub(crate) fn put_head<S: Sink>(&self, sink: &mut S) {
        match self {
            Self::Heartbeat | Self::WindowUpdate => {}
            Self::Publish(publish) => publish.put_head(sink),
            Self::Delivery(delivery) => delivery.put_head(sink),
            Self::Ack(receipts) => receipts.put(sink),
            Self::Hello(hello) => hello.put(sink),
            Self::Welcome(welcome) => welcome.put(sink),
            Self::Subscribe(subscribe) => subscribe.put(sink),
            Self::Subscribed(subscribed) => subscribed.put(sink),
            Self::Unsubscribe(subscription) => sink.varint(u64::from(subscription.0)),
            Self::Gap(gap) => gap.put(sink),
            Self::Error(refusal) => refusal.put(sink),
            Self::GoAway(go_away) => go_away.put(sink),
            Self::Reject(reject) => reject.put(sink),
            Self::Bye(bye) => bye.put(sink),
        }
    }

    /// The body of a message, which ends its payload.
    #[inline]
    pub(crate) const fn tail(&self) -> &'a [u8] {
        match self {
            Self::Publish(publish) => publish.body,
            Self::Delivery(delivery) => delivery.body,
            Self::Heartbeat
            | Self::Ack(_)
            | Self::WindowUpdate
            | Self::Hello(_)
            | Self::Welcome(_)
            | Self::Subscribe(_)
            | Self::Subscribed(_)
            | Self::Unsubscribe(_)
            | Self::Gap(_)
            | Self::Error(_)
            | Self::GoAway(_)
            | Self::Reject(_)
            | Self::Bye(_) => &[],
        }
    }

    #[inline]
    pub(crate) fn decode(
        frame_type: FrameType,
        direction: Direction,
        payload: &'a [u8],
    ) -> Result<Self, Unreadable> {
        let reader = &mut Reader::new(payload);
        Ok(match frame_type {
            FrameType::Data => match direction {
                Direction::ToNode => Self::Publish(Publish::decode(reader)?),
                Direction::ToClient => Self::Delivery(Delivery::decode(reader)?),
            },
            FrameType::Heartbeat => Self::Heartbeat,
            FrameType::Ack => Self::Ack(match direction {
                Direction::ToNode => Receipts::NONE,
                Direction::ToClient => Receipts::decode(reader)?,
            }),
            FrameType::WindowUpdate => Self::WindowUpdate,
            FrameType::Hello => Self::Hello(Hello::decode(reader)?),
            FrameType::Welcome => Self::Welcome(Welcome::decode(reader)?),
            FrameType::Subscribe => Self::Subscribe(Subscribe::decode(reader)?),
            FrameType::Subscribed => Self::Subscribed(Subscribed::decode(reader)?),
            FrameType::Unsubscribe => Self::Unsubscribe(subscription_id(reader)?),
            FrameType::Gap => Self::Gap(Gap::decode(reader)?),
            FrameType::Error => Self::Error(Refusal::decode(reader)?),
            FrameType::GoAway => Self::GoAway(GoAway::decode(reader)?),
            FrameType::Reject => Self::Reject(Reject::decode(reader)?),
            FrameType::Bye => Self::Bye(Bye::decode(reader)?),
        })
    }
}

fn put_position<S: Sink>(sink: &mut S, position: Position) {
    sink.varint(position.generation.0);
    sink.varint(position.offset.0);
}

fn position(reader: &mut Reader<'_>) -> Result<Position, Unreadable> {
    Ok(Position { generation: Generation(reader.varint()?), offset: Offset(reader.varint()?) })
}

fn subscription_id(reader: &mut Reader<'_>) -> Result<SubscriptionId, Unreadable> {
    reader.varint_u32().map(SubscriptionId)
}
