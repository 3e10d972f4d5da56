//! Two counters, each bumped by one core: side by side on a line, and on lines of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use multibeam_rings::CachePadded;

use crate::Effort;
use crate::machine::{Clocks, Cores, Gate, pin};
use crate::report::{Report, Samples, Table, ratio};

/// Steps of each counter in a turn.
const STEPS: u64 = 100_000;

/// Both on one line, whatever line the program is given.
#[derive(Debug, Default)]
#[repr(align(64))]
struct SideBySide([AtomicU64; 2]);

pub(crate) fn tables(report: &mut Report, cores: Cores, effort: Effort) {
    table(report, cores, effort, "locked add", |counter| _ = counter.fetch_add(1, Ordering::Relaxed));
    table(report, cores, effort, "load and store", |counter| {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    });
}

fn table(
    report: &mut Report,
    cores: Cores,
    effort: Effort,
    kind: &str,
    step: impl Fn(&AtomicU64) + Copy + Sync,
) {
    let title = format!("counters of two cores, {kind}");
    if !report.wants(&title) {
        return;
    }
    let (mut apart, mut together) = (Samples::new("ours padded"), Samples::new("ours side by side"));
    let end = Clocks::read().wall + effort.table_ns / 4;
    while apart.wall.is_empty() || Clocks::read().wall < end {
        let counters = [CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0))];
        turn(cores, [&counters[0], &counters[1]], step, &mut apart);
        let counters = SideBySide::default();
        turn(cores, [&counters.0[0], &counters.0[1]], step, &mut together);
    }
    let gain = ratio(&together, &apart);
    report.verdict(format!("counters, {kind}: padding gains {gain:.1} x (article: 2.3 x)"));
    report.table(Table { title, rows: vec![apart, together] });
}

fn turn(
    cores: Cores,
    counters: [&AtomicU64; 2],
    step: impl Fn(&AtomicU64) + Copy + Sync,
    samples: &mut Samples,
) {
    let gate = Gate::new(2);
    let run = |core, counter: &AtomicU64| {
        pin(core);
        gate.pass();
        let start = Clocks::read();
        for _ in 0..STEPS {
            step(counter);
        }
        let end = Clocks::read();
        assert_eq!(counter.load(Ordering::Relaxed), STEPS);
        end - start
    };
    let both = thread::scope(|scope| {
        let other = scope.spawn(|| run(cores.first, counters[0]));
        let own = run(cores.second, counters[1]);
        [other.join().expect("the other core"), own]
    });
    let is_undisturbed = both.iter().all(|clocks| clocks.cpu * 10 >= clocks.wall * 9);
    let wall = both[0].wall.min(both[1].wall);
    samples.round(wall, (both[0].cpu + both[1].cpu) / 2, STEPS, is_undisturbed);
}
