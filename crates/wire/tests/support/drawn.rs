//! Any frame between client and node, drawn by proptest.

use crate::values::{ascending, body, count, number, number_u16, number_u32, text};
use multibeam_wire::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, AGENT_BYTES_MAX, BODY_BYTES_MAX, DETAIL_BYTES_MAX, KEY_BYTES_MAX,
    KEYS_MAX, PARTS_MAX, PAYLOAD_BYTES_MAX, RECEIPT_RANGES_MAX, TOPIC_BYTES_MAX,
};
use multibeam_wire::{
    Addresses, Bye, ChannelId, Cursor, Cursors, Delivery, Direction, Features, FrameType, Gap, GapReason,
    Generation, GoAway, Hello, Keys, Offset, Outcome, Part, Parts, Payload, Position, ProducerId, Publish,
    Receipt, Receipts, Refusal, Reject, Seq, Start, Subscribe, Subscribed, SubscriptionId, Welcome,
    WindowUnit,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// What a client sends.
pub(crate) const TO_NODE: &[FrameType] = &[
    FrameType::Data,
    FrameType::Heartbeat,
    FrameType::Ack,
    FrameType::WindowUpdate,
    FrameType::Hello,
    FrameType::Subscribe,
    FrameType::Unsubscribe,
    FrameType::Bye,
];

/// What a node sends.
pub(crate) const TO_CLIENT: &[FrameType] = &[
    FrameType::Data,
    FrameType::Heartbeat,
    FrameType::Ack,
    FrameType::WindowUpdate,
    FrameType::Welcome,
    FrameType::Subscribed,
    FrameType::Gap,
    FrameType::Error,
    FrameType::GoAway,
    FrameType::Reject,
    FrameType::Bye,
];

/// What travels in a direction.
pub(crate) const fn types(direction: Direction) -> &'static [FrameType] {
    match direction {
        Direction::ToNode => TO_NODE,
        Direction::ToClient => TO_CLIENT,
    }
}

/// A payload and what it borrows.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// All that needs no borrowing.
    bare: Payload<'static>,
    text: String,
    body: Vec<u8>,
    receipts: Vec<Receipt>,
    cursors: Vec<Cursor>,
    parts: Vec<Part>,
    /// Keys or addresses.
    texts: Vec<String>,
}

impl Drawn {
    /// Hands the payload to `f`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(Payload<'_>) -> R) -> R {
        let (text, body) = (self.text.as_str(), self.body.as_slice());
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        f(match self.bare {
            Payload::Publish(publish) => {
                Payload::Publish(Publish { topic: text, keys: Keys::new(&texts), body, ..publish })
            }
            Payload::Delivery(delivery) => {
                Payload::Delivery(Delivery { topic: delivery.topic.map(|_| text), body, ..delivery })
            }
            Payload::Ack(_) => Payload::Ack(Receipts::new(&self.receipts)),
            Payload::Hello(hello) => Payload::Hello(Hello { agent: text, ..hello }),
            Payload::Subscribe(subscribe) => {
                let start = match subscribe.start {
                    Start::AfterEach(_) => Start::AfterEach(Cursors::new(&self.cursors)),
                    bare @ (Start::New | Start::Last | Start::First | Start::After(_)) => bare,
                };
                Payload::Subscribe(Subscribe { topic: text, start, ..subscribe })
            }
            Payload::Subscribed(subscribed) => {
                Payload::Subscribed(Subscribed { parts: Parts::new(&self.parts), ..subscribed })
            }
            Payload::Error(refusal) => Payload::Error(Refusal { detail: text, ..refusal }),
            Payload::GoAway(go_away) => {
                Payload::GoAway(GoAway { addresses: Addresses::new(&texts), ..go_away })
            }
            Payload::Reject(reject) => Payload::Reject(Reject { detail: text, ..reject }),
            Payload::Bye(bye) => Payload::Bye(Bye { detail: text, ..bye }),
            bare @ (Payload::Heartbeat
            | Payload::WindowUpdate
            | Payload::Welcome(_)
            | Payload::Unsubscribe(_)
            | Payload::Gap(_)) => bare,
        })
    }
}

impl From<Payload<'static>> for Drawn {
    fn from(bare: Payload<'static>) -> Self {
        let (text, body, receipts) = (String::new(), Vec::new(), Vec::new());
        Self { bare, text, body, receipts, cursors: Vec::new(), parts: Vec::new(), texts: Vec::new() }
    }
}

/// A frame that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct DrawnFrame {
    pub(crate) payload: Drawn,
    pub(crate) seq: Seq,
    pub(crate) ack_seq: Seq,
    pub(crate) window: u16,
}

/// Any payload of a direction.
pub(crate) fn payload(direction: Direction) -> BoxedStrategy<Drawn> {
    select(types(direction)).prop_flat_map(move |frame_type| payload_of(frame_type, direction)).boxed()
}

