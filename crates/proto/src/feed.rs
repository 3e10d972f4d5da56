//! One topic, or one filter in one partition, on one shard: its recent messages, and who here follows it.
//!
//! On its home shard a feed is the topic's log, and other shards follow it by a cursor. On
//! every other shard it is a tail of that log, and only sessions follow it. Either way a
//! follower that is too slow is overrun and finds out by the next message's `prev`.
//!
//! ```text
//!        floor        first_index              next_index
//!          ▼              ▼                        ▼
//!  ······gone·······│ m │ m │ m │ m │ m │ m │ m │
//!                         ▲cursor of a session
//! ```

use crate::class::{PartitionId, Retention};
use crate::command::FeedState;
use crate::ids::{FeedId, ShardId};
use crate::log::{Entry, Log};
use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::{
    ChannelId, Decoder, Delivery, Direction, Frame, GapReason, Generation, Offset, Payload, Position, Step,
};
use smallvec::SmallVec;
use smol_str::SmolStr;

/// A subscription that follows a feed: its session's slot, and its place in the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) slot: u32,
    pub(crate) sub: u32,
}

/// Another shard that follows a feed of this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    pub(crate) shard: ShardId,
    pub(crate) feed: FeedId,
    /// Index of the next message to send.
    pub(crate) next_index: u64,
    /// Whether it stands in its shard's queue of those that are behind.
    pub(crate) queued: bool,
}

/// Where a feed's messages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This is the home shard.
    Home,
    /// The home shard is asked for the first time and has not answered.
    Asked,
    /// The home shard sends what it has.
    Following,
}

/// One topic, or one filter in one partition, on this shard.
#[derive(Debug)]
pub(crate) struct Feed {
    /// A topic's name, or a filter; up to 23 bytes of it stand here.
    pub(crate) text: SmolStr,
    /// What its members call it, where they can.
    pub(crate) channel: ChannelId,
    pub(crate) partition: PartitionId,
    pub(crate) home: ShardId,
    pub(crate) source: Source,
    pub(crate) filter: bool,
    /// Whether it stands in the queue of those that may be forgotten.
    pub(crate) idle_queued: bool,
    uncertain: bool,
    /// Answers of the home shard that are to come.
    pub(crate) asks: u16,
    pub(crate) members: SmallVec<[Member; 2]>,
    /// None for most feeds: one word where there is nobody.
    #[allow(clippy::box_collection, reason = "one word where there is nobody, which is almost everywhere")]
    followers: Option<Box<Vec<Follower>>>,
    /// When it was last published to or left, in uses of the table; for forgetting.
    pub(crate) used: u64,
    generation: Generation,
    floor: Offset,
    head: Offset,
    head_prev: Offset,
    first_index: u64,
    log: Option<Box<Log>>,
}

/// A message as it comes to a feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) position: Position,
    pub(crate) prev: Offset,
    pub(crate) ingress: Time,
    pub(crate) ttl_ms: u32,
    /// Its topic, where the feed is a filter's.
    pub(crate) topic: Option<&'a str>,
    pub(crate) body: &'a [u8],
}

/// What there is to tell a subscription next; at least one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextStep {
    /// What is missing first.
    pub(crate) gap: Option<(Position, GapReason)>,
    /// What is missing behind that because its time to live is over.
    pub(crate) expired: Option<Position>,
    /// Index of the message behind them.
    pub(crate) message: Option<u64>,
}

impl Feed {
    pub(crate) fn new(
        text: SmolStr,
        channel: ChannelId,
        partition: PartitionId,
        filter: bool,
        home: ShardId,
        source: Source,
        state: FeedState,
    ) -> Self {
        Self {
            text,
            channel,
            partition,
            home,
            source,
            filter,
            idle_queued: false,
            uncertain: state.uncertain,
            asks: 0,
            members: SmallVec::new(),
            followers: None,
            used: 0,
            generation: state.generation,
            floor: state.floor,
            head: state.head,
            head_prev: state.head_prev,
            first_index: 0,
            log: None,
        }
    }

