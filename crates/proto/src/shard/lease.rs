//! What a shard does without a lease: it serves on, and keeps to itself what only a leader may say.
//!
//! Sessions with something that waits for a lease are remembered by their slots, and looked at again when it
//! is there. Messages that come are stored, within what each client may have unacknowledged; their publishes
//! stay open, and end as *unknown* at their deadline.

use super::{Shard, session_mut, touch};
use crate::ids::ConnectionId;
use crate::stats::Stat;

impl Shard {
    /// Whether the node holds a lease from here on. To be told before anything else in each half of a turn;
    /// a shard that was never told has none.
    pub fn set_lease(&mut self, holds: bool) {
        if self.standing.leads == holds {
            return;
        }
        self.standing.leads = holds;
        if !holds {
            self.stats.add(Stat::LeasesLost, 1);
            return;
        }
        for slot in std::mem::take(&mut self.held_back) {
            let generation = self.sessions.at(slot).map(|session| session.generation);
            debug_assert!(generation.is_some(), "slot {slot} was held back and is gone");
            let id = ConnectionId { slot, generation: generation.unwrap_or_default() };
            touch(&mut self.sessions, &mut self.touched, id);
        }
    }

    /// As told by [`Shard::set_lease`].
    #[must_use]
    pub fn leads(&self) -> bool {
        self.standing.leads
    }

    /// Without a lease: remembers a session that has output for one, so that it is touched when there is one.
    /// To be called for each session that could be sent to and is not.
    pub fn hold_back(&mut self, id: ConnectionId) {
        if self.standing.leads {
            return;
        }
        let standing = self.standing;
        if session_mut(&mut self.sessions, id).is_some_and(|session| session.has_output(standing)) {
            self.held_back.insert(id.slot);
        }
    }

    /// Whether the session will be touched when there is a lease.
    #[must_use]
    pub fn is_held_back(&self, id: ConnectionId) -> bool {
        self.session(id).is_some() && self.held_back.contains(&id.slot)
    }

    /// Whether anybody will.
    #[must_use]
    pub fn awaits_lease(&self) -> bool {
        !self.held_back.is_empty()
    }
}
