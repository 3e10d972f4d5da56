//! Until when this node may lead (R7): grants of voters, each counted from when it was asked for.
//!
//! A majority is counted among the newest voters that any grant in force names. A grant of a voter that knows
//! older ones counts all the same: it was made by that voter, and no promise of its can be older.

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

    /// A voter's answer. The time between request and answer, if it was asked for.
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
            known.grants.push_back(Grant {
                until: from + self.lease,
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
