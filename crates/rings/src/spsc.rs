//! A bounded ring with one producer and one consumer.
//!
//! ```text
//!            slots, a power of two of them
//!   ┌──────┬──────┬──────┬──────┬──────┬──────┐      each side on lines of its own:
//!   │      │ item │ item │ item │      │      │      producer: tail, the head it last saw
//!   └──────┴──────┴──────┴──────┴──────┴──────┘      consumer: head, the tail it last saw
//!           ▲ head: pop here     ▲ tail: push here
//! ```
//!
//! Who writes what: the producer writes slots in `head + capacity > position >= tail`, then
//! stores `tail`, once a push or batch; the consumer moves items out of `head..tail`, then
//! stores `head`. Each side keeps the last index of the other that it saw and looks again only
//! when that one says there is nothing to do, so that in a steady stream neither waits for the
//! line of the other. Nobody is woken: that is the caller's part.
#![allow(unsafe_code, reason = "slots are written and read through raw cells; each access states its owner")]

use std::mem::MaybeUninit;

use crate::sync::{Arc, AtomicUsize, CachePadded, Ordering, UnsafeCell, ord, panicking};

/// Slots of one ring. Bounds what a typing error in a setting can allocate; doubling it would do no
/// harm.
pub const CAPACITY_MAX: usize = 1 << 22;

// Positions count up for ever and are compared without regard to wrapping.
const _: () = assert!(usize::BITS == 64);

/// Makes a ring of `capacity` slots, all of which can be full.
///
/// # Panics
/// If `capacity` is not a power of two, or more than [`CAPACITY_MAX`].
#[must_use]
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "a capacity of {capacity} is no power of two");
    assert!(capacity <= CAPACITY_MAX, "a capacity of {capacity}");
    let shared = Arc::new(Shared {
        tail: CachePadded::new(AtomicUsize::new(0)),
        head: CachePadded::new(AtomicUsize::new(0)),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

/// The writing side. It may move to another thread, and only its owner pushes.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The position to push next; what the shared one says.
    tail: usize,
    /// No more than the consumer's position, so all before it are free.
    head_seen: usize,
}

impl<T> Producer<T> {
    /// How many items may be pushed. Never more than the truth; it grows when the consumer pops.
    #[must_use]
    pub fn room(&mut self) -> usize {
        self.look_at_head();
        self.room_seen()
    }

    /// Pushes one item.
    ///
    /// # Errors
    /// Hands the item back if the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.room_seen() == 0 {
            self.look_at_head();
            if self.room_seen() == 0 {
                return Err(item);
            }
        }
        // SAFETY: there is room, so this position is ours and the item of the lap before moved out.
        unsafe { write(self.shared.slot(self.tail), item) };
        self.publish(1);
        Ok(())
    }

    /// Moves as many items as there is room for from the front of the vector to the ring, and makes
    /// them visible with one store. Returns how many.
    #[inline]
    pub fn push_batch(&mut self, items: &mut Vec<T>) -> usize {
        if self.room_seen() < items.len() {
            self.look_at_head();
        }
        let count = items.len().min(self.room_seen());
        if count == 0 {
            return 0;
        }
        let mut items = items.drain(..count);
        for part in self.shared.parts(self.tail, count) {
            for (slot, item) in part.iter().zip(&mut items) {
                // SAFETY: as in `push`; there is room for `count` of them.
                unsafe { write(slot, item) };
            }
        }
        self.publish(count);
        count
    }

    #[inline]
    fn room_seen(&self) -> usize {
        self.shared.slots.len() - (self.tail - self.head_seen)
    }

    #[inline]
    fn look_at_head(&mut self) {
        // Partner: the store in `Consumer::emptied`. What it moved out may be overwritten.
        self.head_seen = self.shared.head.load(ord("spsc.head.load", Ordering::Acquire));
        debug_assert!(self.head_seen <= self.tail && self.tail - self.head_seen <= self.shared.slots.len());
    }

    #[inline]
    fn publish(&mut self, count: usize) {
        self.tail += count;
        debug_assert!(self.tail - self.head_seen <= self.shared.slots.len());
        // Partner: the load in `Consumer::look_at_tail`. Hands the items to the consumer.
        self.shared.tail.store(self.tail, ord("spsc.tail.store", Ordering::Release));
    }
}

