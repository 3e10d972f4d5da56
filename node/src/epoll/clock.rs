//! The monotonic clock. The only place of the node that reads one.

use multibeam_proto::Time;
use std::time::Instant;

/// Counts from when the node started, so that times are small numbers in logs.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that stands at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one clock that drivers and the platform read")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Microseconds since [`Clock::start`].
    #[must_use]
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
