//! The state machine of one client, over all its connections. It does no I/O and looks at no
//! clock; the same calls with the same times and seed give the same bytes.
//!
//! Who drives it ([`crate::Client`] does, and so can a test or a simulator):
//!
//! 1. asks [`Session::poll_dial`] whether to open a connection, and answers with
//!    [`Session::connected`] or [`Session::disconnected`];
//! 2. hands over what it reads with [`Session::handle_bytes`], and calls
//!    [`Session::handle_timeout`] at [`Session::next_deadline_ms`];
//! 3. before each wait asks [`Session::poll_beside`] whether to open, or close, a second connection: see
//!    [`Beside`];
//! 4. after each call drains [`Session::poll_output`] and [`Session::poll_notice`].
//!
//! Times are milliseconds on a clock that never goes back.

mod application;
mod backoff;
mod connection;
mod deliveries;
mod departure;
mod hand;
mod ledger;
mod publishes;
mod requests;
mod subscription;
mod subscriptions;
mod target;

pub use departure::Beside;
pub use hand::HandoutId;
pub use subscriptions::Next;

use crate::config::{Config, millis};
use crate::error::{ConnectionError, PublishError};
use crate::publish::Published;
use crate::random::Random;
use crate::status::{ClientStats, State, Status};
use backoff::Backoff;
use connection::{Connection, Directions};
use departure::{Departure, Parted};
use ledger::Ledger;
use multibeam_wire::{ProducerId, SubscriptionId};
use publishes::Publishes;
use std::collections::VecDeque;
use subscriptions::Subscriptions;

/// How long a connection must have held, at most, for pauses to begin short again.
const HELD_MS_MAX: u64 = 10_000;

/// Name of one publish of this client, in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Something that an application waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The publish has a place in the client; it can't be taken back any more.
    PublishAccepted(Ticket),
    /// The publish has ended.
    PublishEnded(Ticket, Result<Published, PublishError>),
    /// The subscription has something, or has ended.
    Readable(SubscriptionId),
    /// [`Session::status`] has changed.
    Status,
}

/// What to do about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// Open one to this server, at once.
    Now(String),
    /// Nothing before the next deadline or command.
    Wait,
    /// Nothing ever again: the client is closed.
    Never,
}

/// What to do with the open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Write the output and go on.
    Open,
    /// Write the output, close, then call [`Session::disconnected`].
    Close,
}

#[derive(Debug)]
enum Link {
    Waiting { retry_at_ms: u64 },
    Dialing { server: String, until_ms: u64 },
    Open(Box<Connection>),
    Closed,
}

/// See the module. One mutation, then one drain.
#[derive(Debug)]
pub struct Session {
    config: Config,
    producer: ProducerId,
    ledger: Ledger,
    link: Link,
    backoff: Backoff,
    status: Status,
    closed: bool,
    connections: u64,
    dials: usize,
    /// Servers that the last node named, before those of the configuration.
    named: VecDeque<String>,
    /// The node wants this client elsewhere.
    departure: Option<Departure>,
    /// Between attempts beside a connection; and what is left to be said on a connection that is none
    /// any more.
    backoff_beside: Backoff,
    parted: Option<Parted>,
    wake: bool,
}

