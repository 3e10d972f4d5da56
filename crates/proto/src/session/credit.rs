//! Sequenced frames to the client: what is in flight, and what its window allows.

use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::{Rejection, Seq, flow};
use std::collections::VecDeque;

/// Frames in flight to one client, against the window it granted.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Last sequenced frame that the kernel has begun to take.
    sent: Seq,
    /// Payload bytes in each frame behind the last acknowledged one; 0 for a GAP.
    in_flight: VecDeque<u16>,
    bytes: u32,
    window: u32,
    /// When the kernel took the first of those in flight, or the last acknowledgement came.
    since: Time,
}

impl Credit {
    pub(crate) fn new(now: Time) -> Self {
        Self { sent: Seq(0), in_flight: VecDeque::new(), bytes: 0, window: 0, since: now }
    }

    pub(crate) fn sent(&self) -> Seq {
        self.sent
    }

    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    pub(crate) fn frames(&self) -> usize {
        self.in_flight.len()
    }

    /// The client's word: everything up to `ack` is handled, and `window` bytes may be in
    /// flight behind it.
    pub(crate) fn acknowledged(&mut self, ack: Seq, window: u32, now: Time) -> Result<(), Rejection> {
        let acked = Seq(self.sent.0.wrapping_sub(self.in_flight.len() as u32));
        let step = flow::newly_acked(acked, ack, self.sent)? as usize;
        for bytes in self.in_flight.drain(..step) {
            self.bytes -= u32::from(bytes);
        }
        if step > 0 {
            self.since = now;
        }
        self.window = window;
        self.invariants();
        Ok(())
    }

    /// Whether `payload` more bytes may go when `bytes` are in flight.
    pub(crate) fn allows(&self, bytes: u32, payload: u32) -> bool {
        if planted::on(Bug::WindowIgnored) {
            return true;
        }
        flow::fits_window(self.window.into(), bytes.into(), payload.into())
    }

    /// The kernel has begun to take one more.
    pub(crate) fn took(&mut self, payload: u16, now: Time) {
        if self.in_flight.is_empty() {
            self.since = now;
        }
        self.sent = self.sent.next();
        self.in_flight.push_back(payload);
        self.bytes += u32::from(payload);
        self.invariants();
    }

    /// Since when the client owes an acknowledgement.
    pub(crate) fn waits_since(&self) -> Option<Time> {
        if self.in_flight.is_empty() { None } else { Some(self.since) }
    }

    fn invariants(&self) {
        debug_assert_eq!(self.bytes, self.in_flight.iter().map(|bytes| u32::from(*bytes)).sum::<u32>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::Misbehaved;

    #[test]
    fn an_ack_neither_goes_back_nor_ahead() {
        let mut credit = Credit::new(Time(0));
        credit.acknowledged(Seq(0), 100, Time(0)).unwrap();
        credit.took(10, Time(1));
        credit.took(0, Time(2));
        let invalid = |acked, ack| Err(Misbehaved::AckInvalid { acked, ack, sent: Seq(2) }.into());
        assert_eq!(credit.acknowledged(Seq(3), 100, Time(3)), invalid(Seq(0), Seq(3)));
        credit.acknowledged(Seq(1), 100, Time(3)).unwrap();
        assert_eq!(credit.acknowledged(Seq(0), 100, Time(3)), invalid(Seq(1), Seq(0)));
        assert_eq!((credit.bytes(), credit.waits_since()), (0, Some(Time(3))));
        credit.acknowledged(Seq(2), 100, Time(4)).unwrap();
        assert_eq!(credit.waits_since(), None);
    }

    #[test]
    fn one_frame_of_any_size_goes_when_nothing_is_in_flight() {
        let mut credit = Credit::new(Time(0));
        assert!(!credit.allows(0, 5), "no window was granted");
        credit.acknowledged(Seq(0), 16, Time(0)).unwrap();
        assert!(credit.allows(0, 60_000));
        assert!(credit.allows(10, 6));
        assert!(!credit.allows(10, 7));
    }
}
