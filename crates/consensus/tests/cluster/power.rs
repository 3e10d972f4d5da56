//! Losses of power: what was agreed on stays so.

use crate::cluster::{Cluster, attempt, batch, number, run};
use crate::disk::Platter;
use multibeam_consensus::Store;
use multibeam_proto::planted::{Bug, plant};
use std::time::Duration;
use tokio::time::sleep;

/// Some seconds of proposals while the power of one node, or all, goes. Panics if anything agreed on is missing at
/// the end, and the cluster does so if a node has another view of an epoch.
async fn outages(seed: u64) {
    let mut cluster = Cluster::of(seed, 3).await;
    let (mut agreed, mut losses) = (0, 0);
    for next in 1..=40 {
        cluster.propose(batch(next)).await;
        agreed = next;
        if cluster.random.below(4) > 0 {
            continue;
        }
        losses += 1;
        let all = cluster.random.below(3) == 0;
        let first = cluster.random.below(3);
        let gone: Vec<u64> = if all { vec![1, 2, 3] } else { vec![first + 1] };
        // A proposal is on its way while it happens.
        let leader = cluster.node(cluster.leader().await).clone();
        let open = tokio::spawn(async move { leader.propose(batch(next), Duration::from_secs(1)).await });
        sleep(Duration::from_millis(cluster.random.below(12))).await;
        cluster.power_loss(&gone).await;
        let _ = open.await;
        for id in gone {
            cluster.start(id).await;
        }
    }
    assert!(losses >= 3, "only {losses} losses of power");
    cluster.leader().await;
    let have = |cluster: &Cluster| cluster.running().all(|(_, node)| number(node) == agreed);
    cluster.until("everything agreed on is there", have).await;
}

#[test]
fn no_loss_of_power_undoes_what_was_agreed_on() {
    for seed in 0..30 {
        run(async move || outages(seed).await);
    }
}

#[test]
fn votes_and_entries_that_are_told_of_before_they_are_synced_are_missed() {
    let planted = |seed| {
        attempt(async move || {
            plant(Some(Bug::VoteBeforeFsync));
            outages(seed).await;
        })
    };
    let caught = (0..5).filter(|seed| planted(*seed).is_err()).count();
    assert!(caught >= 4, "seen in {caught} of 5 runs");
}

#[test]
fn facts_are_set_all_together_and_survive() {
    let platter = Platter::default();
    let store = Store::open(platter.mount()).unwrap();
    assert_eq!(store.fact("cluster").unwrap(), None);
    store.put_facts(&[("cluster", Some(b"one")), ("incarnation", Some(&[0, 1]))]).unwrap();
    let syncs = platter.syncs();
    store.put_facts(&[("cluster", None), ("incarnation", Some(&[0, 2])), ("empty", Some(&[]))]).unwrap();
    assert!(platter.syncs() > syncs);
    platter.power_loss(|| false);
    assert!(store.put_facts(&[("cluster", Some(b"two"))]).is_err(), "its power is gone");
    drop(store);
    let store = Store::open(platter.mount()).unwrap();
    assert_eq!(store.fact("cluster").unwrap(), None);
    assert_eq!(store.fact("incarnation").unwrap().as_deref(), Some([0, 2].as_slice()));
    assert_eq!(store.clone().fact("empty").unwrap().as_deref(), Some([].as_slice()));
}
