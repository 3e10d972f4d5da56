//! Faults of a cluster, as plain data and as they happen.

use super::clients::HOST;
use super::nodes::Nodes;
use super::plan::QUIET_MS;
use crate::plan::labels;
use crate::wires::Wires;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use turmoil::Sim;

/// Something bad that happens at a time. Nodes by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "which nodes, and for how many milliseconds")]
pub enum ClusterFault {
    /// Nothing passes between a node and all others.
    CutOff { node: usize, for_ms: u64 },
    /// Nothing passes between two nodes.
    Partition { a: usize, b: usize, for_ms: u64 },
    /// Nothing passes from one node to another.
    OneWay { from: usize, to: usize, for_ms: u64 },
    /// Everything between two nodes is late.
    Hold { a: usize, b: usize, for_ms: u64 },
    /// A process is killed, and started again later.
    Kill { node: usize, for_ms: u64 },
    /// A machine loses power: nobody hears of it, and what was not synced may be lost.
    PowerLoss { node: usize, for_ms: u64 },
    /// A process is asked to stop, and started again later.
    Stop { node: usize, for_ms: u64 },
    /// A machine loses power and its disk.
    Wipe { node: usize, for_ms: u64 },
    /// All processes end and begin again.
    RestartAll { power: bool, for_ms: u64 },
    /// A process stands still, and goes on as if nothing had been.
    Pause { node: usize, for_ms: u64 },
    /// The first so many nodes and the others can't reach each other.
    Split { first: usize, for_ms: u64 },
    /// Between two nodes everything takes long.
    SlowLink { a: usize, b: usize, latency_ms: u64, for_ms: u64 },
    /// Nothing passes between a node and clients.
    Unreachable { node: usize, for_ms: u64 },
    /// A disk gives errors.
    DiskFails { node: usize, for_ms: u64 },
}

labels! {
    ClusterFault {
        CutOff => "cut off",
        Partition => "node partition",
        OneWay => "node partition one way",
        Hold => "node hold",
        Kill => "kill",
        PowerLoss => "node power loss",
        Stop => "stop",
        Wipe => "wipe",
        RestartAll => "restart all",
        Pause => "pause",
        Split => "split",
        SlowLink => "slow link",
        Unreachable => "unreachable",
        DiskFails => "disk fails",
    }
}

impl ClusterFault {
    /// To which nodes of `count` it happens, and for how long.
    fn involves(&self, count: usize) -> (Vec<usize>, u64) {
        match *self {
            Self::CutOff { node, for_ms }
            | Self::Kill { node, for_ms }
            | Self::PowerLoss { node, for_ms }
            | Self::Stop { node, for_ms }
            | Self::Wipe { node, for_ms }
            | Self::Pause { node, for_ms }
            | Self::DiskFails { node, for_ms } => (vec![node], for_ms),
            Self::Partition { a, b, for_ms }
            | Self::Hold { a, b, for_ms }
            | Self::SlowLink { a, b, for_ms, .. } => (vec![a, b], for_ms),
            Self::OneWay { from, to, for_ms } => (vec![from, to], for_ms),
            Self::RestartAll { for_ms, .. } | Self::Split { for_ms, .. } => ((0..count).collect(), for_ms),
            Self::Unreachable { for_ms, .. } => (Vec::new(), for_ms),
        }
    }
}

/// Behind the end of what happened to it a node may still be taken out for that: the slowest settings have to find
/// out, elect and decide.
const AFTERMATH_MS: u64 = 5_000;

/// When a stranger has begun a cluster of its own, and looks for this one.
const STRANGER_MS: u64 = 1_000;

/// Something that ends by itself.
#[derive(Clone, Debug)]
enum Undo {
    Repair(Vec<(usize, usize)>),
    RepairOneWay(usize, usize),
    Release(usize, usize),
    Reach(usize),
    /// A process goes on; nothing is left to do.
    GoesOn,
    Start(usize),
    Fast(usize, usize),
    Disk(usize),
}

