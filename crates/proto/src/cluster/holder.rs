//! Until when this node may lead (R7): grants of voters, each counted from when it was asked for.
//!
//! A majority is counted among the newest voters that any grant in force names. A grant of a voter that knows
//! older ones counts all the same: it was made by that voter, and no promise of its can be older.
//!
//! The newest are told by their place in the log alone. Two leaders may put different voters at one place, in two
//! terms, but only one of them is ever committed, and a voter grants only once it has applied its newest voters:
//! grants of one place name the same ones.

use super::outlasts;
use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::link::{Epoch, Lease, StoreId, VoterSet, Voters};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Requests to one voter whose answers may still be used. Four are sent in a lease; more are of a clock that
/// jumped.
const ASKED_MAX: usize = 8;

/// Grants of one voter that are in force.
const GRANTS_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Grant {
    until: Time,
    /// It counts once this node has that view.
    epoch: Epoch,
    voters: Voters,
}

#[derive(Clone, Debug, Default)]
struct Voter {
    asked: VecDeque<(u64, Time)>,
    grants: VecDeque<Grant>,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct LeaseHolder {
    lease: Duration,
    voters: BTreeMap<StoreId, Voter>,
}

impl LeaseHolder {
    /// Nobody has granted anything.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self { lease, voters: BTreeMap::new() }
    }

    /// Request `number` goes to a voter.
    pub fn asked(&mut self, voter: StoreId, number: u64, now: Time) {
        let asked = &mut self.voters.entry(voter).or_default().asked;
        if asked.len() == ASKED_MAX {
            asked.pop_front();
        }
        asked.push_back((number, now));
    }

    /// The connection to a voter is gone; answers on it will not come. What was granted stays.
    pub fn forget_requests(&mut self, voter: StoreId) {
        if let Some(known) = self.voters.get_mut(&voter) {
            known.asked.clear();
        }
    }

    /// A voter's answer. Of two settings the shorter one counts: the voter waits by its own until a grant has run
    /// out. The time between request and answer, if it was asked for.
    pub fn answered(&mut self, voter: StoreId, lease: &Lease, now: Time) -> Option<Duration> {
        let known = self.voters.get_mut(&voter)?;
        let at = known.asked.iter().position(|(number, _)| *number == lease.number)?;
        let (_, asked) = known.asked[at];
        known.asked.drain(..=at);
        if lease.granted {
            let from = if planted::on(Bug::LeaseFromAnswer) { now } else { asked };
            if known.grants.len() == GRANTS_MAX {
                known.grants.pop_front();
            }
            let granted = Duration::from_millis(lease.lease_ms.into());
            known.grants.push_back(Grant {
                until: from + self.lease.min(granted),
                epoch: lease.epoch,
                voters: lease.voters,
            });
        }
        Some(now.since(asked))
    }

    /// Until when this node may lead, with the view of `epoch`; `None`: not at `now`.
    pub fn until(&mut self, epoch: Epoch, now: Time) -> Option<Time> {
        for voter in self.voters.values_mut() {
            voter.grants.retain(|grant| grant.until > now);
        }
        self.voters.retain(|_, voter| !voter.grants.is_empty() || !voter.asked.is_empty());
        let newest = self.voters.values().filter_map(|voter| voter.grants.back());
        let voters = newest.map(|grant| grant.voters).max_by_key(|voters| voters.index)?;
        let present = self.majority_until(&voters.present, epoch)?;
        let until = if voters.before.is_empty() {
            present
        } else {
            present.min(self.majority_until(&voters.before, epoch)?)
        };
        assert!(until > now, "a grant that has run out counts");
        assert!(until.since(now) <= outlasts(self.lease), "a lease in the future");
        Some(until)
    }

    /// Until when more than half of `set` let it.
    fn majority_until(&self, set: &VoterSet, epoch: Epoch) -> Option<Time> {
        let counts = |grant: &&Grant| grant.epoch <= epoch || planted::on(Bug::GrantWithOldView);
        let last = |store: &StoreId| {
            let grants = &self.voters.get(store)?.grants;
            grants.iter().filter(counts).map(|grant| grant.until).max()
        };
        let mut untils: Vec<Time> = set.stores().iter().filter_map(last).collect();
        untils.sort_unstable_by(|a, b| b.cmp(a));
        untils.get(set.stores().len() / 2).copied()
    }

