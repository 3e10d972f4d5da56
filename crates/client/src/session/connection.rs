//! One connection: its handshake, its numbered frames in both directions, its timers.
//!
//! What outlives it is the [`Ledger`], which each call borrows. A connection ends by itself
//! only through [`Ending`]: the session closes what it finds ended.

use super::deliveries::Deliveries;
use super::ledger::Ledger;
use super::requests::{Request, Requests};
use super::subscriptions::Tag;
use super::{Flow, Ticket};
use crate::config::{Config, millis};
use crate::error::{ConnectionError, PublishError, RefusalError};
use crate::random::Random;
use multibeam_wire::{
    Bye, CloseCode, Direction, Encoder, Features, Frame, Generation, GoAway, Hello, Inbound, Payload,
    ProducerId, Refusal, Reject, Rejection, Seq, Subscribe, Welcome, flow,
};

/// Unwritten bytes above which no request is added. A frame more may stand behind it.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Longest slot in a REJECT that is obeyed. An hour lets a node take ten million clients back at three
/// thousand a second; beyond it, a slip of one node would keep its clients away for weeks.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// Heartbeat intervals without a frame after which a node counts as dead.
const SILENT_INTERVALS_MAX: u64 = 3;

/// Shortest heartbeat interval that is honoured, so that a node can't make a client spin.
const HEARTBEAT_INTERVAL_MS_MIN: u64 = 20;

/// What is known since WELCOME.
#[derive(Clone, Copy, Debug)]
pub(super) struct Established {
    pub(super) since_ms: u64,
    pub(super) interval_ms: u64,
    pub(super) session: u64,
    compact: bool,
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

/// A GOAWAY that was heard: the session goes on until this client's turn.
#[derive(Debug)]
struct Leave {
    at_ms: u64,
    reason: u16,
    addresses: Vec<String>,
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
        let handshake_timeout_ms = millis(config.handshake_timeout);
        Self {
            inbound: Inbound::new(Direction::ToClient),
            exchange: Exchange {
                server,
                number,
                encoder: Encoder::new(),
                hello_sent: false,
                leave: None,
                established: None,
                requests: Requests::new(),
                deliveries: Deliveries::new(config.window_unit, config.window_bytes, carried_bytes),
                blocked: None,
                heard_ms: now_ms,
                heartbeat_at_ms: u64::MAX,
                handshake_timeout_ms,
                handshake_until_ms: now_ms + handshake_timeout_ms,
            },
            ending: None,
        }
    }

    pub(super) fn server(&self) -> &str {
        &self.exchange.server
    }

