//! Questions that no node asks.

use crate::cluster::{Cluster, batch, run, stores};
use crate::network::Random;
use multibeam_consensus::{AnswerError, Settings};
use multibeam_wire::link::StoreId;

#[test]
fn garbage_is_an_error_and_ends_nobody() {
    for seed in 0..4 {
        run(async move || garbage(seed).await);
    }
}

async fn garbage(seed: u64) {
    let mut cluster = Cluster::new(seed);
    cluster.settings = Settings { snapshot_entries: 20, kept_entries: 5, ..Settings::default() };
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.node(1).initialize(&stores(&[1, 2])).await.unwrap();
    for next in 1..=50 {
        cluster.propose(batch(next)).await;
    }
    let leader = cluster.leader().await;
    cluster.node(leader).add_learner(StoreId(3), crate::cluster::WITHIN).await.unwrap();
    cluster.converge(50).await;
    let asked = cluster.network.asked();
    assert_eq!(asked.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "one question of each kind");
    let node = cluster.node(leader % 2 + 1);
    assert_eq!(node.answer(9, &[]).await, Err(AnswerError::UnknownKind(9)));
    let mut random = Random(seed);
    let (mut malformed, mut answered) = (0, 0);
    for round in 0..3000 {
        let kind = 1 + (round % 3) as u16;
        let mut bytes = asked[&kind].clone();
        match random.below(3) {
            0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            1 => bytes = (0..random.below(60)).map(|_| random.below(256) as u8).collect(),
            _ => {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
        }
        match node.answer(kind, &bytes).await {
            Ok(_) => answered += 1,
            Err(AnswerError::Malformed(_)) => malformed += 1,
            Err(error @ (AnswerError::UnknownKind(_) | AnswerError::Stopped)) => {
                panic!("round {round}: {error} after {bytes:?}")
            }
        }
    }
    assert!(malformed > 1000 && answered > 0, "{malformed} malformed, {answered} answered");
    for (id, node) in cluster.running() {
        assert!(node.is_initialized().await, "node {id} has ended");
    }
}
