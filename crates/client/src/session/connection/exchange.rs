//! The frames of one connection in both directions: what each does to the ledger, and what is sent
//! when.

use super::timers::{Over, Timers};
use super::{Directions, Ending, Established, Word};
use crate::config::Config;
use crate::error::{ConnectionError, PublishError, RefusalError};
use crate::publish;
use crate::random::Random;
use crate::session::Ticket;
use crate::session::deliveries::Deliveries;
use crate::session::ledger::Ledger;
use crate::session::requests::{Request, Requests};
use crate::session::subscriptions::{Frame as Carrier, Subscriptions, Tag};
use multibeam_wire::limits::{HELLO_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX};
use multibeam_wire::{
    self as wire, Bye, CloseCode, Encoder, Features, Frame, GoAwayReason, Hello, Offset, Outcome, Payload,
    Position, ProducerId, Receipts, Refusal, Reject, Rejection, Seq, Subscribe, Welcome, flow,
};

/// Unwritten bytes above which no request is added. A frame more may stand behind it.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Longest slot in a REJECT that is obeyed. An hour lets a node take ten million clients back at three
/// thousand a second; beyond it, a slip of one node would keep its clients away for weeks.
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    server: String,
    number: u64,
    encoder: Encoder,
    offered: Features,
    hello_sent: bool,
    /// It is the session's connection: subscriptions and publishes go by it.
    adopted: bool,
    /// The node leads, by the last it has said or shown.
    serves: bool,
    /// The last it has said of where this client is to be.
    word: Option<Word>,
    established: Option<Established>,
    requests: Requests,
    deliveries: Deliveries,
    /// A publish that did not fit the window, and its payload bytes: it need not be encoded
    /// again to see that it still does not.
    blocked: Option<(Ticket, u32)>,
    timers: Timers,
}

