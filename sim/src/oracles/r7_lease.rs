//! R7, without a lease a node promises nothing: what it gives a socket then acknowledges nothing new, delivers
//! nothing and answers nothing. Judged by the frames whose first byte left while the lease had run out.

use crate::frames::{Seen, kind};
use std::collections::VecDeque;
use std::ops::Range;

pub(crate) const ORACLE: &str = "R7";

/// An ERROR's outcome that says nothing for certain.
const OUTCOME_UNKNOWN: u64 = 1;

/// A WELCOME's flag of a node that leads.
const LEADS: u64 = 1;

/// What one connection was told, as far as leases matter.
#[derive(Debug, Default)]
pub struct Unleased {
    /// Bytes of the stream that left without a lease, and are not all seen yet.
    bytes: VecDeque<Range<u64>>,
    /// The newest acknowledgement that was told.
    acked: u32,
    /// The last frame was a GAP that began under a lease: what it goes with may follow.
    joined: bool,
}

impl Unleased {
    /// These bytes left while the node held no lease.
    pub fn left(&mut self, bytes: Range<u64>) {
        match self.bytes.back_mut().filter(|last| last.end == bytes.start) {
            Some(last) => last.end = bytes.end,
            None => self.bytes.push_back(bytes),
        }
    }

    /// A frame passes.
    ///
    /// # Errors
    /// It says what only a node with a lease may say.
    pub fn check(&mut self, frame: &Seen) -> Result<(), String> {
        while self.bytes.front().is_some_and(|bytes| bytes.end <= frame.start) {
            self.bytes.pop_front();
        }
        let led = self.bytes.front().is_none_or(|bytes| !bytes.contains(&frame.start));
        let joined = std::mem::replace(&mut self.joined, false);
        self.joined = (led || joined) && frame.kind == kind::GAP;
        let acked = std::mem::replace(&mut self.acked, frame.ack);
        if led || joined || (is_free(frame) && frame.ack == acked) {
            return Ok(());
        }
        let Seen { kind, seq, ack, .. } = frame;
        Err(format!("sent frame {seq} of type {kind} with ack {ack}, behind {acked}, without a lease"))
    }
}

/// Whether the frame promises nothing by itself.
fn is_free(frame: &Seen) -> bool {
    match frame.kind {
        kind::HEARTBEAT | kind::GOAWAY | kind::REJECT | kind::BYE => true,
        kind::WELCOME => frame.numbers::<7>().is_none_or(|numbers| numbers[6] & LEADS == 0),
        kind::ERROR => frame.numbers::<3>().is_some_and(|[_, _, outcome]| outcome == OUTCOME_UNKNOWN),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(start: u64, kind: u8, ack: u32, payload: &[u8]) -> Seen {
        Seen { start, kind, ack, payload: payload.to_vec(), ..Seen::default() }
    }

    fn unleased(from: u64) -> Unleased {
        let mut unleased = Unleased::default();
        unleased.left(from..from + 50);
        unleased.left(from + 50..1000);
        unleased
    }

    #[test]
    fn what_promises_nothing_may_go() {
        let mut unleased = unleased(0);
        let welcome = [2, 10, 100, 1, 7, 16];
        for frame in [
            frame(0, kind::WELCOME, 0, &welcome),
            frame(20, kind::HEARTBEAT, 0, &[]),
            frame(40, kind::ERROR, 0, &[3, 9, 1, 0]),
            frame(60, kind::GOAWAY, 0, &[4, 0, 0, 0]),
            frame(999, kind::BYE, 0, &[0, 0]),
        ] {
            assert_eq!(unleased.check(&frame), Ok(()), "{frame:?}");
        }
    }

    #[test]
    fn what_promises_may_not() {
        let leads = [2, 10, 100, 1, 7, 16, 1];
        for frame in [
            frame(60, kind::DATA, 0, &[]),
            frame(60, kind::HEARTBEAT, 1, &[]),
            frame(60, kind::WELCOME, 0, &leads),
            frame(60, kind::ERROR, 0, &[3, 9, 0, 0]),
            frame(60, kind::GAP, 0, &[]),
            frame(999, 2, 0, &[]),
        ] {
            assert!(unleased(10).check(&frame).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn what_began_under_a_lease_goes_to_its_end() {
        let mut unleased = unleased(40);
        assert_eq!(unleased.check(&frame(30, kind::GAP, 3, &[])), Ok(()), "half of it left before");
        assert_eq!(unleased.check(&frame(60, kind::DATA, 3, &[])), Ok(()), "it goes with the gap");
        assert!(unleased.check(&frame(80, kind::DATA, 3, &[])).is_err());
        assert_eq!(unleased.check(&frame(1000, kind::DATA, 9, &[])), Ok(()), "the lease is back");
    }
}
