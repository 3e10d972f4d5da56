//! A few dozen seeds must be clean, and tell each other apart.

use multibeam_sim::commands::sweep_with;
use multibeam_sim::report::Summary;
use multibeam_sim::run::{Options, run_seed};
use std::collections::BTreeSet;

#[test]
fn a_few_dozen_seeds_are_clean() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut summary = Summary::default();
    let mut hashes = BTreeSet::new();
    let mut failed = Vec::new();
    sweep_with(0..24, jobs, Options::default(), |outcome| {
        summary.add(&outcome);
        hashes.insert(outcome.hash.clone());
        if !outcome.failures.is_empty() {
            failed.push(outcome.line());
        }
        true
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(hashes.len(), 24, "two seeds made the same run");
    assert!(summary.hits.len() > 5, "hardly any faults: {:?}", summary.hits);
}

/// What once found a bug, of a node or of an oracle; of use as long as plans are drawn as they were.
const FOUND: [u64; 8] = [457, 597, 893, 1875, 2191, 7967, 8424, 8647];

#[test]
fn seeds_that_found_something_are_clean() {
    for seed in FOUND {
        let outcome = run_seed(seed, Options::default());
        assert!(outcome.failures.is_empty(), "{}", outcome.line());
    }
}

#[test]
fn a_trace_does_not_change_the_run() {
    let traced = run_seed(3, Options { keep_trace: true, ..Options::default() });
    let plain = run_seed(3, Options::default());
    assert_eq!(traced.hash, plain.hash);
    assert_eq!(traced.trace.len() as u64, traced.events);
}
