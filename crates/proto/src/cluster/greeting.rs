//! Whether two nodes talk to each other at all: decided by both from what they say in the handshake, before
//! anything of the consensus passes.

use crate::planted::{self, Bug};
use crate::view::View;
use multibeam_wire::link::{ClusterId, Identity, NodeId};

/// What follows from a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// They are of one cluster, or the other will be of ours.
    Accepted,
    /// This node is of no cluster yet and becomes one of the other's. To be made durable first.
    Adopt(ClusterId),
    /// They have nothing to do with each other.
    Refused(RefusedPeer),
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusedPeer {
    /// Another cluster.
    #[error("it belongs to cluster {:032x}, and this node to {:032x}: one of the two has the wrong address or the wrong data directory", .theirs.0, .ours.0)]
    OtherCluster {
        /// The peer's.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// This node dialled itself.
    #[error("it is this node itself")]
    Itself,
    /// This node is of no cluster, and its configuration does not name the peer.
    #[error(
        "it is of no cluster yet and joins only those that its configuration names: list the peer's address in initial_voters or join there"
    )]
    Uninvited,
    /// Two disks under one name.
    #[error("it has the name of this node ({:016x}) with another disk: give each node its own name", .0.0)]
    SameName(NodeId),
    /// A copied data directory.
    #[error(
        "it has the disk of this node under another name: a data directory was copied, and one of the two must begin with an empty one"
    )]
    SameStore,
    /// A run that was followed by another.
    #[error(
        "it is an earlier run of node {:016x} than the cluster knows: stop it, or, if it is the newest one, set the \
         clock of its machine, by which runs are numbered where a disk was wiped",
        .0.0
    )]
    StaleIncarnation(NodeId),
}

/// What a node makes of a peer's handshake. `invited`: the configuration names the peer's address; a node
/// without a cluster would otherwise become one of whoever comes first.
#[must_use]
pub fn greet(own: &Identity, peer: &Identity, invited: bool, view: &View) -> Greeting {
    if (peer.node, peer.store) == (own.node, own.store) {
        return Greeting::Refused(RefusedPeer::Itself);
    }
    let virgin = ClusterId::default();
    if own.cluster != virgin
        && peer.cluster != virgin
        && own.cluster != peer.cluster
        && !planted::on(Bug::ClustersJoined)
    {
        let (theirs, ours) = (peer.cluster, own.cluster);
        return Greeting::Refused(RefusedPeer::OtherCluster { theirs, ours });
    }
    if peer.node == own.node {
        return Greeting::Refused(RefusedPeer::SameName(own.node));
    }
    if peer.store == own.store {
        return Greeting::Refused(RefusedPeer::SameStore);
    }
    if view.last_incarnation(peer.node).is_some_and(|known| peer.incarnation < known) {
        return Greeting::Refused(RefusedPeer::StaleIncarnation(peer.node));
    }
    if own.cluster == virgin && peer.cluster != virgin && !invited && !planted::on(Bug::ClustersJoined) {
        return Greeting::Refused(RefusedPeer::Uninvited);
    }
    if own.cluster == virgin && peer.cluster != virgin {
        Greeting::Adopt(peer.cluster)
    } else {
        Greeting::Accepted
    }
}
