//! The file below the store, which the caller gives: a real one, or the simulator's.

use redb::StorageBackend;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

/// A file of random access, of which what was synced survives a loss of power.
///
/// One [`crate::Store`] uses it at a time, from one thread at a time. An error is final: the store refuses
/// everything after it, and the node is expected to end. A store that is dropped writes once more, to close
/// tidily; who simulates a loss of power makes these writes fail.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Bytes in the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` from `offset` on; sees what was written, synced or not.
    ///
    /// # Errors
    /// Also if the file ends before.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Cuts or extends the file; what is new is zero.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns once everything written before survives a loss of power, and the length too.
    ///
    /// # Errors
    /// Whatever the file system says. What was written since the last sync may then be lost, also if a later
    /// call succeeds.
    fn sync(&self) -> io::Result<()>;

    /// The file is as it is to be. A new file that nobody kept is empty again for whoever opens it next: its
    /// making was cut short, and half of it is of no use. A kept one stays kept, whatever happens.
    ///
    /// # Errors
    /// Whatever the file system says; then the file may be kept or not.
    fn keep(&self) -> io::Result<()>;

    /// How long the longest sync took, where that is measured. Whoever syncs waits for it.
    fn longest_sync(&self) -> Duration {
        Duration::ZERO
    }

    /// Writes all of `data` at `offset`, inside the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

/// A disk as redb wants it.
#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Arc<dyn Disk>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
