//! The `sync` module of the snapshot cell: loom flavour, with sites that a test can weaken.

use std::sync::OnceLock;

use crossbeam_epoch::Guard;
pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

/// The site that is weakened to `Relaxed`. Set once, before any model runs.
static MUTANT: OnceLock<String> = OnceLock::new();

/// Weakens one site for the rest of the process.
///
/// # Panics
/// If there is a mutant already.
pub fn mutate(site: String) {
    MUTANT.set(site).expect("one mutant a process");
}

fn is_mutant(site: &str) -> bool {
    MUTANT.get().is_some_and(|mutant| mutant == site)
}

/// The ordering of the site: as written, unless it is the mutant's.
pub(crate) fn ord(site: &'static str, ordering: Ordering) -> Ordering {
    if is_mutant(site) { Ordering::Relaxed } else { ordering }
}

/// Puts `then` off until everyone who is pinned has let go; the mutant runs it at once.
///
/// # Safety
/// As for `Guard::defer_unchecked`.
#[allow(unsafe_code, reason = "passes its caller's promise on")]
pub(crate) unsafe fn defer(site: &'static str, guard: &Guard, then: impl FnOnce()) {
    if is_mutant(site) {
        return then();
    }
    // SAFETY: the caller's.
    unsafe { guard.defer_unchecked(then) };
}

/// Loom aborts the process if its atomics are touched while it unwinds.
pub(crate) fn panicking() -> bool {
    std::thread::panicking()
}
