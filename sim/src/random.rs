//! Streams of random numbers, one for each purpose, so that a number drawn more in one does
//! not change the others.

use multibeam_model::{Chooser, Seeded};
use std::ops::RangeInclusive;

/// Numbers made from a seed and the name of their purpose.
#[derive(Clone, Debug)]
pub struct Random(Seeded);

impl Random {
    /// The stream of `purpose` of a seed.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(Seeded::new(derive(seed, purpose)))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// A number in `range`.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        let width = range.end() - range.start() + 1;
        range.start() + self.number() % width
    }

    /// A length in `range`.
    pub fn length(&mut self, range: RangeInclusive<usize>) -> usize {
        let width = range.end() - range.start() + 1;
        range.start() + self.0.below(width)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.below(choices.len())]
    }

    /// Random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.number().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The seed of `purpose`'s stream.
#[must_use]
pub fn derive(seed: u64, purpose: &str) -> u64 {
    let mut state = seed ^ 0x6a09_e667_f3bc_c908;
    for byte in purpose.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        state ^= state >> 29;
    }
    Seeded::new(state).number()
}
