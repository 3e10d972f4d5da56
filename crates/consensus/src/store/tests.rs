use super::{Log, STATE, Store, StoreError};
use crate::machine::{Machine, Published};
use crate::network::Question;
use crate::types::{Entry, LogId, Proposal, StorageError, Types, Vote};
use crate::{Consensus, Disk, Settings, Setup};
use multibeam_proto::view::Undecodable;
use multibeam_wire::link::StoreId;
use openraft::raft::AppendEntriesRequest;
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EmptyNode, EntryPayload, Membership, RaftLogReader};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A disk that can't lose anything.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Disk for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(&self.0.lock().unwrap()[offset as usize..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn keep(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap()[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
}

struct Builder;

impl StoreBuilder<Types, Log, Machine> for Builder {
    async fn build(&self) -> Result<((), Log, Machine), StorageError> {
        let store = Store::open(Memory::default()).unwrap();
        let machine = Machine::load(store.clone(), Arc::new(Published::default())).unwrap();
        Ok(((), Log(store), machine))
    }
}

#[test]
fn openrafts_own_tests_of_a_store_pass() {
    Suite::test_all(Builder).unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

fn entry(index: u64, payload: EntryPayload<Types>) -> Entry {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload }
}

/// Openraft asks for such when the log of another cluster came in; an answer would hide it.
#[test]
fn a_range_that_ends_before_it_begins_is_an_error() {
    let store = Store::open(Memory::default()).unwrap();
    let range = std::ops::Range { start: 5, end: 3 };
    block_on(Log(store.clone()).try_get_log_entries(range)).unwrap_err();
    assert!(store.fault().is_some());
}

#[test]
fn a_store_of_a_later_format_is_left_alone() {
    let memory = Memory::default();
    let store = Store::open(memory.clone()).unwrap();
    store.put_state("format", redb::Durability::Immediate, &7_u8).unwrap();
    drop(store);
    assert_eq!(Store::open(memory).unwrap_err(), StoreError::Format(7));
}

#[test]
fn a_damaged_snapshot_is_told_of() {
    let memory = Memory::default();
    let store = Store::open(memory.clone()).unwrap();
    let damage = |transaction: &redb::WriteTransaction| {
        transaction.open_table(STATE)?.insert("snapshot", [1_u8].as_slice())?;
        Ok(())
    };
    store.write("damaging", redb::Durability::Immediate, damage).unwrap();
    drop(store);
    assert_eq!(Store::open(memory).unwrap_err(), StoreError::Damaged("snapshot"));
}

/// A node of an earlier build must not go on without what others have applied.
#[test]
fn an_entry_of_a_later_build_ends_the_node() {
    block_on(async {
        let store = Store::open(Memory::default()).unwrap();
        let (asks, _asked) = mpsc::channel(1);
        let setup = Setup { store, id: StoreId(2), settings: Settings::default(), seed: 1, asks };
        let consensus = Consensus::start(setup).await.unwrap();
        let nodes: BTreeMap<u64, EmptyNode> = [1, 2].map(|id| (id, EmptyNode::new())).into();
        let membership = Membership::new(vec![BTreeSet::from([1, 2])], nodes);
        let later = Proposal { batch: vec![2, 0], ..Proposal::default() };
        let entries =
            vec![entry(0, EntryPayload::Membership(membership)), entry(1, EntryPayload::Normal(later))];
        let leader_commit = Some(entries[1].log_id);
        let vote = Vote::new_committed(1, 1);
        let request =
            Question::Append(AppendEntriesRequest { vote, prev_log_id: None, entries, leader_commit });
        // Whether it still answers is chance.
        let _ = consensus.answer(request.kind(), &request.encode()).await;
        let failed = timeout(Duration::from_secs(5), consensus.failed()).await;
        assert_eq!(failed, Ok(Undecodable::Version(2).to_string()));
    });
}
