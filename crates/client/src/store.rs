//! Where cursors outlive the process. Nothing here belongs to a session: the handle of a stored
//! subscription loads, and a task of its own saves.

mod file;
mod memory;

pub use file::FileCursorStore;
pub use memory::MemoryCursorStore;

use crate::cursor::Cursor;
use crate::error::CursorStoreError;
use std::future::Future;
use std::sync::Arc;

/// A cursor with what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedCursor {
    /// The topic or filter.
    pub topic: String,
    /// How far its subscription has come.
    pub cursor: Cursor,
}

/// Keeps cursors by the names of subscriptions. An application may write its own, for the place where
/// its data is; [`CursorStoreError::Unavailable`] is for whatever goes wrong there.
///
/// For one name, a client loads once and then saves, one save at a time.
pub trait CursorStore: Send + Sync + 'static {
    /// The cursor saved last under `name`; `None` where none ever was.
    ///
    /// # Errors
    /// Whatever stands in the way. Never `None` for a cursor that can't be read: the subscription
    /// would begin anew, and nobody would know.
    fn load(&self, name: &str) -> impl Future<Output = Result<Option<SavedCursor>, CursorStoreError>> + Send;

    /// Puts `saved` in the place of what was there. What is returned before this is done must be
    /// either the old or the new cursor, also after a crash.
    ///
    /// # Errors
    /// Whatever stands in the way. The old cursor is kept; the client tries again.
    fn save(
        &self,
        name: &str,
        saved: &SavedCursor,
    ) -> impl Future<Output = Result<(), CursorStoreError>> + Send;
}

impl<S: CursorStore> CursorStore for Arc<S> {
    fn load(&self, name: &str) -> impl Future<Output = Result<Option<SavedCursor>, CursorStoreError>> + Send {
        S::load(self, name)
    }

    fn save(
        &self,
        name: &str,
        saved: &SavedCursor,
    ) -> impl Future<Output = Result<(), CursorStoreError>> + Send {
        S::save(self, name, saved)
    }
}
