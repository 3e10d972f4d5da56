//! One connection: its handshake, its numbered frames in both directions, its timers.
//!
//! What outlives it is the [`Ledger`], which each call borrows. A connection ends by itself
//! only through [`Ending`]: the session closes what it finds ended. One that is made beside another stops
//! behind WELCOME, until the session has adopted it.

mod exchange;
mod timers;

use super::Flow;
use super::ledger::Ledger;
use super::subscriptions::Subscriptions;
use crate::config::Config;
use crate::error::ConnectionError;
use exchange::Exchange;
use multibeam_wire::{
    CloseCode, Direction, Features, Generation, GoAway, GoAwayReason, Inbound, Payload, ProducerId,
};

/// What is known since WELCOME.
#[derive(Clone, Copy, Debug)]
pub(super) struct Established {
    pub(super) since_ms: u64,
    pub(super) interval_ms: u64,
    pub(super) session: u64,
    /// The node held a lease.
    pub(super) leads: bool,
    /// What is in force.
    features: Features,
    generation: Generation,
}

/// Why the connection is over.
#[derive(Debug)]
pub(super) struct Ending {
    /// What the node is told, if anything.
    bye: Option<CloseCode>,
    pub(super) error: ConnectionError,
    /// Where and when the node wants this client next.
    pub(super) directions: Option<Directions>,
}

impl Ending {
    const fn new(bye: Option<CloseCode>, error: ConnectionError) -> Self {
        Self { bye, error, directions: None }
    }
}

/// The node's word on the next connection, which goes before the client's own pauses: so a node
/// sets the rate at which its clients come back.
#[derive(Debug)]
pub(super) struct Directions {
    /// The pause before it; `None`: none after a connection that has held, else the client's own.
    pub(super) retry_after_ms: Option<u64>,
    /// To be tried first, in this order.
    pub(super) addresses: Vec<String>,
}

/// What a GOAWAY says.
#[derive(Debug)]
pub(super) enum Word {
    /// This client is to be elsewhere.
    Leave(Leave),
    /// It is to stay: what was said before is void.
    Stay,
}

/// Times are in milliseconds from when it was heard.
#[derive(Debug)]
pub(super) struct Leave {
    pub(super) reason: u16,
    /// When this client's turn is.
    pub(super) slot_ms: u64,
    /// When the node closes the connection; `None`: it does not.
    pub(super) deadline_ms: Option<u64>,
    /// To be tried first, in this order.
    pub(super) addresses: Vec<String>,
}

impl Word {
    fn new(go_away: &GoAway<'_>) -> Self {
        let reason = GoAwayReason::from_number(go_away.reason);
        if reason == Some(GoAwayReason::Withdrawn) {
            return Self::Stay;
        }
        let isolated = reason == Some(GoAwayReason::Isolated);
        Self::Leave(Leave {
            reason: go_away.reason,
            slot_ms: go_away.retry_after_ms.into(),
            deadline_ms: (!isolated).then_some(go_away.deadline_ms.into()),
            addresses: go_away.addresses.iter().map(str::to_owned).collect(),
        })
    }
}

/// One connection, from the moment it is open.
#[derive(Debug)]
pub(super) struct Connection {
    inbound: Inbound,
    exchange: Exchange,
    ending: Option<Ending>,
}

impl Connection {
    /// A connection that says HELLO and waits for WELCOME; `held_bytes` are held for the application.
    pub(super) fn new(server: String, number: u64, now_ms: u64, held_bytes: u64, config: &Config) -> Self {
        Self {
            inbound: Inbound::new(Direction::ToClient),
            exchange: Exchange::new(server, number, now_ms, held_bytes, config),
            ending: None,
        }
    }

    /// It is the session's connection: everything goes by it from here on, and what another one has not
    /// brought to its end is asked for again.
    pub(super) fn adopt(&mut self, ledger: &mut Ledger) {
        ledger.publishes.connected();
        ledger.subscriptions.connected(self.exchange.number());
        self.exchange.adopt(ledger.subscriptions.carried_bytes());
    }

    pub(super) fn server(&self) -> &str {
        self.exchange.server()
    }

    pub(super) const fn established(&self) -> Option<Established> {
        self.exchange.established()
    }

    pub(super) fn end(&mut self, bye: Option<CloseCode>, error: ConnectionError) {
        self.ending.get_or_insert(Ending::new(bye, error));
    }

    /// It is over because the node wants this client elsewhere.
    pub(super) fn leave(&mut self, reason: u16, directions: Option<Directions>) {
        let error = ConnectionError::SentAway { server: self.server().to_owned(), number: reason };
        let ending = Ending { directions, ..Ending::new(Some(CloseCode::Normal), error) };
        self.ending.get_or_insert(ending);
    }

    pub(super) const fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the node leads, by the last it has said or shown.
    pub(super) const fn serves(&self) -> bool {
        self.exchange.serves()
    }

    /// The last it has said of where this client is to be, once.
    pub(super) const fn take_word(&mut self) -> Option<Word> {
        self.exchange.take_word()
    }

    pub(super) fn into_ending(self) -> Option<Ending> {
        self.ending
    }

    pub(super) fn handle_bytes(&mut self, bytes: &[u8], now_ms: u64, ledger: &mut Ledger) {
        if self.ending.is_some() {
            return;
        }
        self.inbound.push(bytes);
        loop {
            let handled = match self.inbound.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => self.exchange.handle_frame(&frame, now_ms, ledger),
                Err(rejection) => Err(self.exchange.rejected(rejection)),
            };
            if self.exchange.has(Features::COMPACT) {
                self.inbound.agree_compact();
            }
            if handled.is_ok() && self.established().is_some() && !self.exchange.is_adopted() {
                return;
            }
            if let Err(ending) = handled {
                self.ending = Some(ending);
                return;
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now_ms: u64) {
        if self.ending.is_none() {
            self.ending = self.exchange.timed_out(now_ms);
        }
    }

    pub(super) fn poll_output(
        &mut self,
        now_ms: u64,
        out: &mut Vec<u8>,
        ledger: &mut Ledger,
        config: &Config,
        producer: ProducerId,
    ) -> Flow {
        if let Some(ending) = &mut self.ending {
            if let Some(code) = ending.bye.take() {
                self.exchange.put(&Payload::bye(code), now_ms, out, &mut ledger.random);
            }
            return Flow::Close;
        }
        self.exchange.put_all(now_ms, out, ledger, config, producer);
        Flow::Open
    }

    pub(super) fn next_deadline_ms(&self) -> u64 {
        self.exchange.next_deadline_ms()
    }

    /// The application has handled frames. Returns whether the timers moved or there is
    /// something to send.
    pub(super) fn handled(&mut self, subscriptions: &mut Subscriptions, now_ms: u64) -> bool {
        self.exchange.handled(subscriptions, now_ms)
    }
}
