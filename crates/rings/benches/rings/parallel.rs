//! Producers on cores of their own, and nobody reads while they publish: what a claim costs when
//! another claims too, and how often they meet.
//!
//! Each turn publishes some laps into a ring that has room for them, and empties it outside of the
//! timed part. A lap counts only if the producers really ran together.

use std::thread;

use crate::Effort;
use crate::cas::CasClaim;
use crate::contenders::{Conflicts, Contender, DisruptorMany, Drain, Publish, Queue, padded, unpadded};
use crate::flow::Arrived;
use crate::machine::{Clocks, Cores, Gate, Think, pin};
use crate::report::{Report, Samples, Table, quantile};

/// Messages of one producer in a lap.
const LAP: u64 = 8192;

/// The first lap of a turn warms up and is not counted.
const LAPS: u64 = 7;

/// A note of a table.
const CAS_BY_MESSAGE: &str = "% of messages";

/// A lap in which the producers overlapped for less is not counted.
const OVERLAP_MIN: f64 = 0.8;

#[derive(Debug, Clone, Copy)]
struct Load {
    producers: usize,
    batch: u64,
    think: Think,
}

impl Load {
    fn title(self) -> String {
        let producers = match self.producers {
            1 => "1 producer alone".to_owned(),
            many => format!("{many} producers in parallel"),
        };
        let think = match self.think.ns {
            0 => String::new(),
            ns => format!(", {ns} ns of work before each publish"),
        };
        format!("publish only: {producers}, batch {}{think}", self.batch)
    }
}

pub(crate) fn tables(report: &mut Report, cores: Cores, effort: Effort, think: Think) {
    for (producers, think) in [(1, Think::NONE), (2, Think::NONE), (2, think)] {
        let both = [1, 16].map(|batch| {
            let load = Load { producers, batch, think };
            if !report.wants(&load.title()) {
                return None;
            }
            let table = table(cores, load, effort);
            let figures = (table.median(padded::Mpsc::NAME), table.note(CasClaim::NAME, CAS_BY_MESSAGE));
            report.table(table);
            Some(figures)
        });
        let [Some(single), Some(batch)] = both else { continue };
        verdicts(report, producers, think, single, batch);
    }
}

/// Each figure is our median, and the failed swaps of the ring that claims by them.
fn verdicts(
    report: &mut Report,
    producers: usize,
    think: Think,
    single: (f64, Option<f64>),
    batch: (f64, Option<f64>),
) {
    let load = format!("publish only, producers: {producers}, work: {} ns", think.ns);
    let gain = single.0 / batch.0;
    let wanted = match (producers, think.ns, gain >= 6.0) {
        (2, 0, true) => " (wanted 6 x: met; article: 2.7 x)",
        (2, 0, false) => " (wanted 6 x: NOT met; article: 2.7 x)",
        _ => "",
    };
    report.verdict(format!("{load}: batch 16 / single = {gain:.1} x in messages a second{wanted}"));
    if let (Some(single), Some(batch)) = (single.1, batch.1) {
        report.verdict(format!(
            "{load}: failed CAS by message, single -> batch 16: {single:.1} % -> {batch:.1} % \
             (article: 12.7 % -> 1.3 %); ours claims without CAS and has none"
        ));
    }
}

