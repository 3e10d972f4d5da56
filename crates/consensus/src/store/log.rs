//! The log and the vote, as openraft wants them.

use super::{ENTRIES, STATE, Store, StoreError, encode, lock, promised};
use crate::types::{Entry, LogId, StorageError, Types, Vote};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError,
};
use redb::{Durability, ReadableTable};
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Log(pub(crate) Store);

fn reading(subject: ErrorSubject<u64>) -> impl Fn(StoreError) -> StorageError {
    move |error| StorageIOError::new(subject.clone(), ErrorVerb::Read, openraft::AnyError::new(&error)).into()
}

fn writing(subject: ErrorSubject<u64>) -> impl Fn(StoreError) -> StorageError {
    move |error| {
        StorageIOError::new(subject.clone(), ErrorVerb::Write, openraft::AnyError::new(&error)).into()
    }
}

impl Log {
    fn entries(&self, range: (Bound<u64>, Bound<u64>)) -> Result<Vec<Entry>, StoreError> {
        let (start, end) = (first(range.0), past(range.1));
        if start > end {
            return Err(self.0.failed(StoreError::OtherLog(start, end)));
        }
        let bytes = self.0.read("reading the log", |transaction| {
            let table = transaction.open_table(ENTRIES)?;
            let values = table.range::<u64>(range)?;
            values.map(|entry| Ok(entry?.1.value().to_vec())).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        bytes.iter().map(|bytes| self.0.decode("log", bytes)).collect()
    }

    fn last(&self) -> Result<Option<LogId>, StoreError> {
        let bytes = self.0.read("reading the log", |transaction| {
            let table = transaction.open_table(ENTRIES)?;
            Ok(table.last()?.map(|(_, value)| value.value().to_vec()))
        })?;
        let entry: Option<Entry> = bytes.map(|bytes| self.0.decode("log", &bytes)).transpose()?;
        Ok(entry.map(|entry| entry.log_id))
    }

    fn write_entries(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.0.write("writing the log", promised(), |transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            for entry in &entries {
                table.insert(entry.log_id.index, encode(entry).as_slice())?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn remove(&self, range: (Bound<u64>, Bound<u64>), purged: Option<LogId>) -> Result<(), StoreError> {
        self.0.write("cutting the log", Durability::Immediate, |transaction| {
            transaction.open_table(ENTRIES)?.retain_in(range, |_, _| false)?;
            if let Some(purged) = purged {
                transaction.open_table(STATE)?.insert("purged", encode(&purged).as_slice())?;
            }
            Ok(())
        })
    }
}

/// The first index of a range that begins so.
fn first(bound: Bound<u64>) -> u64 {
    match bound {
        Bound::Included(index) => index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    }
}

/// The first index behind a range that ends so.
fn past(bound: Bound<u64>) -> u64 {
    match bound {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => index,
        Bound::Unbounded => u64::MAX,
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, StorageError>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries((range.start_bound().cloned(), range.end_bound().cloned()))
            .map_err(reading(ErrorSubject::Logs))
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let state = || {
            let last_purged_log_id = self.0.state("purged")?;
            Ok(LogState { last_purged_log_id, last_log_id: self.last()?.or(last_purged_log_id) })
        };
        state().map_err(reading(ErrorSubject::Logs))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.0.put_state("vote", promised(), vote).map_err(writing(ErrorSubject::Vote))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.0.state("vote").map_err(reading(ErrorSubject::Vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        *lock(&self.0.inner.committed) = committed.map(|id| id.index);
        self.0.put_state("committed", Durability::None, &committed).map_err(writing(ErrorSubject::Store))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let committed: Option<Option<LogId>> =
            self.0.state("committed").map_err(reading(ErrorSubject::Store))?;
        Ok(committed.flatten())
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        for entry in &entries {
            if let EntryPayload::Normal(proposal) = &entry.payload {
                let _ = proposal.logged.set(());
            }
        }
        self.write_entries(entries).map_err(writing(ErrorSubject::Logs))?;
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let range = (Bound::Included(from.index), Bound::Unbounded);
        self.remove(range, None).map_err(writing(ErrorSubject::Logs))
    }

    async fn purge(&mut self, to: LogId) -> Result<(), StorageError> {
        let range = (Bound::Unbounded, Bound::Included(to.index));
        self.remove(range, Some(to)).map_err(writing(ErrorSubject::Logs))
    }
}

impl Store {
    /// Index of the last entry that is known to be agreed on.
    pub(crate) fn committed(&self) -> Option<u64> {
        *lock(&self.inner.committed)
    }
}
