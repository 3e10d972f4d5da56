//! Whether this node may stand for election.
//!
//! The consensus has no vote before the vote: a voter that was cut off comes back with a higher term and
//! deposes a leader that all others hear. So it stands only while it hears a majority itself, and only if it is
//! a voter still: one that was removed is never told.

use crate::time::Time;
use multibeam_wire::link::{StoreId, Voters};
use std::time::Duration;

/// How long a majority must be in touch again: the leader's own heartbeats come within it.
const IN_TOUCH: Duration = Duration::from_millis(300);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    /// Since when a majority is in touch.
    since: Option<Time>,
    open: bool,
}

impl Gate {
    /// Looks again. Whether it opened or closed.
    pub(super) fn look(
        &mut self,
        own: StoreId,
        voters: Option<&Voters>,
        alive: impl Fn(StoreId) -> bool,
        now: Time,
    ) -> bool {
        let open = match voters {
            // Nobody votes yet.
            None => true,
            Some(voters) if !voters.contains(own) => {
                self.since = None;
                false
            }
            // It needs nobody else.
            Some(voters) if voters.majority(|store| store == own) => true,
            Some(voters) if voters.majority(|store| store == own || alive(store)) => {
                let since = *self.since.get_or_insert(now);
                now.since(since) >= IN_TOUCH
            }
            Some(_) => {
                self.since = None;
                false
            }
        };
        std::mem::replace(&mut self.open, open) != open
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }
}
