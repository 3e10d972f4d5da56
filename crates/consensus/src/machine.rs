//! The state machine: batches of the log, in order, make the view. A pure function of the log.
//!
//! It begins at the newest snapshot; openraft gives it what of the log is behind that, again. The only thing it can't
//! do is to apply what it can't read, of a later build: then it stops rather than to have another view than others.

use crate::store::{Kept, Store, StoreError, lock};
use crate::types::{Applied, Entry, LogId, Snapshot, SnapshotMeta, StorageError, StoredMembership, Types};
use multibeam_proto::view::{Batch, Outcome, Undecodable, View};
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, StorageIOError,
};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// The newest view, for whoever looks, and a bell for the one who waits.
#[derive(Debug, Default)]
pub(crate) struct Published {
    view: Mutex<Arc<View>>,
    pub(crate) changed: Notify,
}

impl Published {
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&lock(&self.view))
    }

    fn publish(&self, view: &Arc<View>) {
        *lock(&self.view) = Arc::clone(view);
        self.changed.notify_one();
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    store: Store,
    published: Arc<Published>,
    view: Arc<View>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

fn failed(error: &StoreError, verb: ErrorVerb) -> StorageError {
    StorageIOError::new(ErrorSubject::StateMachine, verb, AnyError::new(error)).into()
}

impl Machine {
    /// A machine that has the view of the newest snapshot.
    pub(crate) fn load(store: Store, published: Arc<Published>) -> Result<Self, StoreError> {
        let (view, applied, membership) = (Arc::default(), None, StoredMembership::default());
        let mut machine = Self { store, published, view, applied, membership };
        if let Some(kept) = machine.store.snapshot() {
            let view = machine.decode(&kept)?;
            machine.replace(view, kept.meta);
        }
        Ok(machine)
    }

    fn decode(&self, kept: &Kept) -> Result<View, StoreError> {
        View::decode(&kept.view).map_err(|error| self.unreadable(error, "snapshot"))
    }

    fn replace(&mut self, view: View, meta: SnapshotMeta) {
        debug_assert!(meta.last_log_id >= self.applied, "a snapshot of the past");
        self.view = Arc::new(view);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.published.publish(&self.view);
    }

    fn unreadable(&self, error: Undecodable, what: &'static str) -> StoreError {
        self.store.failed(match error {
            Undecodable::Version(_) => StoreError::Later(error),
            Undecodable::Damaged => StoreError::Damaged(what),
        })
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<Option<Outcome>, StoreError> {
        debug_assert!(self.applied < Some(entry.log_id), "{:?} behind {:?}", entry.log_id, self.applied);
        let outcome = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(proposal) => {
                let batch = Batch::decode(&proposal.batch).map_err(|error| self.unreadable(error, "log"))?;
                Some(Arc::make_mut(&mut self.view).apply(&batch))
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                None
            }
        };
        self.applied = Some(entry.log_id);
        Ok(outcome)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let before = self.view.epoch();
        let apply = |entry| self.apply_entry(entry).map(Applied);
        let applied = entries.into_iter().map(apply).collect::<Result<Vec<_>, _>>();
        let applied = applied.map_err(|error| failed(&error, ErrorVerb::Write))?;
        if self.view.epoch() != before {
            self.published.publish(&self.view);
        }
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Arc<[u8]>>, StorageError> {
        Ok(Box::new(Arc::from([])))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        view: Box<Arc<[u8]>>,
    ) -> Result<(), StorageError> {
        let kept = Kept { meta: meta.clone(), view: *view };
        // One that can't be read, of a later build, must not get onto the disk: the node could never start again.
        let view = self.decode(&kept).map_err(|error| failed(&error, ErrorVerb::Read))?;
        self.store.put_snapshot(kept).map_err(|error| failed(&error, ErrorVerb::Write))?;
        self.replace(view, meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self.store.snapshot().map(|kept| kept.snapshot()))
    }
}

/// What openraft builds a snapshot with, while the machine goes on: a copy of it.
impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: self.applied.map_or_else(String::new, |id| id.to_string()),
        };
        let kept = Kept { meta, view: self.view.encode().into() };
        self.store.put_snapshot(kept.clone()).map_err(|error| failed(&error, ErrorVerb::Write))?;
        Ok(kept.snapshot())
    }
}
