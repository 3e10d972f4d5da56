//! What a node knows of its consensus at a moment.

use crate::types::{Raft, StoredMembership, store_ids};
use multibeam_wire::link::{StoreId, VoterSet, Voters};
use openraft::{RaftMetrics, ServerState};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It puts entries into the log. Only with [`Status::quorum_acked`] fresh does anybody follow.
    Leader,
    /// It votes.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It has no vote, or belongs to no cluster yet.
    Learner,
    /// It has ended.
    Stopped,
}

/// See the module's documentation. Indexes are places in the log, from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node's part.
    pub role: Role,
    /// The newest term it has seen.
    pub term: u64,
    /// Who leads, as far as is known; also this node.
    pub leader: Option<StoreId>,
    /// The last entry in its log.
    pub last_log: Option<u64>,
    /// The last entry that it knows to be agreed on.
    pub committed: Option<u64>,
    /// The last entry that its view contains.
    pub applied: Option<u64>,
    /// The term of the leader that put this entry into the log; 0 without one.
    pub applied_term: u64,
    /// The last entry that its newest snapshot contains.
    pub snapshot: Option<u64>,
    /// The newest configuration in its log, agreed on or not, with both sets while they change. `index` is the
    /// entry's place in the log counted from 1, so that 0 is a node without any.
    pub voters: Voters,
    /// Leader: how long ago, when it last looked (each one and a half heartbeats), a majority had answered. A
    /// leader from which that is longer than an election takes is none any more and does not know it.
    pub quorum_acked: Option<Duration>,
    /// Leader: the last entry that each other node is known to have, and its own. `None`: it has answered
    /// nothing yet, or has nothing. A node that dies stays as it was.
    pub replication: BTreeMap<StoreId, Option<u64>>,
}

impl Status {
    /// `committed`: the last entry that the log was told is agreed on.
    pub(crate) fn of(raft: &Raft, committed: Option<u64>) -> Self {
        let receiver = raft.metrics();
        // The sender lives in openraft's core: it is gone when that is.
        let ended = receiver.has_changed().is_err();
        let metrics = receiver.borrow();
        let applied = metrics.last_applied.map(|id| id.index);
        Self {
            role: role(&metrics, ended),
            term: metrics.current_term,
            leader: metrics.current_leader.map(StoreId),
            last_log: metrics.last_log_index,
            committed: committed.max(applied),
            applied,
            applied_term: metrics.last_applied.map_or(0, |id| id.leader_id.term),
            snapshot: metrics.snapshot.map(|id| id.index),
            voters: voters(&metrics.membership_config),
            quorum_acked: metrics.millis_since_quorum_ack.map(Duration::from_millis),
            replication: metrics.replication.iter().flatten().map(matched).collect(),
        }
    }
}

fn matched((id, last): (&u64, &Option<crate::types::LogId>)) -> (StoreId, Option<u64>) {
    (StoreId(*id), last.map(|last| last.index))
}

fn role(metrics: &RaftMetrics<u64, openraft::EmptyNode>, ended: bool) -> Role {
    if ended || metrics.running_state.is_err() {
        return Role::Stopped;
    }
    match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    }
}

fn voters(stored: &StoredMembership) -> Voters {
    let sets = stored.membership().get_joint_config();
    // `answer` and `change_voters` let no set pass that is too large.
    let set = |at: usize| sets.get(at).and_then(|ids| VoterSet::new(store_ids(ids.iter().copied())));
    let (present, before) = if sets.len() > 1 { (set(1), set(0)) } else { (set(0), None) };
    Voters {
        index: stored.log_id().map_or(0, |id| id.index + 1),
        present: present.unwrap_or_default(),
        before: before.unwrap_or_default(),
    }
}
