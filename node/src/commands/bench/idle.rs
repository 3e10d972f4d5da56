//! Clients that do nothing: what they take of memory, and what their heartbeats cost.
//!
//! Memory, of a node of its own each time: at rest, after a handful of clients have come and gone, at
//! two sevenths of the clients, at all of them, and when they have left; the slope is that between
//! the two crowds. Heartbeats: a node and the
//! floor have a full crowd each at the same time, because a node's clients may not pause while a
//! floor is measured.

use super::cases::{FLOOR, Setting, node_name};
use super::contest::Contender;
use super::floor::Kind;
use super::processes::Server;
use super::protocol::{Load, Order, Reply, Target};
use super::report::{CaseReport, Comparison, Memory};
use super::statistics::Summary;
use super::stopwatch::Stopwatch;
use std::time::Duration;

/// Bytes of user space that an idle connection with its own topic may cost.
const BYTES_TARGET: f64 = 512.0;

/// What may be left of memory when all have gone, beside what it was before they came.
const LEFT_TARGET: f64 = 1.10;

/// What heartbeats may cost beside receiving and answering them.
const HEARTBEATS_TARGET: f64 = 1.3;

/// Nodes that are filled and emptied, for each number of shards.
const MEMORY_RUNS: usize = 3;

/// Clients send a heartbeat so often, or up to a quarter earlier; so does a node.
const HEARTBEAT_INTERVAL_MS: u32 = 2_000;

/// Memory has settled when it has not changed for so many looks.
const STEADY_LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(100);
/// Looks, at the most: 10 s.
const LOOKS_MAX: u32 = 100;

/// Clients that come and go before anything is measured, so that what a node sets up once, when it
/// first needs it, does not count as left behind.
const WARMING_CLIENTS: usize = 16;

/// What [`run`] does.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleCase {
    pub(super) clients: usize,
    pub(super) seconds: u64,
}

impl IdleCase {
    pub(super) const DEFAULT: Self = Self { clients: 14_000, seconds: 20 };

    const fn few(&self) -> usize {
        self.clients * 2 / 7
    }

    fn estimate(&self, nodes: usize) -> f64 {
        let crowd = self.clients as f64 / 8_000.0;
        let memory = (nodes * MEMORY_RUNS) as f64 * (crowd + 4.0);
        memory + nodes as f64 * (2.0 * crowd + self.seconds as f64 + 3.0)
    }
}

/// Measures memory, then heartbeats.
///
/// # Errors
/// The first thing that went wrong.
pub(super) fn run(case: &IdleCase, setting: &Setting<'_>) -> Result<CaseReport, String> {
    if !setting.servers.is_empty() {
        return Err("memory and heartbeats are measured of nodes that this command starts, not of --server"
            .to_owned());
    }
    let watch = Stopwatch::start();
    let name = format!("idle: {} clients", case.clients);
    setting.progress.case(&name, case.estimate(setting.shards.len()));
    let mut memory = Vec::new();
    let mut comparisons = Vec::new();
    for &shards in setting.shards {
        let runs =
            (0..MEMORY_RUNS).map(|_| fill_and_empty(case, shards, setting)).collect::<Result<Vec<_>, _>>()?;
        comparisons.extend(judged(&node_name(shards), &runs));
        memory.extend(runs);
    }
    for &shards in setting.shards {
        comparisons.extend(heartbeats(case, shards, setting)?);
    }
    Ok(CaseReport {
        name,
        bench: "idle",
        subscribers: case.clients,
        outstanding: 0,
        rounds: 0,
        seconds: watch.elapsed().as_secs_f64(),
        contestants: Vec::new(),
        comparisons,
        memory,
    })
}

