//! The script as a chooser.

use crate::chooser::{Chooser, Fault};

/// Questions about faults that a byte of 0 answers with no.
const CALM: u32 = 1024;

/// Bytes, then zeros for ever.
///
/// What hurts is spaced out by bytes too: each says how many questions about a fault are
/// answered with no before the next yes. So a script spends its bytes on what clients and
/// threads do, and not on the thousands of kernel calls between.
#[derive(Debug)]
pub(super) struct Bytes {
    bytes: Vec<u8>,
    at: usize,
    calm: u32,
}

impl Bytes {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, calm: 1 }
    }

    /// Nothing but zeros is left.
    pub(super) fn over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A number below `n`; 0 is what a friendly world would choose.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        usize::from(self.next()) % n
    }
}

impl Chooser for Bytes {
    fn strikes(&mut self, fault: Fault) -> bool {
        // A preempted thread is what races are made of: it counts four times.
        let step = if fault == Fault::Preempted { 4 } else { 1 };
        if self.over() {
            return false;
        }
        if self.calm > step {
            self.calm -= step;
            return false;
        }
        self.calm = match self.next() {
            0 => CALM,
            byte => 1 + u32::from(byte) / 8,
        };
        true
    }

    fn below(&mut self, n: usize) -> usize {
        n - 1 - self.pick(n)
    }
}
