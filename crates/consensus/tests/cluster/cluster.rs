//! Some nodes, and the promise that is looked at all the time: one view an epoch (P6).

use crate::disk::Platter;
use crate::network::{Network, Random};
use multibeam_consensus::{Consensus, ConsensusError, ProposeError, Role, Settings, Setup, Store};
use multibeam_proto::NodeId;
use multibeam_proto::view::{Batch, Op, Outcome};
use multibeam_wire::link::{Incarnation, StoreId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Simulated time after which a condition does not come true any more.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const WITHIN: Duration = Duration::from_secs(2);

/// Runs `life` on a thread and runtime of its own, with paused time.
pub(crate) fn run<F: Future<Output = T>, T: Send + 'static>(life: impl FnOnce() -> F + Send + 'static) -> T {
    attempt(life).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// As [`run`]; a panic is an error.
pub(crate) fn attempt<F: Future<Output = T>, T: Send + 'static>(
    life: impl FnOnce() -> F + Send + 'static,
) -> std::thread::Result<T> {
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(life())
    };
    std::thread::spawn(run).join()
}

pub(crate) fn stores(ids: &[u64]) -> Vec<StoreId> {
    ids.iter().map(|id| StoreId(*id)).collect()
}

/// A batch that makes an epoch, if `number` is greater than that of each earlier one.
pub(crate) fn batch(number: u64) -> Batch {
    let join = Op::Join {
        node: NodeId(7),
        incarnation: Incarnation(number),
        store: StoreId(99),
        address: "node-7:7500".into(),
        weight: 1,
        clients: "127.0.0.1:7400".into(),
    };
    Batch { if_epoch: None, ops: vec![join] }
}

/// The greatest number of a [`batch`] that a node's view contains.
pub(crate) fn number(node: &Consensus) -> u64 {
    node.view().members().get(&NodeId(7)).map_or(0, |member| member.incarnation.0)
}

#[derive(Debug)]
struct Node {
    platter: Platter,
    consensus: Option<Consensus>,
    store: Option<Store>,
}

/// The bytes of each epoch's view, whoever had it.
type Views = Arc<Mutex<BTreeMap<u64, Vec<u8>>>>;

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) settings: Settings,
    nodes: BTreeMap<u64, Node>,
    views: Views,
    seed: u64,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Self {
        let (network, random) = (Network::new(seed), Random(!seed));
        let (nodes, views) = (BTreeMap::new(), Views::default());
        Self { network, random, settings: Settings::default(), nodes, views, seed }
    }

    /// Nodes 1, 2, … of one cluster, with a leader.
    pub(crate) async fn of(seed: u64, count: u64) -> Self {
        let mut cluster = Self::new(seed);
        let ids: Vec<u64> = (1..=count).collect();
        for id in &ids {
            cluster.start(*id).await;
        }
        cluster.node(1).initialize(&stores(&ids)).await.unwrap();
        cluster.leader().await;
        cluster
    }

    pub(crate) async fn start(&mut self, id: u64) {
        self.try_start(id).await.unwrap();
    }

    /// Starts a node, with the disk it had.
    pub(crate) async fn try_start(&mut self, id: u64) -> Result<(), ConsensusError> {
        let node = self.nodes.entry(id);
        let node = node.or_insert_with(|| Node { platter: Platter::default(), consensus: None, store: None });
        assert!(node.consensus.is_none(), "node {id} is running");
        let store = Store::open(node.platter.mount()).unwrap();
        node.store = Some(store.clone());
        let (asks, asked) = mpsc::channel(64);
        let setup = Setup { store, id: StoreId(id), settings: self.settings, seed: self.seed, asks };
        let consensus = Consensus::start(setup).await?;
        node.consensus = Some(consensus.clone());
        self.network.attach(id, consensus.clone(), asked);
        let (views, network) = (Arc::clone(&self.views), self.network.clone());
        tokio::spawn(async move {
            loop {
                let view = consensus.view();
                network.trace(format!("{id} {:?} {}", consensus.status(), view.epoch()));
                let bytes = view.encode();
                let first =
                    views.lock().unwrap().entry(view.epoch()).or_insert_with(|| bytes.clone()).clone();
                assert!(first == bytes, "node {id} has another view of epoch {}", view.epoch());
                consensus.changed().await;
            }
        });
        Ok(())
    }

    /// Ends it tidily.
    pub(crate) async fn stop(&mut self, id: u64) {
        self.network.detach(id);
        let consensus = self.nodes.get_mut(&id).unwrap().consensus.take().unwrap();
        consensus.shutdown().await;
        assert_eq!(consensus.status().role, Role::Stopped);
    }

    /// Takes the power from some nodes at one moment. What of the unsynced is lost is drawn.
    pub(crate) async fn power_loss(&mut self, ids: &[u64]) {
        let mut gone = Vec::new();
        for id in ids {
            self.network.detach(*id);
            let node = self.nodes.get_mut(id).unwrap();
            let lost = self.random.below(3);
            node.platter.power_loss(|| lost == 2 || (lost == 1 && self.random.below(2) == 0));
            gone.extend(node.consensus.take());
        }
        for consensus in gone {
            consensus.shutdown().await;
        }
    }

    pub(crate) fn node(&self, id: u64) -> &Consensus {
        self.nodes[&id].consensus.as_ref().unwrap()
    }

    pub(crate) fn store(&self, id: u64) -> &Store {
        self.nodes[&id].store.as_ref().unwrap()
    }

    pub(crate) fn platter(&self, id: u64) -> &Platter {
        &self.nodes[&id].platter
    }

    /// Those that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = (u64, &Consensus)> {
        self.nodes.iter().filter_map(|(id, node)| Some((*id, node.consensus.as_ref()?)))
    }

    /// Waits for `condition`, and says `what` never came if it does not.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if condition(self) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let states: Vec<_> =
            self.running().map(|(id, node)| (id, node.view().epoch(), node.status())).collect();
        panic!("never: {what}; {states:#?}");
    }

    /// Waits for a leader that a majority has just answered.
    pub(crate) async fn leader(&self) -> u64 {
        let fresh = self.settings.election_max;
        let leads = move |node: &Consensus| {
            let status = node.status();
            status.role == Role::Leader && status.quorum_acked.is_some_and(|since| since < fresh)
        };
        self.until("a leader", |cluster| cluster.running().any(|(_, node)| leads(node))).await;
        self.running().find(|(_, node)| leads(node)).unwrap().0
    }

    /// Proposes until it is agreed on.
    pub(crate) async fn propose(&self, batch: Batch) -> Outcome {
        for _ in 0..30 {
            let leader = self.leader().await;
            match self.node(leader).propose(batch.clone(), WITHIN).await {
                Ok(outcome) => return outcome,
                Err(ProposeError::NotLeader(_) | ProposeError::Unknown) => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("never agreed on: {batch:?}");
    }

    /// Waits until all that run have the view of `epoch` or a later one, all the same.
    pub(crate) async fn converge(&self, epoch: u64) {
        let epochs =
            |cluster: &Self| cluster.running().map(|(_, node)| node.view().epoch()).collect::<Vec<_>>();
        let same = |cluster: &Self| {
            let all = epochs(cluster);
            all.iter().all(|found| *found >= epoch && *found == all[0])
        };
        self.until("one view", same).await;
        let views: Vec<_> = self.running().map(|(_, node)| node.view()).collect();
        assert!(views.windows(2).all(|pair| pair[0] == pair[1]));
    }

    /// The newest epoch of which a waiter of changes was told.
    pub(crate) fn told(&self) -> u64 {
        *self.views.lock().unwrap().last_key_value().unwrap().0
    }
}
