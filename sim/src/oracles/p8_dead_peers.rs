//! P8, dead peers are found: a node gives a connection up within three heartbeat intervals of the last
//! frame, or when what it sent is not acknowledged in time; a client leaves a node that is silent. And
//! nobody is given up who spoke in time.
//!
//! Both sides are watched where their bytes enter and leave the network ([`Silence`]), by frames and
//! simulated time alone.

use crate::frames::{Seen, kind};
use crate::plan::NodeKnobs;

pub(crate) const ORACLE: &str = "P8";

/// Missed intervals that end a connection.
const INTERVALS: u64 = 3;

/// Time to say goodbye to somebody who may be dead.
const LINGER_US: u64 = 1_000_000;

/// What a slow thread, a retry after a failed call and the coarse clocks of both sides may add.
const SLACK_US: u64 = 300_000;

/// Coarseness of the clocks of both sides: nobody may be called late who was so little early.
const COARSE_US: u64 = 60_000;

/// Numbers of closes for being late.
mod late {
    pub(super) const HELLO: u64 = 301;
    pub(super) const HEARTBEAT: u64 = 306;
    pub(super) const ACK: u64 = 307;
}

/// The frames of one connection, as far as time matters.
#[derive(Debug)]
pub struct Silence {
    opened_us: u64,
    /// When the last whole frame came, and the longest pause between two.
    heard_us: u64,
    pause_us: u64,
    greeted_us: Option<u64>,
    /// When the last frame came that acknowledged more, and the longest pause between two.
    acked_us: u64,
    ack_pause_us: u64,
    /// Newest number sent and acknowledged, each way.
    sent: u32,
    acked: u32,
    requested: u32,
    answered: u32,
    /// Something is sent and not acknowledged, since then.
    owes_since_us: Option<u64>,
    /// The other side has ended its half.
    ended: bool,
}

/// A connection seen from one end: what that end hears, and what it says.
impl Silence {
    /// A connection opens.
    #[must_use]
    pub const fn new(now_us: u64) -> Self {
        Self {
            opened_us: now_us,
            heard_us: now_us,
            pause_us: 0,
            greeted_us: None,
            acked_us: now_us,
            ack_pause_us: 0,
            sent: 0,
            acked: 0,
            requested: 0,
            answered: 0,
            owes_since_us: None,
            ended: false,
        }
    }

    /// The other side ends its half.
    pub const fn ends(&mut self) {
        self.ended = true;
    }

    /// The connection was accepted: time begins.
    pub const fn accepted(&mut self, now_us: u64) {
        self.opened_us = now_us;
        if self.heard_us < now_us {
            self.heard_us = now_us;
        }
    }

    /// A whole frame came.
    pub fn hears(&mut self, frame: &Seen, now_us: u64) {
        self.pause_us = self.pause_us.max(now_us - self.heard_us.min(now_us));
        self.heard_us = self.heard_us.max(now_us);
        self.requested = frame.seq;
        if frame.kind == kind::HELLO {
            self.greeted_us.get_or_insert(now_us);
        }
        if frame.ack.wrapping_sub(self.acked).cast_signed() > 0 {
            self.ack_pause_us = self.ack_pause_us.max(now_us - self.acked_us);
            (self.acked, self.acked_us) = (frame.ack, now_us);
            self.owes_since_us = (self.acked != self.sent).then_some(now_us);
        }
    }

    /// A whole frame went.
    pub const fn says(&mut self, frame: &Seen, now_us: u64) {
        self.sent = frame.seq;
        self.answered = frame.ack;
        if self.acked != self.sent && self.owes_since_us.is_none() {
            self.owes_since_us = Some(now_us);
        }
    }

    /// The node's end: whether it holds on to somebody whom it must have given up.
    ///
    /// # Errors
    /// It does; as a sentence.
    pub fn node_holds(&self, knobs: &NodeKnobs, now_us: u64) -> Result<(), String> {
        let ms = 1000;
        let patience = (INTERVALS * knobs.heartbeat_ms).max(knobs.hello_timeout_ms) * ms;
        // Who waits for an answer need not have been heard to the end, and who has ended gets it.
        let waits = self.ended || self.requested != self.answered;
        let stalled = if waits { knobs.publish_deadline_ms * ms } else { 0 };
        let silent_us = now_us.saturating_sub(self.heard_us);
        if silent_us > patience + stalled + LINGER_US + SLACK_US {
            return Err(format!("holds on to a client that said nothing for {silent_us} us"));
        }
        let owes_us = self.owes_since_us.map_or(0, |since_us| now_us - since_us);
        if owes_us > knobs.ack_timeout_ms * ms + stalled + LINGER_US + SLACK_US {
            return Err(format!("holds on to a client that acknowledged nothing for {owes_us} us"));
        }
        Ok(())
    }

    /// The node's end: whether it blames a client for being late that was not.
    ///
    /// # Errors
    /// It does; as a sentence.
    pub fn node_ends(&self, bye: &Seen, knobs: &NodeKnobs, now_us: u64) -> Result<(), String> {
        let Some([code]) = bye.numbers() else { return Ok(()) };
        let (pause_us, allowed_ms) = match code {
            late::HELLO => {
                (self.greeted_us.map_or(u64::MAX, |at| at - self.opened_us.min(at)), knobs.hello_timeout_ms)
            }
            late::HEARTBEAT => (self.pause_us.max(now_us - self.heard_us), INTERVALS * knobs.heartbeat_ms),
            late::ACK => (self.ack_pause_us.max(now_us - self.acked_us), knobs.ack_timeout_ms),
            _ => return Ok(()),
        };
        if pause_us.saturating_add(COARSE_US) < allowed_ms * 1000 {
            return Err(format!(
                "said BYE {code} to a client that was never late by more than {pause_us} us"
            ));
        }
        Ok(())
    }

