//! Buffers for the bytes that one thread must keep for a while, out of memory that it gives back.
//!
//! Most of a shard's connections keep nothing, some a few bytes of a frame, few of them 64 KiB. So a
//! buffer has the size of its class, which doubles from class to class; a chunk is cut into buffers of
//! one class, and is cut anew when all of them are back. Regions are what the system gives and takes.
//!
//! ```text
//!  region, 2 MiB, one huge page if there is one                          (15 chunks)
//!  ├ chunk 136 KiB: 68 68 68 68 ...        2,048 buffers of class 0
//!  ├ chunk 136 KiB: 1,088 1,088 ...          128 buffers of class 4
//!  ├ chunk 136 KiB: 139,264                    1 buffer of the largest class
//!  └ chunk 136 KiB: not cut
//! ```
//!
//! A [`Buffer`] is a place and a length, eight bytes: its content is reached through the pool it came
//! from, so that nothing here is shared, counted or locked. Chunks and regions that stand first are used
//! first, so that after a burst the later ones run empty. A quarter as many empty regions as others are
//! kept, and one, so that a load that goes up and down does not go to the system each time.
//!
//! A buffer that stays keeps its region. Who parks bytes has a deadline for what they wait for.

mod mapping;
mod region;
mod shelf;

use std::num::NonZeroU32;
use std::ops::Range;

use mapping::Mapping;
pub use mapping::{Pages, REGION_BYTES};
use region::{CHUNKS, Region};
use shelf::Shelf;

/// Size of the smallest class, in bytes. With eleven doublings it makes a class that holds the longest
/// frame (65,551 bytes) and one that holds that with a read of 64 KiB behind it (131,087), and wastes
/// little of either; from powers of two it would be half.
const BUFFER_BYTES_MIN: usize = 68;

/// Size classes.
const CLASSES: usize = 12;

/// Size of the largest class, in bytes: what can be taken at most.
pub const BUFFER_BYTES_MAX: usize = BUFFER_BYTES_MIN << (CLASSES - 1);

/// Regions that a [`Buffer`] can name.
const REGIONS_MAX: usize = (1 << 16) - 1;

/// What a pool can be allowed to hand out, in bytes: 127 GiB.
pub const POOL_BYTES_MAX: usize = (REGIONS_MAX - 1) * CHUNKS * BUFFER_BYTES_MAX;

// 4 bits name a chunk, 12 a buffer in it.
const _: () = assert!(CHUNKS <= 1 << 4 && BUFFER_BYTES_MAX / BUFFER_BYTES_MIN <= 1 << 12);

/// Part of a pool's memory, with a length like that of a `Vec`. To be given back to the pool it was
/// taken from; one that is dropped stays taken until the pool goes.
#[derive(Debug)]
#[must_use = "what is not given back stays taken"]
pub struct Buffer {
    /// Region, chunk and index in the chunk, plus one.
    place: NonZeroU32,
    len: u32,
}

impl Buffer {
    /// Bytes of content.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn new(place: Place) -> Self {
        let bits = (place.region as u32) << 16 | (place.chunk as u32) << 12 | u32::from(place.index);
        Self { place: NonZeroU32::MIN.saturating_add(bits), len: 0 }
    }

    #[inline]
    fn place(&self) -> Place {
        let bits = self.place.get() - 1;
        Place {
            region: (bits >> 16) as usize,
            chunk: (bits >> 12 & 0xf) as usize,
            index: bits as u16 & 0xfff,
        }
    }
}

/// What a [`Buffer`] names.
#[derive(Debug, Clone, Copy)]
struct Place {
    region: usize,
    chunk: usize,
    index: u16,
}

/// The buffers of one thread. It may move to another. Nothing is mapped before the first is taken.
#[derive(Debug)]
pub struct Pool {
    bytes_max: usize,
    regions_max: usize,
    /// What the next region is asked to be made of.
    pages: Pages,
    regions: Vec<Option<Region>>,
    mapped: usize,
    /// Mapped regions of which no chunk is cut.
    empty: usize,
    /// Bytes of the buffers that are out, each with the size of its class.
    reserved: usize,
    /// By class, the chunks that have a buffer left.
    partial: [Shelf; CLASSES],
    /// Chunks that are not cut.
    uncut: Shelf,
}