impl Exchange {
    pub(super) fn new(server: String, number: u64, now_ms: u64, carried_bytes: u64, config: &Config) -> Self {
        Self {
            server,
            number,
            encoder: Encoder::new(),
            offered: config.features(),
            hello_sent: false,
            adopted: false,
            serves: false,
            word: None,
            established: None,
            requests: Requests::new(),
            deliveries: Deliveries::new(config.window_unit, config.window_bytes, carried_bytes),
            blocked: None,
            timers: Timers::new(config, now_ms),
        }
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) const fn established(&self) -> Option<Established> {
        self.established
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// It is the session's connection from here on; `carried_bytes` are held from others.
    pub(super) fn adopt(&mut self, carried_bytes: u64) {
        self.adopted = true;
        self.deliveries.carried(carried_bytes);
    }

    pub(super) const fn is_adopted(&self) -> bool {
        self.adopted
    }

    pub(super) const fn serves(&self) -> bool {
        self.serves
    }

    pub(super) const fn take_word(&mut self) -> Option<Word> {
        self.word.take()
    }

    pub(super) fn handle_frame(
        &mut self,
        frame: &Frame<'_>,
        now_ms: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Ending> {
        self.timers.heard(now_ms);
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
        if let Payload::Ack(receipts) = &frame.payload {
            // Likewise: it completes what it says the place of.
            self.receipts(receipts, ledger)?;
        }
        self.serves |= is_of_a_leader(&frame.payload);
        self.acked(frame.header.ack_seq, ledger)?;
        if let Payload::Welcome(welcome) = &frame.payload {
            self.welcome(welcome, now_ms, &mut ledger.random)?;
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
                let carrier = self.carrier(seq, payload_bytes);
                let queued = subscriptions.delivered(delivery, carrier, stats, notices);
                (seq, queued.map_err(|code| self.misbehaved(code))?)
            }
            Payload::Gap(gap) => {
                let seq = self.deliveries.gap().map_err(|code| self.misbehaved(code))?;
                (seq, subscriptions.gap(gap, self.carrier(seq, 0), stats, notices))
            }
            Payload::Subscribed(told) => {
                return subscriptions.subscribed(told, notices).map_err(|code| self.misbehaved(code));
            }
            Payload::GoAway(go_away) => {
                match GoAwayReason::from_number(go_away.reason) {
                    Some(GoAwayReason::Isolated) => self.serves = false,
                    Some(GoAwayReason::Withdrawn) => self.serves = true,
                    Some(GoAwayReason::Drain | GoAwayReason::Balance) | None => {}
                }
                self.word = Some(Word::new(go_away));
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

    fn carrier(&self, seq: Seq, payload_bytes: u32) -> Carrier {
        Carrier { tag: Some(Tag { connection: self.number, seq }), payload_bytes }
    }

    fn welcome(&mut self, welcome: &Welcome, now_ms: u64, random: &mut Random) -> Result<(), Ending> {
        if !self.offered.has(welcome.features) {
            // What it takes for agreed on changes how frames are to be read.
            let detail = "WELCOME has features in force that HELLO did not offer";
            return Err(self.broken(CloseCode::FeatureMissing, detail));
        }
        self.requests.welcome(welcome.window_unit, welcome.requests_in_flight_max);
        self.deliveries.welcome(welcome.window_unit);
        if welcome.features.has(Features::COMPACT) {
            self.encoder.agree_compact();
        }
        self.established = Some(Established {
            since_ms: now_ms,
            interval_ms: self.timers.established(welcome.heartbeat_interval_ms, now_ms, random),
            session: welcome.session,
            leads: welcome.leads,
            features: welcome.features,
            generation: welcome.generation,
        });
        self.serves = welcome.leads;
        Ok(())
    }

    fn refused(&mut self, refusal: &Refusal<'_>, ledger: &mut Ledger) -> Result<(), Ending> {
        let request = self.requests.at(refusal.ref_seq).map_err(|error| self.rejected(error.into()))?;
        let error = RefusalError::from(refusal);
        match request {
            Some(Request::Publish(ticket)) => {
                ledger.publishes.refused(ticket, PublishError::Refused(error), &mut ledger.notices);
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

    /// Notes where publishes are stored that the same frame's header, or a later one, acknowledges.
    fn receipts(&self, receipts: &Receipts<'_>, ledger: &mut Ledger) -> Result<(), Ending> {
        if !self.has(Features::RECEIPTS) {
            return Ok(());
        }
        for wire::Receipt { seq, count, partition, position, copies } in receipts.iter() {
            if count as usize > REQUESTS_IN_FLIGHT_MAX {
                return Err(self.misbehaved(CloseCode::AckInvalid));
            }
            for step in 0..count {
                let request =
                    self.requests.at(seq.plus(step)).map_err(|error| self.rejected(error.into()))?;
                let Some(Request::Publish(ticket)) = request else { continue };
                let offset = Offset(position.offset.0.saturating_add(step.into()));
                let position = Position { offset, ..position };
                ledger.publishes.receipt(ticket, publish::Receipt { partition, position, copies });
            }
        }
        Ok(())
    }

    fn acked(&mut self, ack: Seq, ledger: &mut Ledger) -> Result<(), Ending> {
        for request in self.requests.acked(ack).map_err(|error| self.rejected(error.into()))? {
            self.serves = true;
            match request {
                Request::Publish(ticket) => {
                    if ledger.publishes.stored(ticket, &mut ledger.notices) {
                        ledger.stats.publishes_done += 1;
                    }
                }
                Request::Subscribe(_) | Request::Unsubscribe => {}
            }
        }
        Ok(())
    }

    /// Appends what is to be sent, HELLO first.
    pub(super) fn put_all(
        &mut self,
        now_ms: u64,
        out: &mut Vec<u8>,
        ledger: &mut Ledger,
        config: &Config,
        producer: ProducerId,
    ) {
        if !std::mem::replace(&mut self.hello_sent, true) {
            let hello = Hello {
                features: self.offered,
                window_unit_log2: config.window_unit.log2().into(),
                producer,
                agent: &config.agent,
                system_after: ledger.subscriptions.system_after(),
            };
            self.put(&Payload::Hello(hello), now_ms, out, &mut ledger.random);
        }
        if !self.adopted {
            return;
        }
        self.put_subscriptions(now_ms, out, ledger);
        self.put_publishes(now_ms, out, ledger);
        self.put_due(now_ms, out, &mut ledger.random);
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
                continue;
            }
            let Some((id, topic, start)) = subscriptions.to_subscribe() else { return };
            let mut parts = Vec::new();
            let start = start.on_wire(&mut parts);
            let payload = Payload::Subscribe(Subscribe { subscription: id, topic, start });
            let established = self.established.is_some();
            let fits = |_: &Requests, bytes: u32| established || bytes as usize <= HELLO_BYTES_MAX;
            if self.try_put(&payload, out, fits).is_err() {
                return;
            }
            let seq = self.requests.send(Request::Subscribe(id), 0);
            subscriptions.subscribe_sent(id, seq);
            self.timers.sent(now_ms, random);
        }
    }

    fn put_publishes(&mut self, now_ms: u64, out: &mut Vec<u8>, ledger: &mut Ledger) {
        let Some(established) = self.established else { return };
        while out.len() < OUTPUT_BYTES_MAX && self.requests.room_for_request() {
            let Some(front) = ledger.publishes.front() else { return };
            let ticket = front.ticket;
            if self.blocked.is_some_and(|(it, bytes)| it == ticket && !self.requests.room_for_data(bytes)) {
                return;
            }
            let keys = front.keys();
            let payload = Payload::Publish(front.frame(&keys, now_ms));
            let payload_bytes = match self.try_put(&payload, out, Requests::room_for_data) {
                Ok(payload_bytes) => payload_bytes,
                Err(payload_bytes) => {
                    self.blocked = Some((ticket, payload_bytes));
                    return;
                }
            };
            self.blocked = None;
            let Some((ticket, again)) = ledger.publishes.front_sent(established.generation) else { return };
            self.requests.send(Request::Publish(ticket), payload_bytes);
            ledger.stats.publishes_resent += u64::from(again);
            self.timers.sent(now_ms, &mut ledger.random);
        }
    }

    /// Appends a request with the next number, where its payload bytes fit; tells them in any case. The
    /// caller then takes the number.
    fn try_put(
        &mut self,
        payload: &Payload<'_>,
        out: &mut Vec<u8>,
        fits: impl FnOnce(&Requests, u32) -> bool,
    ) -> Result<u32, u32> {
        let (ack_seq, window) = self.deliveries.header_fields();
        let (start, seq, mut encoder) = (out.len(), self.requests.last().next(), self.encoder);
        let payload_bytes = encoder.encode(payload, seq, ack_seq, window, out) as u32;
        if !fits(&self.requests, payload_bytes) {
            out.truncate(start);
            return Err(payload_bytes);
        }
        self.encoder = encoder;
        self.deliveries.told();
        Ok(payload_bytes)
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
        } else if self.timers.heartbeat_is_due(now_ms) {
            self.put(&Payload::Heartbeat, now_ms, out, random);
        }
    }

    /// Appends a frame. A numbered one must have its number already.
    pub(super) fn put(&mut self, payload: &Payload<'_>, now_ms: u64, out: &mut Vec<u8>, random: &mut Random) {
        let (ack_seq, window) = self.deliveries.header_fields();
        self.encoder.encode(payload, self.requests.last(), ack_seq, window, out);
        self.deliveries.told();
        self.timers.sent(now_ms, random);
    }

    pub(super) fn timed_out(&mut self, now_ms: u64) -> Option<Ending> {
        let server = self.server.clone();
        Some(match self.timers.over(now_ms)? {
            Over::Handshake { timeout_ms } => {
                Ending::new(None, ConnectionError::HandshakeTimeout { server, timeout_ms })
            }
            Over::Silent { silent_ms } => {
                Ending::new(Some(CloseCode::HeartbeatTimeout), ConnectionError::Silent { server, silent_ms })
            }
        })
    }

    /// Whether this is in force.
    pub(super) fn has(&self, feature: Features) -> bool {
        self.established.is_some_and(|established| established.features.has(feature))
    }

    pub(super) fn next_deadline_ms(&self) -> u64 {
        let due = self.timers.next_ms();
        self.deliveries.ack_due_ms().map_or(due, |ack| ack.min(due))
    }

    /// The application has handled frames. Returns whether the timers moved or there is
    /// something to send.
    pub(super) fn handled(&mut self, subscriptions: &mut Subscriptions, now_ms: u64) -> bool {
        let due_before = self.deliveries.ack_due_ms();
        let (number, deliveries) = (self.number, &mut self.deliveries);
        subscriptions.drain_released(|tag| {
            if tag.connection == number {
                deliveries.handled(tag.seq, now_ms);
            }
        });
        deliveries.carried(subscriptions.carried_bytes());
        deliveries.ack_due_ms() != due_before || deliveries.window_update_due()
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

    pub(super) fn rejected(&self, rejection: Rejection) -> Ending {
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

/// Whether only a node with a lease says it. What it acknowledges is another matter.
fn is_of_a_leader(payload: &Payload<'_>) -> bool {
    match payload {
        Payload::Delivery(_) | Payload::Gap(_) | Payload::Subscribed(_) => true,
        Payload::Ack(receipts) => receipts.iter().next().is_some(),
        Payload::Error(refusal) => refusal.outcome == Outcome::Definite,
        Payload::Welcome(_)
        | Payload::Heartbeat
        | Payload::WindowUpdate
        | Payload::GoAway(_)
        | Payload::Reject(_)
        | Payload::Bye(_)
        | Payload::Publish(_)
        | Payload::Hello(_)
        | Payload::Subscribe(_)
        | Payload::Unsubscribe(_) => false,
    }
}
