//! What a seed decides of a cluster.

use super::faults::ClusterFault;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// How long faults go on.
const FAULTS_MS: u64 = 12_000;

/// Nothing bad happens before: the cluster must have begun.
pub const QUIET_MS: u64 = 3_000;

/// A cluster, its knobs and its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPlan {
    /// Nodes.
    pub nodes: usize,
    /// The first so many of them vote first.
    pub first_voters: usize,
    /// The node that an operator says `bootstrap` to.
    pub bootstrap: usize,
    /// When each node is started, in milliseconds.
    pub start_ms: Vec<u64>,
    /// What each node's clock shows of a second, in microseconds.
    pub rates_ppm: Vec<u64>,
    /// A stranger: a node of another cluster that has the address of this one.
    pub stranger: bool,
    /// Interval of signs of life.
    pub heartbeat_ms: u64,
    /// Length of a lease.
    pub lease_ms: u64,
    /// Silence after which a peer is given up.
    pub silent_after_ms: u64,
    /// A voter that was silent for so long is replaced.
    pub voter_patience_ms: u64,
    /// Voters to have.
    pub voters: usize,
    /// Copies of a partition.
    pub copies: usize,
    /// Entries of the consensus' log after which a snapshot is taken.
    pub snapshot_entries: u64,
    /// How long clients of an isolated node have to leave it.
    pub goaway_spread_ms: u64,
    /// Its clients.
    pub clients: Vec<ClientPlan>,
    /// What happens, in the order of the times.
    pub faults: Vec<(u64, ClusterFault)>,
}

/// A client, which publishes to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// The node that it tries first.
    pub first: usize,
    /// Longest pause between two publishes.
    pub pause_ms: u64,
    /// Publishes in 100 before which it rests.
    pub rest_percent: u64,
    /// A publish waits for the end of the one before.
    pub one_at_a_time: bool,
    /// Longest pause between two attempts to connect.
    pub backoff_ms_max: u64,
}

impl ClusterPlan {
    /// The cluster of a seed, and when its faults end.
    #[must_use]
    pub fn of(seed: u64) -> (Self, u64) {
        let random = &mut Random::new(seed, "cluster");
        let nodes = random.pick(&[3, 3, 4, 5, 7]);
        let first_voters = if random.chance(25) { 1 } else { 3 };
        let heartbeat_ms = random.pick(&[50, 100, 100]);
        let lease_ms = heartbeat_ms * random.range(3..=5);
        // Rates of any two differ by less than 10 %.
        let skewed = random.chance(60);
        let rate = |random: &mut Random| {
            if skewed { random.pick(&[953_500, 970_000, 1_000_000, 1_048_000]) } else { 1_000_000 }
        };
        let plan = Self {
            nodes,
            first_voters,
            bootstrap: random.length(0..=first_voters - 1),
            start_ms: (0..nodes).map(|_| random.pick(&[0, 0, 200, 1_500])).collect(),
            rates_ppm: (0..nodes).map(|_| rate(random)).collect(),
            stranger: random.chance(25),
            heartbeat_ms,
            lease_ms,
            silent_after_ms: heartbeat_ms * random.range(3..=4) + 20,
            voter_patience_ms: random.pick(&[1_500, 4_000, 600_000]),
            voters: random.pick(&[3, 3, 5]),
            copies: random.length(1..=3),
            snapshot_entries: random.pick(&[5, 20, 500]),
            goaway_spread_ms: random.pick(&[200, 2_000]),
            clients: clients(&mut Random::new(seed, "cluster clients"), nodes),
            faults: faults(&mut Random::new(seed, "cluster faults"), nodes),
        };
        (plan, QUIET_MS + FAULTS_MS)
    }

    /// Hosts: the nodes, and the stranger behind them.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.nodes + usize::from(self.stranger)
    }
}

fn clients(random: &mut Random, nodes: usize) -> Vec<ClientPlan> {
    let client = |random: &mut Random| ClientPlan {
        first: random.length(0..=nodes - 1),
        pause_ms: random.pick(&[20, 100, 400]),
        rest_percent: random.pick(&[0, 5]),
        one_at_a_time: random.chance(50),
        backoff_ms_max: random.pick(&[100, 800]),
    };
    (0..random.length(2..=4)).map(|_| client(random)).collect()
}

fn faults(random: &mut Random, nodes: usize) -> Vec<(u64, ClusterFault)> {
    // A mix of everything hides what only shows when little else happens.
    let kinds: Vec<usize> = (0..ClusterFault::LABELS.len()).filter(|_| random.chance(35)).collect();
    let mut faults = Vec::new();
    let mut wiped = false;
    let last = QUIET_MS + FAULTS_MS - 1_500;
    for count in 0..random.length(3..=9) {
        let kind =
            if count < 2 || kinds.is_empty() { random.pick(&[0, 4, 5, 9, 10]) } else { random.pick(&kinds) };
        let node = random.length(0..=nodes - 1);
        let other = (node + random.length(1..=nodes - 1)) % nodes;
        let for_ms = random.pick(&[30, 300, 800, 2_000, 4_000]);
        let fault = match kind {
            // Often long enough that its clients find another node.
            0 => ClusterFault::CutOff { node, for_ms: random.pick(&[for_ms, for_ms, 9_000]) },
            1 => ClusterFault::Partition { a: node, b: other, for_ms },
            2 => ClusterFault::OneWay { from: node, to: other, for_ms },
            3 => ClusterFault::Hold { a: node, b: other, for_ms: for_ms.min(2_000) },
            4 => ClusterFault::Kill { node, for_ms },
            5 => ClusterFault::PowerLoss { node, for_ms },
            6 => ClusterFault::Stop { node, for_ms },
            // Two lost disks may be a lost majority, which nothing brings back.
            7 if !wiped => {
                wiped = true;
                ClusterFault::Wipe { node, for_ms: for_ms.min(2_000) }
            }
            8 => ClusterFault::RestartAll { power: random.chance(50), for_ms: for_ms.min(800) },
            9 => ClusterFault::Pause { node, for_ms: random.pick(&[300, 900, 3_000]) },
            10 => ClusterFault::Split { first: random.length(1..=nodes - 1), for_ms },
            11 => {
                ClusterFault::SlowLink { a: node, b: other, latency_ms: random.pick(&[60, 150, 400]), for_ms }
            }
            12 => ClusterFault::Unreachable { node, for_ms },
            _ => ClusterFault::DiskFails { node, for_ms: for_ms.min(800) },
        };
        faults.push((random.range(QUIET_MS..=last), fault));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