/// The reading side. It may move to another thread, and only its owner pops.
///
/// If it is dropped, the producer keeps what room it has and gets no more.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The position to pop next; what the shared one says.
    head: usize,
    /// No more than the producer's position, so all before it are written.
    tail_seen: usize,
}

impl<T> Consumer<T> {
    /// Takes the next item, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            self.look_at_tail();
            if self.head == self.tail_seen {
                return None;
            }
        }
        // SAFETY: the position is written, and `head` moves on, so it is moved out once.
        let item = unsafe { read(self.shared.slot(self.head)) };
        self.emptied(1);
        Some(item)
    }

    /// Takes at most `max` items and appends them to the vector; their slots are given back with one
    /// store. Returns how many.
    #[inline]
    pub fn pop_batch(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        if self.tail_seen - self.head < max {
            self.look_at_tail();
        }
        let count = max.min(self.tail_seen - self.head);
        if count == 0 {
            return 0;
        }
        into.reserve(count);
        // Nothing below can panic: an item is either in the ring or in the vector.
        for part in self.shared.parts(self.head, count) {
            // SAFETY: as in `pop`; `count` positions are written.
            into.extend(part.iter().map(|slot| unsafe { read(slot) }));
        }
        self.emptied(count);
        count
    }

    /// Whether there is nothing to pop. To be asked between arming a doorbell and sleeping.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        // Relaxed: the answer lets nobody read an item. Before a sleep, the doorbell's fence orders it.
        self.head == self.tail_seen && self.head == self.shared.tail.load(Ordering::Relaxed)
    }

    #[inline]
    fn look_at_tail(&mut self) {
        // Partner: the store in `Producer::publish`. What it wrote may be moved out.
        self.tail_seen = self.shared.tail.load(ord("spsc.tail.load", Ordering::Acquire));
        debug_assert!(self.head <= self.tail_seen && self.tail_seen - self.head <= self.shared.slots.len());
    }

    #[inline]
    fn emptied(&mut self, count: usize) {
        self.head += count;
        debug_assert!(self.head <= self.tail_seen);
        // Partner: the load in `Producer::look_at_head`. Hands the emptied slots back.
        self.shared.head.store(self.head, ord("spsc.head.store", Ordering::Release));
    }
}

/// What both sides share.
#[derive(Debug)]
struct Shared<T> {
    /// The position to write next. Alone on its lines: the producer stores it all the time.
    tail: CachePadded<AtomicUsize>,
    /// The position to read next. Likewise, for the consumer.
    head: CachePadded<AtomicUsize>,
    slots: Box<[Slot<T>]>,
}

type Slot<T> = UnsafeCell<MaybeUninit<T>>;

// SAFETY: an item is moved in by one thread and out by another, never borrowed by two: `Send` will do.
// The cells are accessed under the ring's protocol only (each access states why it is alone).
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, position: usize) -> &Slot<T> {
        &self.slots[position & (self.slots.len() - 1)]
    }

    /// The slots of `count` positions: up to the end, and the rest from the beginning.
    #[inline]
    fn parts(&self, start: usize, count: usize) -> [&[Slot<T>]; 2] {
        let first = start & (self.slots.len() - 1);
        let here = &self.slots[first..self.slots.len().min(first + count)];
        [here, &self.slots[..count - here.len()]]
    }
}

/// Moves an item in.
///
/// # Safety
/// The caller is the producer, and has seen a head that leaves this slot free.
#[inline]
unsafe fn write<T>(slot: &Slot<T>, item: T) {
    slot.with_mut(|slot| {
        // SAFETY: the consumer stays before `tail`, so nobody else is here.
        unsafe { (*slot).write(item) };
    });
}

/// Moves an item out.
///
/// # Safety
/// The caller is the consumer, has seen a tail behind this slot, and reads it once.
#[inline]
unsafe fn read<T>(slot: &Slot<T>) -> T {
    // SAFETY: it is written, and the producer stays away until `head` has passed it.
    slot.with(|slot| unsafe { (*slot).assume_init_read() })
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if panicking() {
            return;
        }
        // Relaxed: the last reference is gone, and counting it down ordered all that was.
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        debug_assert!(head <= tail && tail - head <= self.slots.len());
        for position in head..tail {
            self.slot(position).with_mut(|slot| {
                // SAFETY: what was pushed and not popped is written, and nobody else is left.
                unsafe { (*slot).assume_init_drop() };
            });
        }
    }
}
