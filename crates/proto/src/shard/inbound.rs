//! What clients send: frames of one session, each handled whole or left for later.

use super::{Received, Shard, session_mut};
use crate::ids::ConnectionId;
use crate::planted::{self, Bug};
use crate::session::{Answer, Phase, Stall};
use crate::stats::Stat;
use crate::time::Time;
use multibeam_wire::{
    CloseCode, ErrorCode, Features, Frame, Hello, Incompatible, Outcome, Payload, Rejection, Seq, Step,
    WindowUnit,
};

/// How one frame ended.
pub(super) enum Handled {
    Done,
    Stall(Stall),
    Close(CloseCode),
}

/// What this node can do beyond the fixed frames.
const FEATURES: Features = Features::COMPACT.with(Features::RECEIPTS);

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
        if frame.header.frame_type.sequenced() && session.requests.are_full(&self.config) {
            return Handled::Stall(Stall::Requests);
        }
        if let Err(rejection) = session.header(&mut self.runs, &frame.header, now) {
            return rejection.into();
        }
        match &frame.payload {
            Payload::Publish(publish) => self.publish(id, publish, u32::from(frame.header.len), now),
            Payload::Subscribe(subscribe) => self.subscribe(id, subscribe, now),
            Payload::Unsubscribe(subscription) => self.unsubscribe(id, *subscription),
            Payload::Ack(_) | Payload::WindowUpdate => Handled::Done,
            Payload::Heartbeat => {
                session.answer_heartbeat(&self.config, now);
                Handled::Done
            }
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
        if let Err(rejection) = session.header(&mut self.runs, &frame.header, now) {
            return rejection.into();
        }
        session.set_producer(hello.producer);
        let features = hello.features.both(FEATURES);
        session.receipts = features.has(Features::RECEIPTS);
        session.compact = features.has(Features::COMPACT);
        if session.compact {
            session.decoder.agree_compact();
        }
        session.phase = Phase::Open;
        session.welcomed = true;
        session.decoder.established();
        session.heartbeat_at = now + heartbeat_in;
        if self.away.is_none() {
            session.needs_no_word(self.standing);
        }
        session.requests.answer(Answer::Welcome);
        self.stats.add(Stat::Sessions, 1);
        self.subscribe_system(id, hello.system_after, now);
        self.touch(id);
        Handled::Done
    }

    pub(super) fn refuse(&mut self, id: ConnectionId, request: Seq, code: ErrorCode, outcome: Outcome) {
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        session.requests.answer(Answer::Refused { request, code, outcome });
        self.touch(id);
    }
}
