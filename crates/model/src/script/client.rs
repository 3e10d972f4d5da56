//! A client of a script: a friendly one that checks everything it gets, or a hostile one.
//!
//! It is written against the wire alone and shares nothing with the client library, so that
//! a misunderstanding is not made twice.

mod connection;

use self::connection::{Connection, UNIT};
use super::truth::{MessageId, Truth};
use crate::sockets::SocketId;
use multibeam_proto::Time;
use multibeam_wire::{
    Bye, CloseCode, Direction, ErrorCode, Features, Frame, FrameType, Gap, Generation, GoAwayReason, Hello,
    Inbound, Offset, Outcome, Payload, Position, ProducerId, Publish, Seq, Start, Subscribe, Subscribed,
    SubscriptionId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

/// Topics of a script; they fall on different shards and classes.
pub(super) const TOPICS: [&str; 4] = ["alarm.fire", "chat.a", "user.7.msg", "news.x.y"];

/// Who a client is, over all its connections.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u32,
    /// Keeps the rules; everything it is promised is checked.
    pub(super) friendly: bool,
    pub(super) connection: Option<Connection>,
    next_number: u64,
    /// Published, sent at least once, not answered: number, topic, bytes, generation.
    unanswered: VecDeque<Pending>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    pub(super) acked: BTreeSet<MessageId>,
    refused: BTreeSet<MessageId>,
    /// Refused with the word that it has no effect.
    void: BTreeSet<MessageId>,
    /// Acknowledged since the world last looked: the frame's number, and the topic.
    pub(super) fresh_acks: Vec<(u32, usize)>,
    pub(super) delivered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    number: u64,
    topic: usize,
    bytes: usize,
    sent_in: Option<Generation>,
}

#[derive(Debug)]
struct Subscription {
    topic: usize,
    start: Start<'static>,
    /// The last position told, by SUBSCRIBED, a delivery or a gap.
    cursor: Option<Position>,
    /// On this connection, SUBSCRIBED has come.
    live: bool,
    got: BTreeSet<MessageId>,
}

impl Client {
    pub(super) fn new(id: u32, friendly: bool) -> Self {
        Self {
            id,
            friendly,
            connection: None,
            next_number: 0,
            unanswered: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            acked: BTreeSet::new(),
            refused: BTreeSet::new(),
            void: BTreeSet::new(),
            fresh_acks: Vec::new(),
            delivered: 0,
        }
    }

    /// A new connection: HELLO, and every subscription again from its cursor, the first
    /// `turn` of them last.
    pub(super) fn connected(&mut self, shard: usize, socket: SocketId, window: u16, turn: usize, now: Time) {
        self.connection = Some(Connection::new(shard, socket, window, now));
        if !self.friendly {
            return;
        }
        let hello = Hello {
            features: self.features(),
            window_unit_log2: u64::from(UNIT.log2()),
            producer: ProducerId(u128::from(self.id)),
            agent: "script",
            system_after: None,
        };
        self.say(&Payload::Hello(hello));
        let mut again: Vec<_> = self
            .subscriptions
            .iter_mut()
            .map(|(id, subscription)| {
                subscription.live = false;
                let start = subscription.cursor.map_or(subscription.start, Start::After);
                (*id, subscription.topic, start)
            })
            .collect();
        let turn = again.len().min(turn);
        again.rotate_left(turn);
        for (subscription, topic, start) in again {
            self.say(&Payload::Subscribe(Subscribe { subscription, topic: TOPICS[topic], start }));
        }
    }

    /// The connection is gone; whatever was on its way is unknown.
    pub(super) fn disconnected(&mut self) {
        self.connection = None;
    }

    /// Every other client wants compact headers.
    fn features(&self) -> Features {
        if self.id % 2 == 1 { Features::COMPACT } else { Features::NONE }
    }

    /// Sends a frame by the rules.
    fn say(&mut self, payload: &Payload<'_>) {
        let Some(connection) = &mut self.connection else { return };
        if connection.ending {
            return;
        }
        if payload.frame_type().sequenced() {
            connection.sent = connection.sent.next();
        }
        connection.granted();
        let mut bytes = Vec::new();
        let Connection { sent, received, window, .. } = *connection;
        connection.encoder.encode(payload, sent, received, window, &mut bytes);
        connection.outgoing.extend(bytes);
        connection.ack_owed = false;
    }

    pub(super) fn subscribe(&mut self, topic: usize, start: Start<'static>) {
        if self.subscriptions.len() >= TOPICS.len() || self.connection.is_none() {
            return;
        }
        let subscription = SubscriptionId(self.subscriptions.len() as u32);
        let known = Subscription { topic, start, cursor: None, live: false, got: BTreeSet::new() };
        self.subscriptions.insert(subscription, known);
        self.say(&Payload::Subscribe(Subscribe { subscription, topic: TOPICS[topic], start }));
    }

