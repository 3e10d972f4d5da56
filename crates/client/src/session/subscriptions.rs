//! Subscriptions over all connections: what each has been given, and what waits for its
//! application.
//!
//! Two positions matter. `cursor` is the last one put into the queue: what comes from the
//! node is checked against it, and a new connection resumes behind it. `taken` is the last
//! one that the application has in hand: another process can resume behind that.

use super::Notice;
use crate::error::{RefusalError, SubscribeError};
use crate::event::{Event, GapReason};
use crate::status::ClientStats;
use multibeam_wire::{ChannelId, Delivery, Gap, Position, Seq, Start, Subscribed, SubscriptionId, TopicName};
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

#[derive(Debug)]
struct Queued {
    event: Event,
    /// `None` for what no frame carried.
    tag: Option<Tag>,
    payload_bytes: u32,
    cursor: Option<Position>,
}

#[derive(Debug)]
struct Subscription {
    topic: TopicName,
    start: Start,
    cursor: Option<Position>,
    taken: Option<Position>,
    /// Number of the SUBSCRIBE on the present connection.
    requested: Option<Seq>,
    /// What the node calls it on the present connection.
    channel: Option<ChannelId>,
    told_subscribed: bool,
    ended: bool,
    queue: VecDeque<Queued>,
    in_hand: Option<Tag>,
}

/// What an application finds that comes for the next event of a subscription.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The next event.
    Event(Event),
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
    channels: BTreeMap<ChannelId, SubscriptionId>,
    to_subscribe: BTreeSet<SubscriptionId>,
    to_unsubscribe: BTreeSet<SubscriptionId>,
    /// Number of the present or last connection.
    connection: u64,
    carried_bytes: u64,
    closed: bool,
}

impl Subscriptions {
    pub(super) const fn new() -> Self {
        Self {
            last_id: 0,
            live: BTreeMap::new(),
            channels: BTreeMap::new(),
            to_subscribe: BTreeSet::new(),
            to_unsubscribe: BTreeSet::new(),
            connection: 0,
            carried_bytes: 0,
            closed: false,
        }
    }

    pub(super) fn add(&mut self, topic: TopicName, start: Start) -> Result<SubscriptionId, SubscribeError> {
        if self.closed {
            return Err(SubscribeError::Closed);
        }
        if self.live.len() >= SUBSCRIPTIONS_MAX {
            return Err(SubscribeError::TooMany);
        }
        self.last_id = self.last_id.checked_add(1).ok_or(SubscribeError::TooMany)?;
        let id = SubscriptionId(self.last_id);
        let cursor = match start {
            Start::After(position) => Some(position),
            Start::New | Start::Last => None,
        };
        self.live.insert(
            id,
            Subscription {
                topic,
                start,
                cursor,
                taken: cursor,
                requested: None,
                channel: None,
                told_subscribed: false,
                ended: false,
                queue: VecDeque::new(),
                in_hand: None,
            },
        );
        self.to_subscribe.insert(id);
        Ok(id)
    }

    /// Forgets a subscription and returns the frames that are handled thereby.
    pub(super) fn remove(&mut self, id: SubscriptionId) -> Vec<Tag> {
        let Some(subscription) = self.live.remove(&id) else { return Vec::new() };
        self.to_subscribe.remove(&id);
        if let Some(channel) = subscription.channel {
            self.channels.remove(&channel);
        }
        if subscription.requested.is_some() && !subscription.ended {
            self.to_unsubscribe.insert(id);
        }
        let mut tags: Vec<_> = subscription.in_hand.into_iter().collect();
        for queued in &subscription.queue {
            self.release(queued);
            tags.extend(queued.tag);
        }
        tags
    }

    /// A connection has opened: everything in a queue is carried over, and all that lives is
    /// to be asked for again.
    pub(super) fn connected(&mut self, connection: u64) {
        assert!(self.connection < connection);
        self.connection = connection;
        self.to_unsubscribe.clear();
        self.channels.clear();
        self.carried_bytes = 0;
        for (&id, subscription) in &mut self.live {
            subscription.requested = None;
            subscription.channel = None;
            self.carried_bytes +=
                subscription.queue.iter().map(|queued| u64::from(queued.payload_bytes)).sum::<u64>();
            if !subscription.ended {
                self.to_subscribe.insert(id);
            }
        }
    }

    /// Bytes in queues that earlier connections brought.
    pub(super) const fn carried_bytes(&self) -> u64 {
        self.carried_bytes
    }

    pub(super) fn to_unsubscribe(&self) -> Option<SubscriptionId> {
        self.to_unsubscribe.first().copied()
    }

    pub(super) fn unsubscribe_sent(&mut self, id: SubscriptionId) {
        self.to_unsubscribe.remove(&id);
    }

