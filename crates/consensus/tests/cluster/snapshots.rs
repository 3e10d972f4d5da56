//! Snapshots: the log does not grow for ever, and who is far behind gets one.

use crate::cluster::{Cluster, batch, number, run};
use multibeam_consensus::Settings;

async fn short_log(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed);
    cluster.settings = Settings { snapshot_entries: 20, kept_entries: 5, ..Settings::default() };
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.node(1).initialize(&crate::cluster::stores(&[1, 2, 3])).await.unwrap();
    cluster.leader().await;
    cluster
}

#[test]
fn a_node_that_is_far_behind_gets_a_snapshot() {
    run(async || {
        let cluster = short_log(1).await;
        cluster.propose(batch(1)).await;
        let leader = cluster.leader().await;
        let behind = leader % 3 + 1;
        for other in (1..=3).filter(|id| *id != behind) {
            cluster.network.cut(behind, other);
        }
        cluster.node(behind).allow_election(false);
        for next in 2..=100 {
            cluster.propose(batch(next)).await;
        }
        assert!(cluster.node(behind).status().last_log < Some(10));
        cluster.network.heal();
        cluster.converge(100).await;
        let asked = cluster.network.asked();
        assert!(asked.contains_key(&3), "no snapshot has passed");
        assert!(cluster.node(behind).status().snapshot > Some(20));
    });
}

/// That something was agreed on is synced with the next entry, so that the last may be missing.
#[test]
fn a_node_alone_has_all_but_the_last_of_what_was_agreed_on() {
    run(async || {
        let mut cluster = short_log(3).await;
        for next in 1..=30 {
            cluster.propose(batch(next)).await;
        }
        cluster.converge(30).await;
        for id in 1..=3 {
            cluster.stop(id).await;
        }
        cluster.start(2).await;
        let node = cluster.node(2);
        assert!(number(node) >= 29 && node.status().snapshot < Some(29), "{:?}", node.status());
    });
}

#[test]
fn a_node_begins_again_at_its_snapshot() {
    run(async || {
        let mut cluster = short_log(2).await;
        for next in 1..=50 {
            cluster.propose(batch(next)).await;
        }
        cluster.converge(50).await;
        cluster.until("a snapshot", |cluster| cluster.node(1).status().snapshot > Some(30)).await;
        let snapshot = cluster.node(1).status().snapshot;
        cluster.power_loss(&[1, 2, 3]).await;
        cluster.start(1).await;
        let node = cluster.node(1);
        // Alone it can agree on nothing: what it has is what was on its disk.
        assert!(number(node) > 20 && node.status().snapshot >= snapshot, "{:?}", node.status());
        for id in [2, 3] {
            cluster.start(id).await;
        }
        cluster.leader().await;
        cluster
            .until("the newest view", |cluster| cluster.running().all(|(_, node)| number(node) == 50))
            .await;
        cluster.propose(batch(51)).await;
        cluster.converge(51).await;
    });
}
