//! The monotonic clock. The only place of the node that reads one.

use multibeam_proto::Time;
use rustix::time::{ClockId, clock_gettime};

/// Counts from when the node started, so that times are small numbers in logs. It goes on while the machine
/// sleeps (CLOCK_BOOTTIME): whoever was asleep must not take an old lease for a valid one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start_us: u64,
}

impl Clock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { start_us: boot_us() }
    }

    /// Microseconds since [`Clock::start`].
    #[must_use]
    pub fn now(&self) -> Time {
        Time(boot_us() - self.start_us)
    }
}

/// Microseconds since the machine started.
fn boot_us() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    // The kernel's own are never negative.
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), u64::from(time.tv_nsec.unsigned_abs() as u32));
    seconds * 1_000_000 + nanos / 1000
}
