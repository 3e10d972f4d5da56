//! What nodes ask each other beside the consensus' own questions: promises, and signing off.

use multibeam_proto::cluster::{GivenUp, Promise, Wish};
use multibeam_wire::link::{Incarnation, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Kinds below are the consensus' own.
const OWN_KINDS: u16 = 100;
/// A steward asks a voter for promises.
pub(super) const PROMISES: u16 = OWN_KINDS;
/// A node that ends tells the leader that it leads nothing any more.
pub(super) const SIGN_OFF: u16 = OWN_KINDS + 1;

/// [`PROMISES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskPromises {
    /// Which nodes are to lead no more.
    pub(super) wanted: Vec<Wish>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promises {
    /// What became of each wish; times count from when the answer was made.
    pub(super) made: Vec<(GivenUp, Promise)>,
    /// All promises of this voter that nobody has decided.
    pub(super) undecided: Vec<GivenUp>,
}

/// [`SIGN_OFF`]; the answer is whether the asked one leads, as a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignOff {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let bytes = postcard::to_extend(value, Vec::new());
    bytes.expect("postcard fails only where a sequence has no length, and all of ours have")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}
