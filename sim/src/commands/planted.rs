//! Do the oracles see? Each planted bug, until enough seeds have caught it.

use super::sweep_with;
use crate::plan::Plan;
use crate::run::Options;
use multibeam_model::core::planted::Bug;
use std::collections::BTreeMap;
use std::ops::Range;

/// Seeds that must catch a bug.
const CATCHES: usize = 3;

/// Bugs that too few seeds show, and who sees them.
pub const NOT_HERE: &[(Bug, &str)] = &[
    (Bug::LeaseFromAnswer, AGENTS),
    (Bug::GrantWithOldView, AGENTS),
    (Bug::StaleIncarnationGranted, AGENTS),
    (Bug::PromiseForgottenOnRestart, AGENTS),
    (Bug::EndedForgottenOnRestart, AGENTS),
    (Bug::StartIsNoGrant, AGENTS),
    (Bug::TakeoverAfterVoters, AGENTS),
    (Bug::CompareAndSetSkipped, AGENTS),
];

const AGENTS: &str = "too rare with whole nodes; crates/model/tests/agents sees it";

/// Bugs that only several nodes have; the others are looked for in plans of one node.
const OF_CLUSTERS: &[Bug] = &[
    Bug::PromiseCountsAtOnce,
    Bug::TakeoverWithoutPromise,
    Bug::HeartbeatNeverFires,
    Bug::SilenceNeverNoticed,
    Bug::WipedDiskKeepsItsVote,
    Bug::VoteBeforeFsync,
    Bug::ClustersJoined,
    Bug::ReleaseIgnoresLease,
    Bug::HeartbeatAcksWithoutLease,
    Bug::WithdrawnSendLost,
];

/// Those seeds whose plans can show a bug.
pub fn seeds_for(bug: Bug, seeds: &Range<u64>) -> impl Iterator<Item = u64> + Send + 'static {
    let clusters = OF_CLUSTERS.contains(&bug);
    seeds.clone().filter(move |seed| Plan::is_cluster(*seed) == clusters)
}

/// The command. True: each bug that can be seen here was.
pub(super) fn planted(seeds: &Range<u64>, only: Option<Bug>, jobs: usize) -> bool {
    println!("{:<30} {:>6} {:>6}  oracles", "planted bug", "caught", "seeds");
    let mut all = true;
    for &bug in Bug::ALL.iter().filter(|bug| only.is_none_or(|only| only == **bug)) {
        if let Some((_, why)) = NOT_HERE.iter().find(|(not_here, _)| *not_here == bug) {
            println!("{:<30} {:>6} {:>6}  not seen here: {why}", bug.name(), "-", "-");
            continue;
        }
        let (mut ran, mut caught) = (0, 0);
        let mut oracles: BTreeMap<String, usize> = BTreeMap::new();
        sweep_with(
            seeds_for(bug, seeds),
            jobs,
            Options { planted: Some(bug), ..Options::default() },
            |outcome| {
                ran += 1;
                if let Some(failure) = outcome.failures.first() {
                    caught += 1;
                    *oracles.entry(failure.oracle.clone()).or_default() += 1;
                }
                caught < CATCHES
            },
        );
        let oracles: Vec<String> =
            oracles.iter().map(|(oracle, count)| format!("{oracle} x{count}")).collect();
        let verdict = if caught < CATCHES { " NOT CAUGHT ENOUGH" } else { "" };
        println!("{:<30} {caught:>6} {ran:>6}  {}{verdict}", bug.name(), oracles.join(", "));
        all &= caught >= CATCHES;
    }
    all
}
