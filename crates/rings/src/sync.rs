//! The one door to atomics, fences and shared cells: std flavour.
//!
//! Every other file of this crate takes them from here, so that the model checker can
//! include the same sources with a `sync` module of its own. An ordering stronger than
//! `Relaxed` passes through [`ord`] or [`fence`] under the name of its site, and a swap through
//! [`swap`]; here they cost nothing, there one site at a time is weakened to see a model fail.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Keeps what it wraps on cache lines of its own. It comes from here so that a bench can include the
/// sources without the padding.
pub(crate) use crossbeam_utils::CachePadded;

/// The ordering of the site, as written.
#[inline(always)]
pub(crate) const fn ord(_site: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

/// Replaces the flag and returns what it was, in one step: two threads must not both see what they
/// replaced. Relaxed, since a fence next to each orders what it tells. A mutant makes two steps of it.
#[inline(always)]
pub(crate) fn swap(_site: &'static str, flag: &AtomicBool, value: bool) -> bool {
    flag.swap(value, Ordering::Relaxed)
}

/// A memory fence at the site.
#[inline(always)]
pub(crate) fn fence(_site: &'static str, ordering: Ordering) {
    std::sync::atomic::fence(ordering);
}

/// Puts `then` off until everyone who is pinned has let go.
///
/// # Safety
/// As for `Guard::defer_unchecked`: any thread may run it, once no participant is left that was pinned
/// when this was called.
#[inline(always)]
#[allow(unsafe_code, reason = "passes its caller's promise on")]
pub(crate) unsafe fn defer(_site: &'static str, guard: &crossbeam_epoch::Guard, then: impl FnOnce()) {
    // SAFETY: the caller's.
    unsafe { guard.defer_unchecked(then) };
}

/// Whether a `Drop` must keep away from shared state. Only a model checker says so: it
/// aborts the process if its atomics are touched while it unwinds.
#[inline(always)]
pub(crate) const fn panicking() -> bool {
    false
}

/// A shared cell whose accesses a model checker can watch.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Lends the place for reading. The caller sees to it that nobody writes meanwhile.
    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Lends the place for writing. The caller sees to it that nobody else touches it meanwhile.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}
