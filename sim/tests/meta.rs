//! A run is a function of its seed: fresh processes make the same one.

use multibeam_sim::report::Outcome;
use multibeam_sim::run::{Options, run_seed};
use std::process::Command;

fn fresh(seed: u64) -> Outcome {
    let seed = seed.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_multibeam-sim"))
        .args(["run", "--seed", seed.as_str(), "--json"])
        .output()
        .expect("the simulator's own program runs");
    serde_json::from_slice(&output.stdout).expect("an outcome")
}

#[test]
fn fresh_processes_make_the_same_run() {
    for seed in [1, 4, 5, 10] {
        let first = fresh(seed);
        assert_eq!(first, fresh(seed), "seed {seed} in two processes");
        // The story is for people and not in the JSON.
        let here = Outcome { story: Vec::new(), ..run_seed(seed, Options::default()) };
        assert_eq!(first, here, "seed {seed} here");
    }
}

#[test]
fn a_plan_survives_being_printed() {
    let plan = multibeam_sim::plan::Plan::of(9);
    let text = serde_json::to_string(&plan).expect("a plan is plain data");
    assert_eq!(plan, serde_json::from_str(&text).expect("and comes back"));
}

#[test]
fn wrong_arguments_are_refused_in_words() {
    let refused = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_multibeam-sim");
        let output = Command::new(program).args(arguments).output().expect("it runs");
        assert!(!output.status.success() && !output.stderr.is_empty(), "{arguments:?}");
    };
    refused(&["sweep", "--seeds", "7"]);
    refused(&["run"]);
    refused(&["run", "--seed", "1", "--planted", "nothing"]);
    refused(&["run", "--plan", "/no/such/plan.json"]);
}
