//! Protocol state of one client on one connection.
//!
//! ```text
//!   Hello ──HELLO──► Open ──peer's end──► Ending ──all answered──► (closed by the loop)
//!     └───────┴────────┴─────numbered close────► Closing ──BYE taken──► (closed by the loop)
//! ```
//!
//! A session decides nothing about topics; [`crate::Shard`] does, and owns all sessions.
//! What it wants to send is never queued as bytes: answers are small values, deliveries are
//! cursors into feeds, and bytes are made when the socket is about to take them.

mod credit;
mod requests;
mod staging;

use credit::Credit;
use requests::Requests;
pub(crate) use staging::Context;
pub use staging::Staged;

use crate::config::ShardConfig;
use crate::ids::{ConnectionId, FeedId, ShardId};
use crate::time::Time;
use multibeam_wire::{
    ChannelId, CloseCode, Decoder, Direction, Encoder, ErrorCode, Features, Header, Outcome, Position,
    ProducerId, Rejection, Seq, Start, Subscribed, SubscriptionId, WindowUnit, flow,
};
use std::collections::{BTreeMap, VecDeque};

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
    Ending(Time),
    /// A numbered close: what is queued, then BYE.
    Closing(CloseCode),
}

/// An answer that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Welcome,
    Subscribed { request: Seq, subscribed: Subscribed },
    Refused { request: Seq, code: ErrorCode, outcome: Outcome },
}

/// A subscription's place in its feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) feed: FeedId,
    /// What the client knows it by.
    pub(crate) channel: ChannelId,
    /// Place in the feed's list of members.
    pub(crate) member: usize,
    pub(crate) state: SubscriptionState,
    /// Whether it stands in the session's queue of those with something to send.
    pub(crate) pending: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SubscriptionState {
    /// The feed's home shard has not answered.
    Waiting { request: Seq, start: Start },
    /// Delivering behind `cursor`; the next message is at `index` of the feed.
    Live { cursor: Position, index: u64 },
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: ConnectionId,
    /// Number of this session on this node, for people.
    pub(crate) number: u64,
    pub(crate) phase: Phase,
    pub(crate) decoder: Decoder,
    /// As of the last frame that the kernel has begun to take.
    pub(crate) encoder: Encoder,
    /// What both sides agreed on.
    pub(crate) features: Features,
    pub(crate) unit: WindowUnit,
    pub(crate) producer: ProducerId,
    pub(crate) requests: Requests,
    pub(crate) credit: Credit,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// Subscriptions that may have something to send, in turn.
    pub(crate) pending: VecDeque<SubscriptionId>,
    pub(crate) answers: VecDeque<Answer>,
    /// The peer does not know the newest acknowledgement.
    pub(crate) ack_owed: bool,
    /// The next delivery does not fit the client's window.
    pub(crate) blocked: bool,
    /// That will be so once all that is staged has been taken.
    pub(crate) blocks_when_taken: bool,
    /// A sign of life is due.
    pub(crate) heartbeat_owed: bool,
    pub(crate) heartbeat_at: Time,
    /// BYE is in the kernel, or has begun to be.
    pub(crate) farewell_taken: bool,
    pub(crate) stalled: Option<Stall>,
    /// Stands in the shard's list of sessions that the loop must look at.
    pub(crate) touched: bool,
    /// HELLO was accepted.
    pub(crate) welcomed: bool,
    opened: Time,
    last_in: Time,
}

/// Heartbeats that may be missed before a connection is closed.
pub(crate) const HEARTBEATS_MISSED_MAX: u32 = 3;

impl Session {
    pub(crate) fn new(id: ConnectionId, number: u64, now: Time) -> Self {
        Self {
            id,
            number,
            phase: Phase::Hello,
            decoder: Decoder::new(Direction::ToNode),
            encoder: Encoder::new(),
            features: Features::NONE,
            unit: WindowUnit::DEFAULT,
            producer: ProducerId(0),
            requests: Requests::default(),
            credit: Credit::new(now),
            subscriptions: BTreeMap::new(),
            pending: VecDeque::new(),
            answers: VecDeque::new(),
            ack_owed: false,
            blocked: false,
            blocks_when_taken: false,
            heartbeat_owed: false,
            heartbeat_at: now,
            farewell_taken: false,
            stalled: None,
            touched: false,
            welcomed: false,
            opened: now,
            last_in: now,
        }
    }