impl Pool {
    /// A pool that hands out `bytes_max` bytes at most, each buffer counted with its
    /// [capacity](Self::capacity), and maps no more than that in whole regions, and one. `pages` says
    /// which kind is asked for first; where the system refuses one, the pool goes on with the next.
    ///
    /// # Panics
    /// If `bytes_max` is more than [`POOL_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes_max: usize, pages: Pages) -> Self {
        assert!(bytes_max <= POOL_BYTES_MAX, "a pool of {bytes_max} bytes");
        Self {
            bytes_max,
            // One chunk of each class may be cut and almost unused: they fit into the one more.
            regions_max: bytes_max.div_ceil(CHUNKS * BUFFER_BYTES_MAX) + 1,
            pages,
            regions: Vec::new(),
            mapped: 0,
            empty: 0,
            reserved: 0,
            partial: Default::default(),
            uncut: Shelf::default(),
        }
    }

    /// Takes an empty buffer for `capacity` bytes. None if that would be too much: more than
    /// [`BUFFER_BYTES_MAX`], than the pool's bound, or than what the system or the pool's regions have
    /// left. What is in the regions but in chunks that were cut for another class, does not help.
    pub fn take(&mut self, capacity: usize) -> Option<Buffer> {
        let class = class_of(capacity)?;
        if self.reserved + bytes_of(class) > self.bytes_max {
            return None;
        }
        let (region, chunk) = match self.partial[class].first() {
            Some(place) => place,
            None => self.cut(class)?,
        };
        let of = self.region_mut(region).chunk_mut(chunk);
        let index = of.take();
        if of.is_full() {
            self.partial[class].remove(region, chunk);
        }
        self.reserved += bytes_of(class);
        self.invariants();
        Some(Buffer::new(Place { region, chunk, index }))
    }

    /// Takes a buffer back; and gives memory back to the system, if enough is unused.
    ///
    /// # Panics
    /// If the buffer is of another pool and this shows.
    pub fn give(&mut self, buffer: Buffer) {
        let Place { region, chunk, index } = buffer.place();
        let of = self.region_mut(region).chunk_mut(chunk);
        let class = of.class();
        let was_full = of.is_full();
        of.give(index);
        self.reserved -= bytes_of(class);
        if self.region_mut(region).uncut_if_unused(chunk) {
            if !was_full {
                self.partial[class].remove(region, chunk);
            }
            self.uncut.put(region, chunk);
            if self.region_mut(region).is_empty() {
                self.empty += 1;
                self.unmap_surplus();
            }
        } else if was_full {
            self.partial[class].put(region, chunk);
        }
        self.invariants();
    }

    /// How long the buffer can become, which is what it counts: the size of its class.
    #[must_use]
    #[inline]
    pub fn capacity(&self, buffer: &Buffer) -> usize {
        let place = buffer.place();
        bytes_of(self.region(place.region).chunk(place.chunk).class())
    }

    /// The content.
    #[must_use]
    #[inline]
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let place = buffer.place();
        let region = self.region(place.region);
        let start = region.offset(place.chunk, place.index);
        &region.bytes()[start..start + buffer.len()]
    }

    /// The content, to be changed.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self, buffer: &mut Buffer) -> &mut [u8] {
        let place = buffer.place();
        let region = self.region_mut(place.region);
        let start = region.offset(place.chunk, place.index);
        &mut region.bytes_mut()[start..start + buffer.len()]
    }

    /// Cuts the content off, or makes it longer by what was left there by whoever had the memory before.
    ///
    /// # Panics
    /// If `len` is more than the capacity.
    #[inline]
    pub fn set_len(&self, buffer: &mut Buffer, len: usize) {
        assert!(len <= self.capacity(buffer), "{len} bytes in a buffer of {}", self.capacity(buffer));
        buffer.len = len as u32;
    }

    /// Makes a part of one buffer's content that of another.
    ///
    /// # Panics
    /// If `from` has not that part, or `to` not the capacity.
    pub fn copy(&mut self, from: &Buffer, part: Range<usize>, to: &mut Buffer) {
        assert!(part.start <= part.end && part.end <= from.len(), "{part:?} of {} bytes", from.len());
        self.set_len(to, part.len());
        let (source, target) = (from.place(), to.place());
        let start = self.region(source.region).offset(source.chunk, source.index);
        let into = self.region(target.region).offset(target.chunk, target.index);
        let (part, into) = (start + part.start..start + part.end, into..into + part.len());
        if source.region == target.region {
            self.region_mut(source.region).bytes_mut().copy_within(part, into.start);
            return;
        }
        let regions = self.regions.get_disjoint_mut([source.region, target.region]);
        let Ok([Some(source), Some(target)]) = regions else { unreachable!("buffers have regions") };
        target.bytes_mut()[into].copy_from_slice(&source.bytes()[part]);
    }

    /// Bytes of the buffers that are out, each counted with its capacity.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Bytes that are mapped, whether they were ever touched or not.
    #[must_use]
    pub fn mapped(&self) -> usize {
        self.mapped * REGION_BYTES
    }

    /// What the region mapped last is made of; before the first, what will be asked for.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Cuts a chunk for a class. None if there is none, and no region to be had.
    fn cut(&mut self, class: usize) -> Option<(usize, usize)> {
        let (region, chunk) = match self.uncut.first() {
            Some(place) => place,
            None => (self.map()?, 0),
        };
        let of = self.region_mut(region);
        let was_empty = of.is_empty();
        of.cut(chunk, class);
        self.empty -= usize::from(was_empty);
        self.uncut.remove(region, chunk);
        self.partial[class].put(region, chunk);
        Some((region, chunk))
    }

    /// Maps a region, at the first number that is free.
    fn map(&mut self) -> Option<usize> {
        if self.mapped == self.regions_max {
            return None;
        }
        let (mapping, pages) = Mapping::new(self.pages)?;
        self.pages = pages;
        let number = self.regions.iter().position(Option::is_none).unwrap_or(self.regions.len());
        if number == self.regions.len() {
            self.regions.push(None);
        }
        self.regions[number] = Some(Region::new(mapping));
        (0..CHUNKS).for_each(|chunk| self.uncut.put(number, chunk));
        self.mapped += 1;
        self.empty += 1;
        Some(number)
    }

    /// Unmaps the last empty regions as long as there are more of them than is worth keeping.
    fn unmap_surplus(&mut self) {
        while self.empty > 1 + (self.mapped - self.empty) / 4 {
            let is_empty = |region: &Option<Region>| region.as_ref().is_some_and(Region::is_empty);
            let last = self.regions.iter().rposition(is_empty).expect("counted");
            self.regions[last] = None;
            (0..CHUNKS).for_each(|chunk| self.uncut.remove(last, chunk));
            self.mapped -= 1;
            self.empty -= 1;
        }
    }

    #[inline]
    fn region(&self, number: usize) -> &Region {
        self.regions[number].as_ref().expect("a buffer's region is mapped")
    }

    #[inline]
    fn region_mut(&mut self, number: usize) -> &mut Region {
        self.regions[number].as_mut().expect("a buffer's region is mapped")
    }

    fn invariants(&self) {
        if cfg!(debug_assertions) {
            let mapped = || self.regions.iter().flatten();
            assert_eq!(self.reserved, mapped().map(Region::reserved).sum());
            assert_eq!(
                (self.mapped, self.empty),
                (mapped().count(), mapped().filter(|r| r.is_empty()).count())
            );
            assert!(self.reserved <= self.bytes_max && self.mapped <= self.regions_max);
        }
    }
}

/// The smallest class for so many bytes.
#[inline]
fn class_of(capacity: usize) -> Option<usize> {
    let class =
        capacity.div_ceil(BUFFER_BYTES_MIN).max(1).checked_next_power_of_two()?.trailing_zeros() as usize;
    (class < CLASSES).then_some(class)
}

/// What a buffer for so many bytes counts, in bytes: the size of its class. None if there is no class.
#[must_use]
pub fn bytes_reserved(capacity: usize) -> Option<usize> {
    class_of(capacity).map(bytes_of)
}

#[inline]
const fn bytes_of(class: usize) -> usize {
    BUFFER_BYTES_MIN << class
}
