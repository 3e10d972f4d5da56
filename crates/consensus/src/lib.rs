//! What the voters of a cluster agree on: one log, one [`View`](multibeam_proto::view::View).
//!
//! [`Consensus`] is one voter or learner. It puts batches into the log, applies what was agreed and says what it
//! knows of the others. It carries no bytes itself: questions to other nodes leave as [`Ask`]s, theirs come
//! in by [`Consensus::answer`]. What must survive is in a [`Store`], on a [`Disk`] of the caller's.
//!
//! ```text
//!  propose ─► openraft ─► log ─► Store ─► Disk          Ask ─► link ─► answer, at the other node
//!                └──────► machine ─► view, changed
//! ```
//!
//! Nobody outside sees that it is openraft and redb. There is no clock here but tokio's, no randomness but
//! a seed of the caller's, no thread: a write to the disk is made where it is asked for, and waited for.

#![forbid(unsafe_code)]

mod consensus;
mod disk;
mod error;
mod machine;
mod network;
mod runtime;
mod settings;
mod status;
mod store;
mod types;

pub use consensus::{Consensus, PROPOSALS_MAX, Setup, UNDECIDED_MAX};
pub use disk::Disk;
pub use error::{AnswerError, ConsensusError, ProposeError, Unreachable};
pub use network::{ASK_BYTES_MAX, Ask, NODES_MAX};
pub use settings::{PAYLOAD_ENTRIES_MAX, Settings, SettingsError};
pub use status::{Role, Status};
pub use store::{Store, StoreError};