    pub(super) fn to_subscribe(&self) -> Option<(SubscriptionId, TopicName, Start)> {
        let id = *self.to_subscribe.first()?;
        let subscription = self.live.get(&id)?;
        let start = resume_start(subscription.start, subscription.cursor);
        Some((id, subscription.topic.clone(), start))
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

    pub(super) fn subscribed(&mut self, told: &Subscribed, notices: &mut VecDeque<Notice>) {
        let Some(subscription) = self.live.get_mut(&told.subscription) else { return };
        let before = subscription.channel.replace(told.channel);
        if let Some(before) = before {
            self.channels.remove(&before);
        }
        let taken_from = self.channels.insert(told.channel, told.subscription);
        if let Some(other) = taken_from.and_then(|other| self.live.get_mut(&other)) {
            other.channel = None;
        }
        let Some(subscription) = self.live.get_mut(&told.subscription) else { return };
        // A cursor that the application asked for stays: a gap behind it must be told.
        subscription.cursor.get_or_insert(told.from);
        if !std::mem::replace(&mut subscription.told_subscribed, true) {
            let event = Event::Subscribed { from: told.from, head: told.head };
            subscription.push(event, None, 0);
            notices.push_back(Notice::Readable(told.subscription));
        }
    }

    /// Checks a delivery and queues it. Returns false where nobody will handle the frame: it
    /// is done at once.
    pub(super) fn delivered(
        &mut self,
        delivery: &Delivery<'_>,
        tag: Tag,
        payload_bytes: u32,
        stats: &mut ClientStats,
        notices: &mut VecDeque<Notice>,
    ) -> bool {
        let Some((id, subscription)) = self.on_channel(delivery.channel) else { return false };
        let position = delivery.position;
        if let Some(cursor) = subscription.cursor {
            if position <= cursor {
                stats.duplicates_dropped += 1;
                return false;
            }
            let before = Position { offset: delivery.prev, ..position };
            if before > cursor {
                let reason = if delivery.skipped {
                    stats.gaps_told += 1;
                    GapReason::Told(multibeam_wire::GapReason::Conflated)
                } else {
                    stats.silent_gaps += 1;
                    GapReason::Silent
                };
                subscription.cursor = Some(before);
                let event = Event::Gap { from: cursor, to: before, reason };
                subscription.push(event, None, 0);
            }
        }
        stats.messages += 1;
        subscription.cursor = Some(position);
        let event = Event::Message {
            topic: subscription.topic.clone(),
            position,
            prev: delivery.prev,
            body: delivery.body.to_vec(),
        };
        subscription.push(event, Some(tag), payload_bytes);
        notices.push_back(Notice::Readable(id));
        true
    }

    /// Queues a gap that the node told. Returns false where nobody will handle the frame.
    pub(super) fn gap(
        &mut self,
        gap: &Gap,
        tag: Tag,
        stats: &mut ClientStats,
        notices: &mut VecDeque<Notice>,
    ) -> bool {
        let Some((id, subscription)) = self.on_channel(gap.channel) else { return false };
        if subscription.cursor.is_some_and(|cursor| gap.to <= cursor) {
            stats.duplicates_dropped += 1;
            return false;
        }
        stats.gaps_told += 1;
        let from = subscription.cursor.map_or(gap.from, |cursor| cursor.max(gap.from));
        subscription.cursor = Some(gap.to);
        let event = Event::Gap { from, to: gap.to, reason: GapReason::Told(gap.reason) };
        subscription.push(event, Some(tag), 0);
        notices.push_back(Notice::Readable(id));
        true
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
        subscription.push(Event::Ended(error), None, 0);
        notices.push_back(Notice::Readable(id));
    }

    /// The application comes for the next event, which says that it has handled the one
    /// before: that one's frame is returned.
    pub(super) fn next(&mut self, id: SubscriptionId) -> (Next, Option<Tag>) {
        let Some(subscription) = self.live.get_mut(&id) else { return (Next::End, None) };
        let handled = subscription.in_hand.take();
        let Some(queued) = subscription.queue.pop_front() else {
            let end = subscription.ended || self.closed;
            return (if end { Next::End } else { Next::Wait }, handled);
        };
        subscription.in_hand = queued.tag;
        subscription.taken = queued.cursor.or(subscription.taken);
        self.release(&queued);
        (Next::Event(queued.event), handled)
    }

    pub(super) fn taken(&self, id: SubscriptionId) -> Option<Position> {
        self.live.get(&id)?.taken
    }

    /// The client is closed: queues can be emptied, nothing more comes.
    pub(super) fn close(&mut self, notices: &mut VecDeque<Notice>) {
        self.closed = true;
        self.to_subscribe.clear();
        self.to_unsubscribe.clear();
        notices.extend(self.live.keys().map(|&id| Notice::Readable(id)));
    }

    /// Whose deliveries come on a channel, if anybody handles them.
    fn on_channel(&mut self, channel: ChannelId) -> Option<(SubscriptionId, &mut Subscription)> {
        let id = *self.channels.get(&channel)?;
        let subscription = self.live.get_mut(&id).filter(|it| !it.ended)?;
        Some((id, subscription))
    }

    fn release(&mut self, queued: &Queued) {
        if queued.tag.is_some_and(|tag| tag.connection != self.connection) {
            assert!(self.carried_bytes >= u64::from(queued.payload_bytes));
            self.carried_bytes -= u64::from(queued.payload_bytes);
        }
    }

    pub(super) fn invariants(&self) {
        debug_assert!(self.to_subscribe.iter().all(|id| self.live.contains_key(id)));
        debug_assert!(self.to_unsubscribe.iter().all(|id| !self.live.contains_key(id)));
        debug_assert!(self.live.values().all(|it| it.taken <= it.cursor));
        debug_assert!(self.channels.iter().all(|(channel, id)| {
            self.live.get(id).is_some_and(|subscription| subscription.channel == Some(*channel))
        }));
    }
}

impl Subscription {
    fn push(&mut self, event: Event, tag: Option<Tag>, payload_bytes: u32) {
        self.queue.push_back(Queued { event, tag, payload_bytes, cursor: self.cursor });
    }
}

/// Where a subscription begins on a new connection: behind the last position in its queue, or
/// where the application asked as long as there is none.
fn resume_start(asked: Start, cursor: Option<Position>) -> Start {
    cursor.map_or(asked, Start::After)
}