    /// What a follower must know before it gets messages.
    pub(crate) fn state(&self) -> FeedState {
        let floor = self.first_prev().offset;
        FeedState {
            generation: self.generation,
            floor,
            head: self.head,
            head_prev: self.head_prev,
            // What was evicted since is known to have been there.
            uncertain: self.uncertain && floor == self.floor,
        }
    }

    /// The home shard answered: before this, nothing was known of the topic.
    pub(crate) fn followed(&mut self, state: FeedState) {
        assert!(self.next_index() == 0 || self.source == Source::Following);
        if self.source == Source::Asked {
            self.source = Source::Following;
            self.generation = state.generation;
            self.floor = state.floor;
            self.uncertain = state.uncertain;
        }
        if state.head > self.head || self.head == Offset(0) {
            self.head = state.head;
            self.head_prev = state.head_prev;
        }
        self.invariants();
    }

    /// Adds the next message.
    pub(crate) fn append(&mut self, arrival: &Arrival<'_>) {
        let Arrival { position, prev, .. } = *arrival;
        let last = self.last_offset();
        assert!(position.generation == self.generation, "{position} in another generation");
        assert!(last <= prev && prev < position.offset, "{} out of order", self.text);
        if position.offset > self.head {
            self.head = position.offset;
            self.head_prev = prev;
        }
        let delivery = Delivery {
            channel: self.channel,
            position,
            prev,
            skipped: false,
            topic: arrival.topic,
            body: arrival.body,
        };
        self.log.get_or_insert_default().push(&delivery, arrival.ingress, arrival.ttl_ms);
        self.invariants();
    }

    fn last_offset(&self) -> Offset {
        self.log().and_then(Log::last).unwrap_or(self.floor)
    }

    /// The last message here, or the floor.
    pub(crate) fn last(&self) -> Position {
        self.position(self.last_offset())
    }

    /// Drops the oldest message. False: there is none.
    pub(crate) fn evict(&mut self) -> bool {
        let Some(log) = &mut self.log else { return false };
        let Some(entry) = log.pop_front() else { return false };
        self.first_index += 1;
        if !planted::on(Bug::FloorNotRaised) {
            self.floor = entry.offset;
            self.uncertain = false;
        }
        self.invariants();
        true
    }

    /// Whether the oldest message is beyond what is kept.
    pub(crate) fn overfull(&self, retain: &Retention) -> bool {
        let Some(log) = &self.log else { return false };
        log.len() > 1 && (log.len() > retain.messages as usize || log.frame_bytes() > retain.bytes as usize)
    }

    /// Gives back memory that its messages do not need.
    pub(crate) fn shrink(&mut self) {
        if let Some(log) = &mut self.log {
            log.shrink();
            if log.is_empty() {
                self.log = None;
            }
        }
    }

    /// Bytes that its messages and their index reserve.
    pub(crate) fn memory(&self) -> usize {
        self.log().map_or(0, |log| size_of::<Log>() + log.memory())
    }

    pub(crate) fn log(&self) -> Option<&Log> {
        self.log.as_deref()
    }

    /// Messages that are here.
    pub(crate) fn len(&self) -> usize {
        self.log().map_or(0, Log::len)
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn head(&self) -> Position {
        self.position(self.head)
    }

    pub(crate) fn position(&self, offset: Offset) -> Position {
        Position { generation: self.generation, offset }
    }

    /// The position before the last message; the head where nothing is left.
    pub(crate) fn before_last(&self) -> Position {
        self.position(if self.head > self.floor { self.head_prev } else { self.head })
    }

    /// The highest offset up to which a follower can be told that all is gone: its first
    /// message, if it has one, follows right behind.
    pub(crate) fn first_prev(&self) -> Position {
        self.position(self.log().and_then(Log::first).map_or(self.floor, |first| first.prev))
    }

    /// Index of the first message behind `cursor` that is here, or that comes next.
    pub(crate) fn index_after(&self, cursor: Position) -> u64 {
        if cursor.generation != self.generation {
            return self.first_index;
        }
        self.first_index + self.log().map_or(0, |log| log.passed(cursor.offset)) as u64
    }

    /// The place in the log of the message at `index`, or of the first one left.
    pub(crate) fn place(&self, index: u64) -> usize {
        (index.max(self.first_index) - self.first_index) as usize
    }

    /// The message at `index`.
    pub(crate) fn entry(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.first_index)?;
        self.log()?.entry(at as usize)
    }

