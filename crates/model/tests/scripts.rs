//! Random scripts: they break nothing, they reach every rare state, and each planted bug that
//! can show itself here is caught.

use multibeam_model::script::{self, Outcome};
use multibeam_proto::planted::{Bug, plant};
use multibeam_proto::{Stat, StatKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong in a script, be it said or panicked.
fn failure(script: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| script::run(script))) {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error),
        Err(panic) => Some(match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "a panic without a text".to_owned(),
        }),
    }
}

/// States of classes and budgets that the scripts do not draw; the simulator does.
const NOT_HERE: [Stat; 3] = [Stat::EvictedByAge, Stat::EvictedByBudget, Stat::TooSlow];

#[test]
fn random_scripts_break_nothing_and_reach_every_rare_state() {
    let mut sum = Outcome::default();
    for seed in 0..4000 {
        match script::run(&script::random(seed)) {
            Err(error) => panic!("script {seed}: {error}"),
            Ok(outcome) => {
                for stat in Stat::ALL {
                    sum.stats.add(*stat, outcome.stats.load(*stat));
                }
                sum.delivered += outcome.delivered;
                sum.preempted += outcome.preempted;
                sum.restarts += outcome.restarts;
                sum.calls += outcome.calls;
            }
        }
    }
    println!("{} kernel calls, {} deliveries", sum.calls, sum.delivered);
    for stat in Stat::ALL {
        println!("{:>10} {}", sum.stats.load(*stat), stat.metric());
        let expected = stat.kind() == StatKind::Rare && !NOT_HERE.contains(stat);
        assert!(!expected || sum.stats.load(*stat) > 0, "{stat:?} was never reached");
    }
    assert!(sum.stats.load(Stat::LeasesLost) > 1000 && sum.stats.load(Stat::SendsWithdrawn) > 100);
    assert!(sum.delivered > 4000 && sum.preempted > 0 && sum.restarts > 0, "{sum:?}");
}

/// Bugs of time, of classes and filters, of several nodes, and of what only the real client asks for: scripts
/// do none of that, and the simulator catches them.
const SIMULATOR_ONLY: &[Bug] = &[
    Bug::FloorNotRaised,
    Bug::AgeTooEarly,
    Bug::ExpiredDelivered,
    Bug::ExpiredWithoutGap,
    Bug::SkippedNotSaid,
    Bug::KeyNumbersReused,
    Bug::FilterCursorAhead,
    Bug::AckReleasesRun,
    Bug::FilterMissesMessage,
    Bug::ReceiptOffByOne,
    Bug::SystemNotResumed,
    Bug::DeadlineScanMissesSlot,
    Bug::HalfOpenNeverClosed,
    Bug::AckTimeoutNever,
    Bug::HeartbeatHasty,
    Bug::LeaseFromAnswer,
    Bug::GrantWithOldView,
    Bug::StaleIncarnationGranted,
    Bug::PromiseForgottenOnRestart,
    Bug::EndedForgottenOnRestart,
    Bug::StartIsNoGrant,
    Bug::PromiseCountsAtOnce,
    Bug::TakeoverWithoutPromise,
    Bug::TakeoverAfterVoters,
    Bug::HeartbeatNeverFires,
    Bug::SilenceNeverNoticed,
    Bug::WipedDiskKeepsItsVote,
    Bug::ClustersJoined,
    Bug::CompareAndSetSkipped,
    Bug::VoteBeforeFsync,
];

#[test]
fn planted_bugs_are_caught_in_one_script_of_a_hundred() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in Bug::ALL.iter().filter(|bug| !SIMULATOR_ONLY.contains(bug)) {
        plant(Some(*bug));
        let mut caught = 0;
        let mut first = None;
        let mut scripts = 0;
        while scripts < 1000 && caught < 10 {
            if let Some(error) = failure(&script::random(1_000_000 + scripts)) {
                caught += 1;
                first.get_or_insert((scripts, error));
            }
            scripts += 1;
        }
        plant(None);
        println!("{:<30} {caught:>3} of {scripts:>4}  {first:?}", bug.name());
        if caught < 10 {
            missed.push(bug.name());
        }
    }
    std::panic::set_hook(hook);
    assert!(missed.is_empty(), "not caught in 1 % of the scripts: {missed:?}");
}

#[test]
fn the_table_of_planted_bugs_is_whole() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TESTING.md");
    let document = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let section = document.split("\n## Planted bugs\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let lines = section.expect("a section of planted bugs").lines();
    let listed: Vec<&str> = lines.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let planted: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    assert_eq!(listed, planted);
}
