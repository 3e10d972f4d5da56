//! The `sync` module of the ring sources: loom flavour, with orderings that a test can weaken.

use std::sync::OnceLock;

pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// One weakened site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant {
    /// The name that the source gives to the site.
    pub site: &'static str,
    /// What its ordering is replaced with; for a fence, `Relaxed` removes it; for a swap, it is split
    /// into a load and a store.
    pub ordering: Ordering,
}

/// Set once, before any model runs: loom runs a model many times and each run must see the same code.
static MUTANT: OnceLock<Mutant> = OnceLock::new();

/// Weakens one site for the rest of the process.
///
/// # Panics
/// If there is a mutant already.
pub fn mutate(mutant: Mutant) {
    MUTANT.set(mutant).expect("one mutant a process");
}

/// The ordering of the site: as written, unless it is the mutant's.
pub(crate) fn ord(site: &'static str, ordering: Ordering) -> Ordering {
    match MUTANT.get() {
        Some(mutant) if mutant.site == site => mutant.ordering,
        Some(_) | None => ordering,
    }
}

/// The swap of the site: one step, unless the mutant makes two of it.
pub(crate) fn swap(site: &'static str, flag: &AtomicBool, value: bool) -> bool {
    if MUTANT.get().is_none_or(|mutant| mutant.site != site) {
        return flag.swap(value, Ordering::Relaxed);
    }
    let before = flag.load(Ordering::Relaxed);
    flag.store(value, Ordering::Relaxed);
    before
}

/// The fence of the site, unless the mutant removes it.
pub(crate) fn fence(site: &'static str, ordering: Ordering) {
    let ordering = ord(site, ordering);
    if ordering != Ordering::Relaxed {
        loom::sync::atomic::fence(ordering);
    }
}

/// Loom aborts the process if its atomics are touched while it unwinds.
pub(crate) fn panicking() -> bool {
    std::thread::panicking()
}