/// One node's memory as clients come and go.
fn fill_and_empty(case: &IdleCase, shards: usize, setting: &Setting<'_>) -> Result<Memory, String> {
    let name = node_name(shards);
    let server = Server::node(setting.cores, shards, &[])?;
    let mut node = Contender::new(&name, server, Target::Node, Load::Idle, setting.cores)?;
    node.order(Order::Connect { subscribers: WARMING_CLIENTS.min(case.clients) }, |_| {})?;
    node.order(Order::Leave, |_| {})?;
    let rest_bytes = settled_bytes(&node)?;
    let rest_descriptors = descriptors(&node)?;
    let mut filled = |clients: usize| {
        node.order(Order::Connect { subscribers: clients }, |now| {
            setting.progress.connecting(&name, now, clients)
        })?;
        settled_bytes(&node)
    };
    let (few, many) = (case.few(), case.clients);
    let (few_bytes, many_bytes) = (filled(few)?, filled(many)?);
    node.order(Order::Leave, |_| {})?;
    // The clients are gone; the node may still be at it.
    for _ in 0..LOOKS_MAX {
        if descriptors(&node)? <= rest_descriptors {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let left_bytes = settled_bytes(&node)?;
    let slope_bytes = (many_bytes as f64 - few_bytes as f64) / (many - few) as f64;
    Ok(Memory { name, few, many, rest_bytes, few_bytes, many_bytes, left_bytes, slope_bytes })
}

fn descriptors(node: &Contender) -> Result<usize, String> {
    let Some(accounts) = &node.accounts else { return Err("a node without accounts".to_owned()) };
    accounts.descriptors()
}

fn settled_bytes(node: &Contender) -> Result<u64, String> {
    let Some(accounts) = &node.accounts else { return Err("a node without accounts".to_owned()) };
    let (mut last, mut steady) = (accounts.resident_bytes()?, 0);
    for _ in 0..LOOKS_MAX {
        std::thread::sleep(LOOK);
        let now = accounts.resident_bytes()?;
        steady = if now == last { steady + 1 } else { 0 };
        last = now;
        if steady == STEADY_LOOKS {
            break;
        }
    }
    Ok(last)
}

fn judged(name: &str, runs: &[Memory]) -> Vec<Comparison> {
    let median = |value: fn(&Memory) -> u64| Summary::of(runs.iter().map(|run| value(run) as f64));
    let slope = Summary::of(runs.iter().map(|run| run.slope_bytes));
    let slope = slope.map(|slope| Comparison {
        what: "memory a connection".to_owned(),
        of: name.to_owned(),
        to: None,
        unit: "B".to_owned(),
        of_value: slope.median,
        to_value: None,
        result: slope,
        target: Some(BYTES_TARGET),
        met: Some(slope.low <= BYTES_TARGET),
    });
    let ratio = Summary::of(runs.iter().map(|run| run.left_bytes as f64 / run.rest_bytes.max(1) as f64));
    let left = ratio.zip(median(|run| run.left_bytes)).zip(median(|run| run.rest_bytes));
    let left = left.map(|((ratio, left), rest)| Comparison {
        what: "memory after all have left".to_owned(),
        of: name.to_owned(),
        to: Some("before".to_owned()),
        unit: "B".to_owned(),
        of_value: left.median,
        to_value: Some(rest.median),
        result: ratio,
        target: Some(LEFT_TARGET),
        met: Some(ratio.low <= LEFT_TARGET),
    });
    slope.into_iter().chain(left).collect()
}

/// CPU by heartbeat that a client sent, of a node and the floor over the same stretches of time.
fn heartbeats(case: &IdleCase, shards: usize, setting: &Setting<'_>) -> Result<Option<Comparison>, String> {
    let mut contenders = crowds(shards, setting)?;
    for contender in &mut contenders {
        let name = contender.name.clone();
        let progress = |clients| setting.progress.connecting(&name, clients, case.clients);
        contender.order(Order::Connect { subscribers: case.clients }, progress)?;
    }
    // All have sent one heartbeat, and whatever connecting left behind is done.
    std::thread::sleep(Duration::from_millis(HEARTBEAT_INTERVAL_MS.into()));
    let stretch = Duration::from_secs(case.seconds) / setting.pairs as u32;
    let (mut node, mut floor) = (Vec::new(), Vec::new());
    let mut last = counted(&mut contenders)?;
    for pair in 0..setting.pairs {
        setting.progress.pair(pair, setting.pairs);
        std::thread::sleep(stretch);
        let now = counted(&mut contenders)?;
        for ((before, after), values) in last.iter().zip(&now).zip([&mut node, &mut floor]) {
            values.push((after.cpu_ns - before.cpu_ns) as f64 / after.heartbeats.max(1) as f64);
        }
        last = now;
    }
    Ok(compared(&node_name(shards), &node, &floor, (shards == 1).then_some(HEARTBEATS_TARGET)))
}

/// A node and the floor.
fn crowds(shards: usize, setting: &Setting<'_>) -> Result<[Contender; 2], String> {
    let (cores, interval_ms) = (setting.cores, HEARTBEAT_INTERVAL_MS);
    let node = Server::node(cores, shards, &[("heartbeat_interval_ms", interval_ms.into())])?;
    let floor = Server::floor(cores, Kind::Beat, &["--heartbeat-interval-ms", &interval_ms.to_string()])?;
    Ok([
        Contender::new(&node_name(shards), node, Target::Node, Load::Idle, cores)?,
        Contender::new(FLOOR, floor, Target::Floor, Load::Idle, cores)?,
    ])
}

/// A contender's accounts at one moment.
struct Count {
    cpu_ns: u64,
    /// Since the last one.
    heartbeats: u64,
}

fn counted([node, floor]: &mut [Contender; 2]) -> Result<[Count; 2], String> {
    let count = |contender: &mut Contender| {
        let Some(accounts) = contender.accounts.clone() else {
            return Err("a server without accounts".to_owned());
        };
        let Reply::Counted(tally) = contender.order(Order::Count, |_| {})? else {
            return Err("a generator answered something else".to_owned());
        };
        Ok(Count { cpu_ns: accounts.cpu_ns()?, heartbeats: tally.heartbeats_sent })
    };
    Ok([count(node)?, count(floor)?])
}

fn compared(name: &str, node: &[f64], floor: &[f64], target: Option<f64>) -> Option<Comparison> {
    let ratio = Summary::of(node.iter().zip(floor).map(|(of, to)| of / to))?;
    Some(Comparison {
        what: "CPU a heartbeat".to_owned(),
        of: name.to_owned(),
        to: Some(FLOOR.to_owned()),
        unit: "ns".to_owned(),
        of_value: Summary::of(node.iter().copied())?.median,
        to_value: Some(Summary::of(floor.iter().copied())?.median),
        result: ratio,
        target,
        met: target.map(|target| ratio.low <= target),
    })
}
