//! Numbers of a shard where other threads can read them.
//!
//! A shard counts in plain numbers of its own and copies them here once a turn; the admin
//! server reads. Nobody waits for anybody, and two numbers read together may be of two turns.

use crate::close::CloseReason;
use multibeam_proto::{Stat, Stats};
use multibeam_rings::Counter;
use std::sync::Arc;

/// The published numbers of one shard. Written by its thread alone.
#[derive(Debug)]
pub struct ShardMetrics {
    stats: Vec<Counter>,
    closed: Vec<Counter>,
}

impl ShardMetrics {
    /// All zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let zeros = |len: usize| std::iter::repeat_with(Counter::default).take(len).collect();
        Arc::new(Self { stats: zeros(Stat::ALL.len()), closed: zeros(CloseReason::ALL.len()) })
    }

    /// Copies the shard's numbers; `closed` by [`CloseReason::index`]. Only the shard's own
    /// thread may call this.
    pub fn publish(&self, stats: &Stats, closed: &[u64]) {
        debug_assert_eq!(closed.len(), self.closed.len());
        for (published, &number) in self.stats.iter().zip(stats.all()) {
            published.set(number);
        }
        for (published, &number) in self.closed.iter().zip(closed) {
            published.set(number);
        }
    }

    /// A published number.
    #[must_use]
    pub fn load(&self, stat: Stat) -> u64 {
        self.stats[stat as usize].load()
    }

    /// Connections closed for this reason.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()].load()
    }
}
