//! The three questions as bytes, and which of them no node asks.
//!
//! openraft trusts what it is given; so whatever it would panic on, or take for a log that can't be, is refused here.

use super::ASK_BYTES_MAX;
use crate::store::Kept;
use crate::types::{Entry, LogId, Types, Vote};
use multibeam_proto::view::{Batch, Undecodable, View};
use multibeam_wire::limits::VOTERS_MAX;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{EmptyNode, EntryPayload, Membership};
use serde::Serialize;
use serde::de::DeserializeOwned;

const APPEND: u16 = 1;
const VOTE: u16 = 2;
const SNAPSHOT: u16 = 3;

/// A term or index that nobody reaches: one more election or entry each microsecond takes 285 years.
const NUMBER_MAX: u64 = 1 << 53;

/// Nodes in one configuration: voters of two sets, and as many learners. Each costs its leader a message each
/// heartbeat. Twice as many are accepted from a leader, so that one that counted late can't be refused by all.
pub const NODES_MAX: usize = 4 * VOTERS_MAX;

/// What one node asks another.
#[derive(Debug)]
pub(crate) enum Question {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    Snapshot(Vote, Kept),
}

/// Why bytes are no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoQuestion {
    UnknownKind,
    Malformed,
}

fn bytes_of(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, Vec::new())
        .expect("postcard fails only where a sequence has no length, and all of ours have")
}

fn value_of<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

pub(crate) fn encode_answer(answer: &impl Serialize) -> Vec<u8> {
    bytes_of(answer)
}

pub(super) fn decode_answer<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    value_of(bytes)
}

impl Question {
    pub(crate) const fn kind(&self) -> u16 {
        match self {
            Self::Append(_) => APPEND,
            Self::Vote(_) => VOTE,
            Self::Snapshot(..) => SNAPSHOT,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Append(request) => bytes_of(request),
            Self::Vote(request) => bytes_of(request),
            Self::Snapshot(vote, kept) => bytes_of(&(vote, kept)),
        }
    }

    pub(crate) fn decode(kind: u16, bytes: &[u8]) -> Result<Self, NoQuestion> {
        if bytes.len() > ASK_BYTES_MAX {
            return Err(NoQuestion::Malformed);
        }
        let question = match kind {
            APPEND => value_of(bytes).map(Self::Append),
            VOTE => value_of(bytes).map(Self::Vote),
            SNAPSHOT => value_of(bytes).map(|(vote, kept)| Self::Snapshot(vote, kept)),
            _ => return Err(NoQuestion::UnknownKind),
        };
        question.filter(Self::is_sound).ok_or(NoQuestion::Malformed)
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Append(request) => {
                let next = request.prev_log_id.map_or(0, |id| id.index + 1);
                is_leader(&request.vote)
                    && request.prev_log_id.is_none_or(|id| is_before(&id, &request.vote))
                    && request.leader_commit.is_none_or(|id| is_before(&id, &request.vote))
                    && are_sound(&request.entries, next, request.prev_log_id, &request.vote)
            }
            Self::Vote(request) => {
                let VoteRequest { vote, last_log_id } = request;
                !vote.committed
                    && vote.leader_id.term <= NUMBER_MAX
                    && last_log_id.is_none_or(|id| is_before(&id, vote))
            }
            Self::Snapshot(vote, kept) => {
                let membership = &kept.meta.last_membership;
                is_leader(vote)
                    && kept.meta.last_log_id.is_some_and(|id| is_before(&id, vote))
                    && membership.log_id().is_some_and(|id| Some(id) <= kept.meta.last_log_id)
                    && is_configuration(membership.membership())
                    && View::decode(&kept.view) != Err(Undecodable::Damaged)
            }
        }
    }
}

fn is_leader(vote: &Vote) -> bool {
    vote.committed && vote.leader_id.term <= NUMBER_MAX
}

/// Whether a leader or candidate of `vote` can have this entry.
fn is_before(id: &LogId, vote: &Vote) -> bool {
    id.leader_id <= vote.leader_id && id.index <= NUMBER_MAX
}

/// Whether these entries follow each other, from `next` on.
fn are_sound(entries: &[Entry], mut next: u64, mut before: Option<LogId>, vote: &Vote) -> bool {
    entries.iter().all(|entry| {
        let id = entry.log_id;
        let sound = id.index == next && before < Some(id) && is_before(&id, vote) && is_entry(&entry.payload);
        (next, before) = (id.index.saturating_add(1), Some(id));
        sound
    })
}

fn is_entry(payload: &EntryPayload<Types>) -> bool {
    match payload {
        EntryPayload::Blank => true,
        EntryPayload::Normal(proposal) => Batch::decode(&proposal.batch) != Err(Undecodable::Damaged),
        EntryPayload::Membership(membership) => is_configuration(membership),
    }
}

