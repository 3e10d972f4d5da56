//! Where partitions would best live: a pure function of the members, the same on every machine.
//!
//! This is the *wish*. Who leads a partition and who is in sync is what its record says; the wish decides
//! where copies are moved to, and who of those in sync takes over.
//!
//! `consistent_hash_ring` does the hashing; this wrapper closes what it leaves open: bytes in the order of
//! the machine, a hash of the standard library's making, too few virtual nodes, and a member of weight 0,
//! over which it would search for ever.

use crate::class::{PartitionId, stable_hash};
use consistent_hash_ring::{Ring, RingBuilder};
use multibeam_wire::link::NodeId;
use std::hash::{BuildHasher, Hash, Hasher};

/// Virtual nodes of one unit of weight. With 128 the shares of the ring itself vary by 4 to 9 %, which
/// is less than what a few hundred partitions a node vary by anyway.
const VNODES: usize = 128;

/// Virtual nodes of all members: the ring takes time by their square, and whoever leads the consensus makes one
/// whenever members change, between two heartbeats. As many as a hundred members of weight 1 have.
const VNODES_MAX: usize = VNODES * MEMBERS_MAX;

/// Members of a cluster.
pub const MEMBERS_MAX: usize = 100;

/// Units of weight of one member: how much more than the smallest it takes.
pub const WEIGHT_MAX: u8 = 8;

/// What no placement can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A member that takes nothing is to be left out.
    #[error("node {:016x} has no weight; a node that takes no partitions is left out", .0.0)]
    NoWeight(NodeId),
    /// See [`WEIGHT_MAX`].
    #[error("node {id:016x} has the weight {1}; {WEIGHT_MAX} is the most", id = .0.0)]
    TooHeavy(NodeId, u8),
    /// One member, two weights.
    #[error("node {:016x} stands there twice", .0.0)]
    Twice(NodeId),
    /// See [`MEMBERS_MAX`].
    #[error("{0} nodes; {MEMBERS_MAX} is the most")]
    TooMany(usize),
}

/// Where each partition would best live.
#[derive(Clone)]
pub struct Placement {
    ring: Ring<NodeId, Stable>,
}

impl Placement {
    /// The placement among these members, whatever their order, each with its weight. Where their weights add up to
    /// more than [`MEMBERS_MAX`], a unit stands for fewer virtual nodes. It takes some 0.1 s at the most.
    ///
    /// # Errors
    /// Members that no placement can be made of.
    pub fn among(members: &[(NodeId, u8)]) -> Result<Self, PlacementError> {
        if members.len() > MEMBERS_MAX {
            return Err(PlacementError::TooMany(members.len()));
        }
        let mut sorted = members.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PlacementError::Twice(pair[0].0));
        }
        let units = sorted.iter().map(|(_, weight)| usize::from(*weight)).sum::<usize>().max(1);
        let vnodes = VNODES.min(VNODES_MAX / units);
        let mut builder = RingBuilder::new(Stable);
        for (node, weight) in sorted {
            if weight == 0 {
                return Err(PlacementError::NoWeight(node));
            }
            if weight > WEIGHT_MAX {
                return Err(PlacementError::TooHeavy(node, weight));
            }
            builder = builder.weighted_node(node, vnodes * usize::from(weight));
        }
        Ok(Self { ring: builder.build() })
    }

    /// All members in the order in which they are to have the partition: the first leads, those behind it
    /// have the copies.
    pub fn wish(&self, partition: PartitionId) -> impl Iterator<Item = NodeId> + '_ {
        self.ring.replicas(Key(partition)).copied()
    }

    /// Who of those in sync is to lead.
    #[must_use]
    pub fn leader(&self, partition: PartitionId, in_sync: &[NodeId]) -> Option<NodeId> {
        self.wish(partition).find(|node| in_sync.contains(node))
    }
}

impl std::fmt::Debug for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placement").field("members", &self.ring.len()).finish_non_exhaustive()
    }
}

/// A partition as the ring sees it. Members are hashed as numbers, partitions as text, so that none
/// stands where a member of the same number does.
struct Key(PartitionId);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"partition");
        state.write(&self.0.number().to_le_bytes());
    }
}

/// Hashes numbers as little-endian bytes.
#[derive(Clone, Copy, Debug)]
struct Stable;

impl BuildHasher for Stable {
    type Hasher = StableHasher;

    fn build_hasher(&self) -> StableHasher {
        StableHasher(Bytes { bytes: [0; Bytes::MAX], len: 0 })
    }
}

/// What was written, as long as it is.
struct Bytes {
    bytes: [u8; Bytes::MAX],
    len: usize,
}

impl Bytes {
    const MAX: usize = 16;
}

