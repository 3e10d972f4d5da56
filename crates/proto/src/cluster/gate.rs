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

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::link::VoterSet;

    fn ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    fn voters(present: &[u64], before: &[u64]) -> Voters {
        let set = |stores: &[u64]| VoterSet::new(stores.iter().map(|store| StoreId(*store))).unwrap();
        Voters { index: 1, present: set(present), before: set(before) }
    }

    fn open(gate: &mut Gate, voters: Option<&Voters>, alive: &[u64], now: u64) -> bool {
        let was = gate.is_open();
        let changed = gate.look(StoreId(1), voters, |store| alive.contains(&store.0), ms(now));
        assert_eq!(changed, gate.is_open() != was);
        gate.is_open()
    }

    #[test]
    fn it_opens_when_a_majority_has_been_in_touch_for_a_while() {
        let mut gate = Gate::default();
        let three = voters(&[1, 2, 3], &[]);
        assert!(open(&mut gate, None, &[], 0), "nobody votes yet");
        assert!(!open(&mut gate, Some(&three), &[], 10));
        assert!(!open(&mut gate, Some(&three), &[2], 20));
        assert!(!open(&mut gate, Some(&three), &[3], 319));
        assert!(open(&mut gate, Some(&three), &[2, 3], 320));
        assert!(!open(&mut gate, Some(&three), &[], 330));
        assert!(!open(&mut gate, Some(&three), &[2], 340), "it begins anew");
        assert!(!open(&mut gate, Some(&three), &[2], 639));
        assert!(open(&mut gate, Some(&three), &[2], 640));
    }

    #[test]
    fn alone_it_needs_nobody_and_without_a_vote_it_never_opens() {
        let mut gate = Gate::default();
        assert!(open(&mut gate, Some(&voters(&[1], &[])), &[], 0));
        assert!(!open(&mut gate, Some(&voters(&[2, 3, 4], &[])), &[2, 3, 4], 10));
        assert!(!open(&mut gate, Some(&voters(&[2, 3, 4], &[])), &[2, 3, 4], 1000));
    }

    #[test]
    fn while_voters_change_it_needs_both_majorities() {
        let mut gate = Gate::default();
        let joint = voters(&[1, 4, 5], &[1, 2, 3]);
        for (now, alive, expected) in
            [(0, [2, 4], false), (300, [2, 4], true), (310, [2, 3], false), (320, [4, 5], false)]
        {
            assert_eq!(open(&mut gate, Some(&joint), &alive, now), expected, "at {now} ms");
        }
    }
}