    /// The message at `index`.
    pub(crate) fn message(&self, index: u64) -> Option<(Entry, Delivery<'_>)> {
        let entry = *self.entry(index)?;
        let place = self.place(index);
        let mut decoder = Decoder::new(Direction::ToClient);
        decoder.agree_compact();
        match decoder.step(self.log()?.frames(place..place + 1)) {
            Ok(Step::Frame(Frame { payload: Payload::Delivery(delivery), .. }, _)) => Some((entry, delivery)),
            other => unreachable!("a stored frame is {other:?}"),
        }
    }

    /// Index that the next message will have.
    pub(crate) fn next_index(&self) -> u64 {
        self.first_index + self.len() as u64
    }

    /// Index of the oldest message here.
    pub(crate) fn first_index(&self) -> u64 {
        self.first_index
    }

    pub(crate) fn followers(&self) -> &[Follower] {
        self.followers.as_ref().map_or(&[], |followers| followers)
    }

    pub(crate) fn followers_mut(&mut self) -> &mut Vec<Follower> {
        self.followers.get_or_insert_default()
    }

    /// Nobody follows it.
    pub(crate) fn idle(&self) -> bool {
        self.members.is_empty() && self.followers().is_empty()
    }

    /// The next thing to tell a subscription at `cursor`, whose next message is at `index`.
    pub(crate) fn next_step(&self, cursor: Position, index: u64, now: Time) -> Option<NextStep> {
        let entry = |at| self.log().and_then(|log| log.entry(at));
        let mut at = self.place(index);
        // Messages at or below the cursor arrive where a feed is being filled from its home.
        while let Some(passed) = entry(at)
            && self.position(passed.offset) <= cursor
        {
            at += 1;
        }
        let next = entry(at);
        // Most who ask have got everything: they need not know where the log begins, far from here.
        if next.is_none() && cursor >= self.last() {
            return None;
        }
        let to = next.map_or_else(|| self.first_prev(), |next| self.position(next.prev));
        let gap = (cursor < to).then(|| (to, self.why(cursor, to)));
        let mut expired = None;
        if self.log().is_some_and(Log::mortal) && !planted::on(Bug::ExpiredDelivered) {
            while let Some(dead) = entry(at)
                && dead.expired(now)
                && expired.is_none_or(|before| before == self.position(dead.prev))
            {
                expired = Some(self.position(dead.offset));
                at += 1;
            }
        }
        let behind = expired.unwrap_or(to);
        let message = entry(at)
            .filter(|next| expired.is_none() || self.position(next.prev) == behind && !next.expired(now))
            .map(|_| self.first_index + at as u64);
        let step = NextStep { gap, expired, message };
        if gap.is_none() && expired.is_none() && message.is_none() { None } else { Some(step) }
    }

    fn why(&self, cursor: Position, to: Position) -> GapReason {
        if cursor.generation < to.generation {
            GapReason::Generation
        } else if self.uncertain && to.offset <= self.floor {
            GapReason::Uncertain
        } else {
            GapReason::Overflow
        }
    }

    /// Whether the message at `index` follows right behind the one before it.
    pub(crate) fn chained(&self, index: u64, now: Time) -> bool {
        let (Some(before), Some(entry)) = (self.entry(index - 1), self.entry(index)) else { return false };
        entry.prev == before.offset && (planted::on(Bug::ExpiredDelivered) || !entry.expired(now))
    }

    fn invariants(&self) {
        debug_assert!(self.head >= self.last_offset() || planted::on(Bug::FloorNotRaised));
        debug_assert!(self.head_prev <= self.head);
    }
}