struct StableHasher(Bytes);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        let Bytes { bytes: all, len } = &mut self.0;
        all[*len..*len + bytes.len()].copy_from_slice(bytes);
        *len += bytes.len();
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn finish(&self) -> u64 {
        stable_hash(&self.0.bytes[..self.0.len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::ClassId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn partition(number: u16) -> PartitionId {
        PartitionId { class: ClassId(number >> 8), index: number & 0xff }
    }

    fn of(members: &[(u64, u8)]) -> Placement {
        let members: Vec<_> = members.iter().map(|(id, weight)| (NodeId(*id), *weight)).collect();
        Placement::among(&members).unwrap()
    }

    fn wish(placement: &Placement, number: u16, copies: usize) -> Vec<u64> {
        placement.wish(partition(number)).take(copies).map(|node| node.0).collect()
    }

    /// If this changes, every partition of every cluster moves with the next release.
    #[test]
    fn golden() {
        let placement = of(&[(1, 1), (2, 1), (3, 2), (0xdead_beef, 1), (u64::MAX, 3)]);
        let mut table = Vec::new();
        for number in 0..4096 {
            for node in placement.wish(partition(number)).take(3) {
                table.extend(node.0.to_le_bytes());
            }
        }
        assert_eq!(stable_hash(&table), 0x9390_0d91_ee1e_0c6a);
        assert_eq!(wish(&placement, 0, 3), [3, 1, u64::MAX]);
    }

    #[test]
    fn members_that_make_no_placement_are_refused() {
        let placement = |members: &[(NodeId, u8)]| Placement::among(members).map(|_| ()).unwrap_err();
        assert_eq!(placement(&[(NodeId(1), 0)]), PlacementError::NoWeight(NodeId(1)));
        assert_eq!(placement(&[(NodeId(1), 9)]), PlacementError::TooHeavy(NodeId(1), 9));
        assert_eq!(placement(&[(NodeId(1), 1), (NodeId(1), 2)]), PlacementError::Twice(NodeId(1)));
        let many: Vec<_> = (0..101).map(|id| (NodeId(id), 1)).collect();
        assert_eq!(placement(&many), PlacementError::TooMany(101));
        assert_eq!(
            PlacementError::NoWeight(NodeId(7)).to_string(),
            "node 0000000000000007 has no weight; a node that takes no partitions is left out"
        );
    }

    #[test]
    fn nobody_is_a_placement_too() {
        assert_eq!(of(&[]).wish(partition(3)).next(), None);
    }

    #[test]
    fn the_one_in_sync_that_is_wished_for_first_leads() {
        let placement = of(&[(1, 1), (2, 1), (3, 1)]);
        let order = wish(&placement, 9, 3);
        assert_eq!(
            placement.leader(partition(9), &[NodeId(order[2]), NodeId(order[1])]),
            Some(NodeId(order[1]))
        );
        assert_eq!(placement.leader(partition(9), &[]), None);
    }

    /// It is made between two heartbeats.
    #[test]
    fn the_ring_is_bounded_whatever_the_weights() {
        for (members, weight, points) in
            [(100, 1, 12_800), (100, 8, 12_800), (60, 2, 12_720), (30, 8, 12_720), (3, 8, 3072)]
        {
            let placement = of(&(0..members).map(|id| (id, weight)).collect::<Vec<_>>());
            assert_eq!(placement.ring.vnodes(), points, "{members} of weight {weight}");
        }
    }

    #[test]
    fn twice_the_weight_has_twice_the_partitions() {
        let placement = of(&[(11, 1), (12, 1), (13, 2)]);
        let heavy = (0..4096).filter(|number| wish(&placement, *number, 1) == [13]).count();
        assert!((1840..2250).contains(&heavy), "{heavy} of 4096, where 2048 would be half");
    }

    fn members() -> impl Strategy<Value = Vec<(u64, u8)>> {
        proptest::collection::btree_map(any::<u64>(), 1u8..3, 1..9)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn all_members_stand_in_each_wish_once_in_any_order(members in members(), number in 0u16..4096) {
            let placement = of(&members);
            let reversed = of(&members.iter().rev().copied().collect::<Vec<_>>());
            let all = wish(&placement, number, usize::MAX);
            prop_assert_eq!(&all, &wish(&reversed, number, usize::MAX));
            let distinct: BTreeSet<u64> = all.iter().copied().collect();
            prop_assert_eq!(distinct, members.iter().map(|(id, _)| *id).collect());
            prop_assert_eq!(all.len(), members.len());
        }

        /// Who leaves takes only its own copies away; who comes back finds them again.
        #[test]
        fn nothing_moves_between_those_who_stay(members in members(), leaver in any::<prop::sample::Index>()) {
            prop_assume!(members.len() > 3);
            let mut rest = members.clone();
            let (left, _) = rest.remove(leaver.index(members.len()));
            let (before, after) = (of(&members), of(&rest));
            for number in 0..256 {
                let (before, after) = (wish(&before, number, 3), wish(&after, number, 3));
                let stayed: Vec<u64> = before.iter().copied().filter(|node| *node != left).collect();
                prop_assert!(stayed.iter().all(|node| after.contains(node)), "{before:?} became {after:?}");
                if stayed.len() == before.len() {
                    prop_assert_eq!(before, after);
                }
            }
        }
    }
}