    /// The newest voters that a grant in force names.
    #[must_use]
    pub fn voters(&self) -> Option<Voters> {
        let newest = self.voters.values().filter_map(|voter| voter.grants.back());
        newest.map(|grant| grant.voters).max_by_key(|voters| voters.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::link::Incarnation;

    const LEASE: Duration = Duration::from_millis(400);
    const EPOCH: Epoch = Epoch(7);

    fn ms(ms: u64) -> Time {
        Time(ms * 1000)
    }

    fn voters(index: u64, present: &[u64], before: &[u64]) -> Voters {
        let set = |stores: &[u64]| VoterSet::new(stores.iter().map(|store| StoreId(*store))).unwrap();
        Voters { index, present: set(present), before: set(before) }
    }

    /// Asks a voter at `asked`, which grants 5 ms later.
    fn grant(holder: &mut LeaseHolder, voter: u64, voters: Voters, asked: u64, epoch: Epoch) {
        holder.asked(StoreId(voter), asked, ms(asked));
        let (incarnation, lease_ms) = (Incarnation(1), 400);
        let lease = Lease { number: asked, granted: true, incarnation, voters, epoch, lease_ms };
        let trip = holder.answered(StoreId(voter), &lease, ms(asked + 5));
        assert_eq!(trip, Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_lease_runs_from_the_request_until_the_majority_is_lost() {
        let mut holder = LeaseHolder::new(LEASE);
        let three = voters(1, &[1, 2, 3], &[]);
        grant(&mut holder, 1, three, 100, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(105)), None, "one of three");
        grant(&mut holder, 2, three, 130, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(135)), Some(ms(500)), "the earlier of two");
        grant(&mut holder, 3, three, 160, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(165)), Some(ms(530)), "the second of three");
        grant(&mut holder, 1, three, 200, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(205)), Some(ms(560)));
        assert_eq!(holder.until(EPOCH, ms(559)), Some(ms(560)));
        assert_eq!(holder.until(EPOCH, ms(560)), None);
    }

    /// While settings are changed one node after the other.
    #[test]
    fn of_two_lengths_the_shorter_one_counts() {
        for (lease_ms, expected) in [(150, 250), (400, 500), (2000, 500)] {
            let mut holder = LeaseHolder::new(LEASE);
            holder.asked(StoreId(1), 1, ms(100));
            let (incarnation, voters) = (Incarnation(1), voters(1, &[1], &[]));
            let lease = Lease { number: 1, granted: true, incarnation, voters, epoch: EPOCH, lease_ms };
            holder.answered(StoreId(1), &lease, ms(105));
            assert_eq!(holder.until(EPOCH, ms(110)), Some(ms(expected)), "granted for {lease_ms} ms");
        }
    }

    #[test]
    fn an_even_number_needs_more_than_half() {
        let mut holder = LeaseHolder::new(LEASE);
        for (voter, expected) in [(1, None), (2, None), (3, Some(ms(410))), (4, Some(ms(420)))] {
            grant(&mut holder, voter, voters(1, &[1, 2, 3, 4], &[]), voter * 10, EPOCH);
            assert_eq!(holder.until(EPOCH, ms(50)), expected, "{voter} of 4");
        }
    }

    #[test]
    fn while_voters_change_both_majorities_count() {
        let mut holder = LeaseHolder::new(LEASE);
        let old = voters(1, &[1, 2, 3], &[]);
        grant(&mut holder, 1, old, 100, EPOCH);
        grant(&mut holder, 2, old, 120, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(130)), Some(ms(500)));
        // One that knows of the change is enough.
        let joint = voters(2, &[3, 4, 5], &[1, 2, 3]);
        grant(&mut holder, 3, joint, 140, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(145)), None, "one of the new three");
        grant(&mut holder, 4, joint, 160, EPOCH);
        assert_eq!(
            holder.until(EPOCH, ms(165)),
            Some(ms(520)),
            "the second of the old, the second of the new"
        );
        grant(&mut holder, 5, voters(3, &[3, 4, 5], &[]), 180, EPOCH);
        assert_eq!(holder.until(EPOCH, ms(185)), Some(ms(560)), "the second of the new");
        assert_eq!(holder.voters().map(|voters| voters.index), Some(3));
    }

    #[test]
    fn a_grant_counts_once_the_view_of_its_voter_is_here() {
        let mut holder = LeaseHolder::new(LEASE);
        let one = voters(1, &[1], &[]);
        grant(&mut holder, 1, one, 100, Epoch(7));
        grant(&mut holder, 1, one, 200, Epoch(8));
        assert_eq!(holder.until(Epoch(6), ms(210)), None);
        assert_eq!(holder.until(Epoch(7), ms(210)), Some(ms(500)));
        assert_eq!(holder.until(Epoch(8), ms(210)), Some(ms(600)));
    }

    #[test]
    fn answers_that_nobody_waits_for_count_nothing() {
        let mut holder = LeaseHolder::new(LEASE);
        let one = voters(1, &[1], &[]);
        let answer = |holder: &mut LeaseHolder, number, granted| {
            let (incarnation, lease_ms) = (Incarnation(1), 400);
            let lease = Lease { number, granted, incarnation, voters: one, epoch: EPOCH, lease_ms };
            holder.answered(StoreId(1), &lease, ms(100)).is_some()
        };
        assert!(!answer(&mut holder, 1, true), "nobody asked");
        holder.asked(StoreId(1), 1, ms(10));
        holder.forget_requests(StoreId(1));
        assert!(!answer(&mut holder, 1, true), "of a connection that is gone");
        for number in 2..=12 {
            holder.asked(StoreId(1), number, ms(number * 10));
        }
        assert!(!answer(&mut holder, 4, true), "too long ago");
        assert!(answer(&mut holder, 6, false));
        assert_eq!(holder.until(EPOCH, ms(100)), None, "it was refused");
        assert!(!answer(&mut holder, 5, true), "a later one was answered");
        assert!(answer(&mut holder, 8, true));
        holder.forget_requests(StoreId(1));
        assert_eq!(holder.until(EPOCH, ms(100)), Some(ms(480)), "what was granted stays");
    }
}
