//! One connection: its handshake, its numbered frames in both directions, its timers.
//!
//! What outlives it is the [`Ledger`], which each call borrows. A connection ends by itself
//! only through [`Ending`]: the session closes what it finds ended.

mod exchange;
mod timers;

use super::Flow;
use super::ledger::Ledger;
use super::subscriptions::Subscriptions;
use crate::config::Config;
use crate::error::ConnectionError;
use exchange::Exchange;
use multibeam_wire::{CloseCode, Direction, Features, Generation, Inbound, Payload, ProducerId};

/// What is known since WELCOME.
#[derive(Clone, Copy, Debug)]
pub(super) struct Established {
    pub(super) since_ms: u64,
    pub(super) interval_ms: u64,
    pub(super) session: u64,
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

/// One connection, from the moment it is open.
#[derive(Debug)]
pub(super) struct Connection {
    inbound: Inbound,
    exchange: Exchange,
    ending: Option<Ending>,
}

impl Connection {
    pub(super) fn new(
        server: String,
        number: u64,
        now_ms: u64,
        ledger: &mut Ledger,
        config: &Config,
    ) -> Self {
        ledger.publishes.connected();
        ledger.subscriptions.connected(number);
        let carried_bytes = ledger.subscriptions.carried_bytes();
        Self {
            inbound: Inbound::new(Direction::ToClient),
            exchange: Exchange::new(server, number, now_ms, carried_bytes, config),
            ending: None,
        }
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
