//! What a store of cursors can fail with. None of it ever turns into a silent start from new.

use std::io;
use std::path::Path;

/// Why a cursor could not be loaded or saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorStoreError {
    /// The name can't be that of a file everywhere.
    #[error("{name:?} is no name: 1 to 100 letters, digits, '.', '_', '-', and none of them a '.' in front")]
    Name {
        /// What was given.
        name: String,
    },
    /// Reading or writing failed.
    #[error("{place}: {detail}")]
    Io {
        /// The file or folder.
        place: String,
        /// Kind of the I/O error.
        kind: io::ErrorKind,
        /// Text of the I/O error.
        detail: String,
    },
    /// There is something under the name, but it is no cursor, or one of a later version.
    #[error("{place} holds no cursor that this version can read; it was left as it is")]
    Foreign {
        /// Where.
        place: String,
    },
    /// The cursor is cut off or damaged.
    #[error("the cursor in {place} is damaged: its checksum does not match; it was left as it is")]
    Torn {
        /// Where.
        place: String,
    },
    /// The name holds the cursor of another topic or filter.
    #[error("{name} holds the cursor of {stored}, not of {asked}")]
    OtherTopic {
        /// The subscription's name in the store.
        name: String,
        /// What its cursor belongs to.
        stored: String,
        /// What was to be followed.
        asked: String,
    },
    /// For stores of an application's own: whatever is in the way.
    #[error("{detail}")]
    Unavailable {
        /// A sentence for a person.
        detail: String,
    },
}

impl CursorStoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Unavailable { .. } => true,
            Self::Name { .. } | Self::Foreign { .. } | Self::Torn { .. } | Self::OtherTopic { .. } => false,
        }
    }

    pub(crate) fn io(place: &Path, error: &io::Error) -> Self {
        Self::Io { place: place.display().to_string(), kind: error.kind(), detail: error.to_string() }
    }
}
