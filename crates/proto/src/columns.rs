//! Tables by slot number that give their memory back.
//!
//! ```text
//!   slot = chunk · 1024 + place        chunk 0        chunk 1      chunk 2
//!                                    ┌──┬──┬──┬──┐     (none)    ┌──┬──┬──┬──┐
//!                                    │  │▒▒│▒▒│  │               │▒▒│  │  │  │
//!                                    └──┴──┴──┴──┘               └──┴──┴──┴──┘
//! ```
//!
//! A chunk exists while one of its places is taken. [`Column`] is indexed by slots that somebody else
//! hands out; [`Table`] hands them out itself, lowest first, so that after a crowd has left the high chunks
//! fall empty. Growing never moves what is there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

/// Places of a chunk: large enough that the system's allocator maps it by itself and gives it back, small
/// enough that a handful of connections does not pay for thousands.
const CHUNK: usize = 1024;

/// Values by slot.
#[derive(Debug)]
pub struct Column<T> {
    chunks: Vec<Option<Chunk<T>>>,
}

#[derive(Debug)]
struct Chunk<T> {
    places: Box<[Option<T>]>,
    taken: usize,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Column<T> {
    /// The value in `slot`.
    #[must_use]
    #[inline]
    pub fn at(&self, slot: u32) -> Option<&T> {
        let (chunk, place) = split(slot);
        self.chunks.get(chunk)?.as_ref()?.places[place].as_ref()
    }

    /// The value in `slot`, to change it.
    #[must_use]
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (chunk, place) = split(slot);
        self.chunks.get_mut(chunk)?.as_mut()?.places[place].as_mut()
    }

    /// Puts `value` into `slot`.
    ///
    /// # Panics
    /// When the slot is taken.
    pub fn put(&mut self, slot: u32, value: T) {
        let (chunk, place) = split(slot);
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let chunk = self.chunks[chunk]
            .get_or_insert_with(|| Chunk { places: (0..CHUNK).map(|_| None).collect(), taken: 0 });
        assert!(chunk.places[place].is_none(), "slot {slot} is taken");
        chunk.places[place] = Some(value);
        chunk.taken += 1;
    }

    /// Empties `slot`.
    pub fn take(&mut self, slot: u32) -> Option<T> {
        let (at, place) = split(slot);
        let chunk = self.chunks.get_mut(at)?.as_mut()?;
        let value = chunk.places[place].take()?;
        chunk.taken -= 1;
        if chunk.taken == 0 {
            self.chunks[at] = None;
            while matches!(self.chunks.last(), Some(None)) {
                self.chunks.pop();
            }
        }
        Some(value)
    }

    /// Each value with its slot, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().enumerate().filter_map(|(at, chunk)| Some((at, chunk.as_ref()?))).flat_map(
            |(at, chunk)| {
                let places = chunk.places.iter().enumerate();
                places.filter_map(move |(place, value)| Some(((at * CHUNK + place) as u32, value.as_ref()?)))
            },
        )
    }
}

const fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

/// Values in slots that the table chooses. Each use of a slot has a number of its own, so that a name that
/// was kept too long finds nothing.
#[derive(Debug)]
pub struct Table<T> {
    /// Never 0, so that an empty place costs no flag: eight bytes a connection.
    column: Column<(NonZeroU32, T)>,
    free: BinaryHeap<Reverse<u32>>,
    /// Slots from here on were never taken since the table was empty last.
    fresh: u32,
    taken: usize,
    uses: NonZeroU32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { column: Column::default(), free: BinaryHeap::new(), fresh: 0, taken: 0, uses: NonZeroU32::MIN }
    }
}

impl<T> Table<T> {
    /// Values in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Slot and use that [`Table::insert`] will choose next.
    #[must_use]
    pub fn vacancy(&self) -> (u32, u32) {
        (self.free.peek().map_or(self.fresh, |Reverse(slot)| *slot), self.uses.get())
    }

    /// Adds a value; returns its slot and the use of it.
    pub fn insert(&mut self, value: T) -> (u32, u32) {
        let ((slot, _), used) = (self.vacancy(), self.uses);
        if self.free.pop().is_none() {
            self.fresh += 1;
        }
        self.uses = used.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.taken += 1;
        self.column.put(slot, (used, value));
        (slot, used.get())
    }

    /// The value in `slot`, whichever use of it that is.
    #[must_use]
    #[inline]
    pub fn at(&self, slot: u32) -> Option<&T> {
        self.column.at(slot).map(|(_, value)| value)
    }

    /// The value in `slot`, to change it.
    #[must_use]
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.column.at_mut(slot).map(|(_, value)| value)
    }

    /// The present use of `slot`.
    #[must_use]
    #[inline]
    pub fn used(&self, slot: u32) -> Option<u32> {
        self.column.at(slot).map(|(used, _)| used.get())
    }

    /// Empties `slot`.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let (_, value) = self.column.take(slot)?;
        self.taken -= 1;
        if self.taken == 0 {
            self.free = BinaryHeap::new();
            self.fresh = 0;
        } else {
            self.free.push(Reverse(slot));
        }
        Some(value)
    }

    /// Each value with its slot and use, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.column.iter().map(|(slot, (used, value))| (slot, used.get(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_chunk_goes_with_its_last_value() {
        let mut table = Table::default();
        for n in 0..3 * CHUNK {
            assert_eq!(table.insert(n).0, n as u32);
        }
        for slot in CHUNK..3 * CHUNK {
            table.remove(slot as u32);
        }
        assert_eq!(table.column.chunks.len(), 1);
        assert_eq!(table.insert(7).0, CHUNK as u32);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in proptest::collection::vec((any::<bool>(), 0u32..40), 0..300)) {
            let mut table = Table::default();
            let mut map = BTreeMap::new();
            for (add, slot) in steps {
                if add {
                    let expected = (0..).find(|slot| !map.contains_key(slot)).unwrap();
                    let vacancy = table.vacancy();
                    let (slot, used) = table.insert(slot);
                    prop_assert_eq!((slot, used), vacancy);
                    prop_assert_eq!(slot, expected);
                    prop_assert!(map.values().all(|other| *other != used));
                    map.insert(slot, used);
                } else {
                    prop_assert_eq!(table.remove(slot).is_some(), map.remove(&slot).is_some());
                }
                prop_assert_eq!(table.len(), map.len());
                let all: Vec<_> = table.iter().map(|(slot, used, _)| (slot, used)).collect();
                prop_assert_eq!(all, map.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }
}
