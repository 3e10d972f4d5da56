//! What must never happen, looked at after each event; and what must be so once the faults are over.

use crate::log::{Entry, LogEntry};
use crate::world::{MS, Machine, Reached, World};
use multibeam_proto::cluster::{GivenUp, Wish};
use multibeam_proto::view::{Batch, Op, Outcome, View};
use multibeam_proto::{NodeId, PartitionId};
use multibeam_wire::link::{Incarnation, Lease, Voters};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Oracle {
    /// P6: what each epoch looks like.
    digests: BTreeMap<u64, u64>,
    /// What consensus has committed, by place: if two differ, the made-up one is broken.
    committed: Vec<String>,
    /// For each machine the epoch that was looked at last, in which run, and what it leads by it.
    seen: Vec<(Incarnation, u64)>,
    claims: Vec<Vec<PartitionId>>,
    last_epoch: (u64, u64),
    /// Who votes by the entry at that place, as grants name them.
    voters: BTreeMap<u64, Voters>,
    /// The epochs in which each node joined.
    joins: BTreeMap<NodeId, BTreeSet<u64>>,
    /// Of whom, since it joined in that epoch, a steward has wanted unforced that it leads no more.
    given_up: BTreeSet<(NodeId, u64)>,
}

impl Oracle {
    pub(crate) fn new(machines: usize) -> Self {
        Self {
            digests: BTreeMap::new(),
            committed: Vec::new(),
            seen: vec![Default::default(); machines],
            claims: vec![Vec::new(); machines],
            last_epoch: (0, 0),
            voters: BTreeMap::new(),
            joins: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }

    pub(crate) fn gone(&mut self, at: usize) {
        self.claims[at].clear();
        self.seen[at] = Default::default();
    }

    pub(crate) fn leads(&self, at: usize) -> bool {
        !self.claims[at].is_empty()
    }

    pub(crate) fn committed(&mut self, index: usize, entry: &LogEntry) -> Result<(), String> {
        let text = format!("{} {:?}", entry.term, entry.entry);
        match self.committed.get(index - 1) {
            None => self.committed.push(text),
            Some(known) if *known == text => {}
            Some(known) => return Err(format!("entry {index} is {known} and {text}")),
        }
        if let Entry::Batch(batch) = &entry.entry
            && batch.ops.is_empty()
        {
            return Err(format!("entry {index} is an empty batch"));
        }
        Ok(())
    }

    /// A batch was applied somewhere: R1, R3, and epochs that only grow.
    pub(crate) fn applied(
        &mut self,
        before: &View,
        batch: &Batch,
        outcome: &Outcome,
        after: &View,
        index: usize,
        reached: &mut Reached,
    ) -> Result<(), String> {
        let newest = self.digests.last_key_value().map_or(0, |(epoch, _)| *epoch);
        let first = after.epoch() > newest;
        let digest = after.digest();
        if outcome.changed && after.epoch() != before.epoch() + 1 {
            return Err(format!("entry {index} made {} epochs", after.epoch() - before.epoch()));
        }
        let known = self.digests.entry(after.epoch()).or_insert(digest);
        if *known != digest {
            return Err(format!("P6: two views of epoch {}", after.epoch()));
        }
        if !first {
            return Ok(());
        }
        reached.epochs += 1;
        for (node, member) in after.members() {
            if before.members().get(node).is_none_or(|known| known.incarnation != member.incarnation) {
                self.joins.entry(*node).or_default().insert(after.epoch());
            }
        }
        let refused = |place: usize| outcome.refused.iter().any(|(at, _)| *at == place);
        let mut scratch = before.clone();
        for (place, op) in batch.ops.iter().enumerate() {
            if let Op::Change { partition, if_epoch, .. } | Op::Renew { partition, if_epoch, .. } = op {
                let is = scratch.records().get(partition).map(|record| record.partition_epoch);
                if is != Some(*if_epoch) {
                    reached.stale_changes += 1;
                }
                if is != Some(*if_epoch) && !refused(place) {
                    return Err(format!("R1: {op:?} was done to a record at {is:?}"));
                }
            }
            scratch.apply(&Batch { if_epoch: None, ops: vec![op.clone()] });
        }
        for (partition, record) in after.records() {
            if record.in_sync.is_empty() {
                return Err(format!("R3: nobody is in sync with {partition:?}"));
            }
            let Some(old) = before.records().get(partition) else { continue };
            if record.partition_epoch < old.partition_epoch || record.leader_epoch < old.leader_epoch {
                return Err(format!("{old:?} became {record:?}"));
            }
            reached.renewed += u64::from(record.generation > old.generation);
            reached.offline += u64::from(record.leader.is_none() && old.leader.is_some());
            reached.taken_over += u64::from(record.leader != old.leader && record.leader.is_some());
        }
        Ok(())
    }

    /// R7: a grant is for the run that the voter knows, and by its place in the log alone it says who votes.
    pub(crate) fn granted(&mut self, voter: &Machine, to: NodeId, lease: &Lease) -> Result<(), String> {
        let Some(process) = &voter.process else { return Ok(()) };
        let runs = process.agent.view().members().get(&to).map(|member| member.incarnation);
        if lease.granted && runs != Some(lease.incarnation) {
            return Err(format!(
                "R7: {:?} lets {:?} of {to:?} lead, which runs as {runs:?}",
                voter.node, lease.incarnation
            ));
        }
        let known = lease.granted.then(|| *self.voters.entry(lease.voters.index).or_insert(lease.voters));
        if known.is_some_and(|known| known != lease.voters) {
            return Err(format!("R7: grants name {known:?} and {:?}", lease.voters));
        }
        Ok(())
    }

    /// R7: a promise ends with the entry that decides it. Nobody is taken out who is heard, unless somebody gave
    /// it up since it joined last.
    pub(crate) fn wished(&mut self, epoch: u64, wanted: &[Wish]) -> Result<(), String> {
        for Wish { given_up: GivenUp { node, joined: says, .. }, forced } in wanted {
            let joins = self.joins.get(node).and_then(|joins| joins.range(..=epoch).next_back());
            let Some(joined) = joins.copied() else {
                return Err(format!("R7: {node:?} is to lead no more, and is no member in epoch {epoch}"));
            };
            if joined != *says {
                return Err(format!("{node:?} joined in epoch {joined}, and the view says {says}"));
            }
            if !forced {
                self.given_up.insert((*node, joined));
            } else if !self.given_up.contains(&(*node, joined)) {
                return Err(format!(
                    "R7: {node:?} joined in epoch {joined}, and is taken out for what was before"
                ));
            }
        }
        Ok(())
    }

    /// A process may have another view.
    pub(crate) fn look(&mut self, machine: &Machine, at: usize) -> Result<(), String> {
        let Some(process) = &machine.process else { return Ok(()) };
        let view = process.agent.view();
        let own = process.agent.own();
        let seen = (own.incarnation, view.epoch());
        if self.seen[at] == seen {
            return Ok(());
        }
        if self.seen[at].0 == own.incarnation && self.seen[at].1 > view.epoch() {
            return Err(format!("{at} went back from epoch {} to {}", self.seen[at].1, view.epoch()));
        }
        self.seen[at] = seen;
        self.last_epoch = self.last_epoch.max((view.epoch(), 0));
        let digest = view.digest();
        if self.digests.get(&view.epoch()).is_some_and(|known| *known != digest) {
            return Err(format!("P6: {at} has another view of epoch {}", view.epoch()));
        }
        let current = view
            .members()
            .get(&own.node)
            .is_some_and(|member| (member.incarnation, member.store) == (own.incarnation, own.store));
        let led = view.records().iter().filter(|(_, record)| current && record.leader == Some(own.node));
        self.claims[at] = led.map(|(partition, _)| *partition).collect();
        Ok(())
    }

    /// P5: of those whose view says that they lead a partition, at most one has a lease.
    pub(crate) fn one_leader(world: &mut World) -> Result<(), String> {
        for one in 0..world.machines.len() {
            for other in 0..one {
                let claims = &world.oracle.claims;
                let Some(partition) = claims[one].iter().find(|id| claims[other].contains(id)).copied()
                else {
                    continue;
                };
                if world.would_release(one) && world.would_release(other) {
                    let epochs = [one, other].map(|at| world.oracle.seen[at].1);
                    return Err(format!("P5: {one} and {other} lead {partition:?}, by views of {epochs:?}"));
                }
            }
        }
        Ok(())
    }

    /// P10: what is not as it should be, long after the last fault.
    pub(crate) fn settled(world: &mut World) -> Result<(), String> {
        let alive: Vec<usize> =
            (0..world.machines.len()).filter(|at| world.machines[*at].process.is_some()).collect();
        let mut views =
            alive.iter().filter_map(|at| Some(world.machines[*at].process.as_ref()?.agent.view().clone()));
        let Some(view) = views.next() else { return Err("P10: nobody is alive".into()) };
        if let Some(other) = views.find(|other| other.epoch() != view.epoch()) {
            return Err(format!("P10: views of epochs {} and {}", view.epoch(), other.epoch()));
        }
        let mut runs: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
        let mut isolated = Vec::new();
        for at in &alive {
            if let Some(process) = &world.machines[*at].process {
                runs.insert(process.agent.own().node, process.agent.own().incarnation);
                if process.agent.is_isolated() {
                    isolated.push(*at);
                }
            }
        }
        let members: BTreeMap<_, _> =
            view.members().iter().map(|(node, member)| (*node, member.incarnation)).collect();
        if members != runs {
            return Err(format!("P10: the members are {members:?}, and {runs:?} are alive"));
        }
        if !isolated.is_empty() {
            return Err(format!("P10: {isolated:?} are isolated"));
        }
        for (partition, record) in view.records() {
            let returns = |replica: &multibeam_proto::view::Replica| {
                view.members().get(&replica.node).is_some_and(|member| {
                    let now = multibeam_proto::view::Replica {
                        node: replica.node,
                        store: member.store,
                        incarnation: member.incarnation,
                    };
                    now.is_same(replica, record.durability)
                })
            };
            let offline = !record.in_sync.iter().any(returns)
                && !record.in_sync.iter().all(|replica| view.is_dead(replica, record.durability));
            let leader = alive.iter().find(|at| Some(world.machines[**at].node) == record.leader).copied();
            let leads = leader.is_some_and(|leader| world.would_release(leader));
            if !leads && !offline {
                return Err(format!("P10: {partition:?} has nobody who would release: {record:?}"));
            }
        }
        if world.config.partitions.len() != view.records().len() {
            return Err(format!("P10: {} records", view.records().len()));
        }
        let voters = alive.iter().filter_map(|at| Some(world.machines[*at].process.as_ref()?.agent.voters()));
        let Some(voters) = voters.max_by_key(|voters| voters.index) else { return Ok(()) };
        let vote = voters.present.stores().len();
        let wanted = world.config.voters;
        let odd = if alive.len().is_multiple_of(2) { alive.len() - 1 } else { alive.len() };
        let too_few = vote < wanted.min(odd);
        let dead = voters
            .all()
            .filter(|store| alive.iter().all(|at| world.machines[*at].disk.store != *store))
            .count();
        if !voters.before.is_empty() || too_few || vote > wanted.max(3) {
            return Err(format!("P10: {wanted} are to vote, and {voters:?} do, of {} alive", alive.len()));
        }
        if dead > 0 && alive.len() >= vote {
            return Err(format!("P10: {dead} of {voters:?} are dead, and others could vote"));
        }
        Ok(())
    }
}

impl World {
    /// Whether a node would send acks and deliveries of what its view says it leads.
    pub(crate) fn would_release(&mut self, at: usize) -> bool {
        let now = self.clock(at);
        self.process(at).is_some_and(|process| process.agent.lease_until(now).is_some())
    }

    pub(crate) fn newest_epoch(&self) -> u64 {
        self.oracle.last_epoch.0
    }
}

/// How long everything may take to come back.
pub(crate) const SETTLED_AFTER: u64 = 9000 * MS;

/// How long nothing may change behind that.
pub(crate) const STILL_FOR: u64 = 1500 * MS;