    /// Wants to publish; it is sent when the node's window allows.
    pub(super) fn publish(&mut self, topic: usize, bytes: usize) {
        if self.unanswered.len() < 8 {
            let number = self.next_number;
            self.next_number += 1;
            self.unanswered.push_back(Pending { number, topic, bytes, sent_in: None });
        }
    }

    /// Sends what may be sent: publishes in order, an acknowledgement, the new window.
    pub(super) fn act(&mut self) {
        while let Some(connection) = &self.connection
            && let Some(generation) = connection.generation
            && !connection.ending
        {
            let sent: BTreeSet<u64> = connection.publishes.iter().map(|(_, number, _)| *number).collect();
            let Some(at) = self.unanswered.iter().position(|pending| !sent.contains(&pending.number)) else {
                break;
            };
            let pending = self.unanswered[at];
            let in_flight: u32 = connection.publishes.iter().map(|(_, _, bytes)| *bytes).sum();
            let id = MessageId { client: self.id, number: pending.number };
            let body = id.body(pending.topic, pending.bytes);
            let publish = Publish {
                retry_of: pending.sent_in,
                ..Publish::new(pending.number, TOPICS[pending.topic], &body)
            };
            let mut probe = Vec::new();
            let bytes = Payload::Publish(publish).encode(Seq(0), Seq(0), 0, &mut probe) as u32;
            if connection.node_window == 0 || (in_flight > 0 && in_flight + bytes > connection.node_window) {
                break;
            }
            self.unanswered[at].sent_in.get_or_insert(generation);
            self.say(&Payload::Publish(publish));
            if let Some(connection) = &mut self.connection {
                connection.publishes.push_back((connection.sent, pending.number, bytes));
            }
        }
        if self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.ack_owed && connection.generation.is_some())
        {
            self.say(&Payload::ACK);
        }
    }

    pub(super) fn set_window(&mut self, window: u16) {
        if let Some(connection) = &mut self.connection
            && connection.window != window
        {
            connection.window = window;
            connection.ack_owed = true;
        }
    }

    /// Says that it is there.
    pub(super) fn beat(&mut self) {
        if self.friendly && self.connection.as_ref().is_some_and(|it| it.generation.is_some()) {
            self.say(&Payload::Heartbeat);
        }
    }

    /// Its socket's name, where it is connected.
    pub(super) fn socket(&self) -> SocketId {
        self.connection.as_ref().map_or(SocketId(u64::MAX), |connection| connection.socket)
    }

    /// These bytes of the stream left the node when it held no lease.
    pub(super) fn without_lease(&mut self, bytes: Range<u64>) {
        if let Some(connection) = &mut self.connection
            && !bytes.is_empty()
        {
            connection.left_without_lease(bytes);
        }
    }

    /// Sends no more; what was asked must still be answered.
    pub(super) fn end(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.ending = true;
        }
    }

    /// Raw bytes, by no rules.
    pub(super) fn rave(&mut self, bytes: &[u8]) {
        if let Some(connection) = &mut self.connection {
            connection.outgoing.extend(bytes);
        }
    }

    /// Handles what came; checks all of it.
    pub(super) fn got(&mut self, bytes: &[u8], truth: &mut Truth) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut inbound = std::mem::replace(&mut connection.inbound, Inbound::new(Direction::ToClient));
        inbound.push(bytes);
        connection.came += bytes.len() as u64;
        let came = connection.came;
        let mut result = Ok(());
        loop {
            let start = came - inbound.pending_bytes() as u64;
            match inbound.next_frame() {
                Ok(Some(frame)) => {
                    result = self.check_lease(&frame, start).and_then(|()| self.frame(&frame, truth));
                    let welcome = matches!(frame.payload, Payload::Welcome(_));
                    if welcome && self.features().has(Features::COMPACT) {
                        inbound.agree_compact();
                    }
                    if result.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    result = Err(format!("P9: client {} got bytes that are no frame: {error}", self.id));
                    break;
                }
            }
        }
        if let Some(connection) = &mut self.connection {
            connection.inbound = inbound;
        }
        result.map_err(|error| format!("client {}: {error}", self.id))
    }

    fn check_lease(&mut self, frame: &Frame<'_>, start: u64) -> Result<(), String> {
        match &mut self.connection {
            Some(connection) if self.friendly => connection.check_lease(frame, start),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, truth: &mut Truth) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.bye.is_some() {
            return Err(format!("{:?} came behind BYE", frame.header.frame_type));
        }
        if let Payload::Bye(Bye { code, .. }) = frame.payload {
            connection.bye = Some(code);
            return self.check_bye(code);
        }
        if !self.friendly {
            return Ok(());
        }
        if connection.generation.is_none() && frame.header.frame_type != FrameType::Welcome {
            return Err(format!("{:?} came before WELCOME", frame.header.frame_type));
        }
        let step = u32::from(frame.header.frame_type.sequenced());
        if frame.header.seq != connection.received.plus(step) {
            return Err(format!("frame {:?} came behind {:?}", frame.header.seq, connection.received));
        }
        connection.received = frame.header.seq;
        connection.ack_owed |= step == 1;
        connection.check_window(frame)?;
        match frame.payload {
            Payload::Welcome(welcome) => {
                connection.generation = Some(welcome.generation);
                if welcome.features.has(Features::COMPACT) {
                    connection.encoder.agree_compact();
                }
                if welcome.features != self.features() {
                    return Err(format!("{:?} was agreed on, not {:?}", welcome.features, self.features()));
                }
            }
            Payload::Error(refusal) => self.refused(refusal.ref_seq, refusal.code, refusal.outcome)?,
            // Nobody publishes to the system's topics here.
            Payload::Subscribed(Subscribed { subscription: SubscriptionId::SYSTEM, .. }) => {}
            Payload::Subscribed(subscribed) => {
                let Some(part) = subscribed.parts.iter().next() else { unreachable!("decoded with a part") };
                let from = part.from;
                let Some(subscription) = self.subscriptions.get_mut(&subscribed.subscription) else {
                    return Err("SUBSCRIBED for a subscription that nobody asked for".to_owned());
                };
                if subscription.cursor.is_some_and(|cursor| cursor != from) {
                    return Err(format!("P3: resumed at {from} instead of {:?}", subscription.cursor));
                }
                subscription.cursor = Some(from);
                subscription.live = true;
                let known = connection.channels.insert(part.channel, subscribed.subscription);
                if known.is_some_and(|other| other != subscribed.subscription) {
                    return Err(format!("{:?} is the channel of two subscriptions", part.channel));
                }
            }
            Payload::Gap(gap) => self.gap(gap)?,
            Payload::Delivery(delivery) => {
                let Some((id, topic)) = MessageId::of(delivery.body) else {
                    return Err("a body without identity".to_owned());
                };
                let name = connection.channels.get(&delivery.channel).copied();
                let name = name.ok_or("a DATA for nobody")?;
                let subscribed = self.subscriptions.get(&name).map(|known| known.topic);
                if subscribed != Some(topic) {
                    return Err(format!(
                        "a message of topic {topic} came to a subscription of {subscribed:?}"
                    ));
                }
                self.delivery(name, delivery.position, delivery.prev, id, truth)?;
            }
            Payload::Heartbeat | Payload::Ack(_) | Payload::WindowUpdate => {}
            Payload::GoAway(go_away) => connection.away = go_away.reason == GoAwayReason::Isolated as u16,
            Payload::Publish(_)
            | Payload::Hello(_)
            | Payload::Subscribe(_)
            | Payload::Unsubscribe(_)
            | Payload::Reject(_)
            | Payload::Bye(_) => return Err(format!("{:?} from a node", frame.header.frame_type)),
        }
        self.acknowledged(frame.header.ack_seq, UNIT.bytes(frame.header.window))
    }

    /// A friendly client is closed only for reasons of time, place or stop.
    fn check_bye(&self, code: u16) -> Result<(), String> {
        let Some(code) = CloseCode::from_number(u64::from(code)) else {
            return Err(format!("P9: BYE {code}"));
        };
        let allowed = [
            CloseCode::Normal,
            CloseCode::HelloTimeout,
            CloseCode::HeartbeatTimeout,
            CloseCode::AckTimeout,
            CloseCode::ConnectionsMax,
            CloseCode::MemoryMax,
            CloseCode::DescriptorsMax,
            CloseCode::Shutdown,
        ];
        if self.friendly && !allowed.contains(&code) {
            return Err(format!("P9: a friendly client was closed with {}", code.label()));
        }
        Ok(())
    }

    fn acknowledged(&mut self, ack: Seq, window: u32) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.acked.distance(ack) < 0 || ack.distance(connection.sent) < 0 {
            return Err(format!(
                "acknowledged {ack:?}, sent {:?}, before {:?}",
                connection.sent, connection.acked
            ));
        }
        connection.acked = ack;
        connection.node_window = window;
        while let Some((seq, number, _)) = connection.publishes.front().copied()
            && seq.distance(ack) >= 0
        {
            connection.publishes.pop_front();
            if let Some(pending) = self.unanswered.iter().find(|pending| pending.number == number) {
                self.fresh_acks.push((seq.0, pending.topic));
            }
            self.unanswered.retain(|pending| pending.number != number);
            let id = MessageId { client: self.id, number };
            if !self.refused.contains(&id) {
                self.acked.insert(id);
            }
        }
        Ok(())
    }

    fn refused(&mut self, seq: Seq, code: u16, outcome: Outcome) -> Result<(), String> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let code = ErrorCode::from_number(u64::from(code)).ok_or_else(|| format!("ERROR {code}"))?;
        if let Some((_, number, _)) = connection.publishes.iter().find(|(at, _, _)| *at == seq) {
            let number = *number;
            let id = MessageId { client: self.id, number };
            // Answered: it is not sent again.
            self.unanswered.retain(|pending| pending.number != number);
            self.refused.insert(id);
            if outcome == Outcome::Definite {
                self.void.insert(id);
            }
            let expected = matches!(
                (code, outcome),
                (ErrorCode::DedupExpired | ErrorCode::Deadline, Outcome::Unknown) | (ErrorCode::TopicsMax, _)
            );
            return if expected { Ok(()) } else { Err(format!("a publish was refused: {}", code.label())) };
        }
        // A subscription: only a table that is full may refuse it.
        if code == ErrorCode::TopicsMax { Ok(()) } else { Err(format!("refused: {}", code.label())) }
    }

    fn gap(&mut self, gap: Gap) -> Result<(), String> {
        let name = self.connection.as_ref().and_then(|it| it.channels.get(&gap.channel)).copied();
        let Some(subscription) = name.and_then(|name| self.subscriptions.get_mut(&name)) else {
            return Err("a GAP for nobody".to_owned());
        };
        if subscription.cursor != Some(gap.from) {
            return Err(format!("P3: a gap from {} at {:?}", gap.from, subscription.cursor));
        }
        subscription.cursor = Some(gap.to);
        Ok(())
    }

    fn delivery(
        &mut self,
        name: SubscriptionId,
        position: Position,
        prev: Offset,
        id: MessageId,
        truth: &mut Truth,
    ) -> Result<(), String> {
        let Some(subscription) = self.subscriptions.get_mut(&name) else {
            return Err("a DATA for nobody".to_owned());
        };
        let Some(cursor) = subscription.cursor else { return Err("DATA before SUBSCRIBED".to_owned()) };
        if position <= cursor {
            return Err(format!("P2: {position} behind {cursor}"));
        }
        if position.generation != cursor.generation || prev > cursor.offset {
            return Err(format!("P3: {position} with prev {prev:?} at {cursor} without a gap"));
        }
        if let Some(missing) = truth.between(subscription.topic, cursor, position) {
            return Err(format!("P3: {missing} was skipped between {cursor} and {position}"));
        }
        if !subscription.got.insert(id) {
            return Err(format!("P4: {id:?} came twice"));
        }
        if self.void.contains(&id) {
            return Err(format!("{id:?} was refused and delivered"));
        }
        subscription.cursor = Some(position);
        self.delivered += 1;
        truth.saw(subscription.topic, position, id)
    }

    /// At rest: everything promised is there.
    pub(super) fn check_rest(&self, truth: &Truth) -> Result<(), String> {
        let Some(connection) = &self.connection else { return Ok(()) };
        if !self.friendly || connection.bye.is_some() || connection.ending {
            return Ok(());
        }
        if connection.generation.is_none() {
            return Err(format!("client {} was never welcomed", self.id));
        }
        if !self.unanswered.is_empty() {
            return Err(format!("client {}: no answer to {:?}", self.id, self.unanswered));
        }
        for subscription in self.subscriptions.values().filter(|subscription| subscription.live) {
            let (cursor, last) = (subscription.cursor, truth.last(subscription.topic));
            if cursor < last {
                let topic = TOPICS[subscription.topic];
                return Err(format!(
                    "P10: client {} rests at {cursor:?} of {topic}, which is at {last:?}",
                    self.id
                ));
            }
        }
        Ok(())
    }

    /// R8: at rest everybody knows whether the node is isolated.
    pub(super) fn check_away(&self, isolated: impl Fn(usize) -> bool) -> Result<(), String> {
        let Some(connection) = &self.connection else { return Ok(()) };
        if !self.friendly || connection.bye.is_some() || connection.ending {
            return Ok(());
        }
        let isolated = isolated(connection.shard);
        if connection.away == isolated {
            return Ok(());
        }
        Err(format!("R8: client {} of a shard that is isolated: {isolated} was told otherwise", self.id))
    }

    /// The stream ended: what the peer's own end had asked for must have been answered.
    pub(super) fn check_end(&self) -> Result<(), String> {
        let Some(connection) = &self.connection else { return Ok(()) };
        if self.friendly && connection.ended && connection.bye.is_none() && !connection.publishes.is_empty() {
            return Err(format!("client {} ended and was not told of {:?}", self.id, connection.publishes));
        }
        Ok(())
    }
}
