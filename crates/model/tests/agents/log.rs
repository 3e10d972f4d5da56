//! What stands in the log of the made-up consensus, and what is kept on a disk.

use multibeam_proto::view::Batch;
use multibeam_wire::link::{StoreId, VoterSet, Voters};
use std::rc::Rc;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub present: VoterSet,
    pub before: VoterSet,
    pub learners: Vec<StoreId>,
}

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Blank,
    Batch(Rc<Batch>),
    Membership(Rc<Membership>),
}

#[derive(Clone, Debug)]
pub(crate) struct LogEntry {
    pub term: u64,
    pub entry: Entry,
}

/// Entry `n` of a log stands at `n - 1`.
pub(crate) type Log = Rc<Vec<LogEntry>>;

/// What outlives a process.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub store: StoreId,
    pub log: Log,
    pub term: u64,
    pub promises: Option<Vec<u8>>,
    /// How much of the log was committed, as far as that is durable: it may lag behind.
    pub committed: usize,
    /// The newest membership of the log, and where it stands.
    membership: (usize, Rc<Membership>),
}

impl Disk {
    pub(crate) fn empty(store: StoreId) -> Self {
        Self {
            store,
            log: Rc::default(),
            term: 0,
            promises: None,
            committed: 0,
            membership: (0, Rc::default()),
        }
    }

    pub(crate) fn append(&mut self, term: u64, entry: Entry) -> usize {
        Rc::make_mut(&mut self.log).push(LogEntry { term, entry: entry.clone() });
        let index = self.log.len();
        if let Entry::Membership(membership) = entry {
            self.membership = (index, membership);
        }
        index
    }

    pub(crate) fn replace(&mut self, log: Log) {
        self.log = log;
        let newest = self.log.iter().enumerate().rev().find_map(|(at, entry)| match &entry.entry {
            Entry::Membership(membership) => Some((at + 1, Rc::clone(membership))),
            Entry::Blank | Entry::Batch(_) => None,
        });
        self.membership = newest.unwrap_or_default();
    }

    pub(crate) fn last(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |entry| entry.term), self.log.len())
    }

    pub(crate) fn membership_index(&self) -> usize {
        self.membership.0
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership.1
    }

    pub(crate) fn voters(&self) -> Voters {
        let Membership { present, before, .. } = *self.membership.1;
        Voters { index: self.membership.0 as u64, present, before }
    }
}
