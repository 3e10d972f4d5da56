//! openraft's types, filled in. A raft id is the number of a [`StoreId`]; a node has no address here.

use crate::runtime::SeededTokio;
use multibeam_proto::view::{Batch, Outcome};
use multibeam_wire::link::StoreId;
use openraft::EmptyNode;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = EmptyNode,
        SnapshotData = Arc<[u8]>,
        AsyncRuntime = SeededTokio,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, EmptyNode>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type StorageError = openraft::StorageError<u64>;

/// A batch on its way through the log, as bytes: only who applies it has to understand it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) batch: Vec<u8>,
    /// Set once it stands in the log of the node that it was proposed at: from then on it may come true.
    #[serde(skip)]
    pub(crate) logged: Arc<OnceLock<()>>,
}

impl Proposal {
    pub(crate) fn new(batch: &Batch) -> Self {
        Self { batch: batch.encode(), logged: Arc::default() }
    }
}

/// What became of an entry; nothing, if it was no batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Applied(pub(crate) Option<Outcome>);

pub(crate) fn store_ids(ids: impl IntoIterator<Item = u64>) -> impl Iterator<Item = StoreId> {
    ids.into_iter().map(StoreId)
}
