//! Batches, and what of them is refused.

use super::{
    ADDRESS_BYTES_MAX, DEPARTED_MAX, Departed, Durability, LOST_MAX, Member, MemberState, Record, Replica,
    View,
};
use crate::class::PartitionId;
use crate::placement::{MEMBERS_MAX, WEIGHT_MAX};
use crate::planted::{self, Bug};
use multibeam_wire::Generation;
use multibeam_wire::link::{Incarnation, NodeId, StoreId};
use smol_str::SmolStr;

/// One change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Op {
    /// A node is there, for the first time or in a later run. Its copies of earlier runs go with those.
    Join {
        /// Which.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
        /// Its disk.
        store: StoreId,
        /// Where other nodes reach it.
        address: SmolStr,
        /// Where clients reach it.
        clients: SmolStr,
        /// Its share of the partitions, 1 to [`WEIGHT_MAX`].
        weight: u8,
    },
    /// A member is to have no partitions any more.
    Drain {
        /// Which.
        node: NodeId,
        /// In which run.
        incarnation: Incarnation,
    },
    /// A member is gone, or was given up.
    Remove {
        /// Which.
        node: NodeId,
        /// In which run.
        incarnation: Incarnation,
    },
    /// The disk of a node that is gone will not come back, says an operator.
    Lose {
        /// Whose.
        node: NodeId,
    },
    /// A partition begins.
    Create {
        /// Which.
        partition: PartitionId,
        /// What its copies outlive.
        durability: Durability,
        /// Who leads it: one of those in sync.
        leader: NodeId,
        /// Who has all of it, which is nothing.
        in_sync: Vec<Replica>,
    },
    /// A partition has other copies, another leader, or none.
    Change {
        /// Which.
        partition: PartitionId,
        /// Its partition_epoch so far.
        if_epoch: u64,
        /// Who leads it: one that was in sync before.
        leader: Option<NodeId>,
        /// Who has all of it.
        in_sync: Vec<Replica>,
    },
    /// A partition whose copies are all dead begins again.
    Renew {
        /// Which.
        partition: PartitionId,
        /// Its partition_epoch so far.
        if_epoch: u64,
        /// Who leads it: one of those in sync.
        leader: NodeId,
        /// Who has all of it, which is nothing.
        in_sync: Vec<Replica>,
        /// An operator gives up copies that might come back.
        abandon: bool,
    },
}

/// Ops that make one epoch together, in order; those that are refused are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// Nothing of it is done in any other epoch.
    pub if_epoch: Option<u64>,
    /// What is to be done.
    pub ops: Vec<Op>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// The epoch behind it.
    pub epoch: u64,
    /// Whether it made one.
    pub changed: bool,
    /// Ops that were left out, by their place in the batch.
    pub refused: Vec<(usize, Refusal)>,
}

/// Why an op was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum Refusal {
    /// The batch was for another view.
    #[error("the view is at epoch {0} already")]
    OtherView(u64),
    /// An earlier run, or the same one with other facts.
    #[error("node {:016x} is known in run {}", .0.0, .1.0)]
    StaleIncarnation(NodeId, Incarnation),
    /// Nobody of that name, or not in that run.
    #[error("node {:016x} is no member in that run", .0.0)]
    NoSuchMember(NodeId),
    /// Its disk can't be given up: it is a member, or was never one.
    #[error("node {:016x} is not gone", .0.0)]
    NotGone(NodeId),
    /// A disk has one node.
    #[error("that disk is node {:016x}'s", .0.0)]
    StoreTaken(NodeId),
    /// See [`MEMBERS_MAX`].
    #[error("there are {MEMBERS_MAX} members already")]
    TooManyMembers,
    /// An address of no bytes, or too many; a weight out of bounds.
    #[error("address or weight out of bounds")]
    BadMember,
    /// It has a record already.
    #[error("the partition has begun already")]
    Begun,
    /// It has no record.
    #[error("the partition has not begun")]
    NotBegun,
    /// Somebody was faster (R1).
    #[error("the partition is at {0} already")]
    StaleEpoch(u64),
    /// A copy of a run or disk that is not the node's present one (R1), or two of one node.
    #[error("node {:016x} does not run as named", .0.0)]
    NotCurrent(NodeId),
    /// R3.
    #[error("nobody would be in sync")]
    NobodyInSync,
    /// A leader without the history.
    #[error("node {:016x} was not in sync", .0.0)]
    NotInSync(NodeId),
    /// None of those who had the history would be left (R3).
    #[error("nobody of those in sync would be left")]
    NoneLeft,
    /// R3: a copy may come back.
    #[error("the copy of node {:016x} is not dead", .0.0)]
    NotDead(NodeId),
    /// A member of that name with another disk: that may be alive, and nobody has promised to let it lead no more.
    #[error("node {:016x} is a member with another disk: that run has to be taken out first", .0.0)]
    OtherDisk(NodeId),
}

