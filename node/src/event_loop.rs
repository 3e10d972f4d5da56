//! One shard's event loop: the same on every kernel.
//!
//! ```text
//!  turn(now)     lease ─► disarm ─► edges ─► mail ─► accept ─► read ─► timers ─► stage sends
//!  release(now)  mail out ─► lease ─► send, or take back ─► close ─► arm, look again ─► Again | Sleep | Done
//! ```
//!
//! A turn never blocks, waits or reads a clock; the driver does, between turns. Everything
//! has a budget, and who is cut by one stays in a list, so that no edge is lost. Two
//! functions decide what is work: `consider` for a connection, `more_work` for the rest.
//! Who sleeps with work undone knows the edge, bell or timer that will wake it.

mod accepting;
mod closing;
mod connections;
mod inspect;
mod reading;
mod sending;
mod timers;

pub use connections::{Footprint, footprint};
pub use inspect::{Asleep, Sleeper};

use crate::close::CloseReason;
use crate::kernel::{Event, Kernel};
use crate::lease::LeaseCell;
use crate::metrics::ShardMetrics;
use connections::{Connections, Flags};
use multibeam_proto::planted::{self, Bug};
use multibeam_proto::{Run, Shard, ShardId, Staged, Stat, Time};
use multibeam_rings::pool::{BUFFER_BYTES_MAX, Buffer, Pages, Pool, bytes_reserved};
use multibeam_wire::HEADER_BYTES;
use multibeam_wire::limits::PAYLOAD_BYTES_MAX;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timers::Timers;

/// Budgets and bounds of one loop. Every number is a run-time knob: the simulator draws them
/// down to 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopLimits {
    /// Bytes read from a connection in a turn: one that floods us leaves room for others.
    pub read_budget: usize,
    /// Bytes asked of one read; also what a stalled connection may keep beyond a frame.
    pub read_chunk: usize,
    /// Connections accepted in a turn.
    pub accept_budget: usize,
    /// Connections that wait for a descriptor and are refused in a turn.
    pub shed_budget: usize,
    /// Connections sent to in a turn.
    pub send_budget: usize,
    /// Bytes staged for a connection in a turn; at least one frame, and at most one beyond.
    pub send_bytes: usize,
    /// Bytes staged for all connections in a turn.
    pub stage_bytes: usize,
    /// Commands taken from other threads in a turn.
    pub command_budget: usize,
    /// Connections of this shard.
    pub connections_max: usize,
    /// Connections beyond that, which are being told so.
    pub refusals_max: usize,
    /// Bytes reserved for half-received frames of all connections: each counts with its buffer, which is
    /// less than twice as long, and 68 bytes at least.
    pub parked_bytes_max: usize,
    /// What the memory of buffers is asked to be made of.
    pub pages: Pages,
    /// Bytes read and thrown away after BYE.
    pub linger_bytes_max: usize,
    /// Time for a numbered close to reach its peer.
    pub linger: Duration,
    /// Pause after an accept that found no descriptor.
    pub accept_retry: Duration,
    /// Pause after a send that found no buffer.
    pub send_retry: Duration,
    /// Time for all connections to be told that the node stops.
    pub stop_deadline: Duration,
    /// Pause between looks at the lease while output waits for one: nobody wakes a shard when it comes. Twice
    /// as long would add as much to the silence after each takeover.
    pub lease_retry: Duration,
}

impl Default for LoopLimits {
    fn default() -> Self {
        Self {
            read_budget: 64 * 1024,
            read_chunk: 64 * 1024,
            accept_budget: 64,
            shed_budget: 16,
            send_budget: 256,
            send_bytes: 64 * 1024,
            stage_bytes: 4 * 1024 * 1024,
            command_budget: 1024,
            connections_max: 1_000_000,
            refusals_max: 256,
            parked_bytes_max: 256 * 1024 * 1024,
            pages: Pages::Normal,
            linger_bytes_max: 64 * 1024,
            linger: Duration::from_secs(1),
            accept_retry: Duration::from_millis(100),
            send_retry: Duration::from_millis(20),
            stop_deadline: Duration::from_secs(3),
            lease_retry: Duration::from_millis(20),
        }
    }
}

