//! How a node learns that its consensus has ended: openraft's core is a task, and nobody hears it fall.

use super::Consensus;
use crate::store::Store;
use openraft::error::Fatal;
use std::future::pending;
use std::time::Duration;

/// How often the core is asked whether it is there. Its end is seen at once; this is for one that hangs on.
const PING: Duration = Duration::from_secs(1);

impl Consensus {
    /// Waits until this node's consensus can't go on (a storage error, a panic) and says why. What it shows is then
    /// worth nothing, and the process should end. Never returns after [`Consensus::shutdown`].
    pub async fn failed(&self) -> String {
        let mut servers = self.inner.raft.server_metrics();
        loop {
            tokio::select! {
                biased;
                _ = servers.changed() => {}
                () = tokio::time::sleep(PING) => {}
            }
            let ended = self.inner.raft.is_initialized().await.err();
            if self.inner.stopping.get().is_some() {
                return pending().await;
            }
            // An error of the node's own facts ends it too: the core may touch the disk much later.
            match (ended, self.inner.store.fault()) {
                (Some(fatal), _) => return sentence(&self.inner.store, &fatal),
                (None, Some(fault)) => return fault.to_string(),
                (None, None) => {}
            }
        }
    }
}

/// Why the core has ended, for a person.
pub(super) fn sentence(store: &Store, fatal: &Fatal<u64>) -> String {
    match (store.fault(), fatal) {
        (Some(fault), _) => fault.to_string(),
        (None, Fatal::StorageError(error)) => {
            format!("the consensus can't use its store ({error}); start the node again")
        }
        (None, Fatal::Panicked) => {
            "the consensus has panicked, as the log tells; start the node again and report the bug".into()
        }
        (None, Fatal::Stopped) => "the consensus has ended without a reason; start the node again".into(),
    }
}
