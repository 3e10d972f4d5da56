//! What can go wrong, as sentences; a store's own are beside it.

use crate::network::NODES_MAX;
use crate::settings::SettingsError;
use multibeam_proto::view::BATCH_BYTES_MAX;
use multibeam_wire::limits::VOTERS_MAX;
use multibeam_wire::link::StoreId;

/// Why a node can't take part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// Nothing was started.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It could not begin, or has ended; what happened, and what to do.
    #[error("{0}")]
    Stopped(String),
    /// A first set of voters must name this node, and one to [`VOTERS_MAX`]. Nothing was changed.
    #[error("the first voters must be 1 to {VOTERS_MAX} disks, this node's {:016x} among them", .0.0)]
    BadVoters(StoreId),
    /// Nothing was changed.
    #[error(
        "this node belongs to a cluster with other voters already ({0}); wipe its disk to use it in another"
    )]
    OtherVoters(String),
}

/// Why a batch or a change of voters is not agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Certainly not done: only the leader can, and that is somebody else.
    #[error("this node does not lead the cluster's view; {}", leader(.0))]
    NotLeader(Option<StoreId>),
    /// It may be done already, or be done later, or never. Propose the same again: whatever is done already changes
    /// nothing.
    #[error("no majority of the voters answered in time, so that it is unknown whether this is agreed on")]
    Unknown,
    /// Certainly not done: so many bytes.
    #[error("a batch of {0} bytes, and {BATCH_BYTES_MAX} are the most: propose it in parts")]
    TooLarge(usize),
    /// Certainly not done: this node has [`crate::PROPOSALS_MAX`] open, or [`crate::UNDECIDED_MAX`] entries that no
    /// majority has.
    #[error("too many proposals wait for a majority of the voters: try again when it answers")]
    Overloaded,
    /// Not done: an earlier change of voters is not agreed on yet.
    #[error("another change of voters is under way")]
    ChangeUnderWay,
    /// Not done: add it as a learner first.
    #[error("disk {:016x} is neither learner nor voter: add it as a learner first", .0.0)]
    NotLearner(StoreId),
    /// Not done: as a voter it would hold up every later decision.
    #[error("disk {:016x} does not have the newest entries yet, or does not answer: it can't vote", .0.0)]
    NotCaughtUp(StoreId),
    /// Not done.
    #[error("{NODES_MAX} voters and learners are there already: remove some by a change of voters")]
    TooManyNodes,
    /// Not done.
    #[error("there must be 1 to {VOTERS_MAX} voters")]
    BadVoters,
    /// As [`Self::Unknown`]; and this node has ended.
    #[error("the consensus of this node has ended")]
    Stopped,
}

fn leader(leader: &Option<StoreId>) -> String {
    leader.map_or("nobody is known to".into(), |store| format!("disk {:016x} does", store.0))
}

/// Why a question of another node has no answer. The asker is told that this node is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A later build asks.
    #[error("a question of kind {0}, which this build does not know")]
    UnknownKind(u16),
    /// No question that a node asks; nothing was changed.
    #[error("a question of kind {0} that no node asks: the link should be closed")]
    Malformed(u16),
    /// See [`crate::Consensus::failed`].
    #[error("the consensus of this node has ended")]
    Stopped,
}

/// Nobody answers: no link, it broke, or the other node has no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the node could not be asked")]
pub struct Unreachable;