/// Whether it is one set of voters or two, all of them known as nodes.
fn is_configuration(membership: &Membership<u64, EmptyNode>) -> bool {
    let sets = membership.get_joint_config();
    let known = |id: &u64| membership.get_node(id).is_some();
    (1..=2).contains(&sets.len())
        && sets.iter().all(|set| (1..=VOTERS_MAX).contains(&set.len()) && set.iter().all(known))
        && membership.nodes().count() <= 2 * NODES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Proposal, SnapshotMeta, StoredMembership};
    use openraft::CommittedLeaderId;
    use std::collections::{BTreeMap, BTreeSet};

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, 1), index)
    }

    fn nodes(ids: std::ops::Range<u64>) -> BTreeMap<u64, EmptyNode> {
        ids.map(|id| (id, EmptyNode::new())).collect()
    }

    fn membership(
        voters: std::ops::Range<u64>,
        learners: std::ops::Range<u64>,
    ) -> Membership<u64, EmptyNode> {
        let mut all = nodes(voters.clone());
        all.extend(nodes(learners));
        Membership::new(vec![voters.collect::<BTreeSet<u64>>()], all)
    }

    fn append(term: u64, from: u64, payloads: Vec<EntryPayload<Types>>) -> AppendEntriesRequest<Types> {
        let entry = |(at, payload)| Entry { log_id: id(term, from + at as u64), payload };
        let entries = payloads.into_iter().enumerate().map(entry).collect();
        let prev_log_id = from.checked_sub(1).map(|before| id(1, before));
        AppendEntriesRequest {
            vote: Vote::new_committed(2, 1),
            prev_log_id,
            entries,
            leader_commit: prev_log_id,
        }
    }

    fn answer(question: &Question) -> Option<NoQuestion> {
        Question::decode(question.kind(), &question.encode()).err()
    }

    fn batch(bytes: Vec<u8>) -> EntryPayload<Types> {
        EntryPayload::Normal(Proposal { batch: bytes, ..Proposal::default() })
    }

    #[test]
    fn what_a_leader_sends_is_taken() {
        let small = batch(Batch::default().encode());
        let later = batch(vec![2, 0]);
        let largest = EntryPayload::Membership(membership(1..8, 20..41));
        for payloads in [vec![], vec![EntryPayload::Blank, small, later, largest]] {
            for from in [0, 9] {
                assert_eq!(answer(&Question::Append(append(2, from, payloads.clone()))), None);
            }
        }
        assert_eq!(answer(&Question::Vote(VoteRequest::new(Vote::new(3, 1), Some(id(2, 7))))), None);
    }

    #[test]
    fn entries_that_no_leader_sends_are_refused() {
        let blank = || vec![EntryPayload::Blank, EntryPayload::Blank];
        let mut gap = append(2, 3, blank());
        gap.entries[1].log_id.index = 9;
        let mut backwards = append(2, 3, blank());
        backwards.entries[1].log_id = id(1, 4);
        let mut unelected = append(2, 3, blank());
        unelected.vote = Vote::new(2, 1);
        let mut ahead = append(2, 3, blank());
        ahead.leader_commit = Some(id(3, 1));
        let mut before = append(2, 3, blank());
        before.prev_log_id = Some(id(3, 2));
        let mut endless = append(2, 3, vec![]);
        endless.vote = Vote::new_committed(u64::MAX, 1);
        let later_term = append(3, 3, blank());
        let damaged = append(2, 3, vec![batch(vec![1, 9])]);
        let many_voters = append(2, 3, vec![EntryPayload::Membership(membership(1..9, 1..1))]);
        let many_nodes = append(2, 3, vec![EntryPayload::Membership(membership(1..4, 10..70))]);
        let nobody = append(2, 3, vec![EntryPayload::Membership(membership(1..1, 1..4))]);
        for request in [
            gap,
            backwards,
            unelected,
            ahead,
            before,
            endless,
            later_term,
            damaged,
            many_voters,
            many_nodes,
            nobody,
        ] {
            let text = format!("{request:?}");
            assert_eq!(answer(&Question::Append(request)), Some(NoQuestion::Malformed), "{text}");
        }
    }

    #[test]
    fn votes_and_snapshots_that_no_node_sends_are_refused() {
        let vote = |vote, last| Question::Vote(VoteRequest::new(vote, last));
        let snapshot = |vote: Vote, last, voters: Option<LogId>, view: &[u8]| {
            let last_membership = StoredMembership::new(voters, membership(1..4, 1..1));
            let meta = SnapshotMeta { last_log_id: last, last_membership, snapshot_id: String::new() };
            Question::Snapshot(vote, Kept { meta, view: view.into() })
        };
        let (leader, view) = (Vote::new_committed(2, 1), View::default().encode());
        assert_eq!(answer(&snapshot(leader, Some(id(2, 9)), Some(id(1, 0)), &view)), None);
        for question in [
            vote(Vote::new_committed(3, 1), None),
            vote(Vote::new(3, 1), Some(id(4, 7))),
            vote(Vote::new(NUMBER_MAX + 1, 1), None),
            vote(Vote::new(3, 1), Some(id(2, NUMBER_MAX + 1))),
            snapshot(Vote::new(2, 1), Some(id(2, 9)), Some(id(1, 0)), &view),
            snapshot(leader, None, Some(id(1, 0)), &view),
            snapshot(leader, Some(id(3, 9)), Some(id(1, 0)), &view),
            snapshot(leader, Some(id(2, 9)), None, &view),
            snapshot(leader, Some(id(2, 9)), Some(id(2, 10)), &view),
            snapshot(leader, Some(id(2, 9)), Some(id(1, 0)), &view[..view.len() - 1]),
            snapshot(leader, Some(id(2, 9)), Some(id(1, 0)), &[1, 9]),
        ] {
            let text = format!("{question:?}");
            assert_eq!(answer(&question), Some(NoQuestion::Malformed), "{text}");
        }
        assert_eq!(Question::decode(VOTE, &vec![0; ASK_BYTES_MAX + 1]).err(), Some(NoQuestion::Malformed));
        assert_eq!(Question::decode(4, &[]).err(), Some(NoQuestion::UnknownKind));
    }
}
