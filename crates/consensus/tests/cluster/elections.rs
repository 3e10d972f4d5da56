//! Who leads, and what all of them have.

use crate::cluster::{Cluster, batch, number, run, stores};
use multibeam_consensus::{ConsensusError, Role};
use multibeam_wire::link::{StoreId, Voters};
use std::time::Duration;
use tokio::time::sleep;

#[test]
fn one_leads_and_all_have_the_same_view() {
    run(async || {
        let cluster = Cluster::of(1, 3).await;
        for next in 1..=20 {
            let outcome = cluster.propose(batch(next)).await;
            assert_eq!((outcome.epoch, outcome.changed, outcome.refused), (next, true, vec![]));
        }
        cluster.converge(20).await;
        let leader = cluster.leader().await;
        for (id, node) in cluster.running() {
            let status = node.status();
            assert_eq!(status.leader, Some(StoreId(leader)));
            assert_eq!(status.role == Role::Leader, id == leader);
            assert_eq!(status.voters.present.stores(), stores(&[1, 2, 3]));
            assert!(status.voters.before.is_empty());
            assert_eq!(status.replication.len(), if id == leader { 3 } else { 0 });
            assert_eq!(status.applied, status.committed);
        }
        cluster.until("all are told of all", |cluster| cluster.told() == 20).await;
    });
}

#[test]
fn a_waiter_is_told_of_leaders_without_any_new_view() {
    run(async || {
        let mut cluster = Cluster::of(8, 3).await;
        let first = cluster.leader().await;
        cluster.stop(first).await;
        let second = cluster.leader().await;
        for leader in [first, second] {
            let told = |line: &String| line.contains(&format!(" {leader} Status {{ role: Leader"));
            assert!(cluster.network.traced().iter().any(told), "not of {leader}");
        }
        assert_eq!(cluster.told(), 0);
    });
}

#[test]
fn a_batch_proposed_again_makes_no_epoch() {
    run(async || {
        let cluster = Cluster::of(2, 1).await;
        assert!(cluster.propose(batch(1)).await.changed);
        let again = cluster.propose(batch(1)).await;
        assert_eq!((again.epoch, again.changed), (1, false));
    });
}

/// Scenario A1.
#[test]
fn one_initializes_and_the_others_come_later() {
    run(async || {
        let mut cluster = Cluster::new(3);
        cluster.start(1).await;
        assert_eq!(cluster.node(1).status().voters, Voters::default());
        assert!(!cluster.node(1).is_initialized().await);
        cluster.node(1).initialize(&stores(&[1, 2, 3])).await.unwrap();
        assert!(cluster.node(1).is_initialized().await);
        assert_eq!(cluster.node(1).status().voters.index, 1);
        sleep(Duration::from_secs(2)).await;
        assert_ne!(cluster.node(1).status().role, Role::Leader);
        cluster.start(2).await;
        cluster.leader().await;
        sleep(Duration::from_secs(3)).await;
        cluster.start(3).await;
        cluster.propose(batch(1)).await;
        cluster.converge(1).await;
    });
}

/// Scenario A2.
#[test]
fn all_initialize_with_the_same_set() {
    run(async || {
        let mut cluster = Cluster::new(4);
        for id in 1..=3 {
            cluster.start(id).await;
        }
        for id in 1..=3 {
            cluster.node(id).initialize(&stores(&[3, 2, 1])).await.unwrap();
            sleep(Duration::from_millis(300)).await;
        }
        cluster.propose(batch(1)).await;
        cluster.converge(1).await;
        cluster.node(2).initialize(&stores(&[1, 2, 3])).await.unwrap();
        let other = cluster.node(2).initialize(&stores(&[2, 3])).await;
        assert!(matches!(other, Err(ConsensusError::OtherVoters(_))), "{other:?}");
        let without = cluster.node(2).initialize(&stores(&[1, 3])).await;
        assert_eq!(without, Err(ConsensusError::BadVoters(StoreId(2))));
    });
}

#[test]
fn another_leads_when_the_leader_is_gone_and_it_comes_back_as_follower() {
    run(async || {
        let mut cluster = Cluster::of(5, 3).await;
        cluster.propose(batch(1)).await;
        let old = cluster.leader().await;
        cluster.stop(old).await;
        cluster.propose(batch(2)).await;
        let new = cluster.leader().await;
        assert_ne!(new, old);
        let term = cluster.node(new).status().term;
        cluster.start(old).await;
        cluster.converge(2).await;
        assert_eq!(cluster.leader().await, new);
        assert_eq!(cluster.node(new).status().term, term);
    });
}

#[test]
fn without_a_majority_nothing_is_agreed_on_until_it_returns() {
    run(async || {
        let cluster = Cluster::of(6, 3).await;
        cluster.propose(batch(1)).await;
        cluster.converge(1).await;
        let leader = cluster.leader().await;
        for other in (1..=3).filter(|id| *id != leader) {
            cluster.network.cut(leader, other);
        }
        let two_cut = (1..=3).filter(|id| *id != leader).collect::<Vec<_>>();
        cluster.network.cut(two_cut[0], two_cut[1]);
        let alone = |cluster: &Cluster| {
            let status = cluster.node(leader).status();
            status.quorum_acked.is_some_and(|since| since > cluster.settings.election_max)
        };
        cluster.until("the leader knows that it is alone", alone).await;
        let cut = cluster.node(leader).propose(batch(2), Duration::from_secs(1)).await;
        assert_eq!(cut, Err(multibeam_consensus::ProposeError::Unknown));
        assert!(cluster.running().all(|(_, node)| number(node) == 1));
        cluster.network.heal();
        cluster.propose(batch(3)).await;
        cluster.until("one view again", |cluster| cluster.running().all(|(_, node)| number(node) == 3)).await;
    });
}

/// G3 of the measured facts: the substitute for a pre-vote.
#[test]
fn a_follower_that_may_not_ask_for_votes_deposes_nobody_when_it_returns() {
    let deposed = |gated: bool| {
        run(async move || {
            let cluster = Cluster::of(7, 3).await;
            let leader = cluster.leader().await;
            let term = cluster.node(leader).status().term;
            let follower = (1..=3).find(|id| *id != leader).unwrap();
            for other in (1..=3).filter(|id| *id != follower) {
                cluster.network.cut(follower, other);
            }
            cluster.node(follower).allow_election(!gated);
            sleep(Duration::from_secs(5)).await;
            cluster.network.heal();
            sleep(Duration::from_millis(300)).await;
            cluster.node(follower).allow_election(true);
            cluster.propose(batch(1)).await;
            cluster.converge(1).await;
            let now = cluster.leader().await;
            cluster.node(now).status().term > term
        })
    };
    assert!(deposed(false), "the bad case does not happen, so that the gate is not tested");
    assert!(!deposed(true));
}
