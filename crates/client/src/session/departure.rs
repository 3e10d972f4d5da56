//! A client that its node wants elsewhere: it makes a connection beside the present one before it breaks that.
//!
//! ```text
//!   told ──slot──► Dialing ──open──► Greeting ──WELCOME with a lease──► the session moves
//!                  ▲   └──────────────┴── failed, no lease ──┐
//!                  └──────────── a pause that grows ◄────────┘
//! ```
//!
//! There is one attempt at a time, and the session goes on over the present connection meanwhile. If that ends,
//! so does the departure: the session connects as ever, first to the nodes that were named.

use super::connection::{Connection, Directions, Leave, Word};
use super::{Link, Session, has_held};
use crate::config::millis;
use crate::error::ConnectionError;
use crate::status::State;
use multibeam_wire::CloseCode;
use std::collections::VecDeque;

/// What to do about a second connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// There is to be none: drop what there is.
    None,
    /// Open one to this server, at once, and answer with [`Session::beside_connected`] or
    /// [`Session::beside_failed`].
    Dial(String),
    /// Go on opening it.
    Dialing,
    /// Write the output, and hand over what is read with [`Session::beside_bytes`].
    Open,
    /// It is not needed any more: write the output and close it.
    Close,
    /// It is the present connection from here on. The one before is to write the output and to be closed,
    /// without any [`Session::disconnected`].
    Moved,
}

/// A connection that the session has no more use for, and its last bytes.
#[derive(Debug)]
pub(super) enum Parted {
    Attempt(Vec<u8>),
    Present(Vec<u8>),
}

