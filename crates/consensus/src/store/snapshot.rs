//! The newest snapshot: the whole view, what it contains of the log, and who voted.

use super::{STATE, Store, StoreError, encode, lock};
use crate::types::{Snapshot, SnapshotMeta};
use redb::Durability;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A snapshot as it is kept, and as it travels to a node that lags far behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) meta: SnapshotMeta,
    #[serde(with = "shared_bytes")]
    pub(crate) view: Arc<[u8]>,
}

impl Kept {
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(Arc::clone(&self.view)) }
    }
}

impl Store {
    /// The newest snapshot.
    pub(crate) fn snapshot(&self) -> Option<Kept> {
        lock(&self.inner.snapshot).clone()
    }

    /// Keeps a snapshot, durably; an older one than there is already, is left alone.
    pub(crate) fn put_snapshot(&self, snapshot: Kept) -> Result<(), StoreError> {
        let newest = self.snapshot().map(|kept| kept.meta.last_log_id);
        if newest.is_some_and(|newest| newest > snapshot.meta.last_log_id) {
            return Ok(());
        }
        let bytes = encode(&snapshot);
        self.write("writing a snapshot", Durability::Immediate, |transaction| {
            transaction.open_table(STATE)?.insert("snapshot", bytes.as_slice())?;
            Ok(())
        })?;
        *lock(&self.inner.snapshot) = Some(snapshot);
        Ok(())
    }
}

/// Bytes that are shared, as a list of bytes.
mod shared_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        Vec::deserialize(deserializer).map(Arc::from)
    }
}
