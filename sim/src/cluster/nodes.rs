//! The nodes of a simulated cluster, each with a world of its own.

use super::clients::ClusterClient;
use super::plan::ClusterPlan;
use crate::history::Failure;
use crate::lines::Lines;
use crate::plan::{CLIENT_PORT, Network, Plan, at_port};
use crate::platform::{SimDisk, SimPlatform};
use crate::world::{Phase, World};
use multibeam::cluster::Cluster;
use multibeam::config::NodeConfig;
use multibeam_consensus::Settings;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// The port for links.
const LINK_PORT: u16 = 7500;

/// Names of the hosts; the last is the stranger's.
const NAMES: [&str; 8] = ["node-a", "node-b", "node-c", "node-d", "node-e", "node-f", "node-g", "stranger"];

/// How long a node that ended by itself stays away, if nothing else is said.
const AWAY_MS: u64 = 100;

/// How often an operator tries to begin the cluster.
const BOOTSTRAP_EACH: Duration = Duration::from_millis(150);

/// One node.
pub struct Node {
    /// Its disk, clock and kernel.
    pub world: Rc<World>,
    /// What can be seen of its present run.
    pub cluster: RefCell<Option<Cluster<SimPlatform>>>,
    up: Cell<bool>,
    /// An operator has begun its cluster, and will not do so again.
    began: Rc<Cell<bool>>,
    /// The last of its runs that ended and was taken note of.
    ended: Cell<Option<usize>>,
    away_ms: Cell<u64>,
}

/// All of them.
pub struct Nodes {
    /// The seed of the run.
    pub seed: u64,
    /// The plan.
    pub plan: ClusterPlan,
    /// The network.
    pub network: Network,
    /// By index; the stranger is the last.
    pub all: Vec<Node>,
    /// Their clients.
    pub clients: Vec<ClusterClient>,
    /// What passes the clients' connections.
    pub lines: Lines,
    /// Lines of the story.
    pub story: RefCell<Vec<(u64, String)>>,
    /// Planned faults that hit somebody.
    pub hits: RefCell<BTreeMap<&'static str, u64>>,
}

impl Nodes {
    /// The nodes of a plan, none of them started.
    #[must_use]
    pub fn new(plan: &Plan, cluster: &ClusterPlan, keep_trace: bool) -> Rc<Self> {
        let node = |index: usize| {
            let mut own = plan.clone();
            own.seed = crate::random::derive(plan.seed, NAMES[own_name(cluster, index)]);
            own.cluster = None;
            own.hostile.clear();
            own.workload.publishers.clear();
            own.workload.subscribers.clear();
            own.workload.topics.clear();
            own.faults.clear();
            own.host.clock_rate_ppm = cluster.rates_ppm.get(index).copied().unwrap_or(1_000_000);
            // Its own kind of fault here.
            own.host.write_fails_percent = 0;
            own.node.shards = 1;
            // Enough for the clients, which may have two connections each: their bounds are other seeds' matter.
            own.node.connections_max = own.node.connections_max.max(100);
            own.node.producers_max = own.node.producers_max.max(16);
            Node {
                world: World::new(own, keep_trace),
                cluster: RefCell::new(None),
                up: Cell::new(true),
                began: Rc::default(),
                ended: Cell::new(None),
                away_ms: Cell::new(AWAY_MS),
            }
        };
        Rc::new(Self {
            seed: plan.seed,
            clients: cluster.clients.iter().map(|_| ClusterClient::default()).collect(),
            lines: Lines::default(),
            plan: cluster.clone(),
            network: plan.network.clone(),
            all: (0..cluster.hosts()).map(node).collect(),
            story: RefCell::default(),
            hits: RefCell::default(),
        })
    }

