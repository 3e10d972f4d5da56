//! How a node whose consensus can't go on comes to know it.

use crate::cluster::{Cluster, WITHIN, batch, run, stores};
use crate::disk::Platter;
use multibeam_consensus::{Disk, ProposeError, Role, Settings, SettingsError, Store, StoreError};
use std::time::Duration;
use tokio::time::timeout;

/// Long enough for each of the second's pings.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_broken_disk_ends_the_follower_and_the_others_go_on() {
    run(async || {
        let cluster = Cluster::of(1, 3).await;
        cluster.propose(batch(1)).await;
        let broken = cluster.leader().await % 3 + 1;
        assert!(timeout(SOON, cluster.node(broken).failed()).await.is_err(), "nothing has failed yet");
        cluster.platter(broken).breaks();
        cluster.propose(batch(2)).await;
        let why = timeout(SOON, cluster.node(broken).failed()).await.unwrap();
        assert!(why.contains("writing the log failed: ") && why.contains("the disk is broken"), "{why}");
        assert_eq!(cluster.node(broken).status().role, Role::Stopped);
        cluster.propose(batch(3)).await;
    });
}

#[test]
fn a_broken_disk_ends_the_leader_and_another_takes_over() {
    run(async || {
        let cluster = Cluster::of(2, 3).await;
        let leader = cluster.leader().await;
        cluster.platter(leader).breaks();
        let ended = cluster.node(leader).propose(batch(1), WITHIN).await;
        assert!(matches!(ended, Err(ProposeError::Stopped | ProposeError::Unknown)), "{ended:?}");
        let why = timeout(SOON, cluster.node(leader).failed()).await.unwrap();
        assert!(why.contains("the disk is broken"), "{why}");
        assert_eq!(cluster.node(leader).propose(batch(1), WITHIN).await, Err(ProposeError::Stopped));
        cluster.propose(batch(2)).await;
    });
}

#[test]
fn an_error_of_the_nodes_own_facts_ends_it_too() {
    run(async || {
        let mut cluster = Cluster::new(4);
        cluster.start(1).await;
        cluster.platter(1).breaks();
        let store = cluster.store(1).clone();
        let error = store.put_facts(&[("incarnation", Some(&[1]))]).unwrap_err();
        assert_eq!(timeout(SOON, cluster.node(1).failed()).await, Ok(error.to_string()));
    });
}

/// Wherever it stops, by an error or with the power, the next start makes it whole, and nothing of before is in it.
#[test]
fn a_store_whose_making_was_cut_short_is_made_again() {
    let fact = |store: &Store| store.fact("incarnation").unwrap();
    let mut cuts = 0;
    for takes in 0.. {
        let platter = Platter::default();
        platter.breaks_after(takes);
        let made = Store::open(platter.mount());
        if takes % 2 == 0 {
            platter.power_loss(|| takes % 4 == 0);
        }
        platter.mended();
        let again = Store::open(platter.mount()).unwrap();
        assert_eq!(fact(&again), None);
        again.put_facts(&[("incarnation", Some(&[7]))]).unwrap();
        drop(again);
        platter.power_loss(|| false);
        assert_eq!(fact(&Store::open(platter.mount()).unwrap()), Some(vec![7]));
        if made.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts}");
}

#[test]
fn a_tidy_end_is_no_failure() {
    run(async || {
        let mut cluster = Cluster::of(3, 1).await;
        let node = cluster.node(1).clone();
        let failed = tokio::spawn({
            let node = node.clone();
            async move { node.failed().await }
        });
        cluster.stop(1).await;
        assert!(timeout(SOON, failed).await.is_err());
        assert_eq!(node.add_learner(stores(&[2])[0], WITHIN).await, Err(ProposeError::Stopped));
        node.shutdown().await;
    });
}

#[test]
fn what_is_no_store_is_not_opened() {
    let platter = Platter::default();
    let other = platter.mount();
    other.write(0, b"something else altogether").unwrap();
    other.keep().unwrap();
    let refused = Store::open(platter.mount());
    assert!(matches!(refused, Err(StoreError::Open(_))), "{refused:?}");
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let good = Settings::default();
    assert_eq!(good.check(), Ok(()));
    let heartbeat = Duration::from_micros(900);
    assert_eq!(Settings { heartbeat, ..good }.check(), Err(SettingsError::Heartbeat(heartbeat)));
    let (min, heartbeat) = (Duration::from_millis(299), good.heartbeat);
    let hasty = Settings { election_min: min, ..good };
    assert_eq!(hasty.check(), Err(SettingsError::Hasty { min, heartbeat }));
    for max in [good.election_min, Duration::from_secs(61)] {
        let span = Settings { election_max: max, ..good };
        assert_eq!(span.check(), Err(SettingsError::Span { min: good.election_min, max }));
    }
    assert_eq!(Settings { snapshot_entries: 0, ..good }.check(), Err(SettingsError::Snapshot));
}