/// Frames of a direction, their headers with no regard to each other or, as often, with small steps.
pub(crate) fn frames(direction: Direction, count_max: usize) -> BoxedStrategy<Vec<DrawnFrame>> {
    let step = || prop_oneof![4 => 0u32..3, 1 => any::<u32>()];
    let frame = (payload(direction), step(), step(), option::weighted(0.3, any::<u16>()));
    (any::<(u32, u32, u16)>(), vec(frame, 0..count_max))
        .prop_map(|((mut seq, mut ack, mut window), frames)| {
            let frame = |(payload, seq_step, ack_step, new_window): (Drawn, u32, u32, Option<u16>)| {
                seq = seq.wrapping_add(seq_step);
                ack = ack.wrapping_add(ack_step);
                window = new_window.unwrap_or(window);
                DrawnFrame { payload, seq: Seq(seq), ack_seq: Seq(ack), window }
            };
            frames.into_iter().map(frame).collect()
        })
        .boxed()
}

/// Any payload of a type.
///
/// # Panics
/// If the type does not travel in this direction.
pub(crate) fn payload_of(frame_type: FrameType, direction: Direction) -> BoxedStrategy<Drawn> {
    assert!(types(direction).contains(&frame_type), "{} {direction:?}", frame_type.label());
    match frame_type {
        FrameType::Data => match direction {
            Direction::ToNode => publish(),
            Direction::ToClient => delivery(),
        },
        FrameType::Heartbeat => Just(Drawn::from(Payload::Heartbeat)).boxed(),
        FrameType::Ack => match direction {
            Direction::ToNode => Just(Drawn::from(Payload::ACK)).boxed(),
            Direction::ToClient => ack(),
        },
        FrameType::WindowUpdate => Just(Drawn::from(Payload::WindowUpdate)).boxed(),
        FrameType::Hello => hello(),
        FrameType::Welcome => welcome(),
        FrameType::Subscribe => subscribe(),
        FrameType::Subscribed => subscribed(),
        FrameType::Unsubscribe => {
            number_u32().prop_map(|id| Payload::Unsubscribe(SubscriptionId(id)).into()).boxed()
        }
        FrameType::Gap => gap(),
        FrameType::Error => error(),
        FrameType::GoAway => go_away(),
        FrameType::Reject => (number_u16(), number_u32(), text(DETAIL_BYTES_MAX))
            .prop_map(|(code, retry_after_ms, text)| Drawn {
                text,
                ..Payload::Reject(Reject { code, retry_after_ms, detail: "" }).into()
            })
            .boxed(),
        FrameType::Bye => (number_u16(), text(DETAIL_BYTES_MAX))
            .prop_map(|(code, text)| Drawn { text, ..Payload::Bye(Bye { code, detail: "" }).into() })
            .boxed(),
    }
}

fn position() -> impl Strategy<Value = Position> + Clone {
    (number(), number()).prop_map(|(generation, offset)| Position::new(generation, offset))
}

fn publish() -> BoxedStrategy<Drawn> {
    let keys = count(KEYS_MAX).prop_flat_map(|count| vec(text(KEY_BYTES_MAX), count));
    let (retry_of, ttl_ms) = (option::of(number()), option::of(number_u32()));
    (number(), text(TOPIC_BYTES_MAX), retry_of, ttl_ms, keys, body(BODY_BYTES_MAX))
        .prop_map(|(number, text, retry_of, ttl_ms, texts, mut body)| {
            let number = number.min(u64::MAX - (texts.len() as u64).saturating_sub(1));
            let retry_of = retry_of.map(Generation);
            let publish = Publish { retry_of, ttl_ms, ..Publish::new(number, "", &[]) };
            let drawn = Drawn { text, texts, ..Payload::Publish(publish).into() };
            // The length of the body may take three bytes where that of none took one.
            let head_bytes = drawn.with(|payload| payload.encode(Seq(0), Seq(0), 0, &mut Vec::new())) + 2;
            body.truncate(PAYLOAD_BYTES_MAX - head_bytes);
            Drawn { body, ..drawn }
        })
        .boxed()
}

fn delivery() -> BoxedStrategy<Drawn> {
    let topic = option::of(text(TOPIC_BYTES_MAX));
    (number_u32(), number(), number(), number(), any::<bool>(), topic, body(BODY_BYTES_MAX))
        .prop_map(|(channel, generation, offset, back, skipped, topic, body)| {
            let offset = offset.max(1);
            let delivery = Delivery {
                channel: ChannelId(channel),
                position: Position::new(generation, offset),
                prev: Offset(offset - (back % offset + 1).min(offset)),
                skipped,
                topic: topic.is_some().then_some(""),
                body: &[],
            };
            Drawn { text: topic.unwrap_or_default(), body, ..Payload::Delivery(delivery).into() }
        })
        .boxed()
}

