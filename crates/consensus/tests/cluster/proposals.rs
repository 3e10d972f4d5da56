//! What becomes of proposals that are not agreed on.

use crate::cluster::{Cluster, WITHIN, batch, run};
use multibeam_consensus::{PROPOSALS_MAX, ProposeError, UNDECIDED_MAX};
use multibeam_proto::NodeId;
use multibeam_proto::view::{BATCH_BYTES_MAX, Batch, Op, Refusal};
use multibeam_wire::link::{Incarnation, StoreId};
use std::time::Duration;

#[test]
fn only_the_leader_proposes() {
    run(async || {
        let cluster = Cluster::of(1, 3).await;
        let leader = cluster.leader().await;
        let follower = (1..=3).find(|id| *id != leader).unwrap();
        let refused = cluster.node(follower).propose(batch(1), WITHIN).await;
        assert_eq!(refused, Err(ProposeError::NotLeader(Some(StoreId(leader)))));
    });
}

#[test]
fn a_batch_has_a_limit_and_the_largest_passes() {
    run(async || {
        let cluster = Cluster::of(2, 3).await;
        let leader = cluster.leader().await;
        let remove = |node| Op::Remove { node: NodeId(node), incarnation: Incarnation(u64::MAX) };
        let mut large = Batch { if_epoch: None, ops: vec![] };
        while large.encode().len() <= BATCH_BYTES_MAX {
            large.ops.extend((0..100).map(remove));
        }
        let bytes = large.encode().len();
        let refused = cluster.node(leader).propose(large.clone(), WITHIN).await;
        assert_eq!(refused, Err(ProposeError::TooLarge(bytes)));
        while large.encode().len() > BATCH_BYTES_MAX {
            large.ops.pop();
        }
        let outcome = cluster.propose(large.clone()).await;
        assert_eq!((outcome.changed, outcome.refused.len()), (false, large.ops.len()));
    });
}

#[test]
fn a_batch_for_another_view_is_refused_by_the_machine() {
    run(async || {
        let cluster = Cluster::of(3, 1).await;
        cluster.propose(batch(1)).await;
        let outcome = cluster.propose(Batch { if_epoch: Some(0), ..batch(2) }).await;
        assert_eq!(outcome.refused, [(0, Refusal::OtherView(1))]);
    });
}

#[test]
fn a_leader_that_is_cut_off_takes_only_so_many() {
    run(async || {
        let cluster = Cluster::of(5, 3).await;
        let leader = cluster.leader().await;
        for other in (1..=3).filter(|id| *id != leader) {
            cluster.network.cut(leader, other);
        }
        let node = cluster.node(leader);
        let mut unknown = 0;
        for _ in 0..2 * UNDECIDED_MAX {
            let proposed = node.propose(batch(1), Duration::from_millis(1)).await;
            unknown += u64::from(proposed == Err(ProposeError::Unknown));
        }
        assert_eq!(node.propose(batch(1), WITHIN).await, Err(ProposeError::Overloaded));
        assert!((200..=UNDECIDED_MAX).contains(&unknown), "{unknown} were taken");
    });
}

#[test]
fn only_so_many_proposals_wait_at_the_same_time() {
    run(async || {
        let cluster = Cluster::of(6, 3).await;
        let leader = cluster.node(cluster.leader().await).clone();
        let propose = |number| {
            let leader = leader.clone();
            tokio::spawn(async move { leader.propose(batch(number), WITHIN).await })
        };
        let proposals: Vec<_> = (1..=PROPOSALS_MAX as u64 + 1).map(propose).collect();
        let mut outcomes = Vec::new();
        for proposal in proposals {
            outcomes.push(proposal.await.unwrap());
        }
        let overloaded = outcomes.iter().filter(|outcome| **outcome == Err(ProposeError::Overloaded)).count();
        assert_eq!((overloaded, outcomes.iter().flatten().count()), (1, PROPOSALS_MAX));
    });
}

/// A deposed leader throws an entry out of its log; that is no proof that nobody has it.
#[test]
fn a_deposed_leader_does_not_know_what_became_of_its_proposal() {
    run(async || {
        let cluster = Cluster::of(4, 3).await;
        let leader = cluster.leader().await;
        for other in (1..=3).filter(|id| *id != leader) {
            cluster.network.cut(leader, other);
        }
        let deposed = cluster.node(leader).clone();
        let proposed = tokio::spawn(async move { deposed.propose(batch(1), Duration::from_secs(50)).await });
        let others =
            |cluster: &Cluster| cluster.node(leader % 3 + 1).status().leader != Some(StoreId(leader));
        cluster.until("the others notice", others).await;
        let new = |cluster: &Cluster| {
            cluster.running().any(|(id, node)| id != leader && node.status().quorum_acked.is_some())
        };
        cluster.until("another leads", new).await;
        let new =
            (1..=3).find(|id| *id != leader && cluster.node(*id).status().quorum_acked.is_some()).unwrap();
        cluster.node(new).propose(batch(2), WITHIN).await.unwrap();
        cluster.network.heal();
        assert_eq!(proposed.await.unwrap(), Err(ProposeError::Unknown));
    });
}
