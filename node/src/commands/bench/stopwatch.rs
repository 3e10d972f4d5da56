//! The clock of measurements. Nothing of a node reads it.

use std::time::{Duration, Instant};

/// Counts from when it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    start: Instant,
}

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a measurement, outside any node")]
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Wraps after 584 years.
    pub(super) fn now_ns(&self) -> u64 {
        self.elapsed().as_nanos() as u64
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }
}
