//! One coarse deadline a connection: four bytes in a dense column.
//!
//! Deadlines are in seconds and move with almost every event, so a store is all that moving
//! one later costs: none. A deadline that has come is asked again and found to be later, or
//! acted on. The column is scanned when the earliest deadline known has come.

use multibeam_proto::Time;
use multibeam_proto::planted::{self, Bug};

/// Microseconds of a tick: deadlines are late by up to one. At a million connections a scan
/// takes 0.2 ms, so that a scan a tick costs about one part in a hundred of a core.
const TICK_US: u64 = 16_384;

/// Value of a slot without a deadline.
const NEVER: u32 = 0;

/// Deadlines by slot.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Ticks, with wrap-around; a deadline is never 2^31 ticks (400 days) away.
    deadlines: Vec<u32>,
    /// No deadline is earlier than this.
    scan_at: Option<Time>,
}

impl Timers {
    /// The tick that begins at or after `time`, never the value that stands for "never".
    fn tick(time: Time) -> u32 {
        match time.0.div_ceil(TICK_US) as u32 {
            NEVER => 1,
            tick => tick,
        }
    }

    /// Sees to it that the slot comes up no later than `deadline`, to the next tick.
    pub(super) fn by(&mut self, slot: u32, deadline: Time) {
        let slot = slot as usize;
        if self.deadlines.len() <= slot {
            self.deadlines.resize(slot + 1, NEVER);
        }
        let tick = Self::tick(deadline);
        let known = self.deadlines[slot];
        if known == NEVER || tick.wrapping_sub(known).cast_signed() < 0 {
            self.deadlines[slot] = tick;
            self.scan_at = Time::earliest(self.scan_at, Some(Time(deadline.0.div_ceil(TICK_US) * TICK_US)));
        }
    }

    /// Forgets the slot's deadline.
    pub(super) fn clear(&mut self, slot: u32) {
        if let Some(deadline) = self.deadlines.get_mut(slot as usize) {
            *deadline = NEVER;
        }
        // A crowd that has left gives its memory back.
        while self.deadlines.last() == Some(&NEVER) {
            self.deadlines.pop();
        }
        if self.deadlines.len() < self.deadlines.capacity() / 4 {
            self.deadlines.shrink_to(2 * self.deadlines.len());
        }
    }

    /// When to call [`Timers::due`].
    pub(super) fn next(&self) -> Option<Time> {
        self.scan_at
    }

    /// Whether the slot has a deadline.
    pub(super) fn is_set(&self, slot: u32) -> bool {
        self.deadlines.get(slot as usize).is_some_and(|deadline| *deadline != NEVER)
    }

    /// Moves the slots whose deadline has come to `due`.
    pub(super) fn due(&mut self, now: Time, due: &mut Vec<u32>) {
        if self.scan_at.is_none_or(|at| now < at) {
            return;
        }
        let tick_now = (now.0 / TICK_US) as u32;
        let mut soonest: Option<i32> = None;
        for (slot, deadline) in self.deadlines.iter_mut().enumerate() {
            if *deadline == NEVER {
                continue;
            }
            let left = deadline.wrapping_sub(tick_now).cast_signed();
            if left <= 0 {
                *deadline = NEVER;
                if !planted::on(Bug::DeadlineScanMissesSlot) || slot != 1 {
                    due.push(slot as u32);
                }
            } else {
                soonest = Some(soonest.map_or(left, |soonest| soonest.min(left)));
            }
        }
        self.scan_at =
            soonest.map(|left| Time((now.0 / TICK_US + u64::from(left.cast_unsigned())) * TICK_US));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_up_at_its_earliest_deadline_and_once() {
        let mut timers = Timers::default();
        timers.by(3, Time(1_000_000));
        timers.by(3, Time(500_000));
        timers.by(3, Time(2_000_000));
        timers.by(1, Time(3_000_000));
        let mut due = Vec::new();
        timers.due(Time(499_999), &mut due);
        assert!(due.is_empty());
        let at = timers.next().unwrap();
        assert!(at >= Time(500_000) && at.0 < 500_000 + TICK_US);
        timers.due(at, &mut due);
        assert_eq!(due, [3]);
        assert!(!timers.is_set(3) && timers.is_set(1));
        due.clear();
        let at = timers.next().unwrap();
        timers.due(at, &mut due);
        assert_eq!((due.as_slice(), timers.next()), (&[1][..], None));
    }

    #[test]
    fn ticks_wrap_around() {
        let mut timers = Timers::default();
        let late = Time((u64::from(u32::MAX) - 1) * TICK_US);
        timers.by(0, Time(late.0 + 5 * TICK_US));
        let mut due = Vec::new();
        timers.due(late, &mut due);
        timers.due(Time(late.0 + 4 * TICK_US), &mut due);
        assert!(due.is_empty());
        timers.due(Time(late.0 + 5 * TICK_US), &mut due);
        assert_eq!(due, [0]);
    }
}
