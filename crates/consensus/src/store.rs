//! The one file in which a node's consensus and its own durable facts are kept: a redb database on a [`Disk`].
//!
//! ```text
//!  entries   index          -> entry
//!  state     name           -> format, vote, committed, purged, snapshot
//!  facts     name           -> bytes, the node's own
//! ```
//!
//! Whatever others may rely on is synced, in two phases, before the call returns. Only `committed` is not: a node that
//! lost it finds out again. After the first error nothing works any more, and [`Store::fault`] says what it was.

mod log;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use log::Log;
pub(crate) use snapshot::Kept;

use crate::disk::{Backend, Disk};
use multibeam_proto::planted::{self, Bug};
use multibeam_proto::view::Undecodable;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How the values are written. A later build that writes them otherwise takes the next number.
const FORMAT: u8 = 1;

/// Bytes of the file that redb keeps in memory. The whole of a usual one; a larger one is read from the disk,
/// where it is only read when a node starts or lags.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");

/// Why the store can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A disk error, or no store at all.
    #[error("the file of the consensus can't be opened: {0}; is it this node's, and the disk sound?")]
    Open(String),
    /// Written by a later build.
    #[error("the file of the consensus has format {0}, and this build knows {FORMAT}: it needs a later one")]
    Format(u8),
    /// Something in it can't be read.
    #[error(
        "the {0} in the file of the consensus can't be read: it is damaged; wipe the disk and let the node join anew"
    )]
    Damaged(&'static str),
    /// The log was asked for a range that ends before it begins.
    #[error(
        "entries {0} and up, but below {1}, of the consensus were asked for: another cluster's log must have come in; wipe the disk of the node that was in another cluster and let it join anew"
    )]
    OtherLog(u64, u64),
    /// What other nodes of a later build have agreed on.
    #[error("{0}")]
    Later(Undecodable),
    /// A disk error; nothing of the change may be relied on.
    #[error(
        "the file of the consensus: {doing} failed: {why}; is the disk full or broken? The node must be started again"
    )]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What the file system or database said.
        why: String,
    },
}

/// An open store: log, vote and snapshot of the consensus, and the node's own durable facts. A clone is the
/// same store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    /// The first error.
    fault: OnceLock<StoreError>,
    /// Index of the last entry that the log was told is agreed on.
    committed: Mutex<Option<u64>>,
    /// The newest snapshot, so that each node that needs it gets the same bytes.
    snapshot: Mutex<Option<Kept>>,
    disk: Arc<dyn Disk>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens what is on `disk`; makes a new store of an empty one, which it keeps once it is whole. After a loss of
    /// power this repairs, which reads the whole file.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(disk: impl Disk) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let is_new = disk.is_empty().map_err(|error| StoreError::Open(error.to_string()))?;
        let backend = Backend(Arc::clone(&disk));
        let open = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database = open.map_err(|error| StoreError::Open(error.to_string()))?;
        let (fault, committed, snapshot) = (OnceLock::new(), Mutex::default(), Mutex::default());
        let store = Self { inner: Arc::new(Inner { database, fault, committed, snapshot, disk }) };
        store.check_format()?;
        if is_new {
            store.inner.disk.keep().map_err(|error| StoreError::Open(error.to_string()))?;
        }
        *lock(&store.inner.snapshot) = store.state("snapshot")?;
        Ok(store)
    }

    /// A durable fact of the node's own.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("reading a fact", |transaction| {
            let table = transaction.open_table(FACTS)?;
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        })
    }

    /// Sets facts, or removes those that are `None`: all of them or none, and durably.
    ///
    /// # Errors
    /// [`StoreError::Failed`]: whether they are set is then known to whoever opens the store again.
    pub fn put_facts(&self, facts: &[(&str, Option<&[u8]>)]) -> Result<(), StoreError> {
        self.write("writing facts", Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(FACTS)?;
            for (name, value) in facts {
                match value {
                    Some(value) => table.insert(name, value)?,
                    None => table.remove(name)?,
                };
            }
            Ok(())
        })
    }

    /// The longest that a durable write took since it was opened, as far as the disk measures that. The thread of
    /// the node's tasks waits for each.
    #[must_use]
    pub fn longest_write(&self) -> Duration {
        self.inner.disk.longest_sync()
    }

    /// The first error, after which nothing works.
    pub(crate) fn fault(&self) -> Option<&StoreError> {
        self.inner.fault.get()
    }

    /// Remembers an error that ends this node.
    pub(crate) fn failed(&self, error: StoreError) -> StoreError {
        let _ = self.inner.fault.set(error.clone());
        error
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let found = self.write("opening", Durability::Immediate, |transaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(FACTS)?;
            let mut table = transaction.open_table(STATE)?;
            let found = table.get("format")?.map(|value| value.value().to_vec());
            if found.is_none() {
                table.insert("format", [FORMAT].as_slice())?;
            }
            Ok(found)
        })?;
        match found.as_deref() {
            None | Some([FORMAT]) => Ok(()),
            Some(&[other, ..]) => Err(StoreError::Format(other)),
            Some([]) => Err(StoreError::Damaged("format")),
        }
    }

    /// A value of the consensus.
    fn state<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        let bytes = self.read("reading its state", |transaction| {
            let table = transaction.open_table(STATE)?;
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|bytes| self.decode(name, &bytes)).transpose()
    }

    fn put_state(
        &self,
        name: &'static str,
        durability: Durability,
        value: &impl Serialize,
    ) -> Result<(), StoreError> {
        let bytes = encode(value);
        self.write("writing its state", durability, |transaction| {
            transaction.open_table(STATE)?.insert(name, bytes.as_slice())?;
            Ok(())
        })
    }

    fn decode<T: DeserializeOwned>(&self, what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
        postcard::from_bytes(bytes).map_err(|_| self.failed(StoreError::Damaged(what)))
    }

    fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let run = || work(&self.inner.database.begin_read()?);
        run().map_err(|error| self.failed(StoreError::Failed { doing, why: error.to_string() }))
    }

    /// One transaction: all of `work` or nothing; synced when this returns, if so asked.
    fn write<T>(
        &self,
        doing: &'static str,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let run = || {
            let mut transaction = self.inner.database.begin_write()?;
            transaction.set_durability(durability)?;
            transaction.set_two_phase_commit(true);
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|error: redb::Error| self.failed(StoreError::Failed { doing, why: error.to_string() }))
    }
}

/// How the vote and entries are written: synced, before anybody is told of them.
fn promised() -> Durability {
    if planted::on(Bug::VoteBeforeFsync) { Durability::None } else { Durability::Immediate }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, Vec::new())
        .expect("postcard fails only where a sequence has no length, and all of ours have")
}
