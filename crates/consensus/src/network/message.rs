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