    pub(super) const fn established(&self) -> Option<Established> {
        self.exchange.established
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
            if self.exchange.is_compact() {
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
        if !self.exchange.hello_sent {
            self.exchange.hello_sent = true;
            let hello = Hello {
                features: config.features(),
                window_unit_log2: config.window_unit.log2().into(),
                producer,
                agent: &config.agent,
            };
            self.exchange.put(&Payload::Hello(hello), now_ms, out, &mut ledger.random);
        }
        self.exchange.put_subscriptions(now_ms, out, ledger);
        self.exchange.put_publishes(now_ms, out, ledger);
        self.exchange.put_due(now_ms, out, &mut ledger.random);
        Flow::Open
    }

    pub(super) fn next_deadline_ms(&self) -> u64 {
        let exchange = &self.exchange;
        let Some(established) = exchange.established else { return exchange.handshake_until_ms };
        let due =
            exchange.heartbeat_at_ms.min(exchange.silent_at_ms(&established)).min(exchange.leave_at_ms());
        exchange.deliveries.ack_due_ms().map_or(due, |ack| ack.min(due))
    }

    /// The application has handled frames. Returns whether the timers moved or there is
    /// something to send.
    pub(super) fn handled(&mut self, tags: &[Tag], now_ms: u64, carried_bytes: u64) -> bool {
        let deliveries = &mut self.exchange.deliveries;
        let due_before = deliveries.ack_due_ms();
        for tag in tags.iter().filter(|tag| tag.connection == self.exchange.number) {
            deliveries.handled(tag.seq, now_ms);
        }
        deliveries.carried(carried_bytes);
        deliveries.ack_due_ms() != due_before || deliveries.window_update_due()
    }
}

#[derive(Debug)]
struct Exchange {
    server: String,
    number: u64,
    encoder: Encoder,
    hello_sent: bool,
    established: Option<Established>,
    leave: Option<Leave>,
    requests: Requests,
    deliveries: Deliveries,
    /// A publish that did not fit the window, and its payload bytes: it need not be encoded
    /// again to see that it still does not.
    blocked: Option<(Ticket, u32)>,
    heard_ms: u64,
    heartbeat_at_ms: u64,
    handshake_timeout_ms: u64,
    handshake_until_ms: u64,
}

impl Exchange {
    fn handle_frame(&mut self, frame: &Frame<'_>, now_ms: u64, ledger: &mut Ledger) -> Result<(), Ending> {
        self.heard_ms = now_ms;
        if let Payload::Bye(Bye { code, detail }) = frame.payload {
            let error =
                ConnectionError::Bye { server: self.server.clone(), number: code, detail: detail.to_owned() };
            return Err(Ending::new(None, error));
        }
        match (&frame.payload, self.established.is_some()) {
            (Payload::Welcome(_), true) => return Err(self.misbehaved(CloseCode::HelloTwice)),
            (Payload::Reject(reject), false) => return Err(self.turned_away(reject)),
            (Payload::Welcome(_), false) | (_, true) => {}
            (_, false) => return Err(self.misbehaved(CloseCode::HelloExpected)),
        }
        flow::in_order(self.deliveries.last(), &frame.header).map_err(|error| self.rejected(error.into()))?;
        if let Payload::Error(refusal) = &frame.payload {
            // Before the header's acknowledgement, which may cover the refused request.
            self.refused(refusal, ledger)?;
        }
        self.acked(frame.header.ack_seq, ledger)?;
        if let Payload::Welcome(welcome) = &frame.payload {
            self.welcome(welcome, now_ms, &mut ledger.random);
        }
        self.requests.grant(frame.header.window);
        self.payload(frame, now_ms, ledger)
    }