impl View {
    /// Applies a batch.
    pub fn apply(&mut self, batch: &Batch) -> Outcome {
        let mut outcome = Outcome { epoch: self.epoch, changed: false, refused: Vec::new() };
        let other = batch.if_epoch.is_some_and(|epoch| epoch != self.epoch);
        for (at, op) in batch.ops.iter().enumerate() {
            let result = if other { Err(Refusal::OtherView(self.epoch)) } else { self.apply_op(op) };
            match result {
                Ok(changed) => outcome.changed |= changed,
                Err(refusal) => outcome.refused.push((at, refusal)),
            }
        }
        if outcome.changed {
            self.epoch += 1;
        }
        outcome.epoch = self.epoch;
        outcome
    }

    /// Whether anything changed: what is so already is no error.
    fn apply_op(&mut self, op: &Op) -> Result<bool, Refusal> {
        match op {
            Op::Join { node, incarnation, store, address, clients, weight } => {
                let member = Member {
                    incarnation: *incarnation,
                    store: *store,
                    address: address.clone(),
                    clients: clients.clone(),
                    weight: *weight,
                    state: MemberState::Up,
                    joined: self.epoch + 1,
                };
                self.join(*node, member)
            }
            Op::Drain { node, incarnation } => self.drain(*node, *incarnation),
            Op::Remove { node, incarnation } => self.remove(*node, *incarnation),
            Op::Lose { node } => {
                let gone = self.departed.get(node).ok_or(Refusal::NotGone(*node))?;
                Ok(self.lose(gone.store))
            }
            Op::Create { partition, durability, leader, in_sync } => {
                if self.records.contains_key(partition) {
                    return Err(Refusal::Begun);
                }
                let in_sync = self.current_set(in_sync)?;
                leads(*leader, &in_sync)?;
                let record = Record {
                    durability: *durability,
                    generation: Generation(1),
                    partition_epoch: 1,
                    leader_epoch: 1,
                    leader: Some(*leader),
                    in_sync,
                };
                self.records.insert(*partition, record);
                Ok(true)
            }
            Op::Change { partition, if_epoch, leader, in_sync } => {
                self.change(*partition, *if_epoch, *leader, in_sync)
            }
            Op::Renew { partition, if_epoch, leader, in_sync, abandon } => {
                self.renew(*partition, *if_epoch, *leader, in_sync, *abandon)
            }
        }
    }

