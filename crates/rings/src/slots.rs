//! The memory of a ring: what its producers and its consumer share, and how it is dropped.
//!
//! Only `mpsc` uses it, and says there who may touch what, and why a slot is free when it is claimed.
#![allow(unsafe_code, reason = "shares raw cells between threads, and drops what is left in them")]

use std::mem::MaybeUninit;

use crossbeam_utils::CachePadded;

use crate::mpsc::Lane;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, UnsafeCell, panicking};

/// What producers and consumer share.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    /// The next position to claim. Alone on its lines: every producer writes it.
    pub(crate) tail: CachePadded<AtomicUsize>,
    /// One a producer, each on lines of its own.
    pub(crate) gates: Box<[CachePadded<Gate>]>,
    pub(crate) slots: Box<[Slot<T>]>,
    /// Where the consumer stood when it was dropped.
    pub(crate) left_at: UnsafeCell<usize>,
}

// SAFETY: an item is moved in by one thread and out by another, never borrowed by two: `Send` will do.
// The cells are accessed under the ring's protocol only (each access states why it is alone).
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Empty slots, as many as `capacity`, a power of two.
    pub(crate) fn new(producers: usize, capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        Self {
            tail: CachePadded::new(AtomicUsize::new(0)),
            gates: (0..producers).map(|_| CachePadded::new(Gate::new())).collect(),
            slots: (0..capacity).map(|_| Slot::new()).collect(),
            left_at: UnsafeCell::new(0),
        }
    }

    #[inline]
    pub(crate) fn slot(&self, position: usize) -> &Slot<T> {
        &self.slots[position & (self.slots.len() - 1)]
    }

    /// Whether the entry of this position is written.
    #[inline]
    pub(crate) fn published(&self, position: usize, ordering: Ordering) -> bool {
        // Partner, if this is an acquire load: the store in `Producer::push_batch`.
        self.slot(position).seq.load(ordering) == position + 1
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if panicking() {
            return;
        }
        // Relaxed throughout: the last reference is gone, and counting it down ordered all that was.
        let tail = self.tail.load(Ordering::Relaxed);
        // SAFETY: nobody else is left.
        let left_at = self.left_at.with(|left_at| unsafe { *left_at });
        debug_assert!(left_at <= tail && tail - left_at <= self.slots.len());
        for position in left_at..tail {
            debug_assert!(self.published(position, Ordering::Relaxed));
            self.slot(position).entry.with_mut(|entry| {
                // SAFETY: claimed positions are written before their producer can be dropped, and the
                // consumer has popped those before `left_at` only.
                unsafe { (*entry).assume_init_drop() };
            });
        }
    }
}

/// What the consumer tells one producer, and the flag that goes back.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Commands of the producer that were popped, as of the last release.
    pub(crate) commands: AtomicUsize,
    /// Likewise replies.
    pub(crate) replies: AtomicUsize,
    /// Set by the producer, taken by whoever of the two first sees room.
    pub(crate) wants_room: AtomicBool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            commands: AtomicUsize::new(0),
            replies: AtomicUsize::new(0),
            wants_room: AtomicBool::new(false),
        }
    }
}

/// One place of the ring.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    /// One more than the position whose entry was written here last; 0 before the first.
    pub(crate) seq: AtomicUsize,
    pub(crate) entry: UnsafeCell<MaybeUninit<Entry<T>>>,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self { seq: AtomicUsize::new(0), entry: UnsafeCell::new(MaybeUninit::uninit()) }
    }
}

#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) producer: u16,
    pub(crate) lane: Lane,
    pub(crate) item: T,
}
