//! Protocol state of one client on one connection.
//!
//! ```text
//!   Hello ──HELLO──► Open ──peer's end──► Ending ──all answered──► (closed by the loop)
//!     └───────┴────────┴─────numbered close────► Closing ──BYE taken──► (closed by the loop)
//! ```
//!
//! A session decides nothing about topics; [`crate::Shard`] does, and owns all sessions.
//! What it wants to send is never queued as bytes: answers are small values, deliveries are
//! cursors into feeds, and bytes are made when the socket is about to take them, or are the feed's own.

mod credit;
mod requests;
mod staging;
mod subscriptions;

use credit::Credit;
pub(crate) use credit::{RUN_BYTES, RUNS_MAX, Runs};
pub(crate) use requests::{Answer, REQUEST_BYTES, Requests, TABLES_BYTES};
pub(crate) use staging::Context;
pub use staging::{Made, Run, Staged};
pub(crate) use subscriptions::{StartKind, Sub, SubState, Subscriptions};

use crate::config::ShardConfig;
use crate::ids::ShardId;
use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::{CloseCode, Decoder, Direction, Header, ProducerId, Rejection, Seq, WindowUnit, flow};
use std::time::Duration;

/// Why a session's input is not read further. Something else resumes it, never a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// A command has no room; resumed when the ring towards this thread has.
    Room(ShardId),
    /// As many requests wait for their answer as may; resumed by the next answer.
    Requests,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for HELLO.
    Hello,
    /// In use.
    Open,
    /// The peer sends no more; its requests are still answered, until the deadline.
    Ending,
    /// A numbered close: what is queued, then BYE.
    Closing(CloseCode),
}

/// What is true for all sessions of a shard at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// The node holds a lease.
    pub(crate) leads: bool,
    /// Number of the latest word on whether clients are to go elsewhere; 0 for none. It may come round: a
    /// client that took nothing for 255 words is not told of the next.
    pub(crate) away: u8,
}

/// One client. A million of them are a million times its size: see docs/CAPACITY.md.
#[derive(Debug)]
pub(crate) struct Session {
    /// Use of its slot.
    pub(crate) generation: u32,
    /// Stands in the shard's list of sessions that the loop must look at.
    pub(crate) touched: bool,
    /// The next delivery does not fit the client's window.
    pub(crate) blocked: bool,
    /// That will be so once all that is staged has been taken.
    blocks_when_taken: bool,
    /// A sign of life is due.
    pub(crate) heartbeat_owed: bool,
    /// What the client was last told of whether to go elsewhere; see [`Standing::away`].
    told_away: u8,
    /// BYE is in the kernel, or has begun to be.
    pub(crate) farewell_taken: bool,
    /// HELLO was accepted.
    pub(crate) welcomed: bool,
    /// Both sides may send compact headers.
    pub(crate) compact: bool,
    /// The client wants receipts.
    pub(crate) receipts: bool,
    pub(crate) unit: WindowUnit,
    pub(crate) stalled: Option<Stall>,
    pub(crate) phase: Phase,
    pub(crate) decoder: Decoder,
    /// The acknowledgement that the peer was told.
    told_ack: Seq,
    pub(crate) credit: Credit,
    pub(crate) requests: Requests,
    pub(crate) subscriptions: Subscriptions,
    /// Not as a number of 16 bytes, which the whole session would have to be aligned to.
    producer: [u8; 16],
    /// When a sign of life is due; while ending, when that is over.
    pub(crate) heartbeat_at: Time,
    /// When the last frame came, or the connection.
    last_in: Time,
}

/// Heartbeats that may be missed before a connection is closed.
pub(crate) const HEARTBEATS_MISSED_MAX: u32 = 3;

impl Session {
    pub(crate) fn new(generation: u32, now: Time) -> Self {
        Self {
            generation,
            touched: false,
            blocked: false,
            blocks_when_taken: false,
            heartbeat_owed: false,
            told_away: 0,
            farewell_taken: false,
            welcomed: false,
            compact: false,
            receipts: false,
            unit: WindowUnit::DEFAULT,
            stalled: None,
            phase: Phase::Hello,
            decoder: Decoder::new(Direction::ToNode),
            told_ack: Seq(0),
            credit: Credit::new(now),
            requests: Requests::default(),
            subscriptions: Subscriptions::default(),
            producer: [0; 16],
            heartbeat_at: now,
            last_in: now,
        }
    }

    /// Who publishes.
    pub(crate) fn producer(&self) -> ProducerId {
        ProducerId(u128::from_ne_bytes(self.producer))
    }

    pub(crate) fn set_producer(&mut self, producer: ProducerId) {
        self.producer = producer.0.to_ne_bytes();
    }