    /// The name of a node's host.
    #[must_use]
    pub fn name(&self, node: usize) -> &'static str {
        NAMES[own_name(&self.plan, node)]
    }

    /// Where its links are.
    #[must_use]
    pub fn link_address(&self, node: usize) -> String {
        format!("{}:{LINK_PORT}", self.name(node))
    }

    fn config(&self, node: usize) -> NodeConfig {
        let plan = &self.plan;
        let mut config = self.all[node].world.plan.node.config();
        config.shard.goaway_spread = Duration::from_millis(plan.goaway_spread_ms);
        let cluster = &mut config.cluster;
        cluster.listen = Some(at_port(LINK_PORT));
        cluster.advertise = Some(self.link_address(node));
        cluster.advertise_clients = Some(format!("{}:{CLIENT_PORT}", self.name(node)));
        let voters = |count: usize| (0..count).map(|voter| self.link_address(voter)).collect();
        if self.is_stranger(node) {
            cluster.initial_voters = vec![self.link_address(node)];
            // Only once it has a cluster of its own: before, it would be welcome.
            let began = self.all[node].world.node_runs.borrow().len() > 1;
            cluster.join = if began { voters(plan.first_voters) } else { Vec::new() };
        } else {
            cluster.initial_voters = voters(plan.first_voters);
            cluster.join = voters(plan.nodes);
        }
        let times = &mut cluster.times;
        times.heartbeat = Duration::from_millis(plan.heartbeat_ms);
        times.lease = Duration::from_millis(plan.lease_ms);
        times.silent_after = Duration::from_millis(plan.silent_after_ms);
        times.voter_patience = Duration::from_millis(plan.voter_patience_ms);
        times.voters = plan.voters;
        times.copies = plan.copies;
        cluster.consensus =
            Settings { snapshot_entries: plan.snapshot_entries, kept_entries: 3, ..Settings::default() };
        config
    }

    /// Whether it is the node of another cluster.
    #[must_use]
    pub fn is_stranger(&self, node: usize) -> bool {
        node >= self.plan.nodes
    }

    /// Runs a node as its host does.
    pub async fn run(nodes: Rc<Self>, node: usize) -> turmoil::Result {
        let own = &nodes.all[node];
        if own.world.node_runs.borrow().is_empty() {
            let start_ms = nodes.plan.start_ms.get(node).copied().unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(start_ms)).await;
        }
        let platform = SimPlatform::new(&own.world);
        let run = Rc::clone(platform.node_run());
        run.may_end.set(nodes.disk(node).is_failing());
        let began = Rc::clone(&own.began);
        let bootstraps = !began.get() && (node == nodes.plan.bootstrap || nodes.is_stranger(node));
        let shared = Rc::clone(&nodes);
        let ready = Rc::clone(&run);
        let started = move |_: &multibeam::Ready, cluster: &Cluster<SimPlatform>| {
            ready.serves(cluster.lease());
            *shared.all[node].cluster.borrow_mut() = Some(cluster.clone());
            if bootstraps {
                let cluster = cluster.clone();
                tokio::task::spawn_local(async move {
                    while cluster.bootstrap().await.is_err() && cluster.own().cluster.0 == 0 {
                        tokio::time::sleep(BOOTSTRAP_EACH).await;
                    }
                    began.set(true);
                });
            }
        };
        let result = multibeam::run(platform, nodes.config(node), started).await;
        *own.cluster.borrow_mut() = None;
        run.ended.set(true);
        if run.may_end.get() {
            return Ok(());
        }
        let why = result.err().map_or_else(|| "unasked".to_owned(), |error| error.to_string());
        own.world.fail("node", format!("{} ended: {why}", nodes.name(node)));
        Ok(())
    }

    /// Whether its host runs.
    #[must_use]
    pub fn is_up(&self, node: usize) -> bool {
        self.all[node].up.get()
    }

    pub(super) fn set_up(&self, node: usize, up: bool) {
        self.all[node].up.set(up);
    }

    /// Whether its process has ended by itself. Says so once.
    pub(super) fn has_ended(&self, node: usize) -> bool {
        let own = &self.all[node];
        let ended = own.world.node_run().filter(|run| run.ended.get()).map(|run| run.index);
        ended.is_some() && own.ended.replace(ended) != ended
    }

    pub(super) fn take_away_ms(&self, node: usize) -> u64 {
        self.all[node].away_ms.replace(AWAY_MS)
    }

    pub(super) fn die(&self, node: usize, power: bool) {
        let own = &self.all[node];
        own.up.set(false);
        own.world.cut_disks(power);
        *own.cluster.borrow_mut() = None;
        if let Some(run) = own.world.node_run() {
            run.killed.set(true);
        }
    }

    pub(super) fn wipe(&self, node: usize) {
        let world = &self.all[node].world;
        world.files.borrow_mut().clear();
        world.disks.borrow().values().for_each(SimDisk::wipe);
    }

    pub(super) fn stop(&self, node: usize, for_ms: u64) -> bool {
        let own = &self.all[node];
        let run = own.world.node_run().filter(|run| own.up.get() && run.ready.get() && !run.ended.get());
        let Some(run) = run else { return false };
        run.may_end.set(true);
        own.away_ms.set(for_ms);
        run.stop.notify_one();
        true
    }

    pub(super) fn may_end(&self, node: usize) {
        if let Some(run) = self.all[node].world.node_run() {
            run.may_end.set(true);
        }
    }

    pub(super) fn pause(&self, node: usize, span: Duration) -> bool {
        let Some(run) = self.all[node].world.node_run().filter(|_| self.is_up(node)) else { return false };
        run.pause.stop(span);
        true
    }

    pub(super) fn disk(&self, node: usize) -> SimDisk {
        self.all[node].world.disk("consensus")
    }

    pub(super) fn hit(&self, label: &'static str) {
        *self.hits.borrow_mut().entry(label).or_default() += 1;
    }

    /// Adds a line to the story, and to the trace.
    pub fn tell(&self, now_ms: u64, line: String) {
        self.all[0].world.trace.borrow_mut().text(now_ms * 1000, &line);
        self.story.borrow_mut().push((now_ms, line));
    }

    /// Adds a line to the trace alone.
    pub fn note(&self, now_ms: u64, line: std::fmt::Arguments<'_>) {
        self.all[0].world.trace.borrow_mut().text(now_ms * 1000, &line.to_string());
    }

    /// A promise is broken.
    pub fn fail(&self, oracle: &str, detail: impl Into<String>) {
        self.all[0].world.fail(oracle, detail);
    }

    /// What went wrong anywhere.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.all.iter().flat_map(|node| node.world.failures.borrow().clone()).collect()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        for node in &self.all {
            node.world.phase.set(phase);
        }
    }
}

/// The stranger has a name of its own, however many nodes there are.
fn own_name(plan: &ClusterPlan, node: usize) -> usize {
    if node >= plan.nodes { NAMES.len() - 1 } else { node }
}
