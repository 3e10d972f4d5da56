//! Records that need a leader, a new generation, or a beginning.

use super::{OPS_MAX, StewardInput};
use crate::class::PartitionId;
use crate::placement::Placement;
use crate::view::{Batch, MemberState, Op, Record, Refusal, Replica, View};
use multibeam_wire::link::NodeId;

/// The wish, kept as long as the members are the same, and what was looked at last.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    members: Vec<(NodeId, u8)>,
    placement: Option<Placement>,
    /// The view of this epoch needs nothing.
    settled: Option<u64>,
}

impl Records {
    pub(super) fn look_again(&mut self) {
        self.settled = None;
    }

    /// Adds what the records need once `ops` are applied. Ops that would be refused are taken out, and returned with
    /// the reason.
    pub(super) fn add(&mut self, input: &StewardInput<'_>, ops: &mut Vec<Op>) -> Vec<(Op, Refusal)> {
        let mut refused = Vec::new();
        if ops.is_empty() && self.settled == Some(input.view.epoch()) {
            return refused;
        }
        let applied;
        let view = if ops.is_empty() {
            input.view
        } else {
            let mut scratch = input.view.clone();
            let outcome = scratch.apply(&Batch { if_epoch: None, ops: ops.clone() });
            for (at, refusal) in outcome.refused.into_iter().rev() {
                refused.push((ops.remove(at), refusal));
            }
            applied = scratch;
            &applied
        };
        let before = ops.len();
        self.renew_placement(view);
        if let Some(placement) = &self.placement {
            let leaderless = view.records().iter().filter(|(_, record)| record.leader.is_none());
            let led =
                leaderless.filter_map(|(id, record)| led(view, placement, *id, record, input.config.copies));
            ops.extend(led.take(OPS_MAX.saturating_sub(before)));
            let begun = |id: &PartitionId| view.records().contains_key(id);
            for (id, durability) in input.config.partitions.iter().filter(|(id, _)| !begun(id)) {
                if ops.len() >= OPS_MAX {
                    break;
                }
                let in_sync = wished(view, placement, *id, input.config.copies);
                let Some(leader) = in_sync.first().map(|replica| replica.node) else { break };
                ops.push(Op::Create { partition: *id, durability: *durability, leader, in_sync });
            }
        }
        if ops.is_empty() {
            self.settled = Some(input.view.epoch());
        }
        refused
    }

    fn renew_placement(&mut self, view: &View) {
        let up = view.members().iter().filter(|(_, member)| member.state == MemberState::Up);
        let members: Vec<_> = up.map(|(node, member)| (*node, member.weight)).collect();
        if members != self.members || self.placement.is_none() {
            self.placement = if members.is_empty() { None } else { Placement::among(&members).ok() };
            self.members = members;
        }
    }
}

/// The members that are to have a partition, the first of them leading.
fn wished(view: &View, placement: &Placement, partition: PartitionId, copies: usize) -> Vec<Replica> {
    let replica = |node: NodeId| {
        let member = view.members().get(&node)?;
        Some(Replica { node, store: member.store, incarnation: member.incarnation })
    };
    placement.wish(partition).take(copies).filter_map(replica).collect()
}

/// How a partition without a leader gets one; `None`: it is offline until a copy returns (R3).
fn led(view: &View, placement: &Placement, id: PartitionId, record: &Record, copies: usize) -> Option<Op> {
    let current = |replica: &&Replica| {
        let known = view.members().get(&replica.node);
        known.is_some_and(|member| {
            let now = Replica { node: replica.node, store: member.store, incarnation: member.incarnation };
            now.is_same(replica, record.durability)
        })
    };
    let in_sync: Vec<Replica> = record
        .in_sync
        .iter()
        .filter(current)
        .filter_map(|replica| {
            let member = view.members().get(&replica.node)?;
            Some(Replica { node: replica.node, store: member.store, incarnation: member.incarnation })
        })
        .collect();
    let if_epoch = record.partition_epoch;
    if let Some(first) = in_sync.first() {
        let nodes: Vec<NodeId> = in_sync.iter().map(|replica| replica.node).collect();
        // Those that are draining are in no wish.
        let leader = placement.leader(id, &nodes).unwrap_or(first.node);
        return Some(Op::Change { partition: id, if_epoch, leader: Some(leader), in_sync });
    }
    let dead = record.in_sync.iter().all(|replica| view.is_dead(replica, record.durability));
    let in_sync = wished(view, placement, id, copies);
    let leader = in_sync.first()?.node;
    dead.then_some(Op::Renew { partition: id, if_epoch, leader, in_sync, abandon: false })
}