    fn payload(&mut self, frame: &Frame<'_>, now_ms: u64, ledger: &mut Ledger) -> Result<(), Ending> {
        let Ledger { subscriptions, stats, notices, .. } = ledger;
        let (seq, kept) = match &frame.payload {
            Payload::Delivery(delivery) => {
                let payload_bytes = u32::from(frame.header.len);
                let seq = self.deliveries.data(payload_bytes).map_err(|error| self.rejected(error.into()))?;
                let tag = Tag { connection: self.number, seq };
                (seq, subscriptions.delivered(delivery, tag, payload_bytes, stats, notices))
            }
            Payload::Gap(gap) => {
                let seq = self.deliveries.gap().map_err(|code| self.misbehaved(code))?;
                let tag = Tag { connection: self.number, seq };
                (seq, subscriptions.gap(gap, tag, stats, notices))
            }
            Payload::Subscribed(told) => {
                subscriptions.subscribed(told, notices);
                return Ok(());
            }
            Payload::GoAway(go_away) => {
                self.leave(go_away, now_ms);
                return Ok(());
            }
            Payload::Reject(_) => return Err(self.misbehaved(CloseCode::HelloTwice)),
            Payload::Welcome(_)
            | Payload::Error(_)
            | Payload::Bye(_)
            | Payload::Heartbeat
            | Payload::Ack(_)
            | Payload::WindowUpdate => return Ok(()),
            Payload::Publish(_) | Payload::Hello(_) | Payload::Subscribe(_) | Payload::Unsubscribe(_) => {
                return Err(self.misbehaved(CloseCode::WrongDirection));
            }
        };
        if !kept {
            self.deliveries.handled(seq, now_ms);
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &Welcome, now_ms: u64, random: &mut Random) {
        self.requests.welcome(welcome.window_unit, welcome.requests_in_flight_max);
        self.deliveries.welcome(welcome.window_unit);
        if welcome.features.has(Features::COMPACT) {
            self.encoder.agree_compact();
        }
        self.established = Some(Established {
            since_ms: now_ms,
            interval_ms: u64::from(welcome.heartbeat_interval_ms).max(HEARTBEAT_INTERVAL_MS_MIN),
            session: welcome.session,
            compact: welcome.features.has(Features::COMPACT),
            generation: welcome.generation,
        });
        self.sent_something(now_ms, random);
    }

    fn refused(&mut self, refusal: &Refusal<'_>, ledger: &mut Ledger) -> Result<(), Ending> {
        let request = self.requests.at(refusal.ref_seq).map_err(|error| self.rejected(error.into()))?;
        let error = RefusalError::from(refusal);
        match request {
            Some(Request::Publish(number)) => {
                ledger.publishes.end(number, Err(PublishError::Refused(error)), &mut ledger.notices);
            }
            Some(Request::Subscribe(id)) => ledger.subscriptions.refused(id, error, &mut ledger.notices),
            Some(Request::Unsubscribe) => {}
            None => {
                if let Some(id) = ledger.subscriptions.requested_by(refusal.ref_seq) {
                    ledger.subscriptions.refused(id, error, &mut ledger.notices);
                }
            }
        }
        Ok(())
    }

    fn acked(&mut self, ack: Seq, ledger: &mut Ledger) -> Result<(), Ending> {
        for request in self.requests.acked(ack).map_err(|error| self.rejected(error.into()))? {
            match request {
                Request::Publish(number) => {
                    if ledger.publishes.end(number, Ok(()), &mut ledger.notices) {
                        ledger.stats.publishes_done += 1;
                    }
                }
                Request::Subscribe(_) | Request::Unsubscribe => {}
            }
        }
        Ok(())
    }

    /// Sends what subscriptions ask for. First the ends: their number is bounded by what was
    /// asked for before.
    fn put_subscriptions(&mut self, now_ms: u64, out: &mut Vec<u8>, ledger: &mut Ledger) {
        let Ledger { subscriptions, random, .. } = ledger;
        while out.len() < OUTPUT_BYTES_MAX && self.requests.room_for_request() {
            if let Some(id) = subscriptions.to_unsubscribe() {
                self.requests.send(Request::Unsubscribe, 0);
                self.put(&Payload::Unsubscribe(id), now_ms, out, random);
                subscriptions.unsubscribe_sent(id);
            } else if let Some((id, topic, start)) = subscriptions.to_subscribe() {
                let seq = self.requests.send(Request::Subscribe(id), 0);
                let subscribe = Subscribe { subscription: id, topic: topic.as_str(), start };
                self.put(&Payload::Subscribe(subscribe), now_ms, out, random);
                subscriptions.subscribe_sent(id, seq);
            } else {
                return;
            }
        }
    }

    fn put_publishes(&mut self, now_ms: u64, out: &mut Vec<u8>, ledger: &mut Ledger) {
        let Some(established) = self.established else { return };
        while out.len() < OUTPUT_BYTES_MAX && self.requests.room_for_request() {
            let Some((ticket, publish)) = ledger.publishes.front() else { return };
            if self.blocked.is_some_and(|(it, bytes)| it == ticket && !self.requests.room_for_data(bytes)) {
                return;
            }
            let (ack_seq, window) = self.deliveries.header_fields();
            let start = out.len();
            let seq = self.requests.last().next();
            let mut encoder = self.encoder;
            let payload_bytes = encoder.encode(&Payload::Publish(publish), seq, ack_seq, window, out) as u32;
            if !self.requests.room_for_data(payload_bytes) {
                out.truncate(start);
                self.blocked = Some((ticket, payload_bytes));
                return;
            }
            self.encoder = encoder;
            self.blocked = None;
            let Some((number, again)) = ledger.publishes.front_sent(established.generation) else { return };
            self.requests.send(Request::Publish(number), payload_bytes);
            ledger.stats.publishes_resent += u64::from(again);
            self.deliveries.told();
            self.sent_something(now_ms, &mut ledger.random);
        }
    }

    /// Sends what is due and no other frame has carried.
    fn put_due(&mut self, now_ms: u64, out: &mut Vec<u8>, random: &mut Random) {
        if self.established.is_none() {
            return;
        }
        if self.deliveries.ack_due_ms().is_some_and(|due| due <= now_ms) {
            self.put(&Payload::ACK, now_ms, out, random);
        } else if self.deliveries.window_update_due() {
            self.put(&Payload::WindowUpdate, now_ms, out, random);
        } else if self.heartbeat_at_ms <= now_ms {
            self.put(&Payload::Heartbeat, now_ms, out, random);
        }
    }

    /// Appends a frame. A numbered one must have its number already.
    fn put(&mut self, payload: &Payload<'_>, now_ms: u64, out: &mut Vec<u8>, random: &mut Random) {
        let (ack_seq, window) = self.deliveries.header_fields();
        self.encoder.encode(payload, self.requests.last(), ack_seq, window, out);
        self.deliveries.told();
        self.sent_something(now_ms, random);
    }

    fn sent_something(&mut self, now_ms: u64, random: &mut Random) {
        if let Some(Established { interval_ms, .. }) = self.established {
            self.heartbeat_at_ms = now_ms + interval_ms - random.between(0, interval_ms / 4);
        }
    }

    const fn silent_at_ms(&self, established: &Established) -> u64 {
        self.heard_ms + SILENT_INTERVALS_MAX * established.interval_ms
    }

    fn timed_out(&mut self, now_ms: u64) -> Option<Ending> {
        let server = self.server.clone();
        match self.established {
            None if self.handshake_until_ms <= now_ms => {
                let timeout_ms = self.handshake_timeout_ms;
                Some(Ending::new(None, ConnectionError::HandshakeTimeout { server, timeout_ms }))
            }
            Some(established) if self.silent_at_ms(&established) <= now_ms => {
                let error = ConnectionError::Silent { server, silent_ms: now_ms - self.heard_ms };
                Some(Ending::new(Some(CloseCode::HeartbeatTimeout), error))
            }
            Some(_) if self.leave_at_ms() <= now_ms => self.leave.take().map(|leave| {
                let error = ConnectionError::SentAway { server, number: leave.reason };
                let directions = Directions { retry_after_ms: None, addresses: leave.addresses };
                Ending { directions: Some(directions), ..Ending::new(Some(CloseCode::Normal), error) }
            }),
            None | Some(_) => None,
        }
    }

    fn is_compact(&self) -> bool {
        self.established.is_some_and(|established| established.compact)
    }

    fn leave_at_ms(&self) -> u64 {
        self.leave.as_ref().map_or(u64::MAX, |leave| leave.at_ms)
    }

    /// The node wants this client elsewhere: it goes when its turn comes, and no later than the
    /// node would close.
    fn leave(&mut self, go_away: &GoAway<'_>, now_ms: u64) {
        let at_ms = now_ms + u64::from(go_away.retry_after_ms.min(go_away.deadline_ms));
        let addresses = go_away.addresses.iter().map(str::to_owned).collect();
        self.leave = Some(Leave { at_ms, reason: go_away.reason, addresses });
    }

    fn turned_away(&self, reject: &Reject<'_>) -> Ending {
        let error = ConnectionError::Bye {
            server: self.server.clone(),
            number: reject.code,
            detail: reject.detail.to_owned(),
        };
        let slot_ms = u64::from(reject.retry_after_ms).min(RETRY_AFTER_MS_MAX);
        let retry_after_ms = Some(slot_ms).filter(|slot_ms| *slot_ms > 0);
        let directions = Directions { retry_after_ms, addresses: Vec::new() };
        Ending { directions: Some(directions), ..Ending::new(None, error) }
    }

    fn rejected(&self, rejection: Rejection) -> Ending {
        self.broken(rejection.close_code(), &rejection.to_string())
    }

    fn misbehaved(&self, code: CloseCode) -> Ending {
        self.broken(code, code.sentence())
    }

    fn broken(&self, code: CloseCode, detail: &str) -> Ending {
        let error =
            ConnectionError::Protocol { server: self.server.clone(), code, detail: detail.to_owned() };
        Ending::new(Some(code), error)
    }
}
