//! A set of chunks, of which the first is wanted.

/// Chunks by region, and where to begin to look.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// A bit a chunk.
    chunks: Vec<u16>,
    /// No region before this one has a chunk here.
    lowest: usize,
}

impl Shelf {
    /// The first chunk of the first region.
    #[inline]
    pub(super) fn first(&mut self) -> Option<(usize, usize)> {
        while let Some(chunks) = self.chunks.get(self.lowest) {
            if *chunks != 0 {
                return Some((self.lowest, chunks.trailing_zeros() as usize));
            }
            self.lowest += 1;
        }
        None
    }

    pub(super) fn put(&mut self, region: usize, chunk: usize) {
        if self.chunks.len() <= region {
            self.chunks.resize(region + 1, 0);
        }
        debug_assert!(self.chunks[region] & 1 << chunk == 0, "chunk {chunk} of region {region} is here");
        self.chunks[region] |= 1 << chunk;
        self.lowest = self.lowest.min(region);
    }

    pub(super) fn remove(&mut self, region: usize, chunk: usize) {
        debug_assert!(self.chunks[region] & 1 << chunk != 0, "chunk {chunk} of region {region} is not here");
        self.chunks[region] &= !(1 << chunk);
    }
}