#[derive(Debug)]
enum Attempt {
    Pausing { until_ms: u64 },
    Dialing { server: String, until_ms: u64 },
    Greeting(Box<Connection>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Departure {
    reason: u16,
    slot_at_ms: u64,
    /// When the present connection is left in any case.
    leave_at_ms: Option<u64>,
    addresses: Vec<String>,
    /// Of these and the configured servers, those to be tried next.
    untried: VecDeque<String>,
    /// All of these, for another round; none: there is nowhere to go.
    servers: Vec<String>,
    attempt: Attempt,
}

impl Departure {
    fn new(leave: Leave, servers: Vec<String>, pause_ms: u64, now_ms: u64) -> Self {
        let Leave { reason, slot_ms, deadline_ms, addresses } = leave;
        // With nobody to go to there is nothing to wait for but one's turn.
        let forced_ms = deadline_ms.map(|ms| if servers.is_empty() { ms.min(slot_ms) } else { ms });
        Self {
            reason,
            slot_at_ms: now_ms + slot_ms,
            leave_at_ms: forced_ms.map(|ms| now_ms + ms),
            addresses,
            untried: VecDeque::new(),
            servers,
            attempt: Attempt::Pausing { until_ms: now_ms + slot_ms.max(pause_ms) },
        }
    }

    /// What it comes to where the present connection ends first.
    pub(super) fn directions(self, now_ms: u64) -> Directions {
        let left_ms = self.slot_at_ms.saturating_sub(now_ms);
        Directions { retry_after_ms: Some(left_ms).filter(|ms| *ms > 0), addresses: self.addresses }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        let attempt = match &self.attempt {
            Attempt::Pausing { .. } if self.servers.is_empty() => None,
            Attempt::Pausing { until_ms } | Attempt::Dialing { until_ms, .. } => Some(*until_ms),
            Attempt::Greeting(connection) => Some(connection.next_deadline_ms()),
        };
        attempt.into_iter().chain(self.leave_at_ms).min()
    }

    fn next_server(&mut self) -> Option<String> {
        if self.servers.is_empty() {
            return None;
        }
        if self.untried.is_empty() {
            self.untried.extend(self.servers.iter().cloned());
        }
        self.untried.pop_front()
    }
}

impl Session {
    /// What to do about a second connection; appends what is to be written to it, or for [`Beside::Moved`] to
    /// the one before. [`Beside::Dial`], [`Beside::Close`] and [`Beside::Moved`] are said once.
    pub fn poll_beside(&mut self, now_ms: u64, out: &mut Vec<u8>) -> Beside {
        match self.parted.take() {
            Some(Parted::Attempt(bytes)) => {
                out.extend(bytes);
                return Beside::Close;
            }
            Some(Parted::Present(bytes)) => {
                out.extend(bytes);
                return Beside::Moved;
            }
            None => {}
        }
        let Self { departure: Some(departure), ledger, config, .. } = self else { return Beside::None };
        match &mut departure.attempt {
            Attempt::Pausing { until_ms } if *until_ms <= now_ms => {
                let Some(server) = departure.next_server() else { return Beside::None };
                let until_ms = now_ms + millis(config.connect_timeout);
                departure.attempt = Attempt::Dialing { server: server.clone(), until_ms };
                Beside::Dial(server)
            }
            Attempt::Pausing { .. } => Beside::None,
            Attempt::Dialing { .. } => Beside::Dialing,
            Attempt::Greeting(connection) => {
                connection.poll_output(now_ms, out, ledger, config, self.producer);
                Beside::Open
            }
        }
    }

    /// The second connection is open. Ignored where it is not wanted any more.
    pub fn beside_connected(&mut self, now_ms: u64) {
        let Some(Departure { attempt, .. }) = &mut self.departure else { return };
        let Attempt::Dialing { server, .. } = attempt else { return };
        self.connections += 1;
        let held_bytes = self.ledger.subscriptions.held_bytes();
        let server = std::mem::take(server);
        let connection = Connection::new(server, self.connections, now_ms, held_bytes, &self.config);
        *attempt = Attempt::Greeting(Box::new(connection));
        self.invariants();
    }

    /// The second connection could not be opened, or is gone.
    pub fn beside_failed(&mut self, error: &std::io::Error, now_ms: u64) {
        let Some(departure) = &self.departure else { return };
        let error = match &departure.attempt {
            Attempt::Pausing { .. } => return,
            Attempt::Dialing { server, .. } => ConnectionError::unreachable(server, error),
            Attempt::Greeting(connection) => ConnectionError::lost(connection.server(), error),
        };
        self.attempt_failed(error, now_ms);
        self.invariants();
    }

    /// Takes over bytes of the second connection, cut anywhere.
    pub fn beside_bytes(&mut self, bytes: &[u8], now_ms: u64) {
        let Some(Departure { attempt: Attempt::Greeting(connection), .. }) = &mut self.departure else {
            return;
        };
        connection.handle_bytes(bytes, now_ms, &mut self.ledger);
        match connection.established() {
            Some(established) if established.leads && !connection.is_ending() => self.move_over(now_ms),
            Some(_) if !connection.is_ending() => {
                let error = ConnectionError::NoLease { server: connection.server().to_owned() };
                connection.end(Some(CloseCode::Normal), error.clone());
                self.part(now_ms);
            }
            Some(_) => self.part(now_ms),
            None if connection.is_ending() => self.part(now_ms),
            None => {}
        }
        self.invariants();
    }

    /// Takes over what the node of the present connection has said of its state.
    pub(super) fn hear(&mut self, now_ms: u64) {
        let Link::Open(connection) = &mut self.link else { return };
        if connection.established().is_none() {
            return;
        }
        let serves = connection.serves();
        match connection.take_word() {
            Some(Word::Leave(leave)) => self.sent_away(leave, now_ms),
            Some(Word::Stay) => self.drop_departure(now_ms),
            // Whoever shows that it leads is isolated no more.
            None if serves && self.departure.as_ref().is_some_and(|it| it.leave_at_ms.is_none()) => {
                self.drop_departure(now_ms);
            }
            None => {}
        }
        let state = if serves { State::Connected } else { State::Stale };
        if self.status.state != state {
            self.status_is(state);
        }
    }

    fn sent_away(&mut self, leave: Leave, now_ms: u64) {
        self.drop_departure(now_ms);
        let Link::Open(connection) = &self.link else { return };
        let pause_ms = if has_held(connection, now_ms) {
            self.backoff_beside.reset();
            0
        } else {
            self.backoff_beside.next_ms(&mut self.ledger.random)
        };
        // Behind the same name there may be another node. Only one that is isolated can be no worse.
        let own = connection.server();
        let (mut servers, mut last) = (leave.addresses.clone(), None);
        for server in &self.config.servers {
            if server == own {
                last = leave.deadline_ms.is_none().then(|| server.clone());
            } else if !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        servers.extend(last.filter(|last| !servers.contains(last)));
        self.departure = Some(Departure::new(leave, servers, pause_ms, now_ms));
    }

    /// Ends what is due of a departure: an attempt that takes too long, or the present connection.
    pub(super) fn depart(&mut self, now_ms: u64) {
        let Link::Open(present) = &mut self.link else { return };
        let Some(departure) = &mut self.departure else { return };
        if departure.leave_at_ms.is_some_and(|at_ms| at_ms <= now_ms) && !present.is_ending() {
            let directions = Directions { retry_after_ms: None, addresses: departure.addresses.clone() };
            present.leave(departure.reason, Some(directions));
        }
        if present.is_ending() {
            // What was named is still of use: see `directions`.
            departure.servers.clear();
            self.give_up_attempt(now_ms);
            return;
        }
        match &mut departure.attempt {
            Attempt::Dialing { server, until_ms } if *until_ms <= now_ms => {
                let timeout_ms = millis(self.config.connect_timeout);
                let error = ConnectionError::ConnectTimeout { server: std::mem::take(server), timeout_ms };
                self.attempt_failed(error, now_ms);
            }
            Attempt::Greeting(connection) => {
                connection.handle_timeout(now_ms);
                if connection.is_ending() {
                    self.part(now_ms);
                }
            }
            Attempt::Pausing { .. } | Attempt::Dialing { .. } => {}
        }
    }

    /// The departure is over.
    fn drop_departure(&mut self, now_ms: u64) {
        self.give_up_attempt(now_ms);
        self.departure = None;
    }

    fn give_up_attempt(&mut self, now_ms: u64) {
        let Some(departure) = &mut self.departure else { return };
        let pausing = Attempt::Pausing { until_ms: now_ms };
        if let Attempt::Greeting(mut connection) = std::mem::replace(&mut departure.attempt, pausing) {
            connection.end(Some(CloseCode::Normal), ConnectionError::Closed);
            let bytes = self.last_words(&mut connection, now_ms);
            self.parted = Some(Parted::Attempt(bytes));
        }
    }

    /// The second connection has ended: its last words go out, and the next attempt is made after a pause.
    fn part(&mut self, now_ms: u64) {
        let Some(departure) = &mut self.departure else { return };
        let pausing = Attempt::Pausing { until_ms: now_ms };
        let Attempt::Greeting(mut connection) = std::mem::replace(&mut departure.attempt, pausing) else {
            return;
        };
        let bytes = self.last_words(&mut connection, now_ms);
        self.parted = Some(Parted::Attempt(bytes));
        let ending = connection.into_ending();
        self.attempt_failed(ending.map_or(ConnectionError::Closed, |ending| ending.error), now_ms);
    }

    fn attempt_failed(&mut self, error: ConnectionError, now_ms: u64) {
        let Some(departure) = &mut self.departure else { return };
        let pause_ms = self.backoff_beside.next_ms(&mut self.ledger.random);
        departure.attempt = Attempt::Pausing { until_ms: now_ms + pause_ms };
        self.ledger.stats.disconnects += 1;
        self.status.last_error = Some(error);
        self.status_is(self.status.state);
    }

    /// The second connection leads to a node that serves: it is the present one from here on.
    fn move_over(&mut self, now_ms: u64) {
        let Some(Departure { reason, attempt: Attempt::Greeting(mut next), .. }) = self.departure.take()
        else {
            return;
        };
        next.adopt(&mut self.ledger);
        self.status.server = Some(next.server().to_owned());
        self.status.session = next.established().map(|established| established.session);
        let Link::Open(mut before) = std::mem::replace(&mut self.link, Link::Open(next)) else {
            unreachable!("a departure from nowhere")
        };
        before.leave(reason, None);
        let bytes = self.last_words(&mut before, now_ms);
        self.parted = Some(Parted::Present(bytes));
        self.status.last_error = before.into_ending().map(|ending| ending.error);
        let stats = &mut self.ledger.stats;
        (stats.connects, stats.disconnects, stats.moves) =
            (stats.connects + 1, stats.disconnects + 1, stats.moves + 1);
        self.status.failures_in_row = 0;
        self.status_is(State::Connected);
        // What came behind WELCOME.
        self.handle_bytes(&[], now_ms);
    }

    fn last_words(&mut self, connection: &mut Connection, now_ms: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        connection.poll_output(now_ms, &mut bytes, &mut self.ledger, &self.config, self.producer);
        bytes
    }
}
