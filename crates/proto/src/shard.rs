//! One shard: its sessions, its feeds, and the partitions whose home it is.
//!
//! # Contract
//!
//! The event loop tells what happened ([`Shard::opened`], [`Shard::received`],
//! [`Shard::peer_ended`], [`Shard::timeout`], [`Shard::closed`], [`Shard::command`],
//! [`Shard::set_room`]) and afterwards drains what follows from it:
//! [`Shard::poll_touched`] names connections whose output, deadline or stall may have
//! changed, [`Shard::poll_command`] gives commands for other threads. Output is made by
//! [`Shard::stage`] when a socket can take it, and comes true by [`Shard::commit`].
//!
//! A connection that closes with a number stays known until the loop says
//! [`Shard::closed`]; input that it still sends is not given to the shard.

mod away;
mod inbound;
mod lease;
mod publishing;
mod subscribing;
mod topics;

use crate::columns::Column;
use crate::command::{Command, PublishRequest};
use crate::config::ShardConfig;
use crate::feeds::Feeds;
use crate::ids::{ConnectionId, FeedId, ShardId};
use crate::message::Messages;
use crate::planted::{self, Bug};
use crate::rooms::Rooms;
use crate::session::{Answer, Context, Made, Phase, Run, Runs, Session, Staged, Stall, Standing};
use crate::stats::{Stat, StatKind, Stats};
use crate::time::Time;
use multibeam_wire::{CloseCode, ErrorCode, Generation, Outcome, Part};
use smol_str::SmolStr;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use subscribing::Ask;

/// What makes one shard different from another.
#[derive(Clone, Debug)]
pub struct ShardSetup {
    /// Its number.
    pub id: ShardId,
    /// Shards of this node.
    pub shards: u16,
    /// Generation of everything stored from now on.
    pub generation: Generation,
    /// Secret of this process: jitter, hash keys, session numbers.
    pub seed: u64,
}

/// What became of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of whole frames that were handled; the rest must be given again.
    pub used: usize,
    /// Bytes, from `used` on, that the next frame takes; 0 if that is not known because the
    /// session stalled.
    pub needed: usize,
}

/// See the module's documentation for the contract.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    setup: ShardSetup,
    feeds: Feeds,
    sessions: Column<Session>,
    /// Frames in flight to all clients.
    runs: Runs,
    rooms: Rooms,
    outbox: VecDeque<(ShardId, Command)>,
    touched: VecDeque<ConnectionId>,
    /// Per thread: sessions that wait for room towards it.
    stalled: Vec<VecDeque<ConnectionId>>,
    /// Per thread: what it is to be asked about feeds.
    asks: Vec<VecDeque<Ask>>,
    /// Per thread: feeds whose follower there is behind.
    lagging: Vec<VecDeque<FeedId>>,
    /// Requests that came back, to be filled again.
    #[allow(clippy::vec_box, reason = "they travel as boxes, and are kept to be sent again")]
    spare_requests: Vec<Box<PublishRequest>>,
    messages: Messages,
    /// Room for the parts of a SUBSCRIBED.
    parts: Vec<Part>,
    /// Room for a topic that a template and a key make.
    topic: String,
    random: u64,
    stopping: bool,
    standing: Standing,
    /// The node is isolated: where its clients are to go.
    away: Option<Arc<[SmolStr]>>,
    /// Slots of sessions with output that only a leader may send: at most one entry a session.
    held_back: BTreeSet<u32>,
    stats: Stats,
}

/// Requests kept to be filled again: as many as one ring of replies holds.
const SPARE_REQUESTS_MAX: usize = 256;

impl Shard {
    /// A shard without connections.
    ///
    /// # Panics
    /// When a setting makes no sense, such as a table of no size.
    #[must_use]
    pub fn new(config: ShardConfig, setup: ShardSetup) -> Self {
        assert!(setup.id.0 < setup.shards, "shard {:?} of {}", setup.id, setup.shards);
        assert!(setup.generation.0 > 0, "generations begin at 1");
        assert!(config.requests_in_flight_max > 0 && config.deliveries_in_flight_max > 1);
        let threads = usize::from(setup.shards) + 1;
        Self {
            feeds: Feeds::new(setup.seed, Arc::clone(&config.classes)),
            sessions: Column::default(),
            runs: Runs::default(),
            rooms: Rooms::new(threads, config.ring_replies),
            outbox: VecDeque::new(),
            touched: VecDeque::new(),
            stalled: vec![VecDeque::new(); threads],
            asks: (0..threads).map(|_| VecDeque::new()).collect(),
            lagging: vec![VecDeque::new(); threads],
            spare_requests: Vec::new(),
            messages: Messages::default(),
            parts: Vec::new(),
            topic: String::new(),
            random: setup.seed ^ (u64::from(setup.id.0) << 48),
            stopping: false,
            standing: Standing::default(),
            away: None,
            held_back: BTreeSet::new(),
            stats: Stats::default(),
            config,
            setup,
        }
    }

