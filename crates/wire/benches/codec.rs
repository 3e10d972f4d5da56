//! What a frame costs to encode and to decode, beside a copy of the same bytes.
//!
//! `cargo bench -p multibeam-wire --bench codec`, with `-- --quick` for a short run and `-- --json` for
//! one JSON document. The contenders of a table take turns, round by round, and are timed by the
//! processor time of their thread, so that a busy machine spoils figures but not ratios.
//!
//! ```text
//!  load    frames of one kind: hot in a few KiB, or a stream that no first-level cache holds
//!  turns   encode, decode, copy: one pass over a load
//!  report  medians, quartiles, ratios to the copy; text and JSON
//! ```

#![allow(clippy::unwrap_used, reason = "a bench that can't run says so by a panic")]

#[path = "codec/load.rs"]
mod load;
#[path = "codec/report.rs"]
mod report;
#[path = "codec/turns.rs"]
mod turns;

use load::{Kind, Load, Place};
use report::{Report, Row};
use turns::Contender;

/// How much is run.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Turns of each contender in a table.
    rounds: usize,
    /// Bytes that a turn goes through at least, in as many passes as that takes.
    turn_bytes: usize,
    /// Frames that a turn goes through at least.
    turn_frames: usize,
}

const QUICK: Effort = Effort { rounds: 7, turn_bytes: 1 << 20, turn_frames: 10_000 };
const FULL: Effort = Effort { rounds: 41, turn_bytes: 4 << 20, turn_frames: 40_000 };

fn main() {
    let is_given = |flag: &str| std::env::args().any(|arg| arg == flag);
    let effort = if is_given("--quick") { QUICK } else { FULL };
    let mut report = Report::default();
    for place in [Place::Hot, Place::Stream] {
        for kind in Kind::ALL {
            let load = Load::new(*kind, place);
            report.add(kind, place, measure(&load, effort));
        }
    }
    if is_given("--json") {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
}

/// Nanoseconds a frame, a sample a round. Before each turn the contender goes through the load once
/// without being timed: otherwise it would find the caches as the one before it left them.
fn measure(load: &Load, effort: Effort) -> Vec<Row> {
    let mut rows: Vec<_> = Contender::ALL.iter().map(|contender| Row::new(*contender)).collect();
    let mut room = load.room();
    let frames = load.frames();
    let passes =
        effort.turn_frames.div_ceil(frames).max(effort.turn_bytes.div_ceil(load.bytes(Contender::CopyEach)));
    for _ in 0..effort.rounds {
        for row in &mut rows {
            turns::pass(row.contender, load, &mut room);
            let began = turns::thread_ns();
            for _ in 0..passes {
                turns::pass(row.contender, load, &mut room);
            }
            let ns = (turns::thread_ns() - began) as f64 / (passes * frames) as f64;
            row.samples.push(ns);
        }
    }
    rows
}
