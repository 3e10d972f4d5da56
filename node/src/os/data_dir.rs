//! Durable files of one node: a directory that no other process uses.

use crate::epoll::Clock;
use multibeam_consensus::Disk;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LOCK_FILE: &str = "lock";

/// A locked directory. Files in it are replaced as a whole or not at all.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock goes with it, also when the process is killed.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be, and locks it.
    ///
    /// # Errors
    /// Names the directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let advice = "choose another with --data-dir";
        let unusable = |error: io::Error| {
            let text = format!("can't use the data directory {}: {error}; {advice}", path.display());
            io::Error::new(error.kind(), text)
        };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text =
                    format!("another node uses the data directory {}: stop it, or {advice}", path.display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
            }
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// The content of a file; `None` if it was never written.
    ///
    /// # Errors
    /// Names the file.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.file(name);
        match std::fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named("read", &path, &error)),
        }
    }

    /// Replaces a file. When this returns, the new content survives a loss of power.
    ///
    /// # Errors
    /// Names the file; either content may be there.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.file(name);
        self.replace(&path, content).map_err(|error| named("write", &path, &error))
    }

    /// The new content is on the disk before it gets the name, and the name before the end.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let fresh = fresh_name(path);
        let mut file = File::create(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        sync_names(path)
    }

    /// Opens a file of random access, which is empty if it is new. It has another name until it is kept.
    ///
    /// # Errors
    /// Names the file.
    pub fn open_disk(&self, name: &str) -> io::Result<DiskFile> {
        let path = self.file(name);
        let open = || {
            let mut open = OpenOptions::new();
            open.read(true).write(true);
            let file = match open.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    open.create(true).truncate(true).open(fresh_name(&path))?
                }
                found => found?,
            };
            Ok(DiskFile { file, path: path.clone(), longest_sync_us: AtomicU64::new(0) })
        };
        open().map_err(|error| named("open", &path, &error))
    }

    fn file(&self, name: &str) -> PathBuf {
        assert!(
            !name.is_empty() && !name.contains(['/', '.']) && name != LOCK_FILE,
            "{name:?} as a file name"
        );
        self.path.join(name)
    }
}

/// Of a file that is not whole yet.
fn fresh_name(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Returns once the name of a file survives a loss of power.
fn sync_names(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A file of random access.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    path: PathBuf,
    longest_sync_us: AtomicU64,
}

impl Disk for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|data| data.len()).map_err(|error| named("read", &self.path, &error))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset).map_err(|error| named("read", &self.path, &error))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len).map_err(|error| named("write", &self.path, &error))
    }

    fn sync(&self) -> io::Result<()> {
        let clock = Clock::start();
        let synced = self.file.sync_data().map_err(|error| named("write", &self.path, &error));
        // A number for people; nothing is ordered by it.
        self.longest_sync_us.fetch_max(clock.now().0, Ordering::Relaxed);
        synced
    }

    fn keep(&self) -> io::Result<()> {
        let keep = || {
            if !self.path.try_exists()? {
                std::fs::rename(fresh_name(&self.path), &self.path)?;
            }
            sync_names(&self.path)
        };
        keep().map_err(|error| named("write", &self.path, &error))
    }

    fn longest_sync(&self) -> Duration {
        Duration::from_micros(self.longest_sync_us.load(Ordering::Relaxed))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset).map_err(|error| named("write", &self.path, &error))
    }
}

fn named(act: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't {act} the file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("multibeam-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let path = scratch("replace");
        let dir = DataDir::open(&path.join("a/b")).unwrap();
        assert_eq!(dir.read("generation").unwrap(), None);
        dir.write("generation", b"a long first content").unwrap();
        dir.write("generation", b"2").unwrap();
        assert_eq!(dir.read("generation").unwrap().as_deref(), Some(&b"2"[..]));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn two_nodes_never_share_a_directory() {
        let path = scratch("lock");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("another node uses") && error.contains(path.to_str().unwrap()), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_file_that_nobody_kept_is_empty_for_whoever_opens_it_next() {
        let path = scratch("kept");
        let dir = DataDir::open(&path).unwrap();
        let open = || dir.open_disk("consensus").unwrap();
        open().set_len(7).unwrap();
        let disk = open();
        assert!(disk.is_empty().unwrap());
        disk.set_len(3).unwrap();
        disk.keep().unwrap();
        disk.set_len(4).unwrap();
        disk.keep().unwrap();
        assert_eq!(open().len().unwrap(), 4);
        assert!(!path.join("consensus.new").exists());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_longest_sync_is_known() {
        let path = scratch("sync");
        let disk = DataDir::open(&path).unwrap().open_disk("consensus").unwrap();
        assert_eq!(disk.longest_sync(), Duration::ZERO);
        disk.set_len(4096).unwrap();
        disk.sync().unwrap();
        assert!(disk.longest_sync() > Duration::ZERO);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn errors_name_the_file() {
        let path = scratch("names");
        let dir = DataDir::open(&path).unwrap();
        std::fs::create_dir(path.join("generation")).unwrap();
        for error in [dir.read("generation").unwrap_err(), dir.write("generation", b"1").unwrap_err()] {
            assert!(error.to_string().contains(path.join("generation").to_str().unwrap()), "{error}");
        }
        let error = DataDir::open(&path.join("lock")).unwrap_err().to_string();
        assert!(error.contains("--data-dir"), "{error}");
        std::fs::remove_dir_all(&path).unwrap();
    }
}
