//! What consensus agrees on: the members, and for each partition who leads it and who has all of it.
//!
//! A [`View`] changes by batches and by nothing else, each of one entry of the consensus log; who applies the
//! same batches has the same view (P6). It decides nothing about *when*: who may propose what, and
//! after which promises, is the proposer's part; what it refuses is what must never stand in a view,
//! whoever asks.
//!
//! ```text
//!  batch ─► op ─► members ──► strips the records of who is gone
//!           op ─► record  ──► compare-and-set on its partition_epoch (R1)
//!           ...             one epoch more, if anything changed
//! ```

mod apply;
mod codec;
#[cfg(test)]
mod tests;

pub use apply::{Batch, Op, Outcome, Refusal};
pub use codec::{BATCH_BYTES_MAX, Undecodable};

use crate::class::{PartitionId, stable_hash};
use multibeam_wire::Generation;
use multibeam_wire::link::{Incarnation, NodeId, StoreId};
use smol_str::SmolStr;
use std::collections::BTreeMap;

/// Bytes of a member's address.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Members that have gone and whose last incarnation is remembered, so that no earlier one comes back.
pub const DEPARTED_MAX: usize = 1024;

/// Lost disks that are remembered: voters are replaced long before.
pub const LOST_MAX: usize = 64;

/// What a partition's copies outlive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Durability {
    /// Nothing: a copy dies with its process.
    Memory,
    /// The process: a copy dies with its disk.
    Disk,
}

/// Whether a member is to have partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum MemberState {
    /// Yes.
    Up,
    /// It is about to leave.
    Draining,
}

/// A node in the view.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Its present run.
    pub incarnation: Incarnation,
    /// Its disk.
    pub store: StoreId,
    /// Where other nodes reach it.
    pub address: SmolStr,
    /// Where clients reach it.
    pub clients: SmolStr,
    /// Its share of the partitions; see [`crate::Placement`].
    pub weight: u8,
    /// Whether it is to have any.
    pub state: MemberState,
    /// The epoch in which it joined last, in this run: what was promised about it before is decided.
    pub joined: u64,
}

/// One copy of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Replica {
    /// Whose.
    pub node: NodeId,
    /// On which disk.
    pub store: StoreId,
    /// In which run.
    pub incarnation: Incarnation,
}

impl Replica {
    /// Whether `other` is this copy, as far as the partition's kind of copy outlives runs.
    #[must_use]
    pub fn is_same(&self, other: &Self, durability: Durability) -> bool {
        let run = durability == Durability::Disk || self.incarnation == other.incarnation;
        self.node == other.node && self.store == other.store && run
    }
}

/// The agreed facts of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// What its copies outlive.
    pub durability: Durability,
    /// Changes when the history could not be kept.
    pub generation: Generation,
    /// Steps with each change of the record.
    pub partition_epoch: u64,
    /// The partition_epoch that installed the leader, or took it away.
    pub leader_epoch: u64,
    /// Who orders it; nobody while it is offline or between two leaders.
    pub leader: Option<NodeId>,
    /// Who has all of it, by node. Never empty (R3): the last ones stand here even when they are gone.
    pub in_sync: Vec<Replica>,
}

/// Who has gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
struct Departed {
    incarnation: Incarnation,
    store: StoreId,
    /// Where it was reached: it may still have a vote, without which nothing is decided.
    address: SmolStr,
    /// When, in epochs.
    at: u64,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct View {
    epoch: u64,
    members: BTreeMap<NodeId, Member>,
    records: BTreeMap<PartitionId, Record>,
    departed: BTreeMap<NodeId, Departed>,
    /// Disks that will not come back, the newest last.
    lost: Vec<StoreId>,
}

impl View {
    /// How many batches have changed it.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The members.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The records.
    #[must_use]
    pub const fn records(&self) -> &BTreeMap<PartitionId, Record> {
        &self.records
    }

    /// The newest run of a node that was ever a member, as far as is remembered.
    #[must_use]
    pub fn last_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        let member = self.members.get(&node).map(|member| member.incarnation);
        member.or_else(|| self.departed.get(&node).map(|gone| gone.incarnation))
    }

    /// Where the node of a disk is reached, or was when it was last a member.
    #[must_use]
    pub fn address_of(&self, store: StoreId) -> Option<&str> {
        let member = self.members.values().find(|member| member.store == store).map(|member| &member.address);
        let departed = || self.departed.values().find(|gone| gone.store == store).map(|gone| &gone.address);
        member.or_else(departed).map(SmolStr::as_str)
    }

    /// Whether a disk is known not to come back: its node has joined with another, or an operator says so.
    #[must_use]
    pub fn is_lost(&self, store: StoreId) -> bool {
        self.lost.contains(&store)
    }

    /// Whether what was promised about a node that joined in the epoch `joined` is decided: it has been taken out
    /// since, or has joined again. A view of before that epoch decides nothing.
    #[must_use]
    pub fn has_decided(&self, node: NodeId, joined: u64) -> bool {
        self.epoch >= joined && self.members.get(&node).is_none_or(|member| member.joined > joined)
    }

    /// A number that two views share only if they are the same: for logs and to compare nodes.
    #[must_use]
    pub fn digest(&self) -> u64 {
        stable_hash(&self.encode())
    }

    /// Whether this copy's node runs now as it names it.
    #[must_use]
    pub fn is_current(&self, replica: &Replica) -> bool {
        self.members
            .get(&replica.node)
            .is_some_and(|member| (member.incarnation, member.store) == (replica.incarnation, replica.store))
    }

    /// Whether a copy can't come back (R3): its node has joined without it. One that is only gone may return.
    #[must_use]
    pub fn is_dead(&self, replica: &Replica, durability: Durability) -> bool {
        let member = self.members.get(&replica.node).map(|member| (member.incarnation, member.store));
        let departed = self.departed.get(&replica.node).map(|gone| (gone.incarnation, gone.store));
        let Some((incarnation, store)) = member.or(departed) else { return false };
        store != replica.store || (durability == Durability::Memory && incarnation > replica.incarnation)
    }
}
