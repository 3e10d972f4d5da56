//! How long ago each peer gave a sign of life.

use crate::planted::{self, Bug};
use crate::time::Time;
use std::time::Duration;

/// How a peer is doing, as far as its links show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contact {
    /// Its heartbeats come.
    Alive,
    /// Two are missing.
    Degraded,
    /// It is given up.
    Silent,
}

impl Contact {
    /// Name in documents, logs, metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Degraded => "degraded",
            Self::Silent => "silent",
        }
    }

    /// What a peer is at `now` that was last heard at `heard`.
    #[must_use]
    pub fn of(heard: Time, heartbeat: Duration, silent_after: Duration, now: Time) -> Self {
        let silence = now.since(heard);
        if silence >= silent_after && !planted::on(Bug::SilenceNeverNoticed) {
            Self::Silent
        } else if silence >= heartbeat * 2 {
            Self::Degraded
        } else {
            Self::Alive
        }
    }
}
