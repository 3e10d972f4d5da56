//! A statistic that one thread writes and any thread reads.
//!
//! The writer pays a plain load and store, never a locked instruction, and readers see a
//! recent value, in no order with anything else. Nothing may be concluded from two counters
//! read together. Counters of one writer belong side by side in one
//! [`CachePadded`](crossbeam_utils::CachePadded) block, away from those of other writers.

use crate::sync::{AtomicU64, Ordering};

/// A single-writer counter.
///
/// Only one thread may call [`add`](Self::add) and [`set`](Self::set); any thread may call
/// [`load`](Self::load). A second writer corrupts no memory, but counts get lost.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`, wrapping at the end of `u64`. Writer only.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: a number alone, it has no partner. Not a read-modify-write: there is one writer.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Replaces the value (a gauge). Writer only.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed); // Relaxed: as in `add`.
    }

    /// A recent value. Any thread.
    #[must_use]
    #[inline]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed) // Relaxed: as in `add`.
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}
