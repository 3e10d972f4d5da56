//! One subscription over all connections: what came, what waits, what is in hand.
//!
//! ```text
//!   handled ≤ taken ≤ received          each a cursor; between them: in hand, in the queue
//! ```
//!
//! What comes from the node is checked against `received`, and a new connection resumes behind it.

use super::hand::{Hand, HandoutId};
use super::subscriptions::{Frame, Mark};
use super::target::Target;
use crate::cursor::{Cursor, PartitionId, Start};
use crate::event::{Event, GapReason, Message, Part};
use crate::status::ClientStats;
use multibeam_wire::{ChannelId, Delivery, Gap, Parts, Position, Seq, TopicName};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
struct Queued {
    event: Event,
    frame: Frame,
    mark: Mark,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) target: Target,
    start: Start,
    received: Option<Cursor>,
    /// Nobody listens: nothing is queued, everything is handled when it comes.
    pub(super) muted: bool,
    /// Number of the SUBSCRIBE on the present connection.
    pub(super) requested: Option<Seq>,
    /// What the node calls its parts on the present connection.
    pub(super) channels: BTreeSet<ChannelId>,
    told_subscribed: bool,
    pub(super) ended: bool,
    queue: VecDeque<Queued>,
    pub(super) hand: Hand,
}

impl Subscription {
    pub(super) fn new(target: Target, start: Start) -> Self {
        let received = match &start {
            Start::After(cursor) => Some(cursor.clone()),
            Start::New | Start::Last | Start::First => None,
        };
        let hand = Hand::new(received.clone(), received.clone());
        Self {
            target,
            start,
            received,
            muted: false,
            requested: None,
            channels: BTreeSet::new(),
            told_subscribed: false,
            ended: false,
            queue: VecDeque::new(),
            hand,
        }
    }

    /// Where it begins on a new connection: behind everything that came, or where the application asked
    /// as long as nothing has.
    pub(super) fn resume_start(&self) -> Start {
        self.received.clone().map_or_else(|| self.start.clone(), Start::After)
    }

    pub(super) const fn received(&self) -> Option<&Cursor> {
        self.received.as_ref()
    }

    /// The node tells where it begins. Returns whether there is something to take.
    pub(super) fn begins(&mut self, parts: &Parts<'_>) -> bool {
        let told = || parts.iter().map(|part| (PartitionId(part.partition), part.from));
        match &mut self.received {
            None => self.received = first_cursor(self.target.has_one_part(), told()),
            // A cursor that the application asked for stays: a gap behind it must be told.
            Some(received) => {
                for (partition, from) in told() {
                    if received.position_in(partition).is_none() {
                        received.advance(partition, from);
                    }
                }
                let known: BTreeSet<_> = told().map(|(partition, _)| partition).collect();
                let keep = |partition| known.contains(&partition);
                received.retain(keep);
                self.hand.retain(keep);
                self.queue.iter_mut().for_each(|queued| queued.mark.retain(keep));
            }
        }
        if std::mem::replace(&mut self.told_subscribed, true) || self.muted {
            return false;
        }
        let event = Event::Subscribed { parts: parts.iter().map(Part::from).collect() };
        let mark = self.received.clone().map_or(Mark::Stay, Mark::Begin);
        self.push(event, Frame::NONE, mark);
        true
    }

    /// Checks a delivery of `topic` and queues it. Returns whether it was queued; else it is handled.
    pub(super) fn delivered(
        &mut self,
        delivery: &Delivery<'_>,
        topic: TopicName,
        partition: PartitionId,
        frame: Frame,
        stats: &mut ClientStats,
    ) -> bool {
        let position = delivery.position;
        if let Some(cursor) = self.received_in(partition) {
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
                let event = Event::Gap { partition, from: cursor, to: before, reason };
                self.receive(event, Frame::NONE, Mark::At(partition, before));
            }
        }
        let message = Message {
            topic,
            partition,
            position,
            prev: delivery.prev,
            skipped: delivery.skipped,
            attempt: 1,
            body: Arc::from(delivery.body),
            ack: None,
        };
        if self.muted {
            stats.system_dropped += 1;
        } else {
            stats.messages += 1;
        }
        self.receive(Event::Message(message), frame, Mark::At(partition, position))
    }

    /// Queues a gap that the node told. Returns whether it was queued; else it is handled.
    pub(super) fn gap(
        &mut self,
        gap: &Gap,
        partition: PartitionId,
        frame: Frame,
        stats: &mut ClientStats,
    ) -> bool {
        let cursor = self.received_in(partition);
        if cursor.is_some_and(|cursor| gap.to <= cursor) {
            stats.duplicates_dropped += 1;
            return false;
        }
        stats.gaps_told += 1;
        let from = cursor.map_or(gap.from, |cursor| cursor.max(gap.from));
        let event = Event::Gap { partition, from, to: gap.to, reason: GapReason::Told(gap.reason) };
        self.receive(event, frame, Mark::At(partition, gap.to))
    }

    /// Queues what no frame carried.
    pub(super) fn tell(&mut self, event: Event) {
        self.push(event, Frame::NONE, Mark::Stay);
    }

    /// The next event for the application, which has come back from the one before.
    pub(super) fn next(&mut self) -> Option<(Event, Option<HandoutId>)> {
        let queued = self.queue.pop_front()?;
        let id = self.hand.take(&queued.event, queued.frame, queued.mark);
        Some((queued.event, id))
    }

    /// Frames in the queue and in hand.
    pub(super) fn unhandled(&self) -> impl Iterator<Item = Frame> + '_ {
        self.queue.iter().map(|queued| queued.frame).chain(self.hand.unhandled())
    }

    /// Empties queue and hand; nobody will handle what was there.
    pub(super) fn clear(&mut self, released: &mut Vec<Frame>) {
        released.extend(self.queue.drain(..).map(|queued| queued.frame));
        self.hand.clear(released);
    }

    fn received_in(&self, partition: PartitionId) -> Option<Position> {
        self.received.as_ref()?.position_in(partition)
    }

    /// Moves `received`, and queues where somebody listens.
    fn receive(&mut self, event: Event, frame: Frame, mark: Mark) -> bool {
        mark.clone().apply(&mut self.received);
        if !self.muted {
            self.push(event, frame, mark);
        }
        !self.muted
    }

    fn push(&mut self, event: Event, frame: Frame, mark: Mark) {
        assert!(!self.muted);
        self.queue.push_back(Queued { event, frame, mark });
    }

    pub(super) fn invariants(&self) {
        self.hand.invariants();
        debug_assert!(!self.muted || self.queue.is_empty());
        debug_assert!(match (self.hand.taken(), &self.received) {
            (Some(taken), Some(received)) => taken.is_within(received),
            (Some(_), None) => false,
            (None, _) => true,
        });
    }
}

/// The cursor that SUBSCRIBED begins with.
fn first_cursor(one_part: bool, mut parts: impl Iterator<Item = (PartitionId, Position)>) -> Option<Cursor> {
    if one_part {
        parts.next().map(|(_, from)| Cursor::of_topic(from))
    } else {
        Cursor::of_filter(parts).ok()
    }
}