/// Fewer connections or topics than this are no crowd: what they needed is not worth giving back.
const CROWD_MIN: usize = 1024;

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look for edges without waiting, then turn again.
    Again,
    /// Wait for an edge, the doorbell, or this time.
    Sleep(Option<Time>),
    /// The shard has ended.
    Done,
}

/// A connection's part of the bytes staged in a turn.
#[derive(Clone, Debug)]
struct StagedSend {
    slot: u32,
    /// In the bytes staged here.
    bytes: std::ops::Range<usize>,
    /// What follows them, in a feed.
    run: Option<Run>,
    frames: std::ops::Range<usize>,
}

/// One shard on one kernel. See the module's documentation.
#[derive(Debug)]
pub struct Loop<K: Kernel> {
    kernel: K,
    shard: Shard,
    limits: LoopLimits,
    metrics: Arc<ShardMetrics>,
    lease: LeaseCell,
    connections: Connections<K::Sock>,
    timers: Timers,
    /// Those to read from, in turn.
    readers: VecDeque<u32>,
    /// Those to send to, in turn.
    writers: VecDeque<u32>,
    /// Somebody may wait to be accepted. Cleared by `Again`, by nothing else.
    acceptable: bool,
    accept_at: Option<Time>,
    /// All must be gone by then.
    stop_at: Option<Time>,
    /// When a sleeping loop looks at the lease that output waits for.
    lease_at: Option<Time>,
    sends: Vec<StagedSend>,
    staged_bytes: Vec<u8>,
    staged_frames: Vec<Staged>,
    events: Vec<Event>,
    due: Vec<u32>,
    buffers: Pool,
    /// A frame short of its last byte, and a read behind it.
    scratch: Buffer,
    closed: Vec<u64>,
    awake: u64,
    threads: usize,
    /// The most connections or topics at a time since nobody was here.
    crowd: usize,
    crowd_left: bool,
}

