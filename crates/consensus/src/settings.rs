//! Times and sizes of the consensus, and which of them go together.

use openraft::{Config, SnapshotPolicy};
use std::time::Duration;

/// Entries in one question. With the largest batches that is 1 MiB, which must pass a link within a
/// heartbeat; twice as many would need a link of 20 MB/s.
pub const PAYLOAD_ENTRIES_MAX: u64 = 16;

/// How long a snapshot may take to be sent, made durable and answered. A leader that waits longer for a dead node
/// starts again later for it; openraft's 200 ms would be shorter than some disks need.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(3);

/// Waiting times in tests of a slow network reach here; longer ones are a mistake in a configuration.
const ELECTION_MAX: Duration = Duration::from_secs(60);

/// Times and sizes of one node; the same on all nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Interval of a leader's signs of life, which really go out each one and a half of it. Also how long
    /// entries may take to a node, onto its disk, and back: above that nothing is ever agreed on.
    pub heartbeat: Duration,
    /// A node that heard no leader waits for `election_max`, and then for a time of its own drawn from between
    /// these two, before it asks for votes.
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
    /// Entries after which a snapshot replaces them.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot, for nodes that are a little behind.
    pub kept_entries: u64,
}

/// A network of unknown quality: a leader is replaced within 1.2 s.
impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            // At 64 KiB each the log stays below 40 MB; at the usual few hundred bytes a snapshot of 35 KB is
            // written once for several times its size of entries.
            snapshot_entries: 500,
            kept_entries: 100,
        }
    }
}

/// What does not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Times are counted in whole milliseconds.
    #[error("a heartbeat of the consensus of {0:?}: at least 1 ms")]
    Heartbeat(Duration),
    /// Two heartbeats could be late together, and each would begin an election.
    #[error(
        "elections of the consensus after {min:?} with heartbeats each {heartbeat:?}: at least three of those"
    )]
    Hasty {
        /// `election_min`.
        min: Duration,
        /// `heartbeat`.
        heartbeat: Duration,
    },
    /// All would wait equally long, and nobody would be elected.
    #[error(
        "elections of the consensus after {min:?} to {max:?}: a span of at least 1 ms, below {ELECTION_MAX:?}"
    )]
    Span {
        /// `election_min`.
        min: Duration,
        /// `election_max`.
        max: Duration,
    },
    /// At least one entry.
    #[error("a snapshot of the consensus after no entry at all")]
    Snapshot,
}

impl Settings {
    /// From the loss of a leader on, nobody asks for votes sooner: it may have given its last sign of life one and a
    /// half heartbeats before.
    #[must_use]
    pub fn votes_asked_min(&self) -> Duration {
        (self.election_max + self.election_min).saturating_sub(self.heartbeat * 3 / 2)
    }

    /// Whether these go together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let &Self { heartbeat, election_min: min, election_max: max, .. } = self;
        if heartbeat.as_millis() == 0 {
            return Err(SettingsError::Heartbeat(heartbeat));
        }
        // Two ticks, of one and a half heartbeats each.
        if min < heartbeat * 3 {
            return Err(SettingsError::Hasty { min, heartbeat });
        }
        if min.as_millis() >= max.as_millis() || max > ELECTION_MAX {
            return Err(SettingsError::Span { min, max });
        }
        if self.snapshot_entries == 0 {
            return Err(SettingsError::Snapshot);
        }
        Ok(())
    }

    pub(crate) fn config(&self) -> Config {
        let millis = |duration: Duration| duration.as_millis() as u64;
        Config {
            cluster_name: "multibeam".into(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
            max_payload_entries: PAYLOAD_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.kept_entries,
            // More than ever is in the log: who lacks an entry that is still there gets that and no snapshot.
            replication_lag_threshold: 2 * (self.snapshot_entries + self.kept_entries),
            purge_batch_size: 1,
            ..Config::default()
        }
    }
}
