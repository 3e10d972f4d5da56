//! The commands of `multibeam-sim`.

mod draw;
mod meta;
mod planted;
mod shrink;
mod sweep;

pub use planted::{NOT_HERE, seeds_for};
pub use sweep::sweep_with;

use crate::plan::Plan;
use crate::run::{Options, run_plan};
use clap::{Parser, Subcommand};
use multibeam_model::core::planted::Bug;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs a whole Multibeam node and its clients in a deterministic simulation.
#[derive(Debug, Parser)]
#[command(name = "multibeam-sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed
    Run {
        /// The seed
        #[arg(long)]
        seed: Option<u64>,
        /// A plan to run in place of the seed's own
        #[arg(long)]
        plan: Option<PathBuf>,
        /// Print every event
        #[arg(long)]
        trace: bool,
        /// Print the plan and do not run it
        #[arg(long)]
        print_plan: bool,
        /// Switch a bug on
        #[arg(long, value_parser = bug)]
        planted: Option<Bug>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Draw the run of a cluster into this file, as a time-line for a browser
        #[arg(long, value_name = "FILE", conflicts_with = "print_plan")]
        svg: Option<PathBuf>,
    },
    /// Run many seeds
    Sweep {
        /// First seed and the one behind the last, as 0..300
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// Seeds at a time; as many as there are cores when absent
        #[arg(long)]
        jobs: Option<usize>,
        /// Switch a bug on
        #[arg(long, value_parser = bug)]
        planted: Option<Bug>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run each seed in two fresh processes and once here, and compare
    Meta {
        /// First seed and the one behind the last, as 0..20
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
    },
    /// Run seeds with each planted bug until three have caught it
    Planted {
        /// Seeds to try
        #[arg(long, value_parser = seeds, default_value = "0..600")]
        seeds: Range<u64>,
        /// One bug only
        #[arg(long, value_parser = bug)]
        only: Option<Bug>,
        /// Seeds at a time; as many as there are cores when absent
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Cut a failing seed's plan down to the faults it needs, and print it
    Shrink {
        /// The seed
        #[arg(long)]
        seed: u64,
        /// Switch a bug on
        #[arg(long, value_parser = bug)]
        planted: Option<Bug>,
        /// Draw the run of the plan that is left into this file, as a time-line for a browser
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parts = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    parts
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "write the first seed, two dots, and the one behind the last: 0..300".to_owned())
}

fn bug(name: &str) -> Result<Bug, String> {
    let names = || Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
    Bug::by_name(name).ok_or_else(|| format!("there is no such bug; there are {}", names()))
}

fn jobs(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)).max(1)
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run { plan, seed, print_plan: true, .. } => load(seed, plan).and_then(|plan| print(&plan)),
        Command::Run { seed, plan, trace, planted, json, svg, .. } => {
            let options = Options { planted, keep_trace: trace, keep_timeline: svg.is_some() };
            load(seed, plan).and_then(|plan| run(&plan, options, json, svg.as_deref()))
        }
        Command::Sweep { seeds, jobs: wanted, planted, json } => {
            sweep::sweep(seeds, jobs(wanted), planted, json)
        }
        Command::Meta { seeds } => meta::meta(seeds),
        Command::Planted { seeds, only, jobs: wanted } => Ok(planted::planted(&seeds, only, jobs(wanted))),
        Command::Shrink { seed, planted, svg } => shrink::shrink(seed, planted, svg.as_deref()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("multibeam-sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn load(seed: Option<u64>, path: Option<PathBuf>) -> Result<Plan, String> {
    match (seed, path) {
        (Some(seed), None) => Ok(Plan::of(seed)),
        (seed, Some(path)) => {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let plan: Plan =
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Plan { seed: seed.unwrap_or(plan.seed), ..plan })
        }
        (None, None) => Err("say --seed or --plan".to_owned()),
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

fn print(plan: &Plan) -> Result<bool, String> {
    println!("{}", to_json(plan)?);
    Ok(true)
}

fn run(plan: &Plan, options: Options, json: bool, svg: Option<&Path>) -> Result<bool, String> {
    draw::check(plan, svg)?;
    let outcome = run_plan(plan, options);
    for line in if outcome.trace.is_empty() && !json { &outcome.story } else { &outcome.trace } {
        println!("{line}");
    }
    if json {
        println!("{}", to_json(&outcome)?);
    } else {
        println!("{}", outcome.line());
    }
    draw::write(&outcome, svg)?;
    Ok(outcome.failures.is_empty())
}
