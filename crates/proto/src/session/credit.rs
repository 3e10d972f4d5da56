//! Sequenced frames to the client: what is in flight, and what its window allows.
//!
//! In flight are *runs* of frames of the same size, in records of a pool that all sessions of a shard
//! share; a session without anything in flight owns none. A client that lets many sizes pile up has the
//! later ones counted together: those bytes count until all of them are acknowledged, which is never too
//! few.

use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::{Rejection, Seq, flow};

/// Records of one session, at the most: 1 KiB. Twice as many would follow twice as many sizes.
pub(crate) const RUNS_MAX: u16 = 64;

/// Bytes of one record.
pub(crate) const RUN_BYTES: usize = size_of::<Run>();

const NONE: u32 = u32::MAX;

/// Sizes differ: counted until all are acknowledged.
const MIXED: u32 = u32::MAX;

/// Frames in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    frames: u32,
    bytes: u32,
    /// Payload bytes of each; 0 for gaps; or [`MIXED`].
    each: u32,
    next: u32,
}

/// The records of all sessions of a shard.
#[derive(Debug)]
pub(crate) struct Runs {
    records: Vec<Run>,
    free: u32,
    used: usize,
}

impl Default for Runs {
    fn default() -> Self {
        Self { records: Vec::new(), free: NONE, used: 0 }
    }
}

impl Runs {
    fn take(&mut self, run: Run) -> u32 {
        self.used += 1;
        if self.free == NONE {
            self.records.push(run);
            return (self.records.len() - 1) as u32;
        }
        let at = self.free;
        self.free = self.records[at as usize].next;
        self.records[at as usize] = run;
        at
    }

    fn give(&mut self, at: u32) {
        self.used -= 1;
        self.records[at as usize].next = self.free;
        self.free = at;
        if self.used == 0 {
            *self = Self { records: std::mem::take(&mut self.records), ..Self::default() };
            self.records.clear();
        }
    }

    /// Gives back the memory of a crowd that is gone.
    pub(crate) fn shrink(&mut self) {
        if self.used == 0 {
            self.records = Vec::new();
        }
    }
}

/// Frames in flight to one client, against the window it granted.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Last sequenced frame that the kernel has begun to take.
    sent: Seq,
    frames: u32,
    bytes: u32,
    window: u32,
    /// When the kernel took the first of those in flight, or the last acknowledgement came.
    since: Time,
    /// Its records, oldest first.
    first: u32,
    last: u32,
}

impl Credit {
    pub(crate) fn new(now: Time) -> Self {
        Self { sent: Seq(0), frames: 0, bytes: 0, window: 0, since: now, first: NONE, last: NONE }
    }

    pub(crate) fn sent(&self) -> Seq {
        self.sent
    }

    pub(crate) fn bytes(&self) -> u32 {
        self.bytes
    }

    pub(crate) fn frames(&self) -> usize {
        self.frames as usize
    }

    /// The client's word: everything up to `ack` is handled, and `window` bytes may be in
    /// flight behind it.
    pub(crate) fn acknowledged(
        &mut self,
        runs: &mut Runs,
        ack: Seq,
        window: u32,
        now: Time,
    ) -> Result<(), Rejection> {
        let acked = Seq(self.sent.0.wrapping_sub(self.frames));
        let step = flow::newly_acked(acked, ack, self.sent)?;
        self.release(runs, step);
        if step > 0 {
            self.since = now;
        }
        self.window = window;
        Ok(())
    }

    fn release(&mut self, runs: &mut Runs, frames: u32) {
        let mut left = frames;
        self.frames -= frames;
        while left > 0 {
            let run = &mut runs.records[self.first as usize];
            if run.frames <= left {
                let (at, next) = (self.first, run.next);
                left -= run.frames;
                self.bytes -= run.bytes;
                self.first = next;
                runs.give(at);
                if next == NONE {
                    self.last = NONE;
                }
            } else {
                run.frames -= left;
                if run.each != MIXED {
                    let bytes = if planted::on(Bug::AckReleasesRun) { run.bytes } else { left * run.each };
                    run.bytes -= bytes;
                    self.bytes -= bytes;
                }
                left = 0;
            }
        }
        self.invariants();
    }

    /// The session ends: its records go back.
    pub(crate) fn end(&mut self, runs: &mut Runs) {
        self.release(runs, self.frames);
    }

    /// Whether `payload` more bytes may go when `bytes` are in flight.
    pub(crate) fn allows(&self, bytes: u32, payload: u32) -> bool {
        if planted::on(Bug::WindowIgnored) {
            return true;
        }
        flow::fits_window(self.window.into(), bytes.into(), payload.into())
    }

