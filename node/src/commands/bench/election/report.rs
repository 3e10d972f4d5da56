//! What `bench election` found: for people as tables, for machines as one JSON document.

use super::super::cores::Cores;
use super::super::report::{Machine, table, to_json};
use super::super::statistics::quantile;
use super::floor::Floor;
use super::{Measured, NODES, Sights};
use crate::config::ClusterSettings;
use serde::Serialize;
use std::time::Duration;

/// Everything. Times in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct ElectionReport {
    version: &'static str,
    machine: Machine,
    nodes: u16,
    runs: usize,
    settings: Settings,
    floor: FloorReport,
    /// Between two looks at the same node.
    apart: Spread,
    /// From the kill on, until a survivor said that another node leads, in a newer term.
    leader: Spread,
    /// Until the view of one contained an entry of such a term.
    entry: Spread,
    /// Until the view of one was without the killed node.
    removed: Spread,
    each: Vec<Run>,
}

/// The times that decide how long it takes.
#[derive(Debug, Serialize)]
struct Settings {
    consensus_heartbeat_ms: f64,
    election_min_ms: f64,
    election_max_ms: f64,
    silent_after_ms: f64,
    lease_ms: f64,
}

#[derive(Debug, Serialize)]
struct FloorReport {
    /// Nobody asks for votes before that.
    votes_asked_min_ms: f64,
    /// A page onto the nodes' disk.
    write: Spread,
    /// A message over loopback and back.
    round_trip: Spread,
}

#[derive(Debug, Serialize)]
struct Run {
    leader_ms: f64,
    entry_ms: f64,
    removed_ms: f64,
}

/// Percentiles, between two of the times in proportion; with few of them p99 is close to the longest.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Spread {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Spread {
    /// Zeros, of no times.
    fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.into_iter().map(millis).collect();
        times.sort_by(f64::total_cmp);
        let at = |share| quantile(&times, share).unwrap_or_default();
        Self { p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), max_ms: at(1.0) }
    }

    fn row(&self, name: &str, digits: usize) -> Vec<String> {
        let Self { p50_ms, p90_ms, p99_ms, max_ms } = self;
        let times = [p50_ms, p90_ms, p99_ms, max_ms].map(|ms| format!("{ms:.digits$} ms"));
        std::iter::once(name.to_owned()).chain(times).collect()
    }
}

fn spread(runs: &[Sights], time: impl Fn(&Sights) -> Option<Duration>) -> Spread {
    Spread::of(runs.iter().filter_map(time))
}

impl ElectionReport {
    pub(super) fn new(measured: &Measured, settings: &ClusterSettings, floor: Floor) -> Self {
        let Measured { runs, apart } = measured;
        let (consensus, times) = (&settings.consensus, &settings.times);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::here(Cores::NONE),
            nodes: NODES,
            runs: runs.len(),
            settings: Settings {
                consensus_heartbeat_ms: millis(consensus.heartbeat),
                election_min_ms: millis(consensus.election_min),
                election_max_ms: millis(consensus.election_max),
                silent_after_ms: millis(times.silent_after),
                lease_ms: millis(times.lease),
            },
            floor: FloorReport {
                votes_asked_min_ms: millis(consensus.votes_asked_min()),
                write: Spread::of(floor.writes),
                round_trip: Spread::of(floor.round_trips),
            },
            apart: Spread::of(apart.iter().copied()),
            leader: spread(runs, |run| run.leader),
            entry: spread(runs, |run| run.entry),
            removed: spread(runs, |run| run.removed),
            each: runs.iter().filter_map(Run::of).collect(),
        }
    }

    /// As JSON, with a line's end.
    ///
    /// # Errors
    /// A number that JSON has no form for.
    pub(super) fn json(&self) -> Result<String, String> {
        to_json(self)
    }

    /// As tables.
    pub(super) fn text(&self) -> String {
        let head = |name: &str| [name, "p50", "p90", "p99", "max"].map(str::to_owned).to_vec();
        let times = [
            head("from the kill on"),
            self.leader.row("another node leads, in a newer term", 0),
            self.entry.row("an entry of that term is in a view", 0),
            self.removed.row("a view is without the killed node", 0),
        ];
        let floor = [
            head("floor"),
            self.floor.write.row("4 KiB onto the nodes' disk (fdatasync)", 3),
            self.floor.round_trip.row("a round trip over loopback", 3),
        ];
        let Settings { election_min_ms, election_max_ms, consensus_heartbeat_ms, .. } = &self.settings;
        format!(
            "multibeam {}, {}\n\
             {} nodes, whose leader of the consensus was killed (kill -9) {} times\n\
             each node was looked at every {:.1} ms (99 % of looks: {:.1} ms; longest: {:.1} ms)\n\n\
             {}\n\
             {}\n  \
             nobody asks for votes before {:.0} ms: election_max_ms {election_max_ms} + election_min_ms \
             {election_min_ms} - 1.5 x consensus_heartbeat_ms {consensus_heartbeat_ms}\n",
            self.version,
            self.machine.line(),
            self.nodes,
            self.runs,
            self.apart.p50_ms,
            self.apart.p99_ms,
            self.apart.max_ms,
            table(&times),
            table(&floor),
            self.floor.votes_asked_min_ms,
        )
    }
}

impl Run {
    fn of(sights: &Sights) -> Option<Self> {
        let Sights { leader, entry, removed } = *sights;
        Some(Self { leader_ms: millis(leader?), entry_ms: millis(entry?), removed_ms: millis(removed?) })
    }
}

/// A line on how it goes.
pub(super) fn so_far(measured: &Measured) -> String {
    let runs = &measured.runs;
    let (leader, entry) = (spread(runs, |run| run.leader), spread(runs, |run| run.entry));
    format!(
        "{} kills so far: a leader after {:.0} ms, its first entry after {:.0} ms (medians; longest {:.0} and {:.0})",
        runs.len(),
        leader.p50_ms,
        entry.p50_ms,
        leader.max_ms,
        entry.max_ms,
    )
}
