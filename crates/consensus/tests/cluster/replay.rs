//! The same seed makes the same run, to the byte and the millisecond.

use crate::cluster::{Cluster, batch, run};
use std::time::Duration;
use tokio::time::sleep;

async fn life(seed: u64) -> Vec<String> {
    let mut cluster = Cluster::of(seed, 3).await;
    for next in 1..=20 {
        cluster.propose(batch(next)).await;
        match cluster.random.below(6) {
            0 => {
                let id = 1 + cluster.random.below(3);
                cluster.power_loss(&[id]).await;
                sleep(Duration::from_millis(cluster.random.below(1500))).await;
                cluster.start(id).await;
            }
            1 => {
                let one = 1 + cluster.random.below(3);
                // One pair at most: without any there is no majority.
                cluster.network.heal();
                cluster.network.cut(one, one % 3 + 1);
            }
            2 => cluster.network.slow_down(Duration::from_millis(cluster.random.below(30))),
            _ => cluster.network.heal(),
        }
    }
    cluster.network.heal();
    cluster.converge(20).await;
    cluster.network.traced()
}

#[test]
fn a_seed_makes_the_same_run_again() {
    let trace = |seed| run(async move || life(seed).await);
    let mut traces: Vec<Vec<String>> = (0..5).map(trace).collect();
    for (seed, first) in traces.iter().enumerate() {
        let second = trace(seed as u64);
        let differs = first.iter().zip(&second).find(|(one, other)| one != other);
        assert_eq!((differs, first.len()), (None, second.len()), "seed {seed}");
        assert!(first.len() > 200, "only {} lines", first.len());
    }
    traces.dedup();
    assert_eq!(traces.len(), 5, "seeds make different runs");
}