    /// What is counted here; the loop counts along. What tells of the feeds is as old as the last
    /// [`Shard::refresh_stats`].
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Sets what tells of the feeds. Not done with each message: it costs as much as finding its topic.
    pub fn refresh_stats(&mut self) -> &mut Stats {
        let feeds = &self.feeds;
        let evictions = feeds.evictions();
        let current = [
            (Stat::Topics, feeds.len() as u64),
            (Stat::TopicsForgotten, feeds.forgotten()),
            (Stat::Messages, feeds.messages() as u64),
            (Stat::MessageBytes, feeds.message_bytes() as u64),
            (Stat::EvictedByAge, evictions.by_age),
            (Stat::EvictedByBudget, evictions.by_budget),
        ];
        for (stat, value) in current {
            match stat.kind() {
                StatKind::Gauge => self.stats.set(stat, value),
                StatKind::Count | StatKind::Rare => self.stats.add(stat, value - self.stats.load(stat)),
            }
        }
        &mut self.stats
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.setup.id
    }

    /// Threads that exchange commands: the shards, and the runtime behind the last.
    #[must_use]
    pub fn threads(&self) -> usize {
        usize::from(self.setup.shards) + 1
    }

    /// Whether the node is stopping: accept nobody.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping
    }

    /// A connection was accepted.
    pub fn opened(&mut self, id: ConnectionId, now: Time) {
        self.sessions.put(id.slot, Session::new(id.generation, now));
        self.stats.add(Stat::Connections, 1);
        if self.stopping {
            self.close(id, CloseCode::Shutdown);
        }
    }

    /// Ends the session with a number: what is queued goes out, then BYE.
    pub fn close(&mut self, id: ConnectionId, code: CloseCode) {
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        if matches!(session.phase, Phase::Closing(_)) {
            return;
        }
        session.phase = Phase::Closing(code);
        session.stalled = None;
        self.leave_all(id);
        self.touch(id);
    }

    /// The peer will send no more. What it asked for is still answered.
    pub fn peer_ended(&mut self, id: ConnectionId, now: Time) {
        let deadline = now + self.config.publish_deadline;
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        if session.listens() {
            (session.phase, session.heartbeat_at) = (Phase::Ending, deadline);
            session.heartbeat_owed = false;
            session.stalled = None;
            self.leave_all(id);
        }
        self.touch(id);
    }

    /// The connection is gone.
    pub fn closed(&mut self, id: ConnectionId) {
        if session_mut(&mut self.sessions, id).is_none() {
            return;
        }
        self.leave_all(id);
        self.held_back.remove(&id.slot);
        if let Some(mut session) = self.sessions.take(id.slot) {
            session.credit.end(&mut self.runs);
            self.stats.sub(Stat::Connections, 1);
            self.stats.add(Stat::Closed, 1);
            if session.welcomed {
                self.stats.sub(Stat::Sessions, 1);
            }
        }
    }

    /// The number that the session closes with, if it does.
    #[must_use]
    pub fn closing(&self, id: ConnectionId) -> Option<CloseCode> {
        match self.session(id)?.phase {
            Phase::Closing(code) => Some(code),
            Phase::Hello | Phase::Open | Phase::Ending => None,
        }
    }

    /// Whether BYE was given to the socket, at least in part: nothing comes after it.
    #[must_use]
    pub fn farewell_taken(&self, id: ConnectionId) -> bool {
        self.session(id).is_some_and(|session| session.farewell_taken)
    }

    /// Whether the peer ended and everything it asked for was answered.
    #[must_use]
    pub fn finished(&self, id: ConnectionId) -> bool {
        self.session(id).is_some_and(|session| session.finished(self.standing))
    }

    /// Why the session's input must not be read, if so.
    #[must_use]
    pub fn stalled(&self, id: ConnectionId) -> Option<Stall> {
        self.session(id)?.stalled
    }

    /// Whether [`Shard::stage`] has something to make.
    #[must_use]
    pub fn wants_to_send(&self, id: ConnectionId) -> bool {
        self.session(id).is_some_and(|session| session.wants_to_send(self.standing))
    }

    /// Whether it has, or would have under a lease.
    #[must_use]
    pub fn has_output(&self, id: ConnectionId) -> bool {
        self.session(id).is_some_and(|session| session.has_output(self.standing))
    }

    /// When [`Shard::timeout`] is to be called, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self, id: ConnectionId) -> Option<Time> {
        self.session(id)?.next_deadline(&self.config)
    }

    /// Time has passed. `unread` says that the connection may have input that we have not
    /// looked at: then its silence is ours.
    ///
    /// True: the peer ended, its time for answers is over, and it can be dropped.
    pub fn timeout(&mut self, id: ConnectionId, unread: bool, now: Time) -> bool {
        let Some(session) = session_mut(&mut self.sessions, id) else { return false };
        if unread {
            session.excuse(now);
        }
        while let Some(request) = session.requests.overdue(now) {
            self.stats.add(Stat::DeadlinePassed, 1);
            session.requests.answer(Answer::Refused {
                request,
                code: ErrorCode::Deadline,
                outcome: Outcome::Unknown,
            });
        }
        if session.phase == Phase::Open && now >= session.heartbeat_at {
            session.heartbeat_due();
        }
        if let Some(code) = session.overdue(now, &self.config) {
            self.close(id, code);
            return false;
        }
        let over = session.phase == Phase::Ending && now >= session.heartbeat_at;
        self.touch(id);
        over
    }

    /// Makes output of about `bytes_max`: at least one frame if there is any, and never more
    /// than one beyond. What it makes it appends to `out`; with `direct`, a run may follow that, which is
    /// [`Shard::run_bytes`], uncopied.
    pub fn stage(
        &mut self,
        id: ConnectionId,
        bytes_max: usize,
        direct: bool,
        out: &mut Vec<u8>,
        staged: &mut Vec<Staged>,
        now: Time,
    ) -> Made {
        let away_slot_ms = if self.away.is_some() { self.away_slot_ms(id) } else { 0 };
        let Some(session) = session_mut(&mut self.sessions, id) else { return Made::default() };
        let mut context = Context {
            config: &self.config,
            feeds: &self.feeds,
            generation: self.setup.generation,
            standing: self.standing,
            away: self.away.as_deref(),
            away_slot_ms,
            session: u64::from(self.setup.id.0) << 32 | u64::from(id.generation),
            stats: &mut self.stats,
            parts: &mut self.parts,
            now,
            too_slow: false,
        };
        let before = (out.len(), staged.len());
        let made = session.stage(bytes_max, direct, out, staged, &mut context);
        if context.too_slow {
            // What was made is of no use: the farewell goes instead.
            out.truncate(before.0);
            staged.truncate(before.1);
            self.stats.add(Stat::TooSlow, 1);
            self.close(id, CloseCode::TooSlow);
            return self.stage(id, bytes_max, false, out, staged, now);
        }
        self.hold_back(id);
        made
    }

    /// The bytes of a run.
    #[must_use]
    pub fn run_bytes(&self, run: &Run) -> &[u8] {
        let frames = self.feeds.at(run.feed).and_then(|feed| {
            let place = feed.place(run.first);
            Some(feed.log()?.frames(place..place + run.count as usize))
        });
        frames.unwrap_or(&[])
    }

    /// The socket took the first `taken` bytes of what was staged. Returns where the last
    /// frame ends of which it took anything: the loop owes the bytes between.
    pub fn commit(&mut self, id: ConnectionId, taken: usize, staged: &[Staged], now: Time) -> usize {
        let jittered = self.heartbeat_in();
        let Some(session) = session_mut(&mut self.sessions, id) else { return taken };
        // Behind a heartbeat the peer's jitter serves for both: it is to speak first, and to be answered.
        let heartbeat_in = if session.heartbeat_owed { self.config.heartbeat_interval } else { jittered };
        let mut context = Context {
            config: &self.config,
            feeds: &self.feeds,
            generation: self.setup.generation,
            standing: self.standing,
            away: self.away.as_deref(),
            away_slot_ms: 0,
            session: u64::from(self.setup.id.0) << 32 | u64::from(id.generation),
            stats: &mut self.stats,
            parts: &mut self.parts,
            now,
            too_slow: false,
        };
        let end = session.commit(taken, staged, heartbeat_in, &mut self.runs, &mut context);
        if session.stalled == Some(Stall::Requests) && !session.requests.are_full(&self.config) {
            session.stalled = None;
            self.touch(id);
        }
        end
    }

    /// The interval, less up to a quarter, so that a fleet does not beat in step.
    fn heartbeat_in(&mut self) -> Duration {
        let interval = self.config.heartbeat_interval;
        let share = (self.next_random() % 256) as u32;
        interval - interval / 4 * share / 256
    }

    /// splitmix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        away::mixed(self.random)
    }

    /// The next connection whose output, deadline or stall may have changed.
    pub fn poll_touched(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.touched.pop_front() {
            if let Some(session) = session_mut(&mut self.sessions, id) {
                session.touched = false;
                if self.standing.leads {
                    session.requests.say();
                    if session.stalled == Some(Stall::Requests) && !session.requests.are_full(&self.config) {
                        session.stalled = None;
                    }
                }
                return Some(id);
            }
        }
        None
    }

    /// The next command for another thread; room for it was taken when it was made.
    pub fn poll_command(&mut self) -> Option<(ShardId, Command)> {
        self.outbox.pop_front()
    }

    fn touch(&mut self, id: ConnectionId) {
        touch(&mut self.sessions, &mut self.touched, id);
    }

    fn session(&self, id: ConnectionId) -> Option<&Session> {
        self.sessions.at(id.slot).filter(|session| session.generation == id.generation)
    }

    /// When [`Shard::tick`] is to be called.
    #[must_use]
    pub fn next_tick(&self) -> Option<Time> {
        // Ages are seconds at least: whole tenths of one bound how often a shard wakes for them.
        self.feeds.next_expiry().map(|at| Time(at.0.div_ceil(TICK_US) * TICK_US))
    }

    /// Time has passed for what is stored.
    pub fn tick(&mut self, now: Time) {
        self.feeds.expire(now);
    }

    /// Topics and filters that are held.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.feeds.len()
    }

    /// Nobody is connected: gives back what was as large as the crowd.
    pub fn rest(&mut self) {
        debug_assert_eq!(self.stats.load(Stat::Connections), 0);
        self.runs.shrink();
        self.feeds.rest();
        self.touched = VecDeque::new();
        if self.outbox.is_empty() {
            self.outbox = VecDeque::new();
        }
        (self.spare_requests, self.parts) = (Vec::new(), Vec::new());
    }

    /// Everything that must hold between calls; slow.
    ///
    /// # Panics
    /// When something does not.
    pub fn check(&self) {
        #[cfg(any(test, debug_assertions))]
        self.feeds.invariants();
        let mut members = 0;
        for (slot, session) in self.sessions.iter() {
            let over = matches!(session.phase, Phase::Closing(_));
            let remembered = over || session.touched || self.held_back.contains(&slot);
            assert!(remembered || !session.requests.has_unsaid(), "slot {slot}: nobody will say what ended");
            for (place, sub) in session.subscriptions.iter() {
                members += 1;
                let Some(feed) = self.feeds.at(sub.feed) else { panic!("a subscription to no feed") };
                let member = feed.members.get(sub.member as usize);
                let own = member.is_some_and(|member| member.slot == slot && member.sub == place);
                assert!(own, "{:?} is no member of {}", sub.id, feed.text);
                if !sub.is_waiting() && !sub.is_pending() && !session.blocked {
                    // A feed that is being filled from its home gets messages that it is past already.
                    let past = sub.index >= feed.next_index() || sub.cursor >= feed.last();
                    assert!(past, "{:?} rests with messages to send", sub.id);
                }
            }
        }
        assert_eq!(members, self.stats.load(Stat::Subscriptions), "subscriptions are miscounted");
        assert_eq!(self.sessions.iter().count() as u64, self.stats.load(Stat::Connections));
        assert!(
            self.feeds.message_bytes() <= self.config.messages_bytes_max || self.feeds.messages() == 0,
            "{} bytes of messages",
            self.feeds.message_bytes()
        );
    }
}

/// Microseconds between looks at the age of messages, at the least.
const TICK_US: u64 = 100_000;

fn session_mut(sessions: &mut Column<Session>, id: ConnectionId) -> Option<&mut Session> {
    let session = sessions.at_mut(id.slot)?;
    if session.generation == id.generation || planted::on(Bug::StaleToken) { Some(session) } else { None }
}

fn touch(sessions: &mut Column<Session>, touched: &mut VecDeque<ConnectionId>, id: ConnectionId) {
    if let Some(session) = session_mut(sessions, id)
        && !session.touched
    {
        session.touched = true;
        touched.push_back(id);
    }
}
