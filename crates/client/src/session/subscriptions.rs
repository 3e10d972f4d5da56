//! The subscriptions of a client: which are to be asked for, which channel is whose, and the frames
//! that their applications have handled.

use super::Notice;
use super::hand::HandoutId;
use super::subscription::Subscription;
use super::target::Target;
use crate::cursor::{Cursor, PartitionId, Start};
use crate::error::{RefusalError, SubscribeError};
use crate::event::Event;
use crate::status::ClientStats;
use multibeam_wire::{ChannelId, CloseCode, Delivery, Gap, Position, Seq, Subscribed, SubscriptionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Subscriptions of one client. Bounds what a reconnect has to send again.
const SUBSCRIPTIONS_MAX: usize = 65_536;

/// A numbered frame of one of the client's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// Number of the connection, from 1.
    pub(super) connection: u64,
    pub(super) seq: Seq,
}

/// What carried an event, and what it costs of the window until it is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// `None` for what no frame carried.
    pub(super) tag: Option<Tag>,
    pub(super) payload_bytes: u32,
}

impl Frame {
    pub(super) const NONE: Self = Self { tag: None, payload_bytes: 0 };
}

/// How an event moves a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Stay,
    Begin(Cursor),
    At(PartitionId, Position),
}

impl Mark {
    pub(super) fn apply(self, cursor: &mut Option<Cursor>) {
        match (self, cursor) {
            (Self::Begin(begin), cursor) => *cursor = Some(begin),
            (Self::At(partition, position), Some(cursor)) => cursor.advance(partition, position),
            (Self::At(..), None) => unreachable!("a message before SUBSCRIBED"),
            (Self::Stay, _) => {}
        }
    }

    /// Partitions that are gone move nothing.
    pub(super) fn retain(&mut self, keep: impl Fn(PartitionId) -> bool) {
        match self {
            Self::At(partition, _) if !keep(*partition) => *self = Self::Stay,
            Self::Begin(cursor) => cursor.retain(keep),
            Self::At(..) | Self::Stay => {}
        }
    }
}

/// What an application finds that comes for the next event of a subscription.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The next event; of a message that owes an ack, its name for [`super::Session::ack`].
    Event(Event, Option<HandoutId>),
    /// Nothing yet; a [`Notice::Readable`] will come.
    Wait,
    /// Nothing will ever come.
    End,
}

/// All subscriptions of a client.
#[derive(Debug)]
pub(super) struct Subscriptions {
    last_id: u32,
    live: BTreeMap<SubscriptionId, Subscription>,
    /// On the present connection.
    channels: BTreeMap<ChannelId, (SubscriptionId, PartitionId)>,
    to_subscribe: BTreeSet<SubscriptionId>,
    to_unsubscribe: BTreeSet<SubscriptionId>,
    /// Number of the present or last connection.
    connection: u64,
    carried_bytes: u64,
    /// Frames that became handled since [`Self::drain_released`].
    released: Vec<Frame>,
    closed: bool,
}