    /// Whether the peer may still send frames that mean something.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.phase, Phase::Hello | Phase::Open)
    }

    /// Checks what every frame carries and takes its acknowledgement and window.
    pub(crate) fn header(&mut self, header: &Header, now: Time) -> Result<(), Rejection> {
        flow::in_order(self.requests.last(), header)?;
        self.credit.acknowledged(header.ack_seq, self.unit.bytes(header.window), now)?;
        self.blocked = false;
        self.last_in = now;
        Ok(())
    }

    /// A number for a subscription to `feed`: the feed's own, unless this session follows it already;
    /// then one that no feed has, counted down from the highest.
    pub(crate) fn channel_for(&self, feed: FeedId) -> ChannelId {
        let known = || self.subscriptions.values().map(|subscription| subscription.channel);
        if known().all(|channel| channel != ChannelId(feed.slot)) {
            return ChannelId(feed.slot);
        }
        // One of these is free, since there are more of them than subscriptions.
        let mut taken = vec![false; self.subscriptions.len() + 1];
        for channel in known() {
            if let Some(taken) = taken.get_mut((u32::MAX - channel.0) as usize) {
                *taken = true;
            }
        }
        let free = taken.iter().position(|taken| !taken).unwrap_or_else(|| unreachable!("all are taken"));
        ChannelId(u32::MAX - free as u32)
    }

    /// Our own stall: the peer may have sent what we did not read.
    pub(crate) fn excuse(&mut self, now: Time) {
        self.last_in = now;
    }

    /// A request is done; if that makes more to acknowledge, the peer is owed the word.
    pub(crate) fn finish(&mut self, request: Seq) {
        self.ack_owed |= self.requests.finish(request);
    }

    pub(crate) fn answer(&mut self, answer: Answer, requests_max: usize) {
        debug_assert!(self.answers.len() <= requests_max + 1, "more answers than requests");
        if let Answer::Subscribed { request, .. } | Answer::Refused { request, .. } = answer {
            self.requests.answered(request);
        }
        self.answers.push_back(answer);
    }

    /// Whether everything that the peer asked for before its end has been answered and sent.
    pub(crate) fn finished(&self) -> bool {
        matches!(self.phase, Phase::Ending(_)) && self.requests.is_empty() && !self.wants_to_send()
    }

    /// Whether a write would find something to send, as far as is known without the feeds.
    pub(crate) fn wants_to_send(&self) -> bool {
        let owed = !self.answers.is_empty() || self.ack_owed || self.heartbeat_owed;
        match self.phase {
            Phase::Hello | Phase::Ending(_) => owed,
            Phase::Open => owed || (!self.pending.is_empty() && !self.blocked),
            Phase::Closing(_) => !self.farewell_taken,
        }
    }

    /// When time alone changes something.
    pub(crate) fn next_deadline(&self, config: &ShardConfig) -> Option<Time> {
        match self.phase {
            Phase::Hello => Some(self.opened + config.hello_timeout),
            Phase::Open => {
                let silent = self.silent_at(config);
                let heartbeat = if self.heartbeat_owed { silent } else { self.heartbeat_at };
                let ack = self.credit.waits_since().map(|since| since + config.ack_timeout);
                let request = self.requests.next_deadline();
                Time::earliest(Time::earliest(ack, request), Some(silent.min(heartbeat)))
            }
            Phase::Ending(deadline) => Time::earliest(Some(deadline), self.requests.next_deadline()),
            // The loop's linger deadline is in force.
            Phase::Closing(_) => None,
        }
    }

    /// What is overdue at `now`, if that ends the session.
    pub(crate) fn overdue(&self, now: Time, config: &ShardConfig) -> Option<CloseCode> {
        match self.phase {
            Phase::Hello if now >= self.opened + config.hello_timeout => Some(CloseCode::HelloTimeout),
            Phase::Open if now >= self.silent_at(config) => Some(CloseCode::HeartbeatTimeout),
            Phase::Open
                if self.credit.waits_since().is_some_and(|since| now >= since + config.ack_timeout) =>
            {
                Some(CloseCode::AckTimeout)
            }
            Phase::Hello | Phase::Open | Phase::Ending(_) | Phase::Closing(_) => None,
        }
    }

    fn silent_at(&self, config: &ShardConfig) -> Time {
        self.last_in + config.heartbeat_interval * HEARTBEATS_MISSED_MAX
    }
}
