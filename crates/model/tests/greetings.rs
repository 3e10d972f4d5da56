//! Who talks to whom: what two nodes make of each other's handshake.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam_proto::cluster::{Greeting, RefusedPeer, greet};
use multibeam_proto::planted::{Bug, plant};
use multibeam_proto::view::{Batch, Op, View};
use multibeam_wire::Features;
use multibeam_wire::link::{ClusterId, Epoch, Identity, Incarnation, NodeId, StoreId};

fn node(cluster: u128, id: u64, incarnation: u64) -> Identity {
    Identity {
        features: Features::NONE,
        cluster: ClusterId(cluster),
        node: NodeId(id),
        store: StoreId(100 + id),
        incarnation: Incarnation(incarnation),
        epoch: Epoch(0),
    }
}

fn refused(greeting: Greeting) -> RefusedPeer {
    match greeting {
        Greeting::Refused(refused) => refused,
        Greeting::Accepted | Greeting::Adopt(_) => panic!("{greeting:?}"),
    }
}

#[test]
fn nodes_of_two_clusters_have_nothing_to_say_to_each_other() {
    let (own, peer) = (node(1, 1, 1), node(2, 2, 1));
    let (theirs, ours) = (ClusterId(2), ClusterId(1));
    let refusal = refused(greet(&own, &peer, true, &View::default()));
    assert_eq!(refusal, RefusedPeer::OtherCluster { theirs, ours });
    plant(Some(Bug::ClustersJoined));
    let planted = greet(&own, &peer, true, &View::default());
    plant(None);
    assert_eq!(planted, Greeting::Accepted, "the planted bug is none");
}

#[test]
fn a_node_without_a_cluster_joins_only_whom_its_configuration_names() {
    let (own, peer) = (node(0, 1, 1), node(2, 2, 1));
    assert_eq!(greet(&own, &peer, true, &View::default()), Greeting::Adopt(ClusterId(2)));
    assert_eq!(refused(greet(&own, &peer, false, &View::default())), RefusedPeer::Uninvited);
    // The other side waits for it to adopt.
    assert_eq!(greet(&peer, &own, false, &View::default()), Greeting::Accepted);
    assert_eq!(greet(&own, &node(0, 2, 1), false, &View::default()), Greeting::Accepted);
}

#[test]
fn names_and_disks_are_one_nodes() {
    let own = node(1, 1, 5);
    assert_eq!(refused(greet(&own, &own, true, &View::default())), RefusedPeer::Itself);
    let wiped = Identity { store: StoreId(9), ..own };
    assert_eq!(refused(greet(&own, &wiped, true, &View::default())), RefusedPeer::SameName(NodeId(1)));
    let copied = Identity { node: NodeId(2), ..own };
    assert_eq!(refused(greet(&own, &copied, true, &View::default())), RefusedPeer::SameStore);
    let mut view = View::default();
    let join = Op::Join {
        node: NodeId(2),
        incarnation: Incarnation(7),
        store: StoreId(102),
        address: "b:1".into(),
        clients: "b:2".into(),
        weight: 1,
    };
    view.apply(&Batch { if_epoch: None, ops: vec![join] });
    assert_eq!(refused(greet(&own, &node(1, 2, 6), true, &view)), RefusedPeer::StaleIncarnation(NodeId(2)));
    assert_eq!(greet(&own, &node(1, 2, 7), true, &view), Greeting::Accepted);
}
