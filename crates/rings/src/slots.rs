//! The memory of an MPSC ring: what its producers and its consumer share, and how it is dropped.
//!
//! Only `mpsc` uses it, and says there who may touch what, and why a slot is free when it is claimed.
#![allow(unsafe_code, reason = "shares raw cells between threads, and drops what is left in them")]

use std::mem::MaybeUninit;

use crate::mpsc::{CAPACITY_MAX, Lane};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, CachePadded, Ordering, UnsafeCell, ord, panicking};

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
            // SAFETY: claimed positions are written before their producer can be dropped, and the
            // consumer has popped those before `left_at` only.
            drop(unsafe { at(&self.slots, position).read() });
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

/// The slot of a position.
#[inline]
pub(crate) fn at<T>(slots: &[Slot<T>], position: usize) -> &Slot<T> {
    &slots[position & (slots.len() - 1)]
}

/// One place of the ring: 16 bytes for an item of 8, four to a cache line.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    /// The number of the range that covers this slot and, if it starts here, the [`Range`].
    word: AtomicU64,
    item: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    fn new() -> Self {
        Self { word: AtomicU64::new(0), item: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Moves an item in. It is not visible yet.
    ///
    /// # Safety
    /// The caller has claimed a position of this slot, and writes it once.
    #[inline]
    pub(crate) unsafe fn write(&self, item: T) {
        self.item.with_mut(|place| {
            // SAFETY: the position was claimed by the caller alone, and the item of the lap before was
            // moved out before (doc of `mpsc`), so the place is its own and holds no value.
            unsafe { (*place).write(item) };
        });
    }

    /// Moves an item out.
    ///
    /// # Safety
    /// The caller is the consumer, has seen a published range with a position of this slot, and reads
    /// it once and before it releases it.
    #[inline]
    pub(crate) unsafe fn read(&self) -> T {
        // SAFETY: it is written, and no producer touches it before the pop of it is released.
        self.item.with(|place| unsafe { (*place).assume_init_read() })
    }

    /// Counts this slot to the range that starts before it, at `start`.
    #[inline]
    pub(crate) fn cover(&self, start: usize) {
        // Relaxed: nobody looks at it before the next lap, and then to see that it is old.
        self.word.store(Range::number(start), Ordering::Relaxed);
    }

    /// Makes a range visible that starts here. All of it is written.
    #[inline]
    pub(crate) fn publish(&self, start: usize, range: Range) {
        // Partner: the load in `published`. Hands the range and its items to the consumer.
        self.word.store(Range::number(start) | range.word(), ord("mpsc.word.store", Ordering::Release));
    }

    /// The range that starts here, once it is published.
    #[inline]
    pub(crate) fn published(&self, start: usize) -> Option<Range> {
        // Partner: the store in `publish`.
        let word = self.word.load(ord("mpsc.word.load", Ordering::Acquire));
        (word & Range::NUMBER == Range::number(start)).then(|| Range::of(word))
    }

    /// Whether a range that starts here is published. Lets nobody read it.
    #[inline]
    pub(crate) fn has_published(&self, start: usize) -> bool {
        // Relaxed: nothing is read on the strength of it.
        self.word.load(Ordering::Relaxed) & Range::NUMBER == Range::number(start)
    }
}

/// Writes a range and publishes it.
///
/// # Safety
/// The caller has claimed its positions, from `start` on, and there are as many items.
#[inline]
pub(crate) unsafe fn publish_range<T>(
    slots: &[Slot<T>],
    start: usize,
    range: Range,
    items: &mut impl Iterator<Item = T>,
) {
    let Some(item) = items.next() else { return };
    let first = at(slots, start);
    // SAFETY: as the caller says.
    unsafe { first.write(item) };
    // Up to the end of the slots, and the rest from their beginning.
    let behind = (start & (slots.len() - 1)) + 1;
    let end = behind + usize::from(range.items) - 1;
    let here = &slots[behind..end.min(slots.len())];
    for part in [here, &slots[..end - behind - here.len()]] {
        for (slot, item) in part.iter().zip(&mut *items) {
            // SAFETY: as the caller says.
            unsafe { slot.write(item) };
            slot.cover(start);
        }
    }
    first.publish(start, range);
}

/// Items of one producer and lane, side by side, that became visible by one store.
///
/// ```text
///  63           32 31       16   15  14        0
///  │ number       │ producer  │ lane │ items    │    below the number: 0 where no range starts
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) producer: u16,
    pub(crate) lane: Lane,
    /// How many they are, up to [`Range::ITEMS_MAX`].
    pub(crate) items: u16,
}

// What a slot holds when the consumer looks for a range at a position is of that very range, or of the
// lap before: then its number is less by one to two capacities. Or it is 0, in the first lap. So 32 bits
// tell them apart, however often they wrap.
const _: () = assert!(2 * CAPACITY_MAX < 1 << 32);

impl Range {
    /// What the word has room for. A longer batch is published by several stores.
    pub(crate) const ITEMS_MAX: usize = (1 << 15) - 1;

    const NUMBER: u64 = !0 << 32;
    const REPLY: u64 = 1 << 15;

    /// The number of a range, where words have it.
    #[inline]
    fn number(start: usize) -> u64 {
        (start as u64 + 1) << 32
    }

    #[inline]
    fn word(self) -> u64 {
        debug_assert!(self.items > 0 && usize::from(self.items) <= Self::ITEMS_MAX);
        let lane = match self.lane {
            Lane::Command => 0,
            Lane::Reply => Self::REPLY,
        };
        u64::from(self.producer) << 16 | lane | u64::from(self.items)
    }

    #[inline]
    fn of(word: u64) -> Self {
        let lane = if word & Self::REPLY == 0 { Lane::Command } else { Lane::Reply };
        Self { producer: (word >> 16) as u16, lane, items: word as u16 & Self::ITEMS_MAX as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, Slot};
    use crate::mpsc::Lane;

    #[test]
    fn word_keeps_the_range() {
        for lane in [Lane::Command, Lane::Reply] {
            for (producer, items) in [(0, 1), (7, 16), (u16::MAX, Range::ITEMS_MAX as u16)] {
                let slot = Slot::<u8>::new();
                slot.publish(u32::MAX as usize, Range { producer, lane, items });
                let range = slot.published(u32::MAX as usize).expect("published");
                assert_eq!((range.producer, range.lane, range.items), (producer, lane, items));
            }
        }
    }

    /// Numbers have 32 bits: a slot that no range starts in must not keep one until they come round.
    #[test]
    fn slot_behind_a_start_forgets_its_range() {
        let slot = Slot::<u8>::new();
        let range = Range { producer: 0, lane: Lane::Command, items: 1 };
        slot.publish(3, range);
        assert!(slot.has_published(3) && !slot.has_published(3 + 8));
        slot.cover(3 + 8 - 1);
        assert!(!slot.has_published(3 + 16) && slot.published(3 + (1 << 32)).is_none());
    }
}
