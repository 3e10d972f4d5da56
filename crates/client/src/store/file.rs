//! Cursors in files, one a name.
//!
//! ```text
//!  multibeam-cursor 1
//!  alarm.>                       the topic or filter
//!  0/3=1:42,0/4=1:7              the cursor
//!  9ae1d2c3                      CRC-32 (IEEE 802.3) of the three lines before
//! ```
//!
//! A file is never changed: a new one is written beside it, synced, and renamed over it, and then the
//! folder is synced. So a crash leaves the old cursor or the new one.

use super::{CursorStore, SavedCursor};
use crate::error::CursorStoreError;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const FORMAT: &str = "multibeam-cursor 1";

/// Longest file that can be a cursor: 256 partitions of at most 54 bytes, a topic, and the rest.
const FILE_BYTES_MAX: u64 = 32 * 1024;

/// Longest name: with its ending it fits everywhere.
const NAME_BYTES_MAX: usize = 100;

/// Keeps cursors in one folder, as `NAME.cursor`.
#[derive(Clone, Debug)]
pub struct FileCursorStore {
    folder: PathBuf,
}

impl FileCursorStore {
    /// A store in `folder`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`CursorStoreError::Io`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CursorStoreError> {
        let mut folder = folder.into();
        if folder.as_os_str().is_empty() {
            // Means the working directory, but can't be opened under that name.
            folder.push(".");
        }
        fs::create_dir_all(&folder).map_err(|error| CursorStoreError::io(&folder, &error))?;
        Ok(Self { folder })
    }

    /// The file of `name`.
    ///
    /// # Errors
    /// [`CursorStoreError::Name`].
    pub fn path(&self, name: &str) -> Result<PathBuf, CursorStoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let good =
            (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain);
        if good {
            Ok(self.folder.join(format!("{name}.cursor")))
        } else {
            Err(CursorStoreError::Name { name: name.to_owned() })
        }
    }
}

impl CursorStore for FileCursorStore {
    async fn load(&self, name: &str) -> Result<Option<SavedCursor>, CursorStoreError> {
        let path = self.path(name)?;
        blocking(move || load(&path)).await
    }

    async fn save(&self, name: &str, saved: &SavedCursor) -> Result<(), CursorStoreError> {
        let (path, text) = (self.path(name)?, text_of(saved));
        blocking(move || replace(&path, &text).map_err(|error| CursorStoreError::io(&path, &error))).await
    }
}

/// Files can't be polled: a thread for such work waits for them.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CursorStoreError> + Send + 'static,
) -> Result<T, CursorStoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(CursorStoreError::Unavailable { detail: error.to_string() }),
    }
}

fn load(path: &Path) -> Result<Option<SavedCursor>, CursorStoreError> {
    let failed = |error: io::Error| CursorStoreError::io(path, &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    let place = || path.display().to_string();
    let foreign = || CursorStoreError::Foreign { place: place() };
    // A file that ends before its format is told was cut off, if it is a cursor at all.
    let format = format!("{FORMAT}\n");
    let known = bytes.len().min(format.len());
    if bytes[..known] != format.as_bytes()[..known] || bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(foreign());
    }
    let torn = || CursorStoreError::Torn { place: place() };
    let text = std::str::from_utf8(&bytes).map_err(|_| torn())?;
    let body = checked(text).ok_or_else(torn)?;
    let mut lines = body[format.len()..].lines();
    let (Some(topic), Some(cursor), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(foreign());
    };
    let cursor = cursor.parse().map_err(|_| foreign())?;
    Ok(Some(SavedCursor { topic: topic.to_owned(), cursor }))
}

/// The lines that the checksum at the end covers, if it is theirs.
fn checked(text: &str) -> Option<&str> {
    let lines = text.strip_suffix('\n')?;
    let (body, sum) = lines.split_at(lines.rfind('\n')? + 1);
    (sum == sum_of(body)).then_some(body)
}

fn text_of(saved: &SavedCursor) -> String {
    let body = format!("{FORMAT}\n{}\n{}\n", saved.topic, saved.cursor);
    let sum = sum_of(&body);
    format!("{body}{sum}\n")
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("cursor.new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Makes the new name of the file last.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A folder can't be opened here; its journal keeps the order of a rename behind the sync of the file.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn sum_of(text: &str) -> String {
    format!("{:08x}", crc32(text.as_bytes()))
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
