//! Producers on one core, the consumer on the other; timed until the last message has arrived.

use std::hint::spin_loop;
use std::thread;

use crate::Effort;
use crate::contenders::{
    Contender, DisruptorMany, DisruptorOne, Drain, Patient, Publish, Queue, Rtrb, padded, unpadded,
};
use crate::machine::{Clocks, Cores, Gate, Think, pin};
use crate::report::{Report, Samples, Table};

/// Slots of each ring.
const CAPACITY: usize = 1024;

/// What is put on a ring.
#[derive(Debug, Clone, Copy)]
struct Load {
    producers: usize,
    batch: u64,
    think: Think,
    messages: u64,
}

impl Load {
    fn title(self, kind: &str) -> String {
        let producers = match self.producers {
            1 => "1 producer".to_owned(),
            many => format!("{many} producers sharing a core"),
        };
        let think = match self.think.ns {
            0 => String::new(),
            ns => format!(", {ns} ns of work before each publish"),
        };
        format!("{kind}: {producers} -> consumer, batch {}{think}", self.batch)
    }
}

pub(crate) fn tables(report: &mut Report, cores: Cores, effort: Effort, think: Think) {
    let single = [
        contender::<padded::Spsc>(),
        contender::<Rtrb>(),
        contender::<DisruptorOne>(),
        contender::<Queue>(),
        contender::<unpadded::Spsc>(),
        contender::<Patient>(),
    ];
    let multi = [
        contender::<padded::Mpsc>(),
        contender::<DisruptorMany>(),
        contender::<Queue>(),
        contender::<unpadded::Mpsc>(),
    ];
    for (kind, producers, contenders) in [("spsc", 1, &single[..]), ("mpsc", 1, &multi), ("mpsc", 2, &multi)]
    {
        for think in [Think::NONE, think] {
            let mut medians = Vec::new();
            for batch in [1, 16] {
                let mut messages = effort.messages;
                if think.ns > 0 {
                    messages = messages * batch / 16;
                }
                if producers > 1 {
                    // Some time slices of the core that they share.
                    messages *= 4;
                }
                let load = Load { producers, batch, think, messages };
                let title = load.title(kind);
                if !report.wants(&title) {
                    continue;
                }
                let table = table(title, contenders, cores, load, effort);
                medians.push(table.median(table.rows[0].name));
                report.table(table);
            }
            if think.ns == 0 && medians.len() == 2 && !(medians[0] / medians[1]).is_nan() {
                let gain = medians[0] / medians[1];
                report.verdict(format!("{kind}, {producers} -> consumer: batch 16 / single = {gain:.1} x"));
            }
        }
    }
}

type Turn = fn(Cores, Load, &mut Samples);

/// Every contender takes its turn in every round.
fn table(
    title: String,
    contenders: &[(&'static str, Turn)],
    cores: Cores,
    load: Load,
    effort: Effort,
) -> Table {
    let mut rows: Vec<_> = contenders.iter().map(|(name, _)| Samples::new(name)).collect();
    let end = Clocks::read().wall + effort.table_ns;
    while rows[0].wall.is_empty() || Clocks::read().wall < end {
        for ((_, turn), samples) in contenders.iter().zip(&mut rows) {
            turn(cores, load, samples);
        }
    }
    Table { title, rows }
}

fn contender<C: Contender>() -> (&'static str, Turn) {
    (C::NAME, turn::<C>)
}

/// One turn of a contender: a new ring, and all messages through it.
fn turn<C: Contender>(cores: Cores, load: Load, samples: &mut Samples) {
    let (publishers, mut drain) = C::ring(load.producers, CAPACITY, load.batch);
    let gate = Gate::new(load.producers + 1);
    let each = load.messages / load.producers as u64;
    let (consumer, producers) = thread::scope(|scope| {
        let producers: Vec<_> = (0_u64..)
            .zip(publishers)
            .map(|(index, mut publish)| {
                let gate = &gate;
                scope.spawn(move || {
                    pin(cores.first);
                    gate.pass();
                    let start = Clocks::read();
                    let first = index << 56;
                    for count in (0..each).step_by(load.batch as usize) {
                        load.think.pass();
                        publish.publish(first + count..first + count + load.batch);
                    }
                    Clocks::read() - start
                })
            })
            .collect();
        pin(cores.second);
        gate.pass();
        let start = Clocks::read();
        let mut arrived = Arrived::new(load.producers);
        while arrived.count < load.messages {
            if drain.drain(|value| arrived.take(value)) == 0 {
                spin_loop();
            }
        }
        let consumer = Clocks::read() - start;
        arrived.check();
        let producers = producers.into_iter().map(|producer| producer.join().expect("a producer"));
        (consumer, producers.collect::<Vec<_>>())
    });
    // Producers that share a core have it together.
    let shared = Clocks {
        wall: producers.iter().map(|clocks| clocks.wall).max().expect("a producer"),
        cpu: producers.iter().map(|clocks| clocks.cpu).sum(),
    };
    let is_undisturbed = [consumer, shared].iter().all(|clocks| clocks.cpu * 10 >= clocks.wall * 9);
    samples.round(consumer.wall, consumer.cpu + shared.cpu, load.messages, is_undisturbed);
}

/// Checks what arrives: every message of every producer, in its order.
#[derive(Debug)]
pub(crate) struct Arrived {
    next: Vec<u64>,
    pub(crate) count: u64,
    in_order: bool,
}

impl Arrived {
    pub(crate) fn new(producers: usize) -> Self {
        Self { next: (0..producers as u64).map(|index| index << 56).collect(), count: 0, in_order: true }
    }

    #[inline]
    pub(crate) fn take(&mut self, value: u64) {
        let next = &mut self.next[(value >> 56) as usize];
        self.in_order &= value == *next;
        *next += 1;
        self.count += 1;
    }

    pub(crate) fn check(&self) {
        assert!(self.in_order, "lost or out of order: a ring is broken, its figures mean nothing");
    }
}
