//! Cursors for as long as the process lives: for tests, and for subscriptions that come and go.

use super::{CursorStore, SavedCursor};
use crate::error::CursorStoreError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps cursors in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryCursorStore {
    saved: Arc<Mutex<BTreeMap<String, SavedCursor>>>,
}

impl MemoryCursorStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl CursorStore for MemoryCursorStore {
    async fn load(&self, name: &str) -> Result<Option<SavedCursor>, CursorStoreError> {
        Ok(self.saved.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    async fn save(&self, name: &str, saved: &SavedCursor) -> Result<(), CursorStoreError> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), saved.clone());
        Ok(())
    }
}
