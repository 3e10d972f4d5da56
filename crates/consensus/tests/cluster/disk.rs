//! A disk in memory: what was not synced is lost with the power, each write or not by a coin.

use multibeam_consensus::Disk;
use std::sync::{Arc, Mutex};
use std::{fmt, io};

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn make(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let end = *offset as usize + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset as usize..end].copy_from_slice(data);
            }
            Self::Length(len) => bytes.resize(*len as usize, 0),
        }
    }
}

#[derive(Default)]
struct State {
    synced: Vec<u8>,
    cached: Vec<u8>,
    unsynced: Vec<Change>,
    /// Who has it mounted; earlier ones reach nothing.
    mounted: u64,
    /// Once the file has its name. Before, the next to mount it finds nothing.
    kept: bool,
    broken: bool,
    /// Changes and syncs that it takes before it breaks.
    takes: Option<usize>,
    syncs: u64,
}

/// What holds the bytes, through losses of power.
#[derive(Clone, Debug, Default)]
pub(crate) struct Platter(Arc<Mutex<State>>);

impl Platter {
    /// The disk of a node that starts.
    pub(crate) fn mount(&self) -> Mounted {
        let mut state = self.0.lock().unwrap();
        state.mounted += 1;
        if !state.kept {
            state.synced.clear();
            state.cached.clear();
            state.unsynced.clear();
        }
        Mounted { platter: self.clone(), number: state.mounted }
    }

    /// The power is gone. `coin` says which of the writes that were not synced are there all the same.
    pub(crate) fn power_loss(&self, mut coin: impl FnMut() -> bool) {
        let mut state = self.0.lock().unwrap();
        let unsynced = std::mem::take(&mut state.unsynced);
        let state = &mut *state;
        unsynced.iter().filter(|_| coin()).for_each(|change| change.make(&mut state.synced));
        state.cached = state.synced.clone();
        state.mounted += 1;
    }

    /// From now on nothing can be written.
    pub(crate) fn breaks(&self) {
        self.0.lock().unwrap().broken = true;
    }

    /// It is as good as new.
    pub(crate) fn mended(&self) {
        let mut state = self.0.lock().unwrap();
        (state.broken, state.takes) = (false, None);
    }

    /// It takes so many changes and syncs more, and then breaks.
    pub(crate) fn breaks_after(&self, takes: usize) {
        self.0.lock().unwrap().takes = Some(takes);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }
}

#[derive(Debug)]
pub(crate) struct Mounted {
    platter: Platter,
    number: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} changes not synced", self.cached.len(), self.unsynced.len())
    }
}

impl State {
    /// One more change or sync.
    fn take(&mut self) -> io::Result<()> {
        if let Some(takes) = &mut self.takes {
            match takes.checked_sub(1) {
                Some(left) => *takes = left,
                None => self.broken = true,
            }
        }
        if self.broken { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
    }
}

impl Mounted {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.platter.0.lock().unwrap();
        if state.mounted == self.number { work(&mut state) } else { Err(io::Error::other("no power")) }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.with(|state| {
            state.take()?;
            change.make(&mut state.cached);
            state.unsynced.push(change);
            Ok(())
        })
    }
}

impl Disk for Mounted {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.cached.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state| {
            let bytes = state.cached.get(offset as usize..offset as usize + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            state.take()?;
            state.syncs += 1;
            state.unsynced.clear();
            state.synced.clone_from(&state.cached);
            Ok(())
        })
    }

    fn keep(&self) -> io::Result<()> {
        self.with(|state| {
            state.take()?;
            state.kept = true;
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }
}
