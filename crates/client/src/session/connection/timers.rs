//! When one connection has to give a sign of life, and when it is over: a handshake that takes too long, or
//! silence.

use crate::config::{Config, millis};
use crate::random::Random;

/// Heartbeat intervals without a frame after which a node counts as dead.
const SILENT_INTERVALS_MAX: u64 = 3;

/// Shortest heartbeat interval that is honoured, so that a node can't make a client spin.
const HEARTBEAT_INTERVAL_MS_MIN: u64 = 20;

/// Why the connection is over.
#[derive(Debug)]
pub(super) enum Over {
    Handshake { timeout_ms: u64 },
    Silent { silent_ms: u64 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Timers {
    handshake_timeout_ms: u64,
    handshake_until_ms: u64,
    /// Since WELCOME: the longest pause between two frames.
    interval_ms: Option<u64>,
    heard_ms: u64,
    heartbeat_at_ms: u64,
}

impl Timers {
    pub(super) fn new(config: &Config, now_ms: u64) -> Self {
        let handshake_timeout_ms = millis(config.handshake_timeout);
        Self {
            handshake_timeout_ms,
            handshake_until_ms: now_ms + handshake_timeout_ms,
            interval_ms: None,
            heard_ms: now_ms,
            heartbeat_at_ms: u64::MAX,
        }
    }

    /// WELCOME has come. Returns the interval that is kept.
    pub(super) fn established(
        &mut self,
        heartbeat_interval_ms: u32,
        now_ms: u64,
        random: &mut Random,
    ) -> u64 {
        let interval_ms = u64::from(heartbeat_interval_ms).max(HEARTBEAT_INTERVAL_MS_MIN);
        self.interval_ms = Some(interval_ms);
        self.sent(now_ms, random);
        interval_ms
    }

    /// A frame has come.
    pub(super) const fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// A frame goes out.
    pub(super) fn sent(&mut self, now_ms: u64, random: &mut Random) {
        if let Some(interval_ms) = self.interval_ms {
            self.heartbeat_at_ms = now_ms + interval_ms - random.between(0, interval_ms / 4);
        }
    }

    pub(super) const fn heartbeat_is_due(&self, now_ms: u64) -> bool {
        self.heartbeat_at_ms <= now_ms
    }

    /// Whether the connection is over.
    pub(super) const fn over(&self, now_ms: u64) -> Option<Over> {
        match self.interval_ms {
            None if self.handshake_until_ms <= now_ms => {
                Some(Over::Handshake { timeout_ms: self.handshake_timeout_ms })
            }
            Some(interval_ms) if self.silent_at_ms(interval_ms) <= now_ms => {
                Some(Over::Silent { silent_ms: now_ms - self.heard_ms })
            }
            None | Some(_) => None,
        }
    }

    /// When one of these is due.
    pub(super) fn next_ms(&self) -> u64 {
        self.interval_ms.map_or(self.handshake_until_ms, |interval_ms| {
            self.heartbeat_at_ms.min(self.silent_at_ms(interval_ms))
        })
    }

    const fn silent_at_ms(&self, interval_ms: u64) -> u64 {
        self.heard_ms + SILENT_INTERVALS_MAX * interval_ms
    }
}
