//! What the machine is like: two cores to pin threads to, clocks, and how long a line takes between
//! the cores. The cores may be moved by a hypervisor, so that is measured in each run.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Two processors that this process may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) first: usize,
    pub(crate) second: usize,
}

impl Cores {
    /// The first two, if there are two.
    pub(crate) fn two() -> Option<Self> {
        let allowed = sched_getaffinity(None).expect("a process may ask for its own processors");
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        Some(Self { first: allowed.next()?, second: allowed.next()? })
    }
}

/// Keeps the calling thread on one processor.
pub(crate) fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("a processor of our own set");
}

/// A reading of both clocks, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) wall: u64,
    /// Processor time of the calling thread.
    pub(crate) cpu: u64,
}

impl Clocks {
    pub(crate) fn read() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
        };
        Self { wall: read(ClockId::Monotonic), cpu: read(ClockId::ThreadCPUTime) }
    }
}

impl std::ops::Sub for Clocks {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { wall: self.wall - earlier.wall, cpu: self.cpu - earlier.cpu }
    }
}

/// Holds threads until all are there.
#[derive(Debug)]
pub(crate) struct Gate {
    missing: AtomicUsize,
}

impl Gate {
    pub(crate) fn new(threads: usize) -> Self {
        Self { missing: AtomicUsize::new(threads) }
    }

    /// Yields meanwhile: the others may need the very core that the caller waits on.
    pub(crate) fn pass(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        while self.missing.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
    }
}

/// Private work between two publishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Think {
    pub(crate) ns: u64,
    turns: u32,
}

impl Think {
    /// No work at all.
    pub(crate) const NONE: Self = Self { ns: 0, turns: 0 };

    /// Work of about so many nanoseconds on a core for itself.
    pub(crate) fn calibrated(ns: u64) -> Self {
        const TURNS: u32 = 200_000;
        let work = Self { ns, turns: TURNS };
        let elapsed = |_| {
            let start = Clocks::read().wall;
            work.pass();
            Clocks::read().wall - start
        };
        let best = (0..20).map(elapsed).min().expect("twenty tries").max(1);
        Self { ns, turns: u32::try_from(u64::from(TURNS) * ns / best).expect("a fraction of the turns") }
    }

    #[inline]
    pub(crate) fn pass(self) {
        let mut state = 1_u64;
        for _ in 0..self.turns {
            state = black_box(state.wrapping_mul(0x5851_F42D_4C95_7F2D));
        }
    }
}

/// Nanoseconds that one word takes from core to core: the median of some hundred short runs.
pub(crate) fn ping_pong(cores: Cores) -> f64 {
    const RUNS: usize = 301;
    const TURNS: u64 = 200;
    let ball = AtomicU64::new(0);
    let mut samples = Vec::with_capacity(RUNS);
    thread::scope(|scope| {
        let back = scope.spawn(|| {
            pin(cores.first);
            for turn in 0..RUNS as u64 * TURNS {
                while ball.load(Ordering::Acquire) != 2 * turn + 1 {
                    spin_loop();
                }
                ball.store(2 * turn + 2, Ordering::Release);
            }
        });
        pin(cores.second);
        for run in 0..RUNS as u64 {
            let start = Clocks::read().wall;
            for turn in run * TURNS..(run + 1) * TURNS {
                ball.store(2 * turn + 1, Ordering::Release);
                while ball.load(Ordering::Acquire) != 2 * turn + 2 {
                    spin_loop();
                }
            }
            samples.push((Clocks::read().wall - start) as f64 / (2 * TURNS) as f64);
        }
        back.join().expect("the other core");
    });
    samples.sort_by(f64::total_cmp);
    samples[RUNS / 2]
}