    /// The kernel has begun to take one more.
    pub(crate) fn took(&mut self, runs: &mut Runs, payload: u32, now: Time) {
        if self.frames == 0 {
            self.since = now;
        }
        self.sent = self.sent.next();
        self.frames += 1;
        self.bytes += payload;
        if self.last != NONE {
            let full = runs.records[self.last as usize].each != payload && self.records(runs) >= RUNS_MAX;
            let run = &mut runs.records[self.last as usize];
            let mixed = run.each != payload && full;
            if run.each == payload || mixed {
                if mixed {
                    run.each = MIXED;
                }
                run.frames += 1;
                run.bytes += payload;
                return;
            }
        }
        let at = runs.take(Run { frames: 1, bytes: payload, each: payload, next: NONE });
        match self.last {
            NONE => self.first = at,
            last => runs.records[last as usize].next = at,
        }
        self.last = at;
        self.invariants();
    }

    /// Since when the client owes an acknowledgement.
    pub(crate) fn waits_since(&self) -> Option<Time> {
        if self.frames == 0 { None } else { Some(self.since) }
    }

    /// How many records it has.
    fn records(&self, runs: &Runs) -> u16 {
        let (mut count, mut at) = (0, self.first);
        while at != NONE {
            count += 1;
            at = runs.records[at as usize].next;
        }
        debug_assert!(count <= RUNS_MAX);
        count
    }

    fn invariants(&self) {
        debug_assert_eq!(self.first == NONE, self.frames == 0);
        debug_assert!(self.frames > 0 || self.bytes == 0, "{} bytes of no frame", self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::Misbehaved;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn an_ack_neither_goes_back_nor_ahead() {
        let (mut credit, mut runs) = (Credit::new(Time(0)), Runs::default());
        credit.acknowledged(&mut runs, Seq(0), 100, Time(0)).unwrap();
        credit.took(&mut runs, 10, Time(1));
        credit.took(&mut runs, 0, Time(2));
        let invalid = |acked, ack| Err(Misbehaved::AckInvalid { acked, ack, sent: Seq(2) }.into());
        assert_eq!(credit.acknowledged(&mut runs, Seq(3), 100, Time(3)), invalid(Seq(0), Seq(3)));
        credit.acknowledged(&mut runs, Seq(1), 100, Time(3)).unwrap();
        assert_eq!(credit.acknowledged(&mut runs, Seq(0), 100, Time(3)), invalid(Seq(1), Seq(0)));
        assert_eq!((credit.bytes(), credit.waits_since()), (0, Some(Time(3))));
        credit.acknowledged(&mut runs, Seq(2), 100, Time(4)).unwrap();
        assert_eq!((credit.waits_since(), runs.used), (None, 0));
    }

    #[test]
    fn one_frame_of_any_size_goes_when_nothing_is_in_flight() {
        let (mut credit, mut runs) = (Credit::new(Time(0)), Runs::default());
        assert!(!credit.allows(0, 5), "no window was granted");
        credit.acknowledged(&mut runs, Seq(0), 16, Time(0)).unwrap();
        assert!(credit.allows(0, 60_000));
        assert!(credit.allows(10, 6));
        assert!(!credit.allows(10, 7));
    }

    proptest! {
        /// Never fewer bytes than a plain list of frames, and as many where sizes are few.
        #[test]
        fn it_counts_no_less_than_a_list(steps in proptest::collection::vec((0u32..3, 1u32..40, any::<bool>()), 1..400)) {
            let mut runs = Runs::default();
            let mut credits = [Credit::new(Time(0)), Credit::new(Time(0))];
            let mut lists = [VecDeque::new(), VecDeque::new()];
            let mut sizes = [0; 2];
            for (kind, n, second) in steps {
                let (credit, list) = (&mut credits[usize::from(second)], &mut lists[usize::from(second)]);
                match kind {
                    0 => {
                        let acked = list.drain(..(n as usize).min(list.len())).count() as u32;
                        let ack = Seq(credit.sent().0.wrapping_sub(credit.frames).wrapping_add(acked));
                        credit.acknowledged(&mut runs, ack, 1, Time(0)).unwrap();
                    }
                    1 => {
                        list.push_back(n);
                        credit.took(&mut runs, n, Time(0));
                    }
                    _ => for _ in 0..n {
                        list.push_back(100);
                        credit.took(&mut runs, 100, Time(0));
                    },
                }
                let bytes: u32 = list.iter().sum();
                prop_assert_eq!(credit.frames(), list.len());
                prop_assert!(credit.bytes() >= bytes);
                sizes[usize::from(second)] = sizes[usize::from(second)].max(credit.records(&runs));
                if sizes[usize::from(second)] < RUNS_MAX {
                    prop_assert_eq!(credit.bytes(), bytes);
                }
                if list.is_empty() {
                    prop_assert_eq!((credit.bytes(), credit.records(&runs)), (0, 0));
                }
                prop_assert_eq!(runs.used, usize::from(credits[0].records(&runs) + credits[1].records(&runs)));
            }
            for credit in &mut credits {
                credit.end(&mut runs);
            }
            prop_assert_eq!(runs.used, 0);
        }
    }
}
