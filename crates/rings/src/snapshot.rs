//! A cell for state that is read everywhere and seldom replaced: a view, a placement, a set of keys.
//!
//! Its value is never changed in place. One [`Publisher`] puts a new one where the old one was, and
//! each thread looks at what is there through a [`Reader`] of its own, without a lock and without a
//! write to a line that others write.
//!
//! ```text
//!  Publisher ──swap──► │ version │ pointer ──┼──► value 7 ◄── load ── Reader, pinned while it looks
//!      └─ what was there: value 6 ──► waits until no reader is pinned who can have seen it ──► dropped
//! ```
//!
//! What is replaced is *retired*, and dropped two epochs later (`crossbeam-epoch`). An epoch ends when
//! all readers have let go of what they loaded in it or before, so one that holds on keeps everything
//! retired since then alive. That is bounded: with [`RETIRED_MAX`] of them alive, the publisher gets its
//! value back. Values are dropped by whoever ends an epoch: mostly the publisher, else a reader in one of
//! 128 loads. When the last handle of the cell goes, everything is dropped that was not before.
#![allow(unsafe_code, reason = "dereferences and frees what an epoch protects; each place says why it may")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::replace;
use std::ops::Deref;
use std::ptr::NonNull;

use crossbeam_epoch::{Atomic, Collector, Guard, LocalHandle, Owned};

use crate::sync::{Arc, AtomicU64, Ordering, UnsafeCell, defer, ord, panicking};

/// Values that may be retired and not dropped. Two are usual while readers come and go. Sixteen mean
/// that one reader has held on during that many publications; doubling it doubles the memory that such
/// a reader can cost.
pub const RETIRED_MAX: u64 = 16;

/// Attempts of the publisher to end an epoch. Two free what was retired last; the others are for
/// readers that come and go, and for a backlog, of which an attempt takes eight values.
const ROUNDS_MAX: usize = 5;
const _: () = assert!(RETIRED_MAX <= 8 * (ROUNDS_MAX as u64 - 2));

/// Makes a cell with its first value, which has version 0.
#[must_use]
pub fn cell<T: Send + Sync + 'static>(value: T) -> (Publisher<T>, Readers<T>) {
    let shared = Arc::new(Shared {
        value: Atomic::new(Versioned { version: UnsafeCell::new(0), value }),
        version: AtomicU64::new(0),
        dropped: Arc::new(AtomicU64::new(0)),
        collector: Collector::new(),
    });
    let participant = shared.collector.register();
    (Publisher { shared: Arc::clone(&shared), participant, version: 0 }, Readers { shared })
}

/// The only writer of a cell. It stays on the thread that made the cell.
///
/// Without it, readers keep the last value.
#[derive(Debug)]
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    participant: LocalHandle,
    version: u64,
}

impl<T: Send + Sync + 'static> Publisher<T> {
    /// Replaces the value, and drops what nobody can see any more.
    ///
    /// # Errors
    /// Gives the value back, and changes nothing, if [`RETIRED_MAX`] values wait to be dropped. A later
    /// attempt succeeds once the reader that they wait for has let go.
    pub fn publish(&mut self, value: T) -> Result<(), T> {
        if self.retired() >= RETIRED_MAX {
            self.reclaim();
            if self.retired() >= RETIRED_MAX {
                return Err(value);
            }
        }
        let guard = self.participant.pin();
        self.version += 1;
        let next = Owned::new(Versioned { version: UnsafeCell::new(self.version), value });
        // Partner: the load in `Reader::load`. Hands the value to the readers.
        let old = self.shared.value.swap(next, ord("snapshot.value.swap", Ordering::Release), &guard);
        // Partner: the load in `Reader::version`. Who sees the number sees the pointer.
        self.shared.version.store(self.version, ord("snapshot.version.store", Ordering::Release));
        let dropped = Arc::clone(&self.shared.dropped);
        let drop_old = move || {
            // SAFETY: it was allocated by an `Owned`, the swap took it out of the cell, and there is one
            // publisher, so nobody else frees it. Whoever loaded it before was pinned then, and is not
            // any more: that is what was waited for.
            drop(unsafe { old.into_owned() });
            dropped.fetch_add(1, Ordering::Relaxed); // Relaxed: a number alone.
        };
        // SAFETY: `T: Send`, so another thread may drop it. What the closure borrows, it borrows from the
        // cell's allocations only, and it runs at the latest when the last handle drops the collector.
        unsafe { defer("snapshot.defer", &guard, drop_old) };
        drop(guard);
        self.reclaim();
        debug_assert!(self.retired() <= RETIRED_MAX);
        Ok(())
    }

    /// Publishes what `next` makes of the current value.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn update(&mut self, next: impl FnOnce(&T) -> T) -> Result<(), T> {
        let value = next(self.current());
        self.publish(value)
    }

    /// The value that was published last.
    #[must_use]
    pub fn current(&self) -> &T {
        // SAFETY: only `publish` retires the current value, and it needs this borrow to have ended, so
        // there is nothing to be pinned for.
        let guard = unsafe { crossbeam_epoch::unprotected() };
        // Relaxed: this thread wrote it.
        let node = self.shared.value.load(Ordering::Relaxed, guard);
        // SAFETY: the cell is never null, and as above.
        unsafe { &node.deref().value }
    }

    /// Values that were replaced and are not dropped yet.
    #[must_use]
    pub fn retired(&self) -> u64 {
        // Relaxed: a number alone. It may be late, and then too large.
        self.version - self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Drops what nobody can see any more, as each publication does. To be called now and then while
    /// something is [retired](Self::retired), since nobody knows when the next value comes.
    pub fn reclaim(&mut self) {
        let mut guard = self.participant.pin();
        for _ in 0..ROUNDS_MAX {
            if self.retired() == 0 {
                break;
            }
            // Hands over what this thread put off, tries to end an epoch, and drops what is due then.
            guard.flush();
            // An epoch ends only after we have entered it.
            guard.repin();
        }
    }
}

