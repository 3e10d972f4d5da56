//! Each bug that the simulator can see is seen within a few seeds. The command `planted`
//! demands more of more seeds.

use multibeam_model::core::planted::Bug;
use multibeam_sim::commands::{NOT_HERE, seeds_for, sweep_with};
use multibeam_sim::run::Options;

/// Seeds tried, a bug at a time; half of them are of the kind that can show it.
const SEEDS: u64 = 200;

#[test]
fn each_planted_bug_is_caught() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut missed = Vec::new();
    for &bug in Bug::ALL {
        if NOT_HERE.iter().any(|(not_here, _)| *not_here == bug) {
            continue;
        }
        let mut caught = false;
        sweep_with(
            seeds_for(bug, &(0..SEEDS)),
            jobs,
            Options { planted: Some(bug), ..Options::default() },
            |outcome| {
                caught |= !outcome.failures.is_empty();
                !caught
            },
        );
        if !caught {
            missed.push(bug.name());
        }
    }
    assert!(missed.is_empty(), "no seed of {SEEDS} caught {missed:?}");
}