/// The schedule, and what it has done.
pub(super) struct Schedule {
    faults: Vec<(u64, ClusterFault)>,
    next: usize,
    /// The stranger, until it has begun its own cluster and is started again.
    stranger_begins: Option<usize>,
    undo: BTreeMap<(u64, usize), Undo>,
    numbers: usize,
    latency_ms_max: u64,
    wires: Wires,
    /// When something last began or ended.
    pub(super) disturbed_ms: u64,
    /// Until when each node may be taken out for what happens, or happened, to it.
    involved_ms: Vec<u64>,
    /// Since when clients reach each node, if they do.
    reachable_ms: Vec<Option<u64>>,
    /// What has begun and nobody took note of yet, and whether it found somebody.
    begun: Vec<(ClusterFault, bool)>,
}

impl Schedule {
    pub(super) fn new(nodes: &Nodes) -> Self {
        Self {
            faults: nodes.plan.faults.clone(),
            next: 0,
            undo: BTreeMap::new(),
            stranger_begins: nodes.plan.stranger.then_some(nodes.plan.nodes),
            numbers: 0,
            latency_ms_max: nodes.network.latency_ms_max,
            wires: Wires::default(),
            disturbed_ms: 0,
            involved_ms: vec![QUIET_MS; nodes.all.len()],
            reachable_ms: vec![Some(0); nodes.all.len()],
            begun: Vec::new(),
        }
    }

