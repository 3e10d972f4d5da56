//! One agent, and what follows from what it is told; the agents of several nodes meet in the tests of `model`.

mod joins;
mod leases;
mod removals;
mod voters;

use super::{Act, Agent, ClusterConfig, ConsensusFacts, Output, Own};
use crate::time::Time;
use crate::view::{Batch, Op, View};
use multibeam_wire::Features;
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, Incarnation, LinkHello, LinkPurpose, NodeId, StoreId, VoterSet, Voters,
};
use std::sync::Arc;

const CLUSTER: ClusterId = ClusterId(7);

fn ms(ms: u64) -> Time {
    Time(1_000_000 + ms * 1000)
}

/// Node 1, with the disk 101, in its first run.
fn agent() -> Agent {
    let own = Own {
        cluster: CLUSTER,
        node: NodeId(1),
        store: StoreId(101),
        incarnation: Incarnation(1),
        address: "a:1".into(),
        clients: "".into(),
        weight: 1,
    };
    Agent::new(own, ClusterConfig::default(), None, ms(0)).unwrap()
}

fn identity(node: u64) -> Identity {
    Identity {
        features: Features::NONE,
        cluster: CLUSTER,
        node: NodeId(node),
        store: StoreId(100 + node),
        incarnation: Incarnation(1),
        epoch: Epoch(0),
    }
}

/// A node dials this one, and is dialled.
fn link(agent: &mut Agent, node: u64, now: Time) {
    let identity = identity(node);
    let hello = LinkHello { identity, purpose: LinkPurpose::Control, address: "b:1", clients: "", weight: 1 };
    agent.linked(&identity, Some(&hello), now);
    agent.linked(&identity, None, now);
}

fn set(nodes: &[u64]) -> VoterSet {
    VoterSet::new(nodes.iter().map(|node| StoreId(100 + node))).unwrap()
}

fn join(node: u64, incarnation: u64, store: u64) -> Op {
    Op::Join {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        store: StoreId(store),
        address: "b:1".into(),
        clients: "".into(),
        weight: 1,
    }
}

/// A view after these batches.
fn view(batches: &[&[Op]]) -> Arc<View> {
    let mut view = View::default();
    for ops in batches {
        assert_eq!(view.apply(&Batch { if_epoch: None, ops: ops.to_vec() }).refused, []);
    }
    Arc::new(view)
}

/// What node 1 knows as the leader of the consensus.
fn leading(present: VoterSet, before: VoterSet) -> ConsensusFacts {
    ConsensusFacts {
        leads: true,
        term: 1,
        leader: Some(StoreId(101)),
        voters: Voters { index: 5, present, before },
        voters_committed: true,
        applied: 9,
        last_log: 9,
        ..ConsensusFacts::default()
    }
}

/// What the steward wants done.
fn acts(agent: &mut Agent) -> Vec<Act> {
    let outputs = std::iter::from_fn(|| agent.poll());
    outputs.filter_map(|output| if let Output::Act(act) = output { Some(act) } else { None }).collect()
}

/// The same, but for the regular question of what voters have promised.
fn operations(agent: &mut Agent) -> Vec<Act> {
    acts(agent).into_iter().filter(|act| !matches!(act, Act::AskPromises { .. })).collect()
}
