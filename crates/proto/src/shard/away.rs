//! Whether clients are better served elsewhere: the latest word of the runtime, and who has been told of it.
//!
//! A word has a number, and each session remembers the last one that it was told. So nothing is queued, and who
//! could not be told of two words hears the second alone.

use super::{Shard, touch};
use crate::ids::ConnectionId;
use smol_str::SmolStr;
use std::sync::Arc;

impl Shard {
    /// The node is isolated, and its clients are to try these, or it is not.
    pub(super) fn isolated(&mut self, addresses: Option<Arc<[SmolStr]>>) {
        if self.away == addresses {
            return;
        }
        self.away = addresses;
        // 0 is what a session begins with, so that whoever comes while a word stands is told of it.
        self.standing.away = self.standing.away.checked_add(1).unwrap_or(1);
        for id in self.open_sessions() {
            touch(&mut self.sessions, &mut self.touched, id);
        }
    }

    /// When the session's turn is to leave an isolated node, in milliseconds: always the same, and spread
    /// evenly over all sessions.
    pub(super) fn away_slot_ms(&self, id: ConnectionId) -> u32 {
        let key = u64::from(id.slot) << 32 | u64::from(id.generation);
        let spread = u64::try_from(self.config.goaway_spread.as_millis()).unwrap_or(u64::MAX);
        let slot = (u128::from(mixed(key ^ self.setup.seed)) * u128::from(spread)) >> 64;
        u32::try_from(slot).unwrap_or(u32::MAX)
    }
}

/// The output of splitmix64 for a state.
pub(super) fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
