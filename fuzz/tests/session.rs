//! Random lives of a shard: they break nothing, they reach what is rare, and planted bugs show.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam_fuzz::run_session;
use multibeam_model::script::random;
use multibeam_proto::planted::{Bug, plant};
use multibeam_proto::{Stat, Stats};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// A planted bug is the process's: who plants one, or needs that there is none, holds this.
static PLANTING: Mutex<()> = Mutex::new(());

fn failure(bytes: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| run_session(bytes))) {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error),
        Err(panic) => Some(match panic.downcast::<String>() {
            Ok(text) => format!("panic: {text}"),
            Err(panic) => panic.downcast::<&str>().map_or_else(|_| "?".to_owned(), |text| (*text).to_owned()),
        }),
    }
}

/// What is rare in the core; the rest happens in the event loop.
const RARE: [Stat; 9] = [
    Stat::EvictedByAge,
    Stat::EvictedByBudget,
    Stat::TooSlow,
    Stat::StaleCommands,
    Stat::HalfWritten,
    Stat::NoRoom,
    Stat::WindowZero,
    Stat::Gaps,
    Stat::Resumed,
];

#[test]
fn random_lives_break_nothing_and_reach_what_is_rare() {
    let _none = PLANTING.lock().unwrap();
    let mut sum = Stats::default();
    let mut delivered = 0;
    for seed in 0..3000 {
        match run_session(&random(seed)) {
            Err(error) => panic!("life {seed}: {error}"),
            Ok(reached) => {
                for stat in Stat::ALL {
                    sum.add(*stat, reached.stats.load(*stat));
                }
                delivered += reached.delivered;
            }
        }
    }
    println!("{delivered} deliveries");
    for stat in RARE {
        println!("{:>10} {}", sum.load(stat), stat.metric());
        assert!(sum.load(stat) > 20, "{stat:?} is hardly ever reached");
    }
    assert!(delivered > 3000 && sum.load(Stat::LeasesLost) > 300);
}

/// Bugs of the core that random lives are expected to meet; the others are in the event loop, in the
/// client, or show only where more than one shard is real.
const CAUGHT: [Bug; 16] = [
    Bug::StaleToken,
    Bug::GapOmitted,
    Bug::DuplicateOnResume,
    Bug::RetryStoredTwice,
    Bug::WindowIgnored,
    Bug::HeaderOfUnsent,
    Bug::FloorNotRaised,
    Bug::ExpiredDelivered,
    Bug::ExpiredWithoutGap,
    Bug::SkippedNotSaid,
    Bug::KeyNumbersReused,
    Bug::FilterCursorAhead,
    Bug::AckReleasesRun,
    Bug::FilterMissesMessage,
    Bug::ReceiptOffByOne,
    Bug::HeartbeatAcksWithoutLease,
];

#[test]
fn planted_bugs_are_caught() {
    let _own = PLANTING.lock().unwrap();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in CAUGHT {
        plant(Some(bug));
        let first = (0..8000).find_map(|seed| Some((seed, failure(&random(1_000_000 + seed))?)));
        plant(None);
        println!("{:<24} {first:?}", bug.name());
        if first.is_none() {
            missed.push(bug.name());
        }
    }
    std::panic::set_hook(hook);
    assert!(missed.is_empty(), "{missed:?} stayed unseen");
}
