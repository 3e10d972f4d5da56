//! The form in which batches and views are kept in the log, in snapshots, and travel to other nodes.
//!
//! A version byte, then the fields as `postcard` writes them: in order, integers as varints. Whoever adds a
//! field takes the next version and goes on reading this one; an op is added at the end of [`Op`].

use super::{Batch, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The only version there is.
const VERSION: u8 = 1;

/// Bytes of a batch: so many fit one message of the consensus many times over. 4096 records with three copies
/// each would be 37 KB.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Highest number that steps with changes: of views, records, generations of partitions. A thousand changes a
/// second for 285,000 years; so far below what 64 bits hold that nothing which counts on from it overflows.
const STEPS_MAX: u64 = 1 << 53;

/// Bytes that are no batch or view of a version known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Undecodable {
    /// Made by a later build.
    #[error("version {0} of the agreed state, and this build knows {VERSION}: it needs a later one")]
    Version(u8),
    /// Cut short or damaged.
    #[error("the agreed state is damaged")]
    Damaged,
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let fields = postcard::to_extend(value, vec![VERSION]);
    fields.expect("postcard fails only where a sequence has no length, and all of ours have")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let (&version, fields) = bytes.split_first().ok_or(Undecodable::Damaged)?;
    if version != VERSION {
        return Err(Undecodable::Version(version));
    }
    match postcard::take_from_bytes(fields) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Undecodable::Damaged),
    }
}

impl Batch {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// A batch of bytes that [`Batch::encode`] made.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        decode(bytes)
    }
}

impl View {
    /// All of it, as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// A view of bytes that [`View::encode`] made. Its numbers have room to go on.
    ///
    /// # Errors
    /// See [`Undecodable`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let view: Self = decode(bytes)?;
        let joined = view.members.values().all(|member| member.joined <= view.epoch);
        let records = view.records.values().all(|record| {
            record.generation.0 <= STEPS_MAX
                && record.partition_epoch <= STEPS_MAX
                && record.leader_epoch <= record.partition_epoch
        });
        if view.epoch <= STEPS_MAX && joined && records { Ok(view) } else { Err(Undecodable::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::{ClassId, PartitionId};
    use crate::view::{Durability, Op, Replica};
    use multibeam_wire::link::{Incarnation, NodeId, StoreId};
    use proptest::prelude::*;

    fn joined(nodes: u64, partitions: u16) -> View {
        let mut view = View::default();
        let join = |node| Op::Join {
            node: NodeId(node),
            incarnation: Incarnation(1_700_000_000_000),
            store: StoreId(u64::MAX / (node + 1)),
            address: "10.20.30.40:7500".into(),
            clients: "10.20.30.40:7400".into(),
            weight: 1,
        };
        view.apply(&Batch { if_epoch: None, ops: (0..nodes).map(join).collect() });
        let replica = |node: u64| Replica {
            node: NodeId(node),
            store: StoreId(u64::MAX / (node + 1)),
            incarnation: Incarnation(1_700_000_000_000),
        };
        let create = |index| Op::Create {
            partition: PartitionId { class: ClassId(0), index },
            durability: Durability::Memory,
            leader: NodeId(u64::from(index) % nodes),
            in_sync: (0..nodes.min(3)).map(|at| replica((u64::from(index) + at) % nodes)).collect(),
        };
        let outcome = view.apply(&Batch { if_epoch: Some(1), ops: (0..partitions).map(create).collect() });
        assert_eq!(outcome.refused, []);
        view
    }

    #[test]
    fn a_view_comes_back() {
        for view in [View::default(), joined(1, 0), joined(5, 100)] {
            assert_eq!(View::decode(&view.encode()), Ok(view));
        }
    }

    #[test]
    fn bytes_of_another_version_or_with_a_tail_are_refused() {
        let mut bytes = joined(2, 3).encode();
        bytes.push(0);
        assert_eq!(View::decode(&bytes), Err(Undecodable::Damaged));
        assert_eq!(View::decode(&bytes[..bytes.len() - 2]), Err(Undecodable::Damaged));
        bytes[0] = 2;
        assert_eq!(View::decode(&bytes), Err(Undecodable::Version(2)));
        assert_eq!(Batch::decode(&[]), Err(Undecodable::Damaged));
    }

    #[test]
    fn a_number_that_could_not_go_on_is_damage() {
        let wrong: [fn(&mut View); 5] = [
            |view| view.epoch = STEPS_MAX + 1,
            |view| view.members.values_mut().for_each(|member| member.joined = u64::MAX),
            |view| view.records.values_mut().for_each(|record| record.generation.0 = STEPS_MAX + 1),
            |view| view.records.values_mut().for_each(|record| record.partition_epoch = u64::MAX),
            |view| view.records.values_mut().for_each(|record| record.leader_epoch = u64::MAX),
        ];
        for (at, wrong) in wrong.into_iter().enumerate() {
            let mut view = joined(2, 1);
            wrong(&mut view);
            assert_eq!(View::decode(&view.encode()), Err(Undecodable::Damaged), "{at}");
        }
        let mut last = joined(2, 1);
        last.epoch = STEPS_MAX;
        assert_eq!(View::decode(&last.encode()), Ok(last));
    }

    /// A batch made by the first build that had them.
    #[test]
    fn the_first_version_is_still_read() {
        let ops = vec![Op::Remove { node: NodeId(300), incarnation: Incarnation(5) }];
        let batch = Batch { if_epoch: Some(7), ops };
        let bytes = [1, 1, 7, 1, 2, 0xAC, 2, 5];
        assert_eq!((batch.encode(), Batch::decode(&bytes)), (bytes.to_vec(), Ok(batch)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), flips in 0..20_usize) {
            let _ = (View::decode(&bytes), Batch::decode(&bytes));
            let mut whole = joined(3, 5).encode();
            for _ in 0..flips.min(bytes.len()) {
                let at = bytes.pop().map_or(0, usize::from) % whole.len();
                whole[at] ^= bytes.last().copied().unwrap_or(1);
            }
            let _ = View::decode(&whole);
        }
    }
}
