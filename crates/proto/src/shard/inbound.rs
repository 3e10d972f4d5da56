//! What clients send: frames of one session, each handled whole or left for later.

use super::{Received, Shard, session_mut, touch};
use crate::class::PartitionId;
use crate::command::{Command, PublishRefusal, PublishRequest};
use crate::ids::ConnectionId;
use crate::planted::{self, Bug};
use crate::session::{Answer, Phase, Stall};
use crate::stats::Stat;
use crate::time::Time;
use multibeam_wire::{
    CloseCode, ErrorCode, Features, Frame, Hello, Incompatible, Outcome, Payload, Position, Publish,
    Rejection, Seq, Step, TopicName, WindowUnit, flow, limits,
};

/// How one frame ended.
pub(super) enum Handled {
    Done,
    Stall(Stall),
    Close(CloseCode),
}

/// What this node can do beyond the fixed frames.
const FEATURES: Features = Features::COMPACT;

impl<R: Into<Rejection>> From<R> for Handled {
    fn from(rejection: R) -> Self {
        Self::Close(rejection.into().close_code())
    }
}

impl Shard {
    /// Handles the whole frames at the start of `bytes`. Stops early where the session
    /// stalls or closes; see [`Shard::stalled`], [`Shard::closing`].
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8], now: Time) -> Received {
        debug_assert!(self.stalled(id).is_none(), "{id:?} was read while it was stalled");
        let mut used = 0;
        while let Some(session) = session_mut(&mut self.sessions, id)
            && session.listens()
        {
            let (handled, length) = match session.decoder.step(&bytes[used..]) {
                Ok(Step::Partial(needed)) => {
                    self.touch(id);
                    return Received { used, needed };
                }
                Ok(Step::Frame(frame, length)) => {
                    let handled = self.frame(id, &frame, now);
                    let done = matches!(handled, Handled::Done) || planted::on(Bug::StalledFrameCounts);
                    if done && let Some(session) = session_mut(&mut self.sessions, id) {
                        session.decoder.advance(&frame.header);
                    }
                    (handled, length)
                }
                Err(rejection) => (rejection.into(), 0),
            };
            match handled {
                Handled::Done => used += length,
                Handled::Close(code) => self.close(id, code),
                Handled::Stall(stall) => {
                    self.stall(id, stall);
                    return Received { used, needed: 0 };
                }
            }
        }
        Received { used: bytes.len(), needed: 0 }
    }

    fn stall(&mut self, id: ConnectionId, stall: Stall) {
        if let Stall::Room(to) = stall {
            self.stats.add(Stat::NoRoom, 1);
            self.stalled[usize::from(to.0)].push_back(id);
        }
        if let Some(session) = session_mut(&mut self.sessions, id) {
            session.stalled = Some(stall);
        }
        self.touch(id);
    }

    fn frame(&mut self, id: ConnectionId, frame: &Frame<'_>, now: Time) -> Handled {
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        if session.phase == Phase::Hello {
            return match &frame.payload {
                Payload::Hello(hello) => self.hello(id, frame, hello, now),
                Payload::Bye(_) => Handled::Close(CloseCode::Normal),
                Payload::Publish(_)
                | Payload::Delivery(_)
                | Payload::Heartbeat
                | Payload::Ack(_)
                | Payload::WindowUpdate
                | Payload::Welcome(_)
                | Payload::Subscribe(_)
                | Payload::Subscribed(_)
                | Payload::Unsubscribe(_)
                | Payload::Gap(_)
                | Payload::Error(_)
                | Payload::GoAway(_)
                | Payload::Reject(_) => Handled::Close(CloseCode::HelloExpected),
            };
        }
        // A frame that has to wait is looked at again as if it had just come.
        if frame.header.frame_type.sequenced() && session.requests.len() >= self.config.requests_in_flight_max
        {
            return Handled::Stall(Stall::Requests);
        }
        if let Err(rejection) = session.header(&frame.header, now) {
            return rejection.into();
        }
        match &frame.payload {
            Payload::Publish(publish) => self.publish(id, publish, u32::from(frame.header.len), now),
            Payload::Subscribe(subscribe) => self.subscribe(id, subscribe),
            Payload::Unsubscribe(subscription) => self.unsubscribe(id, *subscription),
            Payload::Ack(_) | Payload::WindowUpdate | Payload::Heartbeat => Handled::Done,
            Payload::Bye(_) => Handled::Close(CloseCode::Normal),
            Payload::Hello(_) => Handled::Close(CloseCode::HelloTwice),
            // The decoder lets none of these through in this direction.
            Payload::Delivery(_)
            | Payload::Welcome(_)
            | Payload::Subscribed(_)
            | Payload::Gap(_)
            | Payload::Error(_)
            | Payload::GoAway(_)
            | Payload::Reject(_) => Handled::Close(CloseCode::WrongDirection),
        }
    }

    fn hello(&mut self, id: ConnectionId, frame: &Frame<'_>, hello: &Hello<'_>, now: Time) -> Handled {
        let Some(unit) = WindowUnit::from_number(hello.window_unit_log2) else {
            return Incompatible::WindowUnit(hello.window_unit_log2).into();
        };
        let heartbeat_in = self.heartbeat_in();
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        session.unit = unit;
        if let Err(rejection) = session.header(&frame.header, now) {
            return rejection.into();
        }
        session.producer = hello.producer;
        session.features = hello.features.both(FEATURES);
        if session.features.has(Features::COMPACT) {
            session.decoder.agree_compact();
        }
        session.phase = Phase::Open;
        session.welcomed = true;
        session.decoder.established();
        session.heartbeat_at = now + heartbeat_in;
        session.answer(Answer::Welcome, self.config.requests_in_flight_max);
        self.stats.add(Stat::Sessions, 1);
        Handled::Done
    }

    fn publish(&mut self, id: ConnectionId, publish: &Publish<'_>, bytes: u32, now: Time) -> Handled {
        let deadline = now + self.config.publish_deadline;
        let window = u64::from(self.config.publish_window_bytes);
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        if let Err(misbehaved) = flow::within_window(window, session.requests.bytes(), bytes.into()) {
            return misbehaved.into();
        }
        let refusal = if TopicName::check(publish.topic).is_err() {
            Some(ErrorCode::TopicInvalid)
        } else if publish.body.len() > limits::BODY_BYTES_MAX {
            Some(ErrorCode::BodyTooLong)
        } else {
            None
        };
        if let Some(code) = refusal {
            let request = session.requests.open(bytes, None);
            self.stats.add(Stat::Refused, 1);
            self.refuse(id, request, code, Outcome::Definite);
            return Handled::Done;
        }
        let home = PartitionId::of(publish.topic).home(self.setup.shards);
        if home != self.setup.id && !self.rooms.take_request(home) {
            return Handled::Stall(Stall::Room(home));
        }
        let topic = self.name(publish.topic);
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let request = PublishRequest {
            connection: id,
            seq: session.requests.open(bytes, Some(deadline)),
            topic,
            producer: session.producer,
            number: publish.number,
            retry_of: publish.retry_of,
            body: publish.body.into(),
        };
        if home == self.setup.id {
            let seq = request.seq;
            let result = self.store(request, now);
            self.published(id, seq, result);
        } else {
            self.outbox.push_back((home, Command::Publish(Box::new(request))));
        }
        Handled::Done
    }

    /// The name that a feed holds already, or a new one. `name` must be valid.
    pub(super) fn name(&self, name: &str) -> TopicName {
        let known = self.feeds.find(name).and_then(|feed| self.feeds.feed(feed));
        match known {
            Some(feed) => feed.topic.clone(),
            None => {
                TopicName::new(name).unwrap_or_else(|error| unreachable!("{name:?} was checked: {error}"))
            }
        }
    }

    /// A publish ended, here or at another shard.
    pub(super) fn published(&mut self, id: ConnectionId, seq: Seq, result: Result<Position, PublishRefusal>) {
        let Some(session) = session_mut(&mut self.sessions, id) else {
            return self.stats.add(Stat::StaleCommands, 1);
        };
        if !session.requests.waits(seq) {
            // Its deadline passed before, and the client was told so.
            return;
        }
        match result {
            Ok(_) => {
                session.finish(seq);
                if session.stalled == Some(Stall::Requests) {
                    session.stalled = None;
                }
                touch(&mut self.sessions, &mut self.touched, id);
            }
            Err(refusal) => self.refuse(id, seq, refusal.code, refusal.outcome),
        }
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, request: Seq, code: ErrorCode, outcome: Outcome) {
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        session.answer(Answer::Refused { request, code, outcome }, self.config.requests_in_flight_max);
        self.touch(id);
    }
}
