//! Who votes: as many as are wanted, and nobody whose disk is gone.
//!
//! A candidate first gets the log as a learner, and votes only once it has nearly all of it and is in touch: a
//! voter that is not there would stop everything. One that has left the view meanwhile gets it no longer. The number goes from one odd number to the next.

use super::{Act, StewardInput};
use crate::time::Time;
use multibeam_wire::link::StoreId;

/// Entries that a learner may lack when it is to vote: what a busy cluster decides in a moment.
pub const PROMOTE_LAG_MAX: u64 = 8;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct VoterChange {
    /// Since when each voter that is not in touch is missed.
    missed: Vec<(StoreId, Time)>,
}

impl VoterChange {
    /// The next step, if one is needed.
    pub(super) fn look(&mut self, input: &StewardInput<'_>, now: Time) -> Option<Act> {
        let facts = input.facts;
        if !facts.voters_committed {
            return None;
        }
        let voters = facts.voters.present.stores();
        if !facts.voters.before.is_empty() {
            // Whoever began it is gone, or waits no longer. Nobody finishes it by himself, and until it is
            // finished nothing is taken over.
            return Some(Act::ChangeVoters(voters.to_vec()));
        }
        self.missed.retain(|(store, _)| voters.contains(store) && !input.is_alive(*store, now));
        for store in voters {
            if !input.is_alive(*store, now) && self.missed.iter().all(|(missed, _)| missed != store) {
                self.missed.push((*store, now));
            }
        }
        let member = |store: &StoreId| input.view.members().values().any(|member| member.store == *store);
        let left = facts.matched.keys().filter(|store| !voters.contains(store) && !member(store));
        let left: Vec<StoreId> = left.copied().collect();
        if !left.is_empty() {
            return Some(Act::RemoveLearners(left));
        }
        let candidates = candidates(input, now);
        let gone = voters.iter().find(|store| input.view.is_lost(**store)).copied();
        let patience = input.config.voter_patience;
        let missed = self.missed.iter().find(|(_, since)| now.since(*since) >= patience);
        if let Some(gone) = gone.or(missed.map(|(store, _)| *store)) {
            let others = voters.iter().filter(|store| **store != gone).copied();
            return match candidates.first() {
                Some(candidate) => promote(input, &[*candidate], others.collect(), now),
                // One that will not come back is better out; one that may is better in.
                None if input.view.is_lost(gone) && voters.len() > 1 => vote(input, others.collect(), now),
                None => None,
            };
        }
        // An even number is made odd; an odd one grows by two.
        let more = if voters.len().is_multiple_of(2) { 1 } else { 2 };
        if voters.len() + more > input.config.voters || candidates.len() < more {
            return None;
        }
        promote(input, &candidates[..more], voters.to_vec(), now)
    }
}

/// Members that are in touch, can be given the log, and do not vote; first who has most of it.
fn candidates(input: &StewardInput<'_>, now: Time) -> Vec<StoreId> {
    let voters = &input.facts.voters;
    let reached =
        |store: StoreId| store == input.own.store || input.peers.get(store).is_some_and(|peer| peer.dialled);
    let members = input.view.members().values().map(|member| member.store);
    let fit = |store: &StoreId| !voters.contains(*store) && input.is_alive(*store, now) && reached(*store);
    let mut candidates: Vec<StoreId> = members.filter(fit).collect();
    candidates.sort_by_key(|store| std::cmp::Reverse(input.facts.matched.get(store).copied().flatten()));
    candidates
}

/// Lets the candidates vote beside `others`, or first learn.
fn promote(input: &StewardInput<'_>, candidates: &[StoreId], others: Vec<StoreId>, now: Time) -> Option<Act> {
    for candidate in candidates {
        match input.facts.matched.get(candidate) {
            None => return Some(Act::AddLearner(*candidate)),
            Some(Some(matched)) if matched + PROMOTE_LAG_MAX >= input.facts.last_log => {}
            // It is learning.
            Some(_) => return None,
        }
    }
    let mut voters = others;
    voters.extend_from_slice(candidates);
    vote(input, voters, now)
}

/// Lets these vote, if most of them are in touch: without, nothing would ever be decided again.
fn vote(input: &StewardInput<'_>, voters: Vec<StoreId>, now: Time) -> Option<Act> {
    let alive = voters.iter().filter(|store| input.is_alive(**store, now)).count();
    (alive * 2 > voters.len()).then_some(Act::ChangeVoters(voters))
}
