//! Members that are to be taken out, and the promises that make it safe.

use super::{ConsensusFacts, StewardInput};
use crate::cluster::detector::Contact;
use crate::cluster::grantor::{GivenUp, Promise, Wish};
use crate::cluster::outlasts;
use crate::planted::{self, Bug};
use crate::time::Time;
use crate::view::{Member, Op};
use multibeam_wire::link::{Incarnation, NodeId, StoreId, Voters};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Debug)]
struct Removal {
    incarnation: Incarnation,
    /// The epoch in which it joined: promises about what it was before are none.
    joined: u64,
    /// It has said itself that it leads nothing.
    signed_off: bool,
    /// Voters are to promise though they hear it: some have already, and it must be decided.
    forced: bool,
    /// When the promises of voters count.
    counts: BTreeMap<StoreId, Time>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Removals {
    by_node: BTreeMap<NodeId, Removal>,
    /// Promises that somebody made and nobody decided: since which epoch each node is a member.
    undecided: BTreeMap<NodeId, u64>,
}

impl Removals {
    pub(super) fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Who is to be taken out. Whoever has never been heard in this leadership is silent since it began. This
    /// node is never silent, but voters may have promised to let it lead no more before it led the consensus:
    /// nobody else can decide that, and until then it gets no lease.
    pub(super) fn look(
        &mut self,
        input: &StewardInput<'_>,
        since: Time,
        signed_off: &BTreeSet<(NodeId, Incarnation)>,
        now: Time,
    ) {
        let members = input.view.members();
        self.undecided.retain(|node, joined| !input.view.has_decided(*node, *joined));
        let mut still = BTreeSet::new();
        for (node, member) in members {
            let contact = if *node == input.own.node {
                Contact::Alive
            } else {
                let peer =
                    input.peers.get(member.store).filter(|peer| peer.incarnation == member.incarnation);
                let heard = peer.map_or(since, |peer| peer.heard.max(since));
                Contact::of(heard, input.config.heartbeat, input.config.silent_after, now)
            };
            let signed_off = signed_off.contains(&(*node, member.incarnation));
            let undecided = self.undecided.contains_key(node) && contact == Contact::Alive;
            if contact != Contact::Silent && !signed_off && !undecided {
                continue;
            }
            still.insert(*node);
            let known = self.by_node.get(node).is_some_and(|known| known.joined == member.joined);
            if !known {
                let counts = BTreeMap::new();
                let Member { incarnation, joined, .. } = *member;
                let removal = Removal { incarnation, joined, signed_off: false, forced: false, counts };
                self.by_node.insert(*node, removal);
            }
            if let Some(removal) = self.by_node.get_mut(node) {
                removal.signed_off |= signed_off;
                removal.forced = undecided;
            }
        }
        // A peer that is heard again stays, unless a voter has promised to let it lead no more.
        self.by_node.retain(|node, _| still.contains(node));
    }

    /// What a voter is to be asked for. This node's own vote, of `own`, is the last that is asked for: a promise of
    /// its alone, made where it was cut off and heard one peer a moment less than others, would decide nothing, and
    /// would have that peer taken out once this node is back.
    pub(super) fn wanted(&self, voters: &Voters, own: StoreId, voter: StoreId) -> Vec<Wish> {
        let others =
            |removal: &Removal| voters.majority(|voter| voter == own || removal.counts.contains_key(&voter));
        let is_open =
            |removal: &Removal| !removal.counts.contains_key(&voter) && (voter != own || others(removal));
        let open = self.by_node.iter().filter(|(_, removal)| is_open(removal));
        let wish = |(node, removal): (&NodeId, &Removal)| {
            let Removal { incarnation, joined, forced, .. } = *removal;
            Wish { given_up: GivenUp { node: *node, incarnation, joined }, forced }
        };
        open.map(wish).collect()
    }

    pub(super) fn answered(
        &mut self,
        voter: StoreId,
        made: &[(GivenUp, Promise)],
        undecided: &[GivenUp],
        now: Time,
    ) {
        for (GivenUp { node, incarnation, joined }, promise) in made {
            let same =
                |removal: &&mut Removal| (removal.incarnation, removal.joined) == (*incarnation, *joined);
            let Some(removal) = self.by_node.get_mut(node).filter(same) else { continue };
            match promise {
                // By the voter's clock, and this one may be the faster.
                Promise::Made { counts_in_us } => {
                    let counts = now + outlasts(Duration::from_micros(*counts_in_us));
                    removal.counts.entry(voter).or_insert(counts);
                }
                Promise::Heard | Promise::TooMany => {}
            }
        }
        for GivenUp { node, joined, .. } in undecided {
            let until = self.undecided.entry(*node).or_insert(*joined);
            *until = (*until).max(*joined);
        }
    }

    /// Ops for those that nobody lets lead any more. `quiet`: the voters have not changed lately.
    pub(super) fn ready(&self, facts: &ConsensusFacts, quiet: bool, now: Time) -> Vec<Op> {
        let ready = |removal: &Removal| {
            let promised = facts
                .voters
                .majority(|voter| removal.counts.get(&voter).is_some_and(|counts| *counts <= now));
            removal.signed_off || (promised && quiet) || planted::on(Bug::TakeoverWithoutPromise)
        };
        let ready = self.by_node.iter().filter(|(_, removal)| ready(removal));
        ready.map(|(node, removal)| Op::Remove { node: *node, incarnation: removal.incarnation }).collect()
    }
}