impl Subscriptions {
    /// None but the system subscription, to which nobody listens.
    pub(super) fn new() -> Self {
        let mut system = Subscription::new(Target::System, Start::New);
        system.muted = true;
        Self {
            last_id: 0,
            live: BTreeMap::from([(SubscriptionId::SYSTEM, system)]),
            channels: BTreeMap::new(),
            to_subscribe: BTreeSet::new(),
            to_unsubscribe: BTreeSet::new(),
            connection: 0,
            carried_bytes: 0,
            released: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn add(&mut self, target: Target, start: Start) -> Result<SubscriptionId, SubscribeError> {
        if self.closed {
            return Err(SubscribeError::Closed);
        }
        if !target.fits(&start) {
            return Err(SubscribeError::CursorMismatch);
        }
        if self.live.len() > SUBSCRIPTIONS_MAX {
            return Err(SubscribeError::TooMany);
        }
        let number =
            self.last_id.checked_add(1).filter(|&number| SubscriptionId(number) != SubscriptionId::SYSTEM);
        self.last_id = number.ok_or(SubscribeError::TooMany)?;
        let id = SubscriptionId(self.last_id);
        self.live.insert(id, Subscription::new(target, start));
        self.to_subscribe.insert(id);
        Ok(id)
    }

    /// Somebody listens to the system messages from here on.
    pub(super) fn add_system(&mut self) -> Result<SubscriptionId, SubscribeError> {
        if self.closed {
            return Err(SubscribeError::Closed);
        }
        let id = SubscriptionId::SYSTEM;
        let system =
            self.live.get_mut(&id).filter(|system| system.muted).ok_or(SubscribeError::SystemTaken)?;
        system.muted = false;
        system.hand.begin(system.received().cloned().as_ref());
        Ok(id)
    }

    /// Where HELLO says that the system subscription goes on.
    pub(super) fn system_after(&self) -> Option<Position> {
        self.live.get(&SubscriptionId::SYSTEM)?.received()?.position()
    }

    /// Forgets a subscription; what it had is handled.
    pub(super) fn remove(&mut self, id: SubscriptionId) {
        if id == SubscriptionId::SYSTEM {
            let Some(system) = self.live.get_mut(&id) else { return };
            system.clear(&mut self.released);
            system.muted = true;
            system.hand.manual(false);
            return;
        }
        let Some(mut subscription) = self.live.remove(&id) else { return };
        self.to_subscribe.remove(&id);
        for channel in &subscription.channels {
            self.channels.remove(channel);
        }
        if subscription.requested.is_some() && !subscription.ended {
            self.to_unsubscribe.insert(id);
        }
        subscription.clear(&mut self.released);
    }

    /// A connection has opened: everything in a queue or in hand is carried over, and all that lives is
    /// to be asked for again.
    pub(super) fn connected(&mut self, connection: u64) {
        assert!(self.connection < connection && self.released.is_empty());
        self.connection = connection;
        self.to_unsubscribe.clear();
        self.channels.clear();
        self.carried_bytes = self.held_bytes();
        for (&id, subscription) in &mut self.live {
            subscription.requested = None;
            subscription.channels.clear();
            if !subscription.ended && id != SubscriptionId::SYSTEM {
                self.to_subscribe.insert(id);
            }
        }
    }

    /// Bytes that any connection brought and nobody has handled.
    pub(super) fn held_bytes(&self) -> u64 {
        let frames = self.live.values().flat_map(Subscription::unhandled);
        frames.map(|frame| u64::from(frame.payload_bytes)).sum()
    }

    /// Bytes that earlier connections brought and nobody has handled.
    pub(super) const fn carried_bytes(&self) -> u64 {
        self.carried_bytes
    }

    pub(super) fn to_unsubscribe(&self) -> Option<SubscriptionId> {
        self.to_unsubscribe.first().copied()
    }

    pub(super) fn unsubscribe_sent(&mut self, id: SubscriptionId) {
        self.to_unsubscribe.remove(&id);
    }

    pub(super) fn to_subscribe(&self) -> Option<(SubscriptionId, &str, Start)> {
        let id = *self.to_subscribe.first()?;
        let subscription = self.live.get(&id)?;
        Some((id, subscription.target.as_str(), subscription.resume_start()))
    }

    pub(super) fn subscribe_sent(&mut self, id: SubscriptionId, seq: Seq) {
        self.to_subscribe.remove(&id);
        if let Some(subscription) = self.live.get_mut(&id) {
            subscription.requested = Some(seq);
        }
    }

    /// Which subscription the SUBSCRIBE `seq` of this connection asked for.
    pub(super) fn requested_by(&self, seq: Seq) -> Option<SubscriptionId> {
        self.live.iter().find(|(_, subscription)| subscription.requested == Some(seq)).map(|(&id, _)| id)
    }

    /// Takes over SUBSCRIBED: its parts replace what was known of the subscription's channels.
    ///
    /// # Errors
    /// [`CloseCode::BadPayload`] where a channel or a partition stands there twice, or what lies in one
    /// partition has several. The connection can only be closed.
    pub(super) fn subscribed(
        &mut self,
        told: &Subscribed<'_>,
        notices: &mut VecDeque<Notice>,
    ) -> Result<(), CloseCode> {
        let parts = || told.parts.iter();
        let channels: BTreeSet<_> = parts().map(|part| part.channel).collect();
        let partitions: BTreeSet<_> = parts().map(|part| part.partition).collect();
        let count = parts().count();
        if channels.len() < count || partitions.len() < count {
            return Err(CloseCode::BadPayload);
        }
        for channel in &channels {
            let other = self.channels.remove(channel);
            if let Some(other) = other.and_then(|(other, _)| self.live.get_mut(&other)) {
                other.channels.remove(channel);
            }
        }
        let id = told.subscription;
        let Some(subscription) = self.live.get_mut(&id).filter(|it| !it.ended) else { return Ok(()) };
        if subscription.target.has_one_part() && count != 1 {
            return Err(CloseCode::BadPayload);
        }
        for before in std::mem::replace(&mut subscription.channels, channels) {
            self.channels.remove(&before);
        }
        self.channels.extend(parts().map(|part| (part.channel, (id, PartitionId(part.partition)))));
        if subscription.begins(&told.parts) {
            notices.push_back(Notice::Readable(id));
        }
        Ok(())
    }

    /// Checks a delivery and queues it. Returns false where nobody will handle the frame: it
    /// is done at once.
    ///
    /// # Errors
    /// [`CloseCode::BadPayload`] where its topic can't be one of the subscription.
    pub(super) fn delivered(
        &mut self,
        delivery: &Delivery<'_>,
        frame: Frame,
        stats: &mut ClientStats,
        notices: &mut VecDeque<Notice>,
    ) -> Result<bool, CloseCode> {
        let Some((id, partition, subscription)) = self.on_channel(delivery.channel) else { return Ok(false) };
        let topic = subscription.target.topic_of(delivery).ok_or(CloseCode::BadPayload)?;
        let queued = subscription.delivered(delivery, topic, partition, frame, stats);
        if queued {
            notices.push_back(Notice::Readable(id));
        }
        Ok(queued)
    }

    /// Queues a gap that the node told. Returns false where nobody will handle the frame.
    pub(super) fn gap(
        &mut self,
        gap: &Gap,
        frame: Frame,
        stats: &mut ClientStats,
        notices: &mut VecDeque<Notice>,
    ) -> bool {
        let Some((id, partition, subscription)) = self.on_channel(gap.channel) else { return false };
        let queued = subscription.gap(gap, partition, frame, stats);
        if queued {
            notices.push_back(Notice::Readable(id));
        }
        queued
    }

    /// The node refused the subscription; its queue ends with that.
    pub(super) fn refused(
        &mut self,
        id: SubscriptionId,
        error: RefusalError,
        notices: &mut VecDeque<Notice>,
    ) {
        let Some(subscription) = self.live.get_mut(&id).filter(|it| !it.ended) else { return };
        subscription.ended = true;
        subscription.tell(Event::Ended(error));
        notices.push_back(Notice::Readable(id));
    }

    /// The application comes for the next event.
    pub(super) fn next(&mut self, id: SubscriptionId, stats: &mut ClientStats) -> Next {
        let closed = self.closed;
        let Some(subscription) = self.live.get_mut(&id) else { return Next::End };
        subscription.hand.come_back(&mut self.released);
        if let Some((message, handout)) = subscription.hand.take_again() {
            stats.redeliveries += 1;
            return Next::Event(Event::Message(message), Some(handout));
        }
        match subscription.next() {
            Some((event, handout)) => Next::Event(event, handout),
            None if subscription.ended || closed => Next::End,
            None => Next::Wait,
        }
    }

    /// The application has handled what it has in hand, but for what owes an ack.
    pub(super) fn come_back(&mut self, id: SubscriptionId) {
        if let Some(subscription) = self.live.get_mut(&id) {
            subscription.hand.come_back(&mut self.released);
        }
    }

    pub(super) fn manual_acks(&mut self, id: SubscriptionId) {
        if let Some(subscription) = self.live.get_mut(&id) {
            subscription.hand.manual(true);
        }
    }

    pub(super) fn ack(&mut self, id: SubscriptionId, handout: HandoutId) {
        if let Some(subscription) = self.live.get_mut(&id) {
            subscription.hand.ack(handout, &mut self.released);
        }
    }

    pub(super) fn give_back(
        &mut self,
        id: SubscriptionId,
        handout: HandoutId,
        notices: &mut VecDeque<Notice>,
    ) {
        if self.live.get_mut(&id).is_some_and(|subscription| subscription.hand.give_back(handout)) {
            notices.push_back(Notice::Readable(id));
        }
    }

    pub(super) fn taken(&self, id: SubscriptionId) -> Option<&Cursor> {
        self.live.get(&id)?.hand.taken()
    }

    pub(super) fn handled(&self, id: SubscriptionId) -> Option<&Cursor> {
        self.live.get(&id)?.hand.handled()
    }

    /// Calls `each` for the frames that became handled, each once.
    pub(super) fn drain_released(&mut self, mut each: impl FnMut(Tag)) {
        for frame in self.released.drain(..) {
            let Some(tag) = frame.tag else { continue };
            if tag.connection != self.connection {
                assert!(self.carried_bytes >= u64::from(frame.payload_bytes));
                self.carried_bytes -= u64::from(frame.payload_bytes);
            }
            each(tag);
        }
    }

    /// The client is closed: queues can be emptied, nothing more comes.
    pub(super) fn close(&mut self, notices: &mut VecDeque<Notice>) {
        self.closed = true;
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        notices.extend(self.live.keys().map(|&id| Notice::Readable(id)));
    }

    /// Whose deliveries come on a channel, if anybody handles them.
    fn on_channel(&mut self, channel: ChannelId) -> Option<(SubscriptionId, PartitionId, &mut Subscription)> {
        let (id, partition) = *self.channels.get(&channel)?;
        let subscription = self.live.get_mut(&id).filter(|it| !it.ended)?;
        Some((id, partition, subscription))
    }

    pub(super) fn invariants(&self) {
        debug_assert!(self.to_subscribe.iter().all(|id| self.live.contains_key(id)));
        debug_assert!(self.to_unsubscribe.iter().all(|id| !self.live.contains_key(id)));
        debug_assert!(self.channels.iter().all(|(channel, (id, _))| {
            self.live.get(id).is_some_and(|subscription| subscription.channels.contains(channel))
        }));
        if cfg!(debug_assertions) {
            self.live.values().for_each(Subscription::invariants);
        }
    }
}