    /// The client's end: whether it holds on to a node that it must have given up. `interval_ms` is
    /// what WELCOME said, if it came.
    ///
    /// # Errors
    /// It does; as a sentence.
    pub fn client_holds(
        &self,
        interval_ms: Option<u64>,
        handshake_ms: u64,
        now_us: u64,
    ) -> Result<(), String> {
        let (since_us, patience_ms) = match interval_ms {
            Some(interval_ms) => (self.heard_us, INTERVALS * interval_ms),
            None => (self.opened_us, handshake_ms),
        };
        let silent_us = now_us.saturating_sub(since_us);
        if silent_us > patience_ms * 1000 + LINGER_US + SLACK_US {
            return Err(format!("holds on to a node that said nothing for {silent_us} us"));
        }
        Ok(())
    }

    /// The client's end: whether it blames a node for being silent that was not.
    ///
    /// # Errors
    /// It does; as a sentence.
    pub fn client_ends(&self, bye: &Seen, interval_ms: Option<u64>, now_us: u64) -> Result<(), String> {
        let (Some([late::HEARTBEAT]), Some(interval_ms)) = (bye.numbers(), interval_ms) else {
            return Ok(());
        };
        let pause_us = self.pause_us.max(now_us - self.heard_us);
        if pause_us + COARSE_US < INTERVALS * interval_ms * 1000 {
            return Err(format!("left a node that was never silent for more than {pause_us} us"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    const SECOND: u64 = 1_000_000;

    fn knobs() -> NodeKnobs {
        let mut knobs = Plan::of(1).node;
        (knobs.heartbeat_ms, knobs.hello_timeout_ms, knobs.ack_timeout_ms) = (500, 1000, 3000);
        knobs.publish_deadline_ms = 2000;
        knobs
    }

    fn frame(kind: u8, seq: u32, ack: u32) -> Seen {
        Seen { kind, seq, ack, ..Seen::default() }
    }

    fn bye(code: u16) -> Seen {
        let payload = vec![(code & 0x7f) as u8 | 0x80, (code >> 7) as u8];
        Seen { kind: kind::BYE, payload, ..Seen::default() }
    }

    #[test]
    fn a_silent_client_is_given_up() {
        let mut silence = Silence::new(0);
        silence.hears(&frame(kind::HELLO, 0, 0), SECOND);
        assert!(silence.node_holds(&knobs(), 3 * SECOND).is_ok());
        assert!(silence.node_holds(&knobs(), 4 * SECOND).is_err());
        silence.hears(&frame(1, 1, 0), SECOND);
        assert!(silence.node_holds(&knobs(), 4 * SECOND).is_ok(), "its request may have held the rest up");
        assert!(silence.node_holds(&knobs(), 6 * SECOND).is_err());
    }

    #[test]
    fn who_acknowledges_nothing_is_given_up() {
        let mut silence = Silence::new(0);
        silence.says(&frame(kind::DATA, 1, 0), SECOND);
        for at in 1..=5 {
            silence.hears(&frame(1, 0, 0), at * SECOND);
            assert!(silence.node_holds(&knobs(), at * SECOND).is_ok());
        }
        silence.hears(&frame(1, 0, 0), 6 * SECOND);
        assert!(silence.node_holds(&knobs(), 6 * SECOND).is_err());
        silence.hears(&frame(2, 0, 1), 6 * SECOND);
        assert!(silence.node_holds(&knobs(), 6 * SECOND).is_ok());
    }

    #[test]
    fn who_was_in_time_is_not_blamed() {
        let mut silence = Silence::new(0);
        silence.hears(&frame(kind::HELLO, 0, 0), SECOND / 2);
        silence.hears(&frame(1, 0, 0), SECOND);
        for code in [301, 306, 307] {
            assert!(silence.node_ends(&bye(code), &knobs(), SECOND * 3 / 2).is_err(), "{code}");
        }
        assert!(silence.node_ends(&bye(300), &knobs(), SECOND * 3 / 2).is_ok());
        assert!(silence.node_ends(&bye(306), &knobs(), SECOND * 5 / 2).is_ok());
        assert!(silence.node_ends(&bye(307), &knobs(), SECOND * 3).is_ok());
        assert!(Silence::new(0).node_ends(&bye(301), &knobs(), SECOND).is_ok());
    }

    #[test]
    fn a_client_leaves_a_silent_node_and_no_other() {
        let mut silence = Silence::new(0);
        assert!(silence.client_holds(None, 1000, 2 * SECOND).is_ok());
        assert!(silence.client_holds(None, 1000, 3 * SECOND).is_err());
        silence.hears(&frame(kind::WELCOME, 0, 0), SECOND);
        assert!(silence.client_holds(Some(500), 1000, 3 * SECOND).is_ok());
        assert!(silence.client_holds(Some(500), 1000, 4 * SECOND).is_err());
        assert!(silence.client_ends(&bye(306), Some(500), 2 * SECOND).is_err());
        assert!(silence.client_ends(&bye(306), Some(500), 3 * SECOND).is_ok());
    }
}
