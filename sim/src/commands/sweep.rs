//! Many seeds, several at a time.

use super::to_json;
use crate::plan::Plan;
use crate::report::{Outcome, Summary};
use crate::run::{Options, run_seed};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use multibeam_model::core::planted::Bug;
use std::io::IsTerminal;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// Sweeps of fewer seeds need not reach every rare state.
const RARE_SEEDS_MIN: u64 = 100;

/// Runs seeds, `jobs` at a time, and hands out each outcome as it comes; `false` stops.
pub fn sweep_with(
    seeds: impl Iterator<Item = u64> + Send + 'static,
    jobs: usize,
    options: Options,
    mut each: impl FnMut(Outcome) -> bool,
) {
    let seeds = Arc::new(Mutex::new(seeds));
    let (send, outcomes) = mpsc::channel();
    let workers: Vec<_> = (0..jobs)
        .map(|_| {
            let (seeds, send) = (Arc::clone(&seeds), send.clone());
            std::thread::spawn(move || {
                loop {
                    let next = seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(seed) = next else { return };
                    if send.send(run_seed(seed, options)).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(send);
    for outcome in &outcomes {
        if !each(outcome) {
            break;
        }
    }
    drop(outcomes);
    for worker in workers {
        let _ = worker.join();
    }
}

/// The command. True: clean.
pub(super) fn sweep(seeds: Range<u64>, jobs: usize, bug: Option<Bug>, json: bool) -> Result<bool, String> {
    let count = seeds.end - seeds.start;
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr())
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left") {
        bar.set_style(style);
    }
    let mut summary = Summary::default();
    let mut failed = Vec::new();
    let before = cpu_seconds();
    sweep_with(seeds, jobs, Options { planted: bug, ..Options::default() }, |outcome| {
        summary.add(&outcome);
        bar.inc(1);
        if !outcome.failures.is_empty() {
            let mut line = format!("{}\n  replay: {}", outcome.line(), replay(outcome.seed, bug));
            if Plan::is_cluster(outcome.seed) {
                line += &format!("\n  draw:   {} --svg seed-{}.svg", replay(outcome.seed, bug), outcome.seed);
            }
            if !json {
                bar.suspend(|| println!("{line}"));
            }
            failed.push(outcome);
        }
        true
    });
    bar.finish_and_clear();
    let cpu = before.zip(cpu_seconds()).map(|(before, after)| after - before);
    let never = if summary.seeds >= RARE_SEEDS_MIN { summary.never() } else { Vec::new() };
    failed.sort_by_key(|outcome| outcome.seed);
    if json {
        let value =
            serde_json::json!({ "summary": summary, "never": never, "failed": failed, "cpu_seconds": cpu });
        println!("{}", to_json(&value)?);
    } else {
        print!("{}", summary.table());
        println!("{}", totals(&summary, cpu));
        if !never.is_empty() {
            println!("FAILED: never reached: {}", never.join(", "));
        }
        let seeds: Vec<String> = failed.iter().map(|outcome| outcome.seed.to_string()).collect();
        if !seeds.is_empty() {
            println!("FAILED seeds: {}", seeds.join(" "));
        }
    }
    Ok(failed.is_empty() && never.is_empty())
}

fn replay(seed: u64, bug: Option<Bug>) -> String {
    let planted = bug.map(|bug| format!(" --planted {}", bug.name())).unwrap_or_default();
    format!("cargo run --profile sim -p multibeam-sim -- run --seed {seed}{planted}")
}

fn totals(summary: &Summary, cpu: Option<f64>) -> String {
    let simulated = summary.simulated_ms as f64 / 1000.0;
    let speed = speed(simulated, cpu);
    format!(
        "{} of {} seeds clean: {} deliveries, {} faults hit, {} events, {simulated:.0} simulated seconds{speed}\nfingerprint of all traces: {:016x}",
        summary.clean,
        summary.seeds,
        summary.deliveries,
        summary.hits.values().sum::<u64>(),
        summary.events,
        summary.fingerprint,
    )
}

/// How fast it went, as the end of a sentence; nothing where the system does not tell.
pub(super) fn speed(simulated: f64, cpu: Option<f64>) -> String {
    cpu.filter(|cpu| *cpu > 0.0).map_or_else(String::new, |cpu| {
        format!(", {cpu:.1} CPU-seconds, {:.0} simulated seconds per CPU-second", simulated / cpu)
    })
}

/// Processor time of this process, where the system tells it.
pub(super) fn cpu_seconds() -> Option<f64> {
    /// Clock ticks in a second, in this file: the same on every Linux.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    Some((user + system) / TICKS)
}
