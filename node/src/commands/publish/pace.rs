//! How fast messages are published: a token bucket that knows no clock.

use std::time::Duration;

/// What a bucket holds: after a hold-up so much is caught up with at once. Longer than a sleep overshoots
/// on a busy machine, which so costs nothing of the rate; short enough to be no flood.
const BUCKET: Duration = Duration::from_millis(200);

/// Gives out times, the n-th of them n / rate behind the start, so that no error adds up.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    /// When the bucket began to be emptied, since the start.
    since: Duration,
    taken: u64,
}

impl Pace {
    pub(super) const fn new(per_second: f64) -> Self {
        Self { per_second, since: Duration::ZERO, taken: 0 }
    }

    /// When the next message may go, seen from `now`; both since the start.
    pub(super) fn due(&mut self, now: Duration) -> Duration {
        let due = self.nth(self.taken);
        if due + BUCKET >= now {
            return due;
        }
        // What did not fit into the bucket is lost.
        self.since = now - BUCKET;
        self.taken = 0;
        self.since
    }

    /// The next message goes.
    pub(super) const fn take(&mut self) {
        self.taken += 1;
    }

    fn nth(&self, taken: u64) -> Duration {
        self.since + Duration::from_secs_f64(taken as f64 / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many as may go until `end`, looking every `step`.
    fn taken(pace: &mut Pace, begin: Duration, end: Duration, step: Duration) -> u64 {
        let mut count = 0;
        let mut now = begin;
        while now < end {
            while pace.due(now) <= now {
                pace.take();
                count += 1;
            }
            now += step;
        }
        count
    }

    #[test]
    fn an_hour_of_late_sleeps_loses_nothing() {
        const HOUR: Duration = Duration::from_secs(3600);
        for (rate, step_ms) in [(1000.0, 7), (3.0, 199), (0.1, 130), (7.7, 1)] {
            let mut pace = Pace::new(rate);
            let count = taken(&mut pace, Duration::ZERO, HOUR, Duration::from_millis(step_ms));
            let expected = (rate * 3600.0).ceil();
            let off = (count as f64 - expected).abs();
            assert!(off <= 1.0 + rate * step_ms as f64 / 1000.0, "{rate}: {count} instead of {expected}");
        }
    }

    #[test]
    fn a_hold_up_is_followed_by_one_bucket_and_no_flood() {
        let mut pace = Pace::new(100.0);
        let now = Duration::from_secs(60);
        let at_once = taken(&mut pace, now, now + Duration::from_nanos(1), Duration::from_secs(1));
        assert_eq!(at_once, 21, "0.2 s of 100 a second, and the one that is due");
        let later = taken(
            &mut pace,
            now + Duration::from_millis(1),
            now + Duration::from_secs(1),
            Duration::from_millis(1),
        );
        assert_eq!(later, 99);
    }

    #[test]
    fn the_first_goes_at_once() {
        assert_eq!(Pace::new(0.001).due(Duration::ZERO), Duration::ZERO);
    }
}
