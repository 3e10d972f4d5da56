//! Which processor each side runs on.
//!
//! Servers and floors share one core, generators and this process the other: so a server has
//! its core for itself while it works, and the floor has the very same one. With a single
//! processor nothing is pinned.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::io;
use std::process::{Child, Command};

/// The side that a process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Measured: a node or a floor.
    Server,
    /// Makes the load.
    Generator,
}

/// A core for each side; none where there is only one processor.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cores {
    pub(super) server: Option<usize>,
    pub(super) generator: Option<usize>,
}

impl Cores {
    /// Everything runs where the system puts it.
    pub(super) const NONE: Self = Self { server: None, generator: None };

    /// The first two that this process may run on. Pins this process.
    pub(super) fn choose() -> Self {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let cores = match (allowed.next(), allowed.next()) {
            (Some(server), Some(generator)) => Self { server: Some(server), generator: Some(generator) },
            (Some(_), None) | (None, _) => Self::NONE,
        };
        cores.run_on(Side::Generator);
        cores
    }

    /// Starts a child on its side's core: it inherits what this thread has while it is started.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn spawn(&self, side: Side, command: &mut Command) -> io::Result<Child> {
        self.run_on(side);
        let child = command.spawn();
        self.run_on(Side::Generator);
        child
    }

    fn run_on(&self, side: Side) {
        let core = match side {
            Side::Server => self.server,
            Side::Generator => self.generator,
        };
        let Some(core) = core else { return };
        let mut set = CpuSet::new();
        set.set(core);
        // Allowed a moment ago; should it be refused, the figures are only less steady.
        let _ = sched_setaffinity(None, &set);
    }
}
