//! A simulated disk: what was synced survives a loss of power, of the rest some writes do and some do not.

use crate::random::Random;
use multibeam_consensus::Disk;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

/// A file of a node, which outlives the node's process.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    durable: Vec<u8>,
    present: Vec<u8>,
    unsynced: Vec<Change>,
    /// Which process may use it; writes of an earlier one come too late.
    process: u64,
    /// Once the file has its name. Before, the next process finds nothing.
    kept: bool,
    random: Random,
    /// Calls in 1000 that fail. After one that did, all do, until the next process.
    fails_permille: u64,
    failed: bool,
    failures: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} changes not synced", self.present.len(), self.unsynced.len())
    }
}

impl State {
    fn clear(&mut self) {
        self.durable.clear();
        self.present.clear();
        self.unsynced.clear();
    }
}

#[derive(Debug)]
enum Change {
    Len(u64),
    Write(u64, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Len(len) => bytes.resize(*len as usize, 0),
            Self::Write(offset, data) => {
                let end = *offset as usize + data.len();
                // A length that was lost before it.
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(data);
            }
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(State {
            durable: Vec::new(),
            present: Vec::new(),
            unsynced: Vec::new(),
            process: 0,
            kept: false,
            random,
            fails_permille: 0,
            failed: false,
            failures: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the next process. Handles of earlier ones fail from here on.
    #[must_use]
    pub fn open(&self) -> OpenDisk {
        let mut state = self.state();
        state.process += 1;
        state.failed = false;
        if !state.kept {
            state.clear();
        }
        OpenDisk { disk: self.clone(), process: state.process }
    }

    /// The process is killed: what it wrote is there, and it writes nothing more.
    pub fn kill(&self) {
        self.state().process += 1;
    }

    /// The machine loses power: of what was not synced, each write survives or does not.
    pub fn lose_power(&self) {
        let mut state = self.state();
        state.process += 1;
        let State { durable, present, unsynced, random, .. } = &mut *state;
        for change in unsynced.drain(..) {
            if random.chance(50) {
                change.apply(durable);
            }
        }
        present.clone_from(durable);
    }

    /// The disk is replaced by an empty one.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.process += 1;
        state.clear();
        state.kept = false;
    }

    /// Lets so many calls in 1000 fail.
    pub fn fail(&self, permille: u64) {
        self.state().fails_permille = permille;
    }

    /// Whether calls may fail.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.state().fails_permille > 0
    }

    /// Calls that failed so far.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.state().failures
    }
}

/// A disk in the hands of one process.
#[derive(Debug)]
pub struct OpenDisk {
    disk: SimDisk,
    process: u64,
}

impl OpenDisk {
    fn with<T>(&self, writes: bool, call: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.process != self.process {
            return Err(io::Error::other("the process that opened this file is gone"));
        }
        let fails = writes && state.fails_permille > 0;
        if state.failed || (fails && state.random.range(0..=999) < state.fails_permille) {
            state.failed = true;
            state.failures += 1;
            return Err(io::Error::other("the simulated disk failed"));
        }
        call(&mut state)
    }
}

impl Disk for OpenDisk {
    fn len(&self) -> io::Result<u64> {
        self.with(false, |state| Ok(state.present.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(false, |state| {
            let from = state.present.get(offset as usize..offset as usize + out.len());
            let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            out.copy_from_slice(from);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(true, |state| {
            let change = Change::Len(len);
            change.apply(&mut state.present);
            state.unsynced.push(change);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(true, |state| {
            let State { durable, unsynced, .. } = state;
            for change in unsynced.drain(..) {
                change.apply(durable);
            }
            Ok(())
        })
    }

    fn keep(&self) -> io::Result<()> {
        self.with(true, |state| {
            state.kept = true;
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(true, |state| {
            let change = Change::Write(offset, data.to_vec());
            change.apply(&mut state.present);
            state.unsynced.push(change);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(disk: &SimDisk) -> Vec<u8> {
        let open = disk.open();
        let mut bytes = vec![0; open.len().unwrap() as usize];
        open.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let (mut survived, mut lost) = (0, 0);
        for seed in 0..100 {
            let disk = SimDisk::new(Random::new(seed, "disk"));
            let open = disk.open();
            open.set_len(2).unwrap();
            open.write(0, b"ab").unwrap();
            open.sync().unwrap();
            open.keep().unwrap();
            open.write(1, b"c").unwrap();
            disk.lose_power();
            assert!(open.write(0, b"x").is_err() && open.sync().is_err());
            match &content(&disk)[..] {
                b"ab" => lost += 1,
                b"ac" => survived += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(survived > 20 && lost > 20, "{survived} {lost}");
    }

    #[test]
    fn a_killed_process_keeps_what_it_wrote_and_a_wiped_disk_nothing() {
        let disk = SimDisk::new(Random::new(1, "disk"));
        let open = disk.open();
        open.set_len(1).unwrap();
        open.write(0, b"a").unwrap();
        open.keep().unwrap();
        disk.kill();
        assert!(open.write(0, b"x").is_err());
        assert_eq!(content(&disk), b"a");
        disk.wipe();
        assert_eq!(content(&disk), b"");
    }

    #[test]
    fn a_file_that_nobody_kept_is_empty_for_the_next_process() {
        let disk = SimDisk::new(Random::new(1, "disk"));
        let open = disk.open();
        open.set_len(1).unwrap();
        open.sync().unwrap();
        disk.kill();
        assert_eq!(content(&disk), b"");
        let open = disk.open();
        open.set_len(1).unwrap();
        open.keep().unwrap();
        disk.wipe();
        disk.open().set_len(1).unwrap();
        assert_eq!(content(&disk), b"");
    }

    #[test]
    fn an_error_is_final_for_its_process() {
        let disk = SimDisk::new(Random::new(1, "disk"));
        let open = disk.open();
        disk.fail(1000);
        assert!(open.set_len(1).is_err());
        disk.fail(0);
        assert!(open.len().is_err() && disk.failures() == 2);
        assert_eq!(disk.open().len().unwrap(), 0);
    }
}