    /// What is due now, ends before beginnings.
    pub(super) fn due(&mut self, sim: &mut Sim<'_>, nodes: &Nodes, now_ms: u64) {
        while let Some(entry) = self.undo.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let undo = entry.remove();
            self.end(sim, nodes, undo, now_ms);
        }
        if now_ms >= STRANGER_MS
            && let Some(stranger) = self.stranger_begins.take()
        {
            self.kill(sim, nodes, stranger, false, now_ms + 100);
        }
        while let Some((at, fault)) = self.faults.get(self.next).copied() {
            if at > now_ms {
                break;
            }
            self.next += 1;
            self.disturbed_ms = now_ms;
            nodes.tell(now_ms, format!("fault: {fault:?}"));
            let (involved, for_ms) = fault.involves(nodes.all.len());
            involved.into_iter().for_each(|node| self.involve(node, now_ms + for_ms));
            let hit = self.begin(sim, nodes, fault, now_ms);
            if hit {
                nodes.hit(fault.label());
            }
            self.begun.push((fault, hit));
        }
    }

    /// What has begun since the last call.
    pub(super) fn take_begun(&mut self) -> Vec<(ClusterFault, bool)> {
        std::mem::take(&mut self.begun)
    }

    fn involve(&mut self, node: usize, until_ms: u64) {
        self.involved_ms[node] = self.involved_ms[node].max(until_ms + AFTERMATH_MS);
    }

    /// Whether something happens to that node, or did lately.
    pub(super) fn is_involved(&self, nodes: &Nodes, node: usize, now_ms: u64) -> bool {
        now_ms <= self.involved_ms[node] || self.is_in_minority(nodes, node)
    }

    /// Whether faults that hold pairs apart, each of them perhaps about other nodes, leave it without a majority.
    fn is_in_minority(&self, nodes: &Nodes, node: usize) -> bool {
        let count = nodes.all.len();
        let apart = |other: usize| self.wires.is_apart(nodes.name(node), nodes.name(other));
        2 * (0..count).filter(|other| *other != node && apart(*other)).count() >= count
    }

    /// Ends everything that goes on.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>, nodes: &Nodes, now_ms: u64) {
        self.disturbed_ms = now_ms;
        self.next = self.faults.len();
        for undo in std::mem::take(&mut self.undo).into_values() {
            self.end(sim, nodes, undo, now_ms);
        }
        nodes.tell(now_ms, "healed".to_owned());
    }

    /// Starts nodes again that ended by themselves.
    pub(super) fn restart_ended(&mut self, nodes: &Nodes, now_ms: u64) {
        for node in 0..nodes.all.len() {
            if nodes.is_up(node) && nodes.has_ended(node) {
                self.disturbed_ms = now_ms;
                nodes.set_up(node, false);
                let away = nodes.take_away_ms(node);
                self.involve(node, now_ms + away);
                self.later(now_ms + away, Undo::Start(node));
            }
        }
    }

    /// The one node that nobody reaches, if nothing else is going on.
    pub(super) fn alone(&self, nodes: &Nodes) -> Option<usize> {
        let mut alone = None;
        for undo in self.undo.values() {
            let node = match undo {
                Undo::Start(node) => *node,
                Undo::Repair(pairs) => {
                    let (first, _) = *pairs.first()?;
                    let all = pairs.len() + 1 == nodes.all.len() && pairs.iter().all(|(a, _)| *a == first);
                    all.then_some(first)?
                }
                Undo::RepairOneWay(..)
                | Undo::Release(..)
                | Undo::Reach(_)
                | Undo::GoesOn
                | Undo::Fast(..)
                | Undo::Disk(_) => return None,
            };
            if alone.replace(node).is_some_and(|other| other != node) {
                return None;
            }
        }
        alone.filter(|node| !nodes.is_stranger(*node))
    }

    /// Since when clients reach a node, as far as the network goes.
    pub(super) fn reachable_since_ms(&self, node: usize) -> Option<u64> {
        self.reachable_ms[node]
    }

    /// Whether nothing goes on.
    pub(super) fn is_quiet(&self) -> bool {
        self.undo.is_empty()
    }

    fn later(&mut self, at_ms: u64, undo: Undo) {
        self.numbers += 1;
        self.undo.insert((at_ms, self.numbers), undo);
    }

    fn begin(&mut self, sim: &mut Sim<'_>, nodes: &Nodes, fault: ClusterFault, now_ms: u64) -> bool {
        let all = 0..nodes.all.len();
        match fault {
            ClusterFault::CutOff { node, for_ms } => {
                let pairs = all.filter(|other| *other != node).map(|other| (node, other)).collect();
                self.part(sim, nodes, pairs, now_ms + for_ms);
                nodes.is_up(node)
            }
            ClusterFault::Partition { a, b, for_ms } => {
                self.part(sim, nodes, vec![(a, b)], now_ms + for_ms);
                nodes.is_up(a) && nodes.is_up(b)
            }
            ClusterFault::Split { first, for_ms } => {
                let pairs =
                    all.clone().take(first).flat_map(|a| all.clone().skip(first).map(move |b| (a, b)));
                self.part(sim, nodes, pairs.collect(), now_ms + for_ms);
                true
            }
            ClusterFault::OneWay { from, to, for_ms } => {
                let hit = !self.wires.is_apart(nodes.name(from), nodes.name(to));
                self.wires.cut_one_way(sim, nodes.name(from), nodes.name(to));
                self.later(now_ms + for_ms, Undo::RepairOneWay(from, to));
                hit && nodes.is_up(from) && nodes.is_up(to)
            }
            ClusterFault::Hold { a, b, for_ms } => {
                let hit = !self.wires.is_apart(nodes.name(a), nodes.name(b));
                self.wires.hold(sim, nodes.name(a), nodes.name(b));
                self.later(now_ms + for_ms, Undo::Release(a, b));
                hit && nodes.is_up(a) && nodes.is_up(b)
            }
            ClusterFault::Kill { node, for_ms } => self.kill(sim, nodes, node, false, now_ms + for_ms),
            ClusterFault::PowerLoss { node, for_ms } => self.kill(sim, nodes, node, true, now_ms + for_ms),
            ClusterFault::Wipe { node, for_ms } => {
                let hit = self.kill(sim, nodes, node, true, now_ms + for_ms);
                nodes.wipe(node);
                hit
            }
            ClusterFault::Stop { node, for_ms } => nodes.stop(node, for_ms),
            ClusterFault::RestartAll { power, for_ms } => {
                let mut hit = false;
                for node in all {
                    hit |= self.kill(sim, nodes, node, power, now_ms + for_ms);
                }
                hit
            }
            ClusterFault::Pause { node, for_ms } => {
                self.later(now_ms + for_ms, Undo::GoesOn);
                nodes.pause(node, Duration::from_millis(for_ms))
            }
            ClusterFault::Unreachable { node, for_ms } => {
                self.wires.cut(sim, nodes.name(node), HOST);
                self.reachable_ms[node] = None;
                self.later(now_ms + for_ms, Undo::Reach(node));
                nodes.is_up(node)
            }
            ClusterFault::SlowLink { a, b, latency_ms, for_ms } => {
                let latency = Duration::from_millis(latency_ms);
                sim.set_link_latency(nodes.name(a), nodes.name(b), latency);
                self.later(now_ms + for_ms, Undo::Fast(a, b));
                nodes.is_up(a) && nodes.is_up(b)
            }
            ClusterFault::DiskFails { node, for_ms } => {
                nodes.disk(node).fail(300);
                nodes.may_end(node);
                self.later(now_ms + for_ms, Undo::Disk(node));
                nodes.is_up(node)
            }
        }
    }

    fn part(&mut self, sim: &mut Sim<'_>, nodes: &Nodes, pairs: Vec<(usize, usize)>, until_ms: u64) {
        for &(a, b) in &pairs {
            self.wires.cut(sim, nodes.name(a), nodes.name(b));
        }
        self.later(until_ms, Undo::Repair(pairs));
    }

    fn kill(&mut self, sim: &mut Sim<'_>, nodes: &Nodes, node: usize, power: bool, until_ms: u64) -> bool {
        if !nodes.is_up(node) {
            return false;
        }
        let others = (0..nodes.all.len()).filter(|other| *other != node).map(|other| nodes.name(other));
        let others: Vec<_> = others.chain([HOST]).filter(|_| power).collect();
        // Nobody hears a word: not even that the connections are gone.
        others.iter().for_each(|other| self.wires.cut(sim, nodes.name(node), other));
        nodes.die(node, power);
        sim.crash(nodes.name(node));
        others.iter().for_each(|other| self.wires.mend(sim, nodes.name(node), other));
        self.later(until_ms, Undo::Start(node));
        true
    }

    fn end(&mut self, sim: &mut Sim<'_>, nodes: &Nodes, undo: Undo, now_ms: u64) {
        self.disturbed_ms = now_ms;
        match undo {
            Undo::Repair(pairs) => {
                let minority = (0..nodes.all.len()).filter(|node| self.is_in_minority(nodes, *node));
                minority.collect::<Vec<_>>().into_iter().for_each(|node| self.involve(node, now_ms));
                for (a, b) in pairs {
                    self.wires.mend(sim, nodes.name(a), nodes.name(b));
                }
            }
            Undo::RepairOneWay(from, to) => {
                self.wires.mend_one_way(sim, nodes.name(from), nodes.name(to));
            }
            Undo::Reach(node) => {
                self.wires.mend(sim, nodes.name(node), HOST);
                self.reachable_ms[node] = Some(now_ms);
            }
            Undo::GoesOn => {}
            Undo::Release(a, b) => self.wires.release(sim, nodes.name(a), nodes.name(b)),
            Undo::Start(node) => {
                nodes.tell(now_ms, format!("{} starts", nodes.name(node)));
                nodes.set_up(node, true);
                sim.bounce(nodes.name(node));
            }
            Undo::Fast(a, b) => {
                sim.set_link_latency(
                    nodes.name(a),
                    nodes.name(b),
                    Duration::from_millis(self.latency_ms_max),
                );
            }
            Undo::Disk(node) => nodes.disk(node).fail(0),
        }
    }
}
