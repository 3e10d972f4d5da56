//! What a run amounts to, and what many do.

use crate::cluster::faults::ClusterFault;
use crate::cluster::timeline::Timeline;
use crate::history::Failure;
use crate::plan::FaultEvent;
use crate::world::World;
use multibeam_model::core::{Stat, StatKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What became of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Everything that happened, as one number in hexadecimal.
    pub hash: String,
    /// Things that happened.
    pub events: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Messages that clients got.
    pub deliveries: u64,
    /// Planned faults that hit somebody, by kind.
    pub hits: BTreeMap<String, u64>,
    /// States that are rare, and how often they came up.
    pub rare: BTreeMap<String, u64>,
    /// Other numbers of the node.
    pub counts: BTreeMap<String, u64>,
    /// What went wrong, most telling first.
    pub failures: Vec<Failure>,
    /// What happened, told shortly; of clusters only.
    #[serde(skip)]
    pub story: Vec<String>,
    /// What can be drawn of it, if it was kept; of clusters only.
    #[serde(skip)]
    pub timeline: Option<Timeline>,
    /// The trace, if it was kept.
    #[serde(skip)]
    pub trace: Vec<String>,
}

impl Outcome {
    pub(crate) fn failed(seed: u64, failure: Failure) -> Self {
        Self { seed, failures: vec![failure], ..Self::default() }
    }

    /// Sums a world up.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let mut rare = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for &stat in Stat::ALL {
            let sum = stat_sum(world, stat);
            match stat.kind() {
                StatKind::Rare => rare.insert(stat.metric().to_owned(), sum),
                StatKind::Count | StatKind::Gauge => counts.insert(stat.metric().to_owned(), sum),
            };
        }
        for name in SEEN {
            rare.insert((*name).to_owned(), 0);
        }
        let mut add = |name: &str, count: u64| *rare.entry(name.to_owned()).or_default() += count;
        for run in world.node_runs.borrow().iter() {
            if let Some(post) = &*run.post.borrow() {
                let seen = post.borrow().seen();
                add("preempted_producer", seen.preempted);
                add("room_rung", seen.room_rung);
                counts
                    .entry("commands".to_owned())
                    .and_modify(|sum| *sum += seen.delivered)
                    .or_insert(seen.delivered);
            }
            for sockets in run.sockets.borrow().iter() {
                add("destroyed_by_close", sockets.borrow().seen().destroyed);
            }
        }
        add("restart", (world.node_runs.borrow().len() as u64).saturating_sub(1));
        let mut trace = world.trace.borrow_mut();
        Self {
            seed: world.plan.seed,
            hash: format!("{:016x}", trace.hash()),
            events: trace.events(),
            simulated_ms: world.outside_us.get() / 1000,
            deliveries: world.deliveries.get(),
            hits: world.hits.borrow().iter().map(|(label, count)| ((*label).to_owned(), *count)).collect(),
            rare,
            counts,
            failures: world.failures.borrow().clone(),
            story: Vec::new(),
            timeline: None,
            trace: trace.take_lines(),
        }
    }

    pub(crate) fn hits_of(world: &World) -> u64 {
        world.hits.borrow().values().sum()
    }

    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!(
            "seed {}: {} deliveries, {} faults hit, {} restarts, {} ms simulated, trace {} ({} events)",
            self.seed,
            self.deliveries,
            self.hits.values().sum::<u64>(),
            self.rare.get("restart").copied().unwrap_or_default(),
            self.simulated_ms,
            self.hash,
            self.events,
        );
        for Failure { oracle, detail } in &self.failures {
            let _ = write!(line, "\n  FAILED {oracle}: {detail}");
        }
        line
    }
}

fn stat_sum(world: &World, stat: Stat) -> u64 {
    let at = stat as usize;
    let runs = world.node_runs.borrow();
    let each = runs.iter().flat_map(|run| {
        let stats = run.stats.borrow();
        stats.iter().map(|shard| shard.get(at).copied().unwrap_or_default()).collect::<Vec<_>>()
    });
    if stat.kind() == StatKind::Gauge { each.max().unwrap_or_default() } else { each.sum() }
}

/// All kinds of faults.
fn labels() -> impl Iterator<Item = &'static str> {
    FaultEvent::LABELS.iter().chain(ClusterFault::LABELS).copied()
}

/// Rare states that only the model or the run can see.
const SEEN: &[&str] = &["preempted_producer", "room_rung", "destroyed_by_close", "restart"];

/// Many runs together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Runs without a failure.
    pub clean: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Messages that clients got.
    pub deliveries: u64,
    /// Things that happened.
    pub events: u64,
    /// All traces as one number, in whatever order the runs ended.
    pub fingerprint: u64,
    /// Planned faults that hit somebody, by kind.
    pub hits: BTreeMap<String, u64>,
    /// Rare states.
    pub rare: BTreeMap<String, u64>,
    /// Other numbers of the nodes.
    pub counts: BTreeMap<String, u64>,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.clean += u64::from(outcome.failures.is_empty());
        self.simulated_ms += outcome.simulated_ms;
        self.deliveries += outcome.deliveries;
        self.events += outcome.events;
        let hash = u64::from_str_radix(&outcome.hash, 16).unwrap_or_default();
        self.fingerprint = self.fingerprint.wrapping_add(hash);
        let sum = |to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>| {
            for (name, count) in from {
                *to.entry(name.clone()).or_default() += count;
            }
        };
        sum(&mut self.hits, &outcome.hits);
        sum(&mut self.rare, &outcome.rare);
        sum(&mut self.counts, &outcome.counts);
    }

    /// States that a sweep must reach and did not.
    #[must_use]
    pub fn never(&self) -> Vec<String> {
        let rare = self.rare.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name.clone());
        let faults = labels().filter(|label| !self.hits.contains_key(*label));
        rare.chain(faults.map(|label| format!("fault: {label}"))).collect()
    }

    /// A table for a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from("rare state                    times\n");
        for (name, count) in &self.rare {
            let _ = writeln!(table, "  {name:<26} {count:>8}");
        }
        table.push_str("fault that hit                times\n");
        for label in labels() {
            let hits = self.hits.get(label).copied().unwrap_or_default();
            let _ = writeln!(table, "  {label:<26} {hits:>8}");
        }
        table
    }
}