/// Makes readers; to be given to the threads that want one.
#[derive(Debug)]
pub struct Readers<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + Sync + 'static> Readers<T> {
    /// A reader for this thread, which it cannot leave.
    #[must_use]
    pub fn register(&self) -> Reader<T> {
        Reader { shared: Arc::clone(&self.shared), participant: self.shared.collector.register() }
    }
}

impl<T> Clone for Readers<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// One thread's access to a cell.
#[derive(Debug)]
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    participant: LocalHandle,
}

impl<T: Send + Sync + 'static> Reader<T> {
    /// The current value, to be held for a moment: what is retired meanwhile stays in memory. Never
    /// older than one that this reader saw before. A load within another is allowed, and may be newer.
    #[inline]
    pub fn load(&self) -> Guarded<'_, T> {
        let guard = self.participant.pin();
        // Partner: the swap in `Publisher::publish`. The value is written before I follow the pointer.
        let node = self.shared.value.load(ord("snapshot.value.load", Ordering::Acquire), &guard);
        debug_assert!(!node.is_null());
        // SAFETY: the cell is never null.
        let node = unsafe { NonNull::new_unchecked(node.as_raw().cast_mut()) };
        Guarded { node, _guard: guard, _reader: PhantomData }
    }

    /// The version of the current value, without looking at it: what a [`load`](Self::load) from here on
    /// returns is at least as new. It may lag behind what was loaded. So there is something new, for who
    /// keeps [`Guarded::version`], if this is greater.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u64 {
        // Partner: the store in `Publisher::publish`.
        self.shared.version.load(ord("snapshot.version.load", Ordering::Acquire))
    }
}

/// A value that stays as long as this is held.
pub struct Guarded<'r, T> {
    node: NonNull<Versioned<T>>,
    _guard: Guard,
    /// The reader cannot go before, nor what it keeps alive.
    _reader: PhantomData<&'r Reader<T>>,
}

impl<T> Guarded<'_, T> {
    /// The version of this value: how many were published before it.
    #[must_use]
    #[inline]
    pub fn version(&self) -> u64 {
        self.node().version.with(|version| {
            // SAFETY: nobody writes it after the node was made.
            unsafe { *version }
        })
    }

    #[inline]
    fn node(&self) -> &Versioned<T> {
        // SAFETY: the guard was pinned before the pointer was loaded, so the node is not freed before
        // it goes, and nobody writes to it.
        unsafe { self.node.as_ref() }
    }
}

impl<T> Deref for Guarded<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.node().value
    }
}

impl<T: fmt::Debug> fmt::Debug for Guarded<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("version", &self.version()).field("value", &**self).finish()
    }
}

/// What all handles share. Publishing is rare, so that the fields need no lines of their own.
#[derive(Debug)]
struct Shared<T> {
    /// Never null.
    value: Atomic<Versioned<T>>,
    /// That of a value which is in the cell, or was.
    version: AtomicU64,
    /// Retired values that are dropped. Shared with those who drop them: they may be the last.
    dropped: Arc<AtomicU64>,
    collector: Collector,
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if panicking() {
            return;
        }
        // SAFETY: nobody else is left, and the current value is not retired.
        drop(unsafe { replace(&mut self.value, Atomic::null()).into_owned() });
    }
}

#[derive(Debug)]
struct Versioned<T> {
    /// A watched cell, though nobody writes to it, so that a model sees who reads it unpublished.
    version: UnsafeCell<u64>,
    value: T,
}

// SAFETY: the version is only read once the node is made.
unsafe impl<T: Sync> Sync for Versioned<T> {}
