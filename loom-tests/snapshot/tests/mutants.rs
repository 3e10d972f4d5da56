//! Each site of the snapshot cell, weakened: a model must fail.
//!
//! A mutant runs in a process of its own: a value freed too early is real undefined behaviour.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use multibeam_loom_snapshot::models::MODELS;
use multibeam_loom_snapshot::sync::mutate;

const CHILD: &str = "MULTIBEAM_LOOM_CHILD";

const SOURCE: &str = include_str!("../../../crates/rings/src/snapshot.rs");

/// Each site and the models that fail if its ordering is `Relaxed`, or, for the deferral, if it is none.
const CAUGHT: &[(&str, &str)] = &[
    ("snapshot.value.swap", "two"),
    ("snapshot.value.load", "two"),
    ("snapshot.version.store", "version"),
    ("snapshot.version.load", "version"),
    ("snapshot.defer", "freed"),
    ("snapshot.defer", "two"),
    ("snapshot.defer", "end"),
];

#[test]
fn every_weakened_site_is_caught() {
    for (site, model) in CAUGHT {
        assert!(!passes(site, model), "{site} passes {model}");
    }
}

/// Or the table would prove nothing. That every model passes is what `tests/models.rs` shows.
#[test]
fn a_child_without_a_mutant_passes() {
    assert!(passes("no such site", "end"));
}

#[test]
fn every_site_of_the_source_is_in_the_table() {
    let listed: BTreeSet<_> = CAUGHT.iter().map(|(site, _)| *site).collect();
    let named = SOURCE.split('"').skip(1).step_by(2);
    assert_eq!(named.filter(|name| name.starts_with("snapshot.")).collect::<BTreeSet<_>>(), listed);
}

/// An atomic that does not come through `sync` is one that the models do not see; an ordering without
/// a site is one that no mutant weakens.
#[test]
fn the_source_goes_through_the_facade() {
    assert!(!SOURCE.contains("std::sync") && !SOURCE.contains("std::cell"));
    assert!(!SOURCE.contains("defer_unchecked") && !SOURCE.contains("defer_destroy"));
    for line in SOURCE.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let is_strong = ["Acquire", "Release", "AcqRel", "SeqCst"].iter().any(|strong| line.contains(strong));
        assert!(!is_strong || line.contains("ord(\""), "{line}");
    }
}

/// Whether the model passes with the site weakened.
fn passes(site: &str, model: &str) -> bool {
    let exe = std::env::current_exe().expect("the test binary");
    let status = Command::new(exe)
        .args(["--exact", "child_with_a_mutant", "--ignored"])
        .env(CHILD, format!("{site}={model}"))
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("the child starts").success()
}

#[test]
#[ignore = "started by the other tests, with a mutant in its environment"]
fn child_with_a_mutant() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (site, model) = task.split_once('=').expect("a site and a model");
    let model = MODELS.iter().find(|known| known.name == model).expect("a known model");
    mutate(site.to_owned());
    let _executions = model.check();
}