    fn join(&mut self, node: NodeId, member: Member) -> Result<bool, Refusal> {
        let Member { incarnation, store, ref address, ref clients, weight, .. } = member;
        let fits = (1..=ADDRESS_BYTES_MAX).contains(&address.len())
            && clients.len() <= ADDRESS_BYTES_MAX
            && (1..=WEIGHT_MAX).contains(&weight);
        if !fits {
            return Err(Refusal::BadMember);
        }
        let known = self.members.get(&node);
        if known.is_some_and(|known| *known == Member { joined: known.joined, ..member.clone() }) {
            return Ok(false);
        }
        if let Some(known) = known
            && incarnation <= known.incarnation
        {
            return Err(Refusal::StaleIncarnation(node, known.incarnation));
        }
        // A disk has one process at a time; two disks of one name may have two.
        if known.is_some_and(|known| known.store != store) {
            return Err(Refusal::OtherDisk(node));
        }
        // Who was given up and is still the same run comes back: it may have the last copy of something.
        if let Some(gone) = self.departed.get(&node)
            && (incarnation < gone.incarnation || (incarnation == gone.incarnation && store != gone.store))
        {
            return Err(Refusal::StaleIncarnation(node, gone.incarnation));
        }
        if let Some((other, _)) = self.members.iter().find(|(id, other)| **id != node && other.store == store)
        {
            return Err(Refusal::StoreTaken(*other));
        }
        if known.is_none() && self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::TooManyMembers);
        }
        let before = self.departed.get(&node).map(|gone| gone.store);
        // Unless it has been taken over under another name.
        let held = |before: &StoreId| self.members.values().any(|member| member.store == *before);
        if let Some(before) = before.filter(|before| *before != store && !held(before)) {
            self.lose(before);
        }
        self.lost.retain(|lost| *lost != store);
        self.departed.remove(&node);
        self.members.insert(node, member);
        self.strip(node, |replica, durability| {
            let now = Replica { node, store, incarnation };
            !replica.is_same(&now, durability)
        });
        Ok(true)
    }

    fn drain(&mut self, node: NodeId, incarnation: Incarnation) -> Result<bool, Refusal> {
        let member = self.members.get_mut(&node).filter(|member| member.incarnation == incarnation);
        let member = member.ok_or(Refusal::NoSuchMember(node))?;
        let changed = member.state != MemberState::Draining;
        member.state = MemberState::Draining;
        Ok(changed)
    }

    fn remove(&mut self, node: NodeId, incarnation: Incarnation) -> Result<bool, Refusal> {
        let member = self.members.get(&node).filter(|member| member.incarnation == incarnation);
        let member = member.ok_or(Refusal::NoSuchMember(node))?;
        let (store, address) = (member.store, member.address.clone());
        self.members.remove(&node);
        if self.departed.len() >= DEPARTED_MAX
            && let Some((oldest, _)) = self.departed.iter().min_by_key(|(_, departed)| departed.at)
        {
            let oldest = *oldest;
            self.departed.remove(&oldest);
        }
        self.departed.insert(node, Departed { incarnation, store, address, at: self.epoch });
        self.strip(node, |_, _| true);
        Ok(true)
    }

    /// Whether that was not known.
    fn lose(&mut self, store: StoreId) -> bool {
        if self.lost.contains(&store) {
            return false;
        }
        if self.lost.len() >= LOST_MAX {
            self.lost.remove(0);
        }
        self.lost.push(store);
        true
    }

    /// Takes a node's leadership, and those of its copies that `goes` means, out of all records; never the
    /// last copies of one (R3).
    fn strip(&mut self, node: NodeId, goes: impl Fn(&Replica, Durability) -> bool) {
        for record in self.records.values_mut() {
            let durability = record.durability;
            let stays = |replica: &&Replica| replica.node != node || !goes(replica, durability);
            let mut in_sync: Vec<Replica> = record.in_sync.iter().filter(stays).copied().collect();
            if in_sync.is_empty() {
                in_sync.clone_from(&record.in_sync);
            }
            let leader = record.leader.filter(|leader| *leader != node);
            record.set(leader, in_sync);
        }
    }

    /// The record, if it is still as the op expects it.
    fn expected(&self, partition: PartitionId, if_epoch: u64) -> Result<&Record, Refusal> {
        let record = self.records.get(&partition).ok_or(Refusal::NotBegun)?;
        if record.partition_epoch != if_epoch && !planted::on(Bug::CompareAndSetSkipped) {
            return Err(Refusal::StaleEpoch(record.partition_epoch));
        }
        Ok(record)
    }

    /// The set by node, if each of it runs as named.
    fn current_set(&self, in_sync: &[Replica]) -> Result<Vec<Replica>, Refusal> {
        let mut sorted = in_sync.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].node == pair[1].node) {
            return Err(Refusal::NotCurrent(pair[0].node));
        }
        if let Some(stale) = sorted.iter().find(|replica| !self.is_current(replica)) {
            return Err(Refusal::NotCurrent(stale.node));
        }
        if sorted.is_empty() { Err(Refusal::NobodyInSync) } else { Ok(sorted) }
    }

    fn change(
        &mut self,
        partition: PartitionId,
        if_epoch: u64,
        leader: Option<NodeId>,
        in_sync: &[Replica],
    ) -> Result<bool, Refusal> {
        let record = self.expected(partition, if_epoch)?;
        let in_sync = self.current_set(in_sync)?;
        let durability = record.durability;
        let had = |replica: &Replica| record.in_sync.iter().any(|old| old.is_same(replica, durability));
        if let Some(leader) = leader {
            leads(leader, &in_sync)?;
            let new = in_sync.iter().find(|replica| replica.node == leader);
            if !new.is_some_and(had) {
                return Err(Refusal::NotInSync(leader));
            }
        } else if !in_sync.iter().any(had) {
            return Err(Refusal::NoneLeft);
        }
        let record = self.records.get_mut(&partition).ok_or(Refusal::NotBegun)?;
        Ok(record.set(leader, in_sync))
    }

    fn renew(
        &mut self,
        partition: PartitionId,
        if_epoch: u64,
        leader: NodeId,
        in_sync: &[Replica],
        abandon: bool,
    ) -> Result<bool, Refusal> {
        let record = self.expected(partition, if_epoch)?;
        let alive = record.in_sync.iter().find(|replica| !self.is_dead(replica, record.durability));
        if let Some(alive) = alive
            && !abandon
        {
            return Err(Refusal::NotDead(alive.node));
        }
        let in_sync = self.current_set(in_sync)?;
        leads(leader, &in_sync)?;
        let record = self.records.get_mut(&partition).ok_or(Refusal::NotBegun)?;
        record.generation = Generation(record.generation.0 + 1);
        record.partition_epoch += 1;
        record.leader_epoch = record.partition_epoch;
        (record.leader, record.in_sync) = (Some(leader), in_sync);
        Ok(true)
    }
}

impl Record {
    /// Whether anything changed.
    fn set(&mut self, leader: Option<NodeId>, in_sync: Vec<Replica>) -> bool {
        if (leader, &in_sync) == (self.leader, &self.in_sync) {
            return false;
        }
        self.partition_epoch += 1;
        if leader != self.leader {
            self.leader_epoch = self.partition_epoch;
        }
        (self.leader, self.in_sync) = (leader, in_sync);
        true
    }
}

fn leads(leader: NodeId, in_sync: &[Replica]) -> Result<(), Refusal> {
    if in_sync.iter().any(|replica| replica.node == leader) {
        Ok(())
    } else {
        Err(Refusal::NotInSync(leader))
    }
}
