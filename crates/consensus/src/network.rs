//! Questions between nodes: what openraft asks becomes an [`Ask`], which the link layer carries.

mod message;

pub use message::NODES_MAX;
pub(crate) use message::{NoQuestion, Question, encode_answer};

use crate::error::Unreachable;
use crate::settings::PAYLOAD_ENTRIES_MAX;
use crate::store::Kept;
use crate::types::{Snapshot, Types, Vote};
use message::decode_answer;
use multibeam_proto::view::{BATCH_BYTES_MAX, DEPARTED_MAX};
use multibeam_proto::{CLASSES_MAX, MEMBERS_MAX, PARTITIONS_MAX};
use multibeam_wire::link::StoreId;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend, RaftNetwork, RaftNetworkFactory};
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Bytes of a question. A snapshot of the largest view there can be fits (a usual one has 35 KB), and so do the
/// most and largest entries that travel together. A link keeps one such for each node that asks.
pub const ASK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of a partition's record with five copies, each of its numbers at its longest.
const RECORD_BYTES_MAX: usize = 220;

/// Members, those that have gone, and voters: 300 bytes each of the first, 40 of the second.
const MEMBERS_BYTES_MAX: usize = MEMBERS_MAX * 300 + DEPARTED_MAX * 40 + 4096;

const _: () =
    assert!(CLASSES_MAX * PARTITIONS_MAX as usize * RECORD_BYTES_MAX + MEMBERS_BYTES_MAX <= ASK_BYTES_MAX);

/// What an entry has beside its batch, at most.
const ENTRY_OVERHEAD_MAX: usize = 1024;

const _: () = assert!(PAYLOAD_ENTRIES_MAX as usize * (BATCH_BYTES_MAX + ENTRY_OVERHEAD_MAX) <= ASK_BYTES_MAX);

/// How long a node that could not be asked is left alone. openraft's 500 ms would keep one that came back waiting
/// longer than an election.
const BACKOFF: Duration = Duration::from_millis(100);

/// A question to another node's consensus, for the link layer to carry.
///
/// When the receiver of `answer` is dropped, nobody waits any more; the question may then be dropped too. Answers may
/// come in any order.
#[derive(Debug)]
pub struct Ask {
    /// Whom.
    pub to: StoreId,
    /// What kind of question, for [`crate::Consensus::answer`].
    pub kind: u16,
    /// The question, at most [`ASK_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Vec<u8>, Unreachable>>,
}

/// Makes a [`Peer`] for each other node.
#[derive(Debug)]
pub(crate) struct Peers(pub(crate) mpsc::Sender<Ask>);

impl RaftNetworkFactory<Types> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        Peer { to: StoreId(target), asks: self.0.clone() }
    }
}

/// Another node.
#[derive(Debug)]
pub(crate) struct Peer {
    to: StoreId,
    asks: mpsc::Sender<Ask>,
}

type Asked<T> = Result<T, RPCError<u64, EmptyNode, RaftError<u64>>>;

impl Peer {
    async fn ask<T: DeserializeOwned>(&self, question: &Question) -> Result<T, Unreachable> {
        let bytes = question.encode();
        if bytes.len() > ASK_BYTES_MAX {
            return Err(Unreachable);
        }
        let (answer, answered) = oneshot::channel();
        let ask = Ask { to: self.to, kind: question.kind(), bytes, answer };
        self.asks.send(ask).await.map_err(|_| Unreachable)?;
        let bytes = answered.await.map_err(|_| Unreachable)??;
        decode_answer(&bytes).ok_or(Unreachable)
    }
}

fn unreachable(error: Unreachable) -> openraft::error::Unreachable {
    openraft::error::Unreachable::new(&error)
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Asked<AppendEntriesResponse<u64>> {
        Ok(self.ask(&Question::Append(request)).await.map_err(unreachable)?)
    }

    async fn vote(&mut self, request: VoteRequest<u64>, _option: RPCOption) -> Asked<VoteResponse<u64>> {
        Ok(self.ask(&Question::Vote(request)).await.map_err(unreachable)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let question = Question::Snapshot(vote, Kept { meta: snapshot.meta, view: *snapshot.snapshot });
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            asked = tokio::time::timeout(option.hard_ttl(), self.ask(&question)) => {
                asked.unwrap_or(Err(Unreachable)).map_err(|error| unreachable(error).into())
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
