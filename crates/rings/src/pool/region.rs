//! What the system gave: chunks, and which of their buffers are out.

use super::mapping::{Mapping, REGION_BYTES};
use super::{BUFFER_BYTES_MAX, CLASSES, bytes_of};

/// Chunks of a region; what is left of it is less than one.
pub(super) const CHUNKS: usize = REGION_BYTES / BUFFER_BYTES_MAX;

/// A mapping and its chunks.
#[derive(Debug)]
pub(super) struct Region {
    mapping: Mapping,
    chunks: [Chunk; CHUNKS],
    /// Chunks that are cut.
    cut: usize,
}

impl Region {
    pub(super) fn new(mapping: Mapping) -> Self {
        Self { mapping, chunks: Default::default(), cut: 0 }
    }

    /// Whether no chunk is cut.
    pub(super) fn is_empty(&self) -> bool {
        self.cut == 0
    }

    /// Bytes of the buffers that are out.
    pub(super) fn reserved(&self) -> usize {
        self.chunks.iter().map(|chunk| usize::from(chunk.out) * bytes_of(chunk.class())).sum()
    }

    pub(super) fn cut(&mut self, chunk: usize, class: usize) {
        debug_assert_eq!(self.chunks[chunk].out, 0);
        self.chunks[chunk].cut(class);
        self.cut += 1;
    }

    /// Makes a chunk whole again if all its buffers are back, and says whether they are.
    pub(super) fn uncut_if_unused(&mut self, chunk: usize) -> bool {
        let is_unused = self.chunks[chunk].out == 0;
        self.cut -= usize::from(is_unused);
        is_unused
    }

    #[inline]
    pub(super) fn chunk(&self, chunk: usize) -> &Chunk {
        &self.chunks[chunk]
    }

    #[inline]
    pub(super) fn chunk_mut(&mut self, chunk: usize) -> &mut Chunk {
        &mut self.chunks[chunk]
    }

    /// Where a buffer begins.
    #[inline]
    pub(super) fn offset(&self, chunk: usize, index: u16) -> usize {
        let start = chunk * BUFFER_BYTES_MAX + usize::from(index) * bytes_of(self.chunks[chunk].class());
        debug_assert!(start < (chunk + 1) * BUFFER_BYTES_MAX);
        start
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.mapping.bytes()
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.mapping.bytes_mut()
    }
}

/// Buffers of one class.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    class: u8,
    /// Buffers that are out.
    out: u16,
    /// Buffers from here on were not out since the chunk was cut: their memory may never have been touched.
    fresh: u16,
    /// Those before that are back, the last one first.
    back: Vec<u16>,
}

impl Chunk {
    #[inline]
    pub(super) fn class(&self) -> usize {
        usize::from(self.class)
    }

    /// Whether all buffers are out.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.out == buffers_of(self.class())
    }

    fn cut(&mut self, class: usize) {
        debug_assert!(class < CLASSES);
        self.class = class as u8;
        self.fresh = 0;
        self.back.clear();
    }

    /// Hands out a buffer of a chunk that is not full.
    #[inline]
    pub(super) fn take(&mut self) -> u16 {
        debug_assert!(!self.is_full());
        self.out += 1;
        self.back.pop().unwrap_or_else(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }

    /// Takes a buffer back.
    #[inline]
    pub(super) fn give(&mut self, index: u16) {
        assert!(self.out > 0 && index < self.fresh, "buffer {index} is not of this pool");
        debug_assert!(!self.back.contains(&index), "buffer {index} is back already");
        self.out -= 1;
        self.back.push(index);
    }
}

const fn buffers_of(class: usize) -> u16 {
    (BUFFER_BYTES_MAX / bytes_of(class)) as u16
}