fn ack() -> BoxedStrategy<Drawn> {
    let receipt = (number_u32(), number_u32(), number_u32(), position(), number_u32()).prop_map(
        |(seq, count, partition, position, copies)| Receipt {
            seq: Seq(seq),
            count: count.max(1),
            partition,
            position,
            copies,
        },
    );
    count(RECEIPT_RANGES_MAX)
        .prop_flat_map(move |count| vec(receipt.clone(), count))
        .prop_map(|receipts| Drawn { receipts, ..Payload::ACK.into() })
        .boxed()
}

fn hello() -> BoxedStrategy<Drawn> {
    (number(), number(), any::<u128>(), text(AGENT_BYTES_MAX), option::of(position()))
        .prop_map(|(features, window_unit_log2, producer, text, system_after)| {
            let (features, producer) = (Features(features), ProducerId(producer));
            let hello = Hello { features, window_unit_log2, producer, agent: "", system_after };
            Drawn { text, ..Payload::Hello(hello).into() }
        })
        .boxed()
}

fn welcome() -> BoxedStrategy<Drawn> {
    (number(), 4u8..=15, number_u32(), number(), number(), number_u32(), any::<bool>())
        .prop_map(
            |(features, log2, heartbeat_interval_ms, generation, session, requests_in_flight_max, leads)| {
                Payload::Welcome(Welcome {
                    features: Features(features),
                    window_unit: WindowUnit::from_log2(log2).unwrap(),
                    heartbeat_interval_ms,
                    generation: Generation(generation),
                    session,
                    requests_in_flight_max,
                    leads,
                })
                .into()
            },
        )
        .boxed()
}

fn subscribe() -> BoxedStrategy<Drawn> {
    let start = prop_oneof![
        Just(Start::New),
        Just(Start::Last),
        Just(Start::First),
        position().prop_map(Start::After),
        Just(Start::AfterEach(Cursors::new(&[]))),
    ];
    (number_u32(), text(TOPIC_BYTES_MAX), start, cursors())
        .prop_map(|(id, text, start, cursors)| {
            let subscribe = Subscribe { subscription: SubscriptionId(id), topic: "", start };
            Drawn { text, cursors, ..Payload::Subscribe(subscribe).into() }
        })
        .boxed()
}

fn cursors() -> impl Strategy<Value = Vec<Cursor>> {
    count(PARTS_MAX).prop_flat_map(|count| (ascending(count), vec(position(), count))).prop_map(
        |(partitions, positions)| {
            let cursors = partitions.into_iter().zip(positions);
            cursors.map(|(partition, position)| Cursor { partition, position }).collect()
        },
    )
}

fn subscribed() -> BoxedStrategy<Drawn> {
    let part = (number_u32(), position(), position(), number(), any::<bool>());
    let parts = count(PARTS_MAX).prop_flat_map(move |count| {
        let count = count.max(1);
        (ascending(count), vec(part.clone(), count))
    });
    (number_u32(), parts)
        .prop_map(|(id, (partitions, parts))| {
            let part = |(partition, (channel, from, head, count, gap))| {
                let channel = ChannelId(channel);
                Part { channel, partition, from, head, count, gap }
            };
            let parts = partitions.into_iter().zip(parts).map(part).collect();
            let subscribed = Subscribed { subscription: SubscriptionId(id), parts: Parts::new(&[]) };
            Drawn { parts, ..Payload::Subscribed(subscribed).into() }
        })
        .boxed()
}

fn gap() -> BoxedStrategy<Drawn> {
    (number_u32(), position(), position(), select(GapReason::ALL))
        .prop_map(|(channel, a, b, reason)| {
            let (from, mut to) = (a.min(b), a.max(b));
            if from == to {
                to = Position::new(u64::MAX, u64::MAX);
            }
            let from = if from == to { Position::default() } else { from };
            Payload::Gap(Gap { channel: ChannelId(channel), from, to, reason }).into()
        })
        .boxed()
}

fn error() -> BoxedStrategy<Drawn> {
    let outcome = select(&[Outcome::Definite, Outcome::Unknown][..]);
    (number_u32(), number_u16(), outcome, text(DETAIL_BYTES_MAX))
        .prop_map(|(seq, code, outcome, text)| {
            let refusal = Refusal { ref_seq: Seq(seq), code, outcome, detail: "" };
            Drawn { text, ..Payload::Error(refusal).into() }
        })
        .boxed()
}

fn go_away() -> BoxedStrategy<Drawn> {
    (number_u16(), number_u32(), number_u32(), vec(text(ADDRESS_BYTES_MAX), 0..=ADDRESSES_MAX))
        .prop_map(|(reason, deadline_ms, retry_after_ms, texts)| {
            let go_away = GoAway { reason, deadline_ms, retry_after_ms, addresses: Addresses::new(&[]) };
            Drawn { texts, ..Payload::GoAway(go_away).into() }
        })
        .boxed()
}
