//! Is a run a function of its seed? The same seed in two fresh processes, and here.

use super::sweep::{cpu_seconds, speed};
use crate::report::Outcome;
use crate::run::{Options, run_seed};
use std::ops::Range;
use std::process::Command;

/// The command. True: all runs of each seed are the same run.
pub(super) fn meta(seeds: Range<u64>) -> Result<bool, String> {
    let mut hashes = std::collections::BTreeSet::new();
    let count = seeds.end - seeds.start;
    let mut same = true;
    let mut simulated_ms = 0;
    let before = cpu_seconds();
    for seed in seeds {
        let (first, second) = (fresh(seed)?, fresh(seed)?);
        let here = run_seed(seed, Options::default());
        let again = run_seed(seed, Options::default());
        simulated_ms += here.simulated_ms + again.simulated_ms;
        let all = [&first.hash, &second.hash, &here.hash, &again.hash];
        if all.iter().any(|hash| **hash != first.hash) {
            same = false;
            println!("seed {seed}: DIFFERS: {all:?}");
            println!("{}", first_difference(seed)?);
        }
        hashes.insert(first.hash);
    }
    println!(
        "{count} seeds, each in two fresh processes and twice in this one: {}",
        if same { "identical" } else { "DIFFERENT" }
    );
    let cpu = before.zip(cpu_seconds()).map(|(before, after)| after - before);
    let simulated = simulated_ms as f64 / 1000.0;
    let speed = speed(simulated, cpu);
    println!("{} distinct traces; in this process {simulated:.0} simulated seconds{speed}", hashes.len());
    Ok(same && hashes.len() as u64 == count)
}

fn child(seed: u64, flag: &str) -> Result<Vec<u8>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let arguments = ["run", "--seed", &seed.to_string(), flag];
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    Ok(output.stdout)
}

fn fresh(seed: u64) -> Result<Outcome, String> {
    serde_json::from_slice(&child(seed, "--json")?)
        .map_err(|error| format!("seed {seed} in a fresh process: {error}"))
}

/// Where two more runs part, with what came just before.
fn first_difference(seed: u64) -> Result<String, String> {
    let child = String::from_utf8_lossy(&child(seed, "--trace")?).into_owned();
    let here = run_seed(seed, Options { keep_trace: true, ..Options::default() });
    let theirs: Vec<&str> = child.lines().collect();
    let differs = here.trace.iter().zip(&theirs).position(|(a, b)| a != b);
    Ok(match differs {
        None => format!(
            "  two more runs with a trace are the same, as far as both go ({} lines)",
            here.trace.len()
        ),
        Some(at) => {
            let before = &here.trace[at.saturating_sub(5)..at];
            format!("  {}\n  here:  {}\n  there: {}", before.join("\n  "), here.trace[at], theirs[at])
        }
    })
}