impl<K: Kernel> Loop<K> {
    /// A loop without connections. `metrics` is where its numbers appear to others; `lease` says until when
    /// it may send what only a leader may say.
    ///
    /// # Panics
    /// If a budget is 0, `read_chunk` too large for a buffer, or the system has no memory for one.
    #[must_use]
    pub fn new(
        kernel: K,
        shard: Shard,
        limits: LoopLimits,
        metrics: Arc<ShardMetrics>,
        lease: LeaseCell,
    ) -> Self {
        assert!(
            limits.read_budget > 0
                && limits.read_chunk > 0
                && limits.send_bytes > 0
                && limits.stage_bytes > 0
        );
        assert!(limits.accept_budget > 0 && limits.send_budget > 0 && limits.command_budget > 0);
        let scratch_bytes = HEADER_BYTES + PAYLOAD_BYTES_MAX + limits.read_chunk;
        let Some(scratch_reserved) = bytes_reserved(scratch_bytes) else {
            panic!("a read of {} bytes: with a frame, no more than {BUFFER_BYTES_MAX}", limits.read_chunk)
        };
        let mut buffers = Pool::new(limits.parked_bytes_max + scratch_reserved, limits.pages);
        let scratch = buffers.take(scratch_bytes).expect("memory for the first buffer");
        let threads = shard.threads();
        Self {
            kernel,
            shard,
            limits,
            metrics,
            lease,
            connections: Connections::new(),
            timers: Timers::default(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            acceptable: true,
            accept_at: None,
            stop_at: None,
            lease_at: None,
            sends: Vec::new(),
            staged_bytes: Vec::new(),
            staged_frames: Vec::new(),
            events: Vec::new(),
            due: Vec::new(),
            buffers,
            scratch,
            closed: vec![0; CloseReason::ALL.len()],
            awake: 0,
            threads,
            crowd: 0,
            crowd_left: false,
        }
    }

    /// The kernel, for its driver.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Whether a crowd has left, down to the last one. Says so once.
    pub fn crowd_left(&mut self) -> bool {
        std::mem::take(&mut self.crowd_left)
    }

    /// First half of a turn: works, and stages what is to be sent.
    pub fn turn(&mut self, now: Time) {
        assert!(self.sends.is_empty(), "a turn without its release");
        self.shard.stats().add(Stat::Turns, 1);
        self.shard.set_lease(self.lease.holds(now));
        self.kernel.disarm();
        for to in self.others() {
            let room = self.kernel.room(usize::from(to.0));
            self.shard.set_room(to, room);
        }
        self.take_events();
        self.take_mail(now);
        self.accept(now);
        self.look_at_touched(now);
        self.read(now);
        self.run_timers(now);
        self.look_at_touched(now);
        self.stage(now);
        self.crowd = self.crowd.max(self.connections.open()).max(self.shard.topics());
    }

    /// Second half of a turn: lets out what was staged, and says how to go on. `now` is a time of its own:
    /// what was made under a lease that has run out since stays here.
    pub fn release(&mut self, now: Time) -> Next {
        self.post_commands();
        let led = self.shard.leads();
        if !planted::on(Bug::ReleaseIgnoresLease) {
            self.shard.set_lease(self.lease.holds(now));
        }
        if led && !self.shard.leads() {
            self.withdraw(now);
        } else {
            self.send(now);
        }
        self.look_at_touched(now);
        self.stop(now);
        self.post_commands();
        let next = self.next_turn(now);
        self.awake = if next == Next::Again { self.awake + 1 } else { 0 };
        self.publish_stats();
        next
    }

    fn take_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.kernel.events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Accept => self.acceptable = true,
                // The ring is drained in each turn.
                Event::Doorbell => {}
                Event::Socket { token, readable, writable, ended } => match self.connections.find(token) {
                    None => self.shard.stats().add(Stat::StaleEvents, 1),
                    Some(slot) => {
                        if let Some(connection) = self.connections.at_mut(slot) {
                            if readable {
                                connection.flags.set(Flags::READABLE);
                            }
                            if writable {
                                connection.flags.set(Flags::WRITABLE);
                            }
                            if ended {
                                connection.flags.set(Flags::ENDING);
                            }
                        }
                        self.consider(slot);
                    }
                },
            }
        }
        self.events = events;
    }

    fn take_mail(&mut self, now: Time) {
        let mut popped = false;
        for _ in 0..self.limits.command_budget {
            let Some((from, command)) = self.kernel.pop() else { break };
            popped = true;
            self.shard.command(ShardId(from as u16), command, now);
        }
        if popped {
            self.kernel.drained();
        }
    }

    fn post_commands(&mut self) {
        let mut batched = 0;
        while let Some((to, command)) = self.shard.poll_command() {
            self.kernel.push(usize::from(to.0), command);
            batched += 1;
            if batched == self.shard.config().command_batch {
                self.kernel.flush();
                batched = 0;
            }
        }
        if batched > 0 {
            self.kernel.flush();
        }
    }

    /// The only place that decides whether a connection has work to do. Whoever changes
    /// something it looks at calls it.
    fn consider(&mut self, slot: u32) {
        let id = self.connections.id(slot);
        let Some(connection) = self.connections.at_mut(slot) else { return };
        let parked = connection.is_parked_whole();
        let readable = connection.flags.has(Flags::READABLE) && !connection.flags.has(Flags::ENDED);
        if (readable || parked)
            && !connection.flags.has(Flags::READ_QUEUED)
            && self.shard.stalled(id).is_none()
        {
            connection.flags.set(Flags::READ_QUEUED);
            self.readers.push_back(slot);
        }
        let output = !connection.tail().is_empty() || self.shard.wants_to_send(id);
        if output && connection.flags.has(Flags::WRITABLE) && !connection.flags.has(Flags::WRITE_QUEUED) {
            connection.flags.set(Flags::WRITE_QUEUED);
            self.writers.push_back(slot);
        }
        self.shard.hold_back(id);
    }

    fn look_at_touched(&mut self, now: Time) {
        while let Some(id) = self.shard.poll_touched() {
            self.look_at(id.slot, now);
        }
    }

    /// A session may have changed: its work, its deadline, whether it is over.
    fn look_at(&mut self, slot: u32, now: Time) {
        if !self.connections.is_open(slot) {
            return;
        }
        if self.advance_close(slot, now) {
            return;
        }
        self.consider(slot);
        self.renew_deadline(slot);
    }

    fn renew_deadline(&mut self, slot: u32) {
        let session = self.shard.next_deadline(self.connections.id(slot));
        let Some(connection) = self.connections.at(slot) else { return };
        let linger = connection.closing().map(|closing| closing.deadline);
        if let Some(deadline) = Time::earliest(Time::earliest(session, linger), connection.retry_at()) {
            self.timers.by(slot, deadline);
        }
    }

    fn run_timers(&mut self, now: Time) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.due(now, &mut due);
        if self.shard.next_tick().is_some_and(|at| at <= now) {
            self.shard.tick(now);
        }
        for slot in due.drain(..) {
            let id = self.connections.id(slot);
            let Some(connection) = self.connections.at_mut(slot) else { continue };
            if connection.retry_at().is_some_and(|at| at <= now) {
                connection.set_retry_at(None);
                connection.flags.set(Flags::WRITABLE);
            }
            connection.rest();
            let unread = connection.flags.has(Flags::READABLE) || self.shard.stalled(id).is_some();
            if self.shard.timeout(id, unread, now) {
                self.close(slot, CloseReason::PeerEnded, true);
                continue;
            }
            self.look_at(slot, now);
        }
        self.due = due;
    }

    fn next_turn(&mut self, now: Time) -> Next {
        if self.stop_at.is_some() && self.connections.open() == 0 {
            assert_eq!(self.parked_bytes(), 0, "buffers of connections that are gone");
            return Next::Done;
        }
        if self.more_work(now) {
            return Next::Again;
        }
        self.rest();
        // Arm, then look, then sleep: whoever comes after the look finds us armed.
        let looked_first = planted::on(Bug::LookBeforeArm).then(|| self.somebody_came());
        self.kernel.arm();
        if looked_first.unwrap_or_else(|| self.somebody_came()) {
            return Next::Again;
        }
        self.lease_at = self.shard.awaits_lease().then(|| now + self.limits.lease_retry);
        let own = Time::earliest(Time::earliest(self.accept_at, self.stop_at), self.lease_at);
        let shard = Time::earliest(self.timers.next(), self.shard.next_tick());
        Next::Sleep(Time::earliest(own, shard))
    }

    /// Once everybody has left, what was as large as the crowd goes too. Topics that other shards follow go
    /// when their clients do, and leave as much behind.
    fn rest(&mut self) {
        let left = self.shard.topics();
        let gone = self.crowd.saturating_sub(left);
        if self.connections.open() > 0 || gone == 0 || (gone < CROWD_MIN && left > 0) {
            return;
        }
        (self.readers, self.writers) = (VecDeque::new(), VecDeque::new());
        (self.events, self.due, self.sends) = (Vec::new(), Vec::new(), Vec::new());
        (self.staged_bytes, self.staged_frames) = (Vec::new(), Vec::new());
        self.shard.rest();
        self.crowd_left |= gone >= CROWD_MIN;
        self.crowd = left;
    }

    fn more_work(&self, now: Time) -> bool {
        !self.readers.is_empty()
            || !self.writers.is_empty()
            || self.shard.wants_turn()
            || (self.acceptable && self.stop_at.is_none() && self.accept_at.is_none_or(|at| at <= now))
    }

    fn somebody_came(&mut self) -> bool {
        for to in self.others() {
            if self.shard.wants_ring(to)
                && !planted::on(Bug::RoomNotRung)
                && self.kernel.want_room(usize::from(to.0))
            {
                return true;
            }
        }
        !self.kernel.is_empty()
    }

    /// The other threads of this node.
    fn others(&self) -> impl Iterator<Item = ShardId> + use<K> {
        let own = self.shard.id();
        (0..self.threads as u16).map(ShardId).filter(move |to| *to != own)
    }

    /// Numbers for others: when there is time, and at least once in 64 turns.
    fn publish_stats(&mut self) {
        if self.awake.is_multiple_of(64) {
            let parked = self.parked_bytes() as u64;
            let awake = self.awake;
            let stats = self.shard.refresh_stats();
            stats.set(Stat::ParkedBytes, parked);
            stats.set(Stat::TurnsAwakeMax, stats.load(Stat::TurnsAwakeMax).max(awake));
            self.metrics.publish(stats, &self.closed);
        }
    }
}