impl Session {
    /// A client that has not connected; values of `config` outside their range are moved to
    /// its nearest end.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let config = config.in_range();
        let mut random = Random::new(config.seed);
        let drawn = ProducerId(u128::from(random.next()) << 64 | u128::from(random.next()));
        Self {
            producer: config.producer.unwrap_or(drawn),
            ledger: Ledger {
                publishes: Publishes::new(&config),
                subscriptions: Subscriptions::new(),
                stats: ClientStats::default(),
                notices: VecDeque::new(),
                random,
            },
            link: Link::Waiting { retry_at_ms: 0 },
            backoff: Backoff::new(millis(config.backoff_min), millis(config.backoff_max)),
            status: Status::default(),
            closed: false,
            connections: 0,
            dials: 0,
            named: VecDeque::new(),
            departure: None,
            backoff_beside: Backoff::new(millis(config.backoff_min), millis(config.backoff_max)),
            parted: None,
            wake: false,
            config,
        }
    }

    /// Whether a connection is to be opened.
    pub fn poll_dial(&mut self, now_ms: u64) -> Dial {
        match self.link {
            Link::Waiting { retry_at_ms } if retry_at_ms <= now_ms => {}
            Link::Closed => return Dial::Never,
            Link::Waiting { .. } | Link::Dialing { .. } | Link::Open(_) => return Dial::Wait,
        }
        let Some(server) = self.next_server() else {
            self.failed(ConnectionError::NoServer, None, now_ms);
            return Dial::Wait;
        };
        self.link =
            Link::Dialing { server: server.clone(), until_ms: now_ms + millis(self.config.connect_timeout) };
        self.status.server = Some(server.clone());
        self.status_is(State::Connecting);
        self.invariants();
        Dial::Now(server)
    }

    fn next_server(&mut self) -> Option<String> {
        if let Some(named) = self.named.pop_front() {
            return Some(named);
        }
        let index = self.dials.checked_rem(self.config.servers.len())?;
        self.dials = index + 1;
        Some(self.config.servers[index].clone())
    }

    /// Whether the connection that was asked for is still wanted.
    #[must_use]
    pub const fn is_dialing(&self) -> bool {
        matches!(self.link, Link::Dialing { .. })
    }

    /// The connection is open. Ignored where it is not wanted any more.
    pub fn connected(&mut self, now_ms: u64) {
        let Link::Dialing { server, .. } = &self.link else { return };
        self.connections += 1;
        let held_bytes = self.ledger.subscriptions.held_bytes();
        let mut connection =
            Connection::new(server.clone(), self.connections, now_ms, held_bytes, &self.config);
        connection.adopt(&mut self.ledger);
        self.parted = None;
        self.link = Link::Open(Box::new(connection));
        self.invariants();
    }

    /// The connection could not be opened (with the error), or is gone. The reason that this
    /// machine or the node gave for the end goes before `error`.
    pub fn disconnected(&mut self, error: Option<&std::io::Error>, now_ms: u64) {
        let lost = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let error = error.unwrap_or(&lost);
        match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Dialing { server, .. } => {
                self.failed(ConnectionError::unreachable(&server, error), None, now_ms);
            }
            Link::Open(connection) => {
                let held = has_held(&connection, now_ms);
                if held {
                    self.backoff.reset();
                }
                let lost = ConnectionError::lost(connection.server(), error);
                let (error, directions) =
                    connection.into_ending().map_or((lost, None), |ending| (ending.error, ending.directions));
                let departure = self.departure.take();
                let directions = directions.or_else(|| Some(departure?.directions(now_ms)));
                let directions = directions
                    .map(|it| Directions { retry_after_ms: it.retry_after_ms.or(held.then_some(0)), ..it });
                self.failed(error, directions, now_ms);
            }
            link @ (Link::Waiting { .. } | Link::Closed) => self.link = link,
        }
        self.invariants();
    }

    /// Takes over bytes of the open connection, cut anywhere.
    pub fn handle_bytes(&mut self, bytes: &[u8], now_ms: u64) {
        let Link::Open(connection) = &mut self.link else { return };
        let was_established = connection.established().is_some();
        connection.handle_bytes(bytes, now_ms, &mut self.ledger);
        if let Some(established) = connection.established().filter(|_| !was_established) {
            self.ledger.stats.connects += 1;
            self.status.failures_in_row = 0;
            self.status.session = Some(established.session);
        }
        self.hear(now_ms);
        self.invariants();
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.ledger.publishes.expire(now_ms, &mut self.ledger.notices);
        match &mut self.link {
            Link::Dialing { server, until_ms } if *until_ms <= now_ms => {
                let timeout_ms = millis(self.config.connect_timeout);
                let error = ConnectionError::ConnectTimeout { server: std::mem::take(server), timeout_ms };
                self.failed(error, None, now_ms);
            }
            Link::Open(connection) => connection.handle_timeout(now_ms),
            Link::Waiting { .. } | Link::Dialing { .. } | Link::Closed => {}
        }
        self.depart(now_ms);
        self.invariants();
    }

    /// Appends what is to be written. `out` may hold what was not yet written: above 64 KiB
    /// only signs of life and acknowledgements are added.
    pub fn poll_output(&mut self, now_ms: u64, out: &mut Vec<u8>) -> Flow {
        let Link::Open(connection) = &mut self.link else { return Flow::Close };
        let flow = connection.poll_output(now_ms, out, &mut self.ledger, &self.config, self.producer);
        self.invariants();
        flow
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_output`] must be called at the latest.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let link = match &self.link {
            Link::Waiting { retry_at_ms } => Some(*retry_at_ms),
            Link::Dialing { until_ms, .. } => Some(*until_ms),
            Link::Open(connection) => Some(connection.next_deadline_ms()),
            Link::Closed => None,
        };
        let publish = self.ledger.publishes.next_deadline_ms();
        let departure = self.departure.as_ref().and_then(Departure::next_deadline_ms);
        link.into_iter().chain(publish).chain(departure).min()
    }

    /// The next thing to tell the application.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.ledger.notices.pop_front()
    }

    /// Whether a command of the application since the last call gave the driver something to
    /// do or moved its deadline.
    pub const fn take_wake(&mut self) -> bool {
        std::mem::replace(&mut self.wake, false)
    }

    /// The driver is gone: nothing will happen any more.
    pub fn finish(&mut self) {
        self.close();
        (self.link, self.departure) = (Link::Closed, None);
        self.status.session = None;
        self.status_is(State::Closed);
        self.invariants();
    }

    /// Passes on which frames the application has handled.
    fn handled(&mut self, now_ms: u64) {
        match &mut self.link {
            Link::Open(connection) => {
                self.wake |= connection.handled(&mut self.ledger.subscriptions, now_ms);
            }
            Link::Waiting { .. } | Link::Dialing { .. } | Link::Closed => {
                self.ledger.subscriptions.drain_released(|_| {});
            }
        }
        self.invariants();
    }

    fn failed(&mut self, error: ConnectionError, directions: Option<Directions>, now_ms: u64) {
        self.ledger.stats.disconnects += 1;
        self.status.session = None;
        if self.closed {
            self.link = Link::Closed;
            return;
        }
        if !matches!(self.status.state, State::Connected | State::Stale) {
            self.status.failures_in_row += 1;
        }
        self.status.last_error = Some(error);
        let pause_ms = self.backoff.next_ms(&mut self.ledger.random);
        let told_ms = directions.and_then(|directions| {
            self.named = directions.addresses.into();
            directions.retry_after_ms
        });
        self.link = Link::Waiting { retry_at_ms: now_ms + told_ms.unwrap_or(pause_ms) };
        self.status_is(State::Waiting);
    }

    fn status_is(&mut self, state: State) {
        self.status.state = state;
        self.status.version += 1;
        self.ledger.notices.push_back(Notice::Status);
    }

    fn invariants(&self) {
        if cfg!(debug_assertions) {
            self.ledger.subscriptions.invariants();
            self.ledger.publishes.invariants();
            assert!(self.closed || !matches!(self.link, Link::Closed));
            assert!(self.departure.is_none() || matches!(self.link, Link::Open(_)));
        }
    }
}

/// Whether it has held for so long that pauses begin short again.
fn has_held(connection: &Connection, now_ms: u64) -> bool {
    connection.established().is_some_and(|established| {
        now_ms - established.since_ms >= HELD_MS_MAX.min(2 * established.interval_ms)
    })
}