fn table(cores: Cores, load: Load, effort: Effort) -> Table {
    type Run = fn(Cores, Load, &mut Turns);
    let contenders: [(&'static str, Run); 5] = [
        (padded::Mpsc::NAME, turn::<padded::Mpsc>),
        (DisruptorMany::NAME, turn::<DisruptorMany>),
        (Queue::NAME, turn::<Queue>),
        (unpadded::Mpsc::NAME, turn::<unpadded::Mpsc>),
        (CasClaim::NAME, turn::<CasClaim>),
    ];
    let mut turns: Vec<_> = contenders.iter().map(|(name, _)| Turns::new(name)).collect();
    let end = Clocks::read().wall + effort.table_ns;
    while turns[0].samples.wall.is_empty() || Clocks::read().wall < end {
        for ((_, run), turns) in contenders.iter().zip(&mut turns) {
            run(cores, load, turns);
        }
    }
    let title = load.title();
    Table { title, rows: turns.into_iter().map(|turns| turns.samples(load)).collect() }
}

/// All turns of a contender.
#[derive(Debug)]
struct Turns {
    samples: Samples,
    publishes: u64,
    /// Publishes that have one of another producer before them in the ring.
    handovers: u64,
    cas: Conflicts,
    messages: u64,
}

impl Turns {
    fn new(name: &'static str) -> Self {
        let samples = Samples::new(name);
        Self { samples, publishes: 0, handovers: 0, cas: Conflicts::default(), messages: 0 }
    }

    fn samples(mut self, load: Load) -> Samples {
        let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole as f64;
        if load.producers > 1 {
            self.samples.notes.push(("handovers %", percent(self.handovers, self.publishes)));
        }
        if self.cas.attempts > 0 && load.producers > 1 {
            self.samples
                .notes
                .push(("failed CAS % of attempts", percent(self.cas.failed, self.cas.attempts)));
            self.samples.notes.push((CAS_BY_MESSAGE, percent(self.cas.failed, self.messages)));
        }
        self.samples
    }
}

fn turn<C: Contender>(cores: Cores, load: Load, turns: &mut Turns) {
    let (publishers, mut drain) = C::ring(load.producers, LAP as usize * load.producers, load.batch);
    let gates: Vec<_> = (0..LAPS).map(|_| Gate::new(load.producers)).collect();
    let dones: Vec<_> = (0..LAPS).map(|_| Gate::new(load.producers)).collect();
    let lap = |publish: &mut C::Publish, index: u64, lap: u64| {
        let first = (index << 56) + lap * LAP;
        gates[lap as usize].pass();
        let start = Clocks::read();
        for count in (0..LAP).step_by(load.batch as usize) {
            load.think.pass();
            publish.publish(first + count..first + count + load.batch);
        }
        let end = Clocks::read();
        dones[lap as usize].pass();
        (start, end)
    };
    let mut walls = Vec::new();
    let mut cpus = Vec::new();
    let mut arrived = Arrived::new(load.producers);
    let mut publishers = publishers.into_iter();
    let mut own = publishers.next().expect("a producer");
    let other = publishers.next();
    thread::scope(|scope| {
        let other = other.map(|mut other| {
            let lap = &lap;
            scope.spawn(move || {
                pin(cores.first);
                let laps = (0..LAPS).map(|index| lap(&mut other, 1, index)).collect::<Vec<_>>();
                (laps, other.conflicts())
            })
        });
        pin(cores.second);
        let mut laps = Vec::new();
        for index in 0..LAPS {
            laps.push(vec![lap(&mut own, 0, index)]);
            let mut last = None;
            let expected = (index + 1) * LAP * load.producers as u64;
            while arrived.count < expected {
                drain.drain(|value| {
                    arrived.take(value);
                    if value % load.batch == 0 {
                        turns.publishes += 1;
                        turns.handovers +=
                            u64::from(last.replace(value >> 56).is_some_and(|last| last != value >> 56));
                    }
                });
            }
        }
        let theirs = other.map(|other| other.join().expect("the other core"));
        let (theirs, conflicts) = theirs.unwrap_or_default();
        for (lap, theirs) in laps.iter_mut().zip(theirs) {
            lap.push(theirs);
        }
        for conflicts in [own.conflicts(), conflicts].into_iter().flatten() {
            turns.cas.attempts += conflicts.attempts;
            turns.cas.failed += conflicts.failed;
        }
        for lap in &laps[1..] {
            let start = |pick: fn(u64, u64) -> u64| {
                lap.iter().map(|(start, _)| start.wall).reduce(pick).expect("one at least")
            };
            let end = |pick: fn(u64, u64) -> u64| {
                lap.iter().map(|(_, end)| end.wall).reduce(pick).expect("one at least")
            };
            let whole = (end(u64::max) - start(u64::min)) as f64;
            let together = end(u64::min).saturating_sub(start(u64::max)) as f64;
            if together >= OVERLAP_MIN * whole {
                let messages = (LAP * load.producers as u64) as f64;
                walls.push(whole / messages);
                cpus.push(lap.iter().map(|(start, end)| end.cpu - start.cpu).sum::<u64>() as f64 / messages);
            }
        }
    });
    arrived.check();
    turns.messages += arrived.count;
    turns.samples.wall.push(quantile(&walls, 0.5));
    turns.samples.cpu.push(quantile(&cpus, 0.5));
}
