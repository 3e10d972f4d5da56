//! Learners and changes of voters: the scenarios B and C of the measured facts.

use crate::cluster::{Cluster, WITHIN, batch, run, stores};
use multibeam_consensus::{NODES_MAX, ProposeError, Role};
use multibeam_proto::cluster::PROMOTE_LAG_MAX;
use multibeam_wire::link::StoreId;
use std::time::Duration;
use tokio::time::sleep;

async fn caught_up(cluster: &Cluster, leader: u64, learner: u64) {
    let near = |cluster: &Cluster| {
        let status = cluster.node(leader).status();
        let matched = status.replication.get(&StoreId(learner)).copied().flatten();
        matched.is_some_and(|matched| matched + PROMOTE_LAG_MAX >= status.last_log.unwrap())
    };
    cluster.until("the learner has caught up", near).await;
}

#[test]
fn learners_are_let_go_and_voters_are_not() {
    run(async || {
        let mut cluster = Cluster::of(1, 1).await;
        for id in [2, 3] {
            cluster.start(id).await;
            cluster.node(1).add_learner(StoreId(id), WITHIN).await.unwrap();
            caught_up(&cluster, 1, id).await;
        }
        cluster.node(1).change_voters(&stores(&[1, 2]), WITHIN).await.unwrap();
        cluster.node(1).remove_learners(&stores(&[2, 3, 9]), WITHIN).await.unwrap();
        let status = cluster.node(1).status();
        assert_eq!(status.voters.present.stores(), stores(&[1, 2]));
        assert!(!status.replication.contains_key(&StoreId(3)), "{:?}", status.replication);
        cluster.propose(batch(1)).await;
    });
}

/// Scenario C1.
#[test]
fn a_cluster_of_one_grows_to_three() {
    run(async || {
        let mut cluster = Cluster::of(1, 1).await;
        for next in 1..=700 {
            cluster.propose(batch(next)).await;
        }
        for id in [2, 3] {
            cluster.start(id).await;
            cluster.node(1).add_learner(StoreId(id), WITHIN).await.unwrap();
            cluster.node(1).add_learner(StoreId(id), WITHIN).await.unwrap();
            caught_up(&cluster, 1, id).await;
        }
        assert_eq!(cluster.node(2).status().role, Role::Learner);
        let before = cluster.node(1).status().voters;
        cluster.node(1).change_voters(&stores(&[1, 2, 3]), WITHIN).await.unwrap();
        let after = cluster.node(1).status().voters;
        assert!(after.index > before.index);
        assert_eq!(after.present.stores(), stores(&[1, 2, 3]));
        cluster.stop(1).await;
        cluster.propose(batch(701)).await;
        cluster.converge(701).await;
    });
}

/// Scenario C1, a disk lost.
#[test]
fn a_voter_that_is_gone_is_replaced() {
    run(async || {
        let mut cluster = Cluster::of(2, 3).await;
        cluster.propose(batch(1)).await;
        let leader = cluster.leader().await;
        let gone = leader % 3 + 1;
        cluster.stop(gone).await;
        cluster.start(4).await;
        cluster.node(leader).add_learner(StoreId(4), WITHIN).await.unwrap();
        caught_up(&cluster, leader, 4).await;
        let kept: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != gone).collect();
        cluster.node(leader).change_voters(&stores(&kept), WITHIN).await.unwrap();
        let status = cluster.node(leader).status();
        assert_eq!(status.voters.present.stores(), stores(&kept));
        assert!(!status.replication.contains_key(&StoreId(gone)));
        cluster.propose(batch(2)).await;
        cluster.converge(2).await;
    });
}

/// Scenarios B1 and B2.
#[test]
fn a_dead_learner_is_seen_and_gets_no_vote() {
    run(async || {
        let cluster = Cluster::of(3, 1).await;
        cluster.node(1).add_learner(StoreId(2), WITHIN).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(cluster.node(1).status().replication.get(&StoreId(2)), Some(&None));
        let dead = cluster.node(1).change_voters(&stores(&[1, 2]), WITHIN).await;
        assert_eq!(dead, Err(ProposeError::NotCaughtUp(StoreId(2))));
        let unknown = cluster.node(1).change_voters(&stores(&[1, 9]), WITHIN).await;
        assert_eq!(unknown, Err(ProposeError::NotLearner(StoreId(9))));
        assert_eq!(cluster.node(1).change_voters(&[], WITHIN).await, Err(ProposeError::BadVoters));
        let many: Vec<u64> = (1..=8).collect();
        assert_eq!(cluster.node(1).change_voters(&stores(&many), WITHIN).await, Err(ProposeError::BadVoters));
        assert!(cluster.propose(batch(1)).await.changed, "all of that changed nothing");
    });
}

#[test]
fn both_sets_are_seen_while_a_change_can_not_be_agreed_on() {
    run(async || {
        let mut cluster = Cluster::of(4, 1).await;
        cluster.start(2).await;
        cluster.node(1).add_learner(StoreId(2), WITHIN).await.unwrap();
        caught_up(&cluster, 1, 2).await;
        cluster.network.cut(1, 2);
        let change = cluster.node(1).change_voters(&stores(&[1, 2]), WITHIN).await;
        assert_eq!(change, Err(ProposeError::Unknown));
        let voters = cluster.node(1).status().voters;
        assert_eq!((voters.before.stores(), voters.present.stores()), (&*stores(&[1]), &*stores(&[1, 2])));
        let second = cluster.node(1).change_voters(&stores(&[1]), WITHIN).await;
        assert_eq!(second, Err(ProposeError::ChangeUnderWay));
        cluster.network.heal();
        // Nobody waits any more, and it is finished all the same.
        let done = |cluster: &Cluster| {
            let voters = cluster.node(1).status().voters;
            voters.before.is_empty() && voters.present.stores() == stores(&[1, 2])
        };
        cluster.until("the change is done", done).await;
    });
}

#[test]
fn there_are_only_so_many_learners() {
    run(async || {
        let cluster = Cluster::of(6, 1).await;
        for id in 2..=NODES_MAX as u64 {
            cluster.node(1).add_learner(StoreId(id), WITHIN).await.unwrap();
        }
        let next = StoreId(NODES_MAX as u64 + 1);
        assert_eq!(cluster.node(1).add_learner(next, WITHIN).await, Err(ProposeError::TooManyNodes));
        assert_eq!(cluster.node(1).add_learner(StoreId(2), WITHIN).await, Ok(()));
    });
}

#[test]
fn only_the_leader_changes_voters() {
    run(async || {
        let cluster = Cluster::of(5, 3).await;
        let leader = cluster.leader().await;
        let follower = cluster.node(leader % 3 + 1);
        let refused = Err(ProposeError::NotLeader(Some(StoreId(leader))));
        assert_eq!(follower.add_learner(StoreId(4), WITHIN).await, refused);
        assert_eq!(follower.change_voters(&stores(&[1, 2]), WITHIN).await, refused);
    });
}
