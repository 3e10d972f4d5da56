//! Pauses between attempts to connect: decorrelated jitter, so that clients that lost the
//! same node at the same moment come back spread out.

use crate::random::Random;

/// Draws the pause before each attempt.
#[derive(Debug)]
pub(super) struct Backoff {
    min_ms: u64,
    max_ms: u64,
    previous_ms: u64,
}

impl Backoff {
    pub(super) fn new(min_ms: u64, max_ms: u64) -> Self {
        assert!(0 < min_ms && min_ms <= max_ms);
        Self { min_ms, max_ms, previous_ms: min_ms }
    }

    /// From the shortest pause to three times the last one, never above the longest.
    pub(super) fn next_ms(&mut self, random: &mut Random) -> u64 {
        let high = self.previous_ms.saturating_mul(3).min(self.max_ms);
        self.previous_ms = random.between(self.min_ms, high);
        self.previous_ms
    }

    /// Begins again with short pauses: a connection has held.
    pub(super) const fn reset(&mut self) {
        self.previous_ms = self.min_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_stay_in_bounds_and_follow_the_seed(seed: u64, min in 1u64..1000, more in 0u64..100_000) {
            let draw = |seed| {
                let (mut backoff, mut random) = (Backoff::new(min, min + more), Random::new(seed));
                (0..20).map(|_| backoff.next_ms(&mut random)).collect::<Vec<_>>()
            };
            let pauses = draw(seed);
            prop_assert!(pauses.iter().all(|&ms| (min..=min + more).contains(&ms)));
            prop_assert!(pauses[0] <= min * 3);
            prop_assert_eq!(&pauses, &draw(seed));
        }
    }

    #[test]
    fn pauses_grow_and_a_reset_makes_them_short_again() {
        let (mut backoff, mut random) = (Backoff::new(100, 15_000), Random::new(7));
        let longest = (0..50).map(|_| backoff.next_ms(&mut random)).max().unwrap();
        assert!(longest > 5_000, "{longest}");
        backoff.reset();
        assert!(backoff.next_ms(&mut random) <= 300);
    }
}