    /// Whether the peer may still send frames that mean something.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.phase, Phase::Hello | Phase::Open)
    }

    /// Checks what every frame carries and takes its acknowledgement and window.
    pub(crate) fn header(&mut self, runs: &mut Runs, header: &Header, now: Time) -> Result<(), Rejection> {
        flow::in_order(self.requests.last(), header)?;
        self.credit.acknowledged(runs, header.ack_seq, self.unit.bytes(header.window), now)?;
        self.blocked = false;
        self.last_in = now;
        Ok(())
    }

    /// Our own stall: the peer may have sent what we did not read.
    pub(crate) fn excuse(&mut self, now: Time) {
        if self.phase != Phase::Hello {
            self.last_in = now;
        }
    }

    /// Whether the peer does not know the newest acknowledgement.
    pub(crate) fn ack_owed(&self) -> bool {
        self.requests.done() != self.told_ack
    }

    /// Whether everything that the peer asked for before its end has been answered and sent.
    pub(crate) fn finished(&self, standing: Standing) -> bool {
        matches!(self.phase, Phase::Ending) && self.requests.is_empty() && !self.has_output(standing)
    }

    /// Whether a write would find something to send, as far as is known without the feeds.
    pub(crate) fn wants_to_send(&self, standing: Standing) -> bool {
        if standing.leads {
            return self.has_output(standing);
        }
        match self.phase {
            Phase::Hello | Phase::Open | Phase::Ending => {
                self.requests.has_free_answers() || self.heartbeat_owed || self.away_owed(standing)
            }
            Phase::Closing(_) => !self.farewell_taken,
        }
    }

    /// Whether there is something to send, be it now or under a lease.
    pub(crate) fn has_output(&self, standing: Standing) -> bool {
        let owed = self.requests.has_answers()
            || self.requests.has_unsaid()
            || self.ack_owed()
            || self.heartbeat_owed;
        match self.phase {
            Phase::Hello | Phase::Ending => owed,
            Phase::Open => {
                owed || self.away_owed(standing) || (self.subscriptions.has_pending() && !self.blocked)
            }
            Phase::Closing(_) => !self.farewell_taken,
        }
    }

    /// Whether the client has not been told the latest of whether to go elsewhere.
    fn away_owed(&self, standing: Standing) -> bool {
        self.phase == Phase::Open && self.told_away != standing.away
    }

    /// There is nothing to tell a client who comes now.
    pub(crate) fn needs_no_word(&mut self, standing: Standing) {
        self.told_away = standing.away;
    }

    /// The peer had nothing to say but that it is there: it hears as much now if it was due soon, so that one
    /// waking of either side serves both directions.
    pub(crate) fn answer_heartbeat(&mut self, config: &ShardConfig, now: Time) {
        if self.phase == Phase::Open && now + config.heartbeat_interval / 2 >= self.heartbeat_at {
            self.heartbeat_due();
        }
    }

    /// A sign of life is due: the session is idle, and needs no tables of requests.
    pub(crate) fn heartbeat_due(&mut self) {
        self.heartbeat_owed = true;
        self.requests.rest(true);
    }

    /// When time alone changes something.
    pub(crate) fn next_deadline(&self, config: &ShardConfig) -> Option<Time> {
        match self.phase {
            Phase::Hello => Some(self.last_in + config.hello_timeout),
            Phase::Open => {
                let silent = self.silent_at(config);
                let heartbeat = if self.heartbeat_owed { silent } else { self.heartbeat_at };
                let ack = self.credit.waits_since().map(|since| since + ack_timeout(config));
                let request = self.requests.next_deadline();
                Time::earliest(Time::earliest(ack, request), Some(silent.min(heartbeat)))
            }
            Phase::Ending => Time::earliest(Some(self.heartbeat_at), self.requests.next_deadline()),
            // The loop's linger deadline is in force.
            Phase::Closing(_) => None,
        }
    }

    /// What is overdue at `now`, if that ends the session.
    pub(crate) fn overdue(&self, now: Time, config: &ShardConfig) -> Option<CloseCode> {
        match self.phase {
            Phase::Hello if now >= self.last_in + config.hello_timeout => Some(CloseCode::HelloTimeout),
            Phase::Open if now >= self.silent_at(config) => Some(CloseCode::HeartbeatTimeout),
            Phase::Open
                if self.credit.waits_since().is_some_and(|since| now >= since + ack_timeout(config)) =>
            {
                Some(CloseCode::AckTimeout)
            }
            Phase::Hello | Phase::Open | Phase::Ending | Phase::Closing(_) => None,
        }
    }

    fn silent_at(&self, config: &ShardConfig) -> Time {
        let missed_max = if planted::on(Bug::HalfOpenNeverClosed) {
            1000
        } else if planted::on(Bug::HeartbeatHasty) {
            1
        } else {
            HEARTBEATS_MISSED_MAX
        };
        self.last_in + config.heartbeat_interval * missed_max
    }
}

fn ack_timeout(config: &ShardConfig) -> Duration {
    config.ack_timeout * if planted::on(Bug::AckTimeoutNever) { 1000 } else { 1 }
}
