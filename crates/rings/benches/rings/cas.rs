//! A ring whose producers claim by compare-and-swap, in the shape that articles print: read `tail`,
//! look for room, try to move `tail`, again if another was faster. It is here for its conflicts.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use multibeam_rings::CachePadded;

use crate::contenders::{Conflicts, Contender, Drain, Publish};

#[derive(Debug)]
struct Shared {
    tail: CachePadded<AtomicU64>,
    head: CachePadded<AtomicU64>,
    slots: Box<[Slot]>,
}

#[derive(Debug)]
struct Slot {
    /// Position + 1 once written.
    seq: AtomicU64,
    value: AtomicU64,
}

impl Shared {
    fn slot(&self, position: u64) -> &Slot {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }
}

pub(crate) struct CasClaim;

pub(crate) struct CasPublish {
    shared: Arc<Shared>,
    conflicts: Conflicts,
}

pub(crate) struct CasDrain {
    shared: Arc<Shared>,
    head: u64,
}

impl Contender for CasClaim {
    const NAME: &'static str = "(claim by CAS)";
    type Publish = CasPublish;
    type Drain = CasDrain;

    fn ring(producers: usize, capacity: usize, _batch: u64) -> (Vec<CasPublish>, CasDrain) {
        let slot = |_| Slot { seq: AtomicU64::new(0), value: AtomicU64::new(0) };
        let shared = Arc::new(Shared {
            tail: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU64::new(0)),
            slots: (0..capacity).map(slot).collect(),
        });
        let publish = || CasPublish { shared: Arc::clone(&shared), conflicts: Conflicts::default() };
        let publish = std::iter::repeat_with(publish).take(producers).collect();
        (publish, CasDrain { shared, head: 0 })
    }
}

impl Publish for CasPublish {
    #[inline]
    fn publish(&mut self, values: Range<u64>) {
        let count = values.end - values.start;
        let start = loop {
            let tail = self.shared.tail.load(Ordering::Relaxed);
            let head = self.shared.head.load(Ordering::Acquire);
            if tail + count > head + self.shared.slots.len() as u64 {
                continue;
            }
            self.conflicts.attempts += 1;
            let claim =
                self.shared.tail.compare_exchange(tail, tail + count, Ordering::AcqRel, Ordering::Relaxed);
            if claim.is_ok() {
                break tail;
            }
            self.conflicts.failed += 1;
        };
        for (position, value) in (start..).zip(values) {
            let slot = self.shared.slot(position);
            slot.value.store(value, Ordering::Relaxed);
            slot.seq.store(position + 1, Ordering::Release);
        }
    }

    fn conflicts(&self) -> Option<Conflicts> {
        Some(self.conflicts)
    }
}

impl Drain for CasDrain {
    #[inline]
    fn drain(&mut self, mut sink: impl FnMut(u64)) -> usize {
        let start = self.head;
        while self.shared.slot(self.head).seq.load(Ordering::Acquire) == self.head + 1 {
            sink(self.shared.slot(self.head).value.load(Ordering::Relaxed));
            self.head += 1;
        }
        self.shared.head.store(self.head, Ordering::Release);
        (self.head - start) as usize
    }
}
