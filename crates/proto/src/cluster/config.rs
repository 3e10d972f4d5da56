//! Times and sizes of a cluster, the same on all its nodes.

use crate::class::PartitionId;
use crate::view::Durability;
use multibeam_wire::limits::VOTERS_MAX;
use std::time::Duration;

/// See each field. All nodes of a cluster have the same `lease`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Each link says something this often. A heartbeat is also a wish for a lease.
    pub heartbeat: Duration,
    /// How long a grant lets its holder lead, from when the holder asked (R7).
    pub lease: Duration,
    /// Without a sign of life for so long, a peer is silent: its links are closed and it is taken out of the
    /// view. Three heartbeats, so that one lost and one late do no harm.
    pub silent_after: Duration,
    /// A node is in touch for so long before it joins, so that one that comes and goes makes no epochs.
    pub join_debounce: Duration,
    /// A node that has had no lease for so long is isolated (R8).
    pub isolated_after: Duration,
    /// A voter that was silent for so long is replaced, if another member can take its vote. One that lost
    /// its disk is replaced at once.
    pub voter_patience: Duration,
    /// Voters to have: an odd number.
    pub voters: usize,
    /// Copies of a partition, the leader's included.
    pub copies: usize,
    /// How long an operation of the consensus may take before it is tried again.
    pub proposal_timeout: Duration,
    /// The partitions of this node's classes.
    pub partitions: Vec<(PartitionId, Durability)>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            lease: Duration::from_millis(400),
            silent_after: Duration::from_millis(350),
            join_debounce: Duration::from_millis(300),
            isolated_after: Duration::from_secs(2),
            voter_patience: Duration::from_secs(600),
            voters: 3,
            copies: 3,
            proposal_timeout: Duration::from_secs(1),
            partitions: Vec::new(),
        }
    }
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterConfigError {
    /// A lease that ends before it can be renewed twice.
    #[error(
        "a lease of {lease_ms} ms is too short for a heartbeat of {heartbeat_ms} ms: choose at least three times that"
    )]
    LeaseTooShort {
        /// The lease.
        lease_ms: u128,
        /// The heartbeat.
        heartbeat_ms: u128,
    },
    /// A peer that is silent after a single late heartbeat.
    #[error(
        "a peer can't be silent after {silent_ms} ms with a heartbeat of {heartbeat_ms} ms: choose at least three times that"
    )]
    SilentTooSoon {
        /// When it would be.
        silent_ms: u128,
        /// The heartbeat.
        heartbeat_ms: u128,
    },
    /// An even number of voters is no safer than one fewer.
    #[error("{0} voters: choose 1, 3, 5 or {VOTERS_MAX}")]
    Voters(usize),
    /// No copies, or more than there can be.
    #[error("{0} copies of a partition: choose 1 to {COPIES_MAX}")]
    Copies(usize),
}

/// Copies of a partition: each publish waits for all of them.
pub(crate) const COPIES_MAX: usize = 7;

impl ClusterConfig {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// See [`ClusterConfigError`].
    pub fn check(&self) -> Result<(), ClusterConfigError> {
        let (lease_ms, heartbeat_ms) = (self.lease.as_millis(), self.heartbeat.as_millis());
        if self.lease < self.heartbeat * 3 {
            return Err(ClusterConfigError::LeaseTooShort { lease_ms, heartbeat_ms });
        }
        if self.silent_after < self.heartbeat * 3 {
            let silent_ms = self.silent_after.as_millis();
            return Err(ClusterConfigError::SilentTooSoon { silent_ms, heartbeat_ms });
        }
        if self.voters.is_multiple_of(2) || self.voters > VOTERS_MAX {
            return Err(ClusterConfigError::Voters(self.voters));
        }
        if !(1..=COPIES_MAX).contains(&self.copies) {
            return Err(ClusterConfigError::Copies(self.copies));
        }
        Ok(())
    }
}
