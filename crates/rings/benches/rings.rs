//! The rings against each other, against other crates, and against the speed of the machine.
//!
//! `cargo bench -p multibeam-rings --bench rings`, with `-- --quick` for a short run and `-- --json`
//! for one JSON document, and with a word for the tables whose title has it. It needs two processors to
//! itself for absolute figures. Within a table the contenders take turns, round by round, so on a busy
//! machine the ratios still mean something.
//!
//! ```text
//!  machine     threads on cores, clocks, ping-pong of the two cores, calibrated think time
//!  contenders  one publishing and one reading side for each ring, ours and others
//!  flow        producers on one core ──► consumer on the other, timed until all has arrived
//!  parallel    two producers on two cores, nobody reads meanwhile: what claims cost, conflicts
//!  counters    two counters on one line or on two
//!  report      samples, medians, ratios; text and JSON
//! ```
//!
//! `crate::sync` of this program does not pad, and the ring sources are included once more on top of
//! it: that is the unpadded contender, the same code line by line.

#[path = "rings/cas.rs"]
mod cas;
#[path = "rings/contenders.rs"]
mod contenders;
#[path = "rings/counters.rs"]
mod counters;
#[path = "rings/flow.rs"]
mod flow;
#[path = "rings/machine.rs"]
mod machine;
#[path = "rings/parallel.rs"]
mod parallel;
#[path = "rings/report.rs"]
mod report;
#[path = "rings/sync.rs"]
mod sync;

#[path = "../src/mpsc.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole source is included, and a part used")]
mod mpsc;
#[path = "../src/slots.rs"]
#[allow(unused_imports, reason = "the whole source is included, with tests that have no harness here")]
mod slots;
#[path = "../src/spsc.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole source is included, and a part used")]
mod spsc;

use machine::{Cores, Think};
use report::Report;

/// How much is run.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Wall time of a table, and at least one round.
    table_ns: u64,
    /// Messages of one turn, few enough that most turns are not interrupted.
    messages: u64,
}

fn main() {
    let is_given = |flag: &str| std::env::args().any(|arg| arg == flag);
    let table_ns = if is_given("--quick") { 500_000_000 } else { 6_000_000_000 };
    let effort = Effort { table_ns, messages: 16_000 };
    let Some(cores) = Cores::two() else {
        eprintln!("fewer than two processors: nothing to measure");
        return;
    };
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    let mut report = Report::new(filter);
    let think = Think::calibrated(150);
    report.ping_pong(machine::ping_pong(cores));
    flow::tables(&mut report, cores, effort, think);
    parallel::tables(&mut report, cores, effort, think);
    counters::tables(&mut report, cores, effort);
    report.ping_pong(machine::ping_pong(cores));
    if is_given("--json") {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
}
