//! When acknowledgements and heartbeats are due.
//!
//! An entry is a reminder: the client knows whether it still holds, so that nothing has to be
//! taken out when a frame has done the work before.

use super::rounds::Random;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Reminders of all clients, by time.
pub(super) struct Timers {
    /// All have the same delay, so they come in order.
    acks: VecDeque<(u64, u32)>,
    /// One a client.
    heartbeats: BinaryHeap<Reverse<(u64, u32)>>,
    random: Random,
    /// Heartbeats are all there is: of a crowd, they begin anywhere in the interval, or two servers that accept it
    /// at different speeds would get them in different bursts.
    idle: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ack(u32),
    Heartbeat(u32),
}

impl Timers {
    pub(super) fn new(seed: u64, idle: bool) -> Self {
        Self { acks: VecDeque::new(), heartbeats: BinaryHeap::new(), random: Random::new(seed), idle }
    }

    /// `at_ms` is never before that of an earlier call.
    pub(super) fn ack(&mut self, at_ms: u64, client: u32) {
        debug_assert!(self.acks.back().is_none_or(|&(last_ms, _)| last_ms <= at_ms));
        self.acks.push_back((at_ms, client));
    }

    pub(super) fn heartbeat(&mut self, at_ms: u64, client: u32) {
        self.heartbeats.push(Reverse((at_ms, client)));
    }

    /// The interval less up to a quarter, as the SDK draws it.
    pub(super) fn jittered(&mut self, interval_ms: u64) -> u64 {
        interval_ms - self.random.below(interval_ms / 4 + 1)
    }

    /// Until a client's first heartbeat.
    pub(super) fn first(&mut self, interval_ms: u64) -> u64 {
        if self.idle { self.random.below(interval_ms + 1) } else { self.jittered(interval_ms) }
    }

    /// Takes out one that is due.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Due> {
        if let Some(&(at_ms, client)) = self.acks.front()
            && at_ms <= now_ms
        {
            self.acks.pop_front();
            return Some(Due::Ack(client));
        }
        let &Reverse((at_ms, client)) = self.heartbeats.peek()?;
        if at_ms > now_ms {
            return None;
        }
        self.heartbeats.pop();
        Some(Due::Heartbeat(client))
    }

    /// When the next one is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let ack = self.acks.front().map(|&(at_ms, _)| at_ms);
        let heartbeat = self.heartbeats.peek().map(|&Reverse((at_ms, _))| at_ms);
        ack.into_iter().chain(heartbeat).min()
    }

    pub(super) fn clear(&mut self) {
        self.acks.clear();
        self.heartbeats.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_come_when_they_are_due_and_once() {
        let mut timers = Timers::new(1, false);
        timers.ack(500, 1);
        timers.heartbeat(400, 2);
        timers.heartbeat(300, 3);
        assert_eq!((timers.next_ms(), timers.pop(299)), (Some(300), None));
        assert_eq!(timers.pop(600), Some(Due::Ack(1)));
        assert_eq!(timers.pop(600), Some(Due::Heartbeat(3)));
        assert_eq!(timers.pop(600), Some(Due::Heartbeat(2)));
        assert_eq!((timers.next_ms(), timers.pop(600)), (None, None));
    }

    #[test]
    fn heartbeats_are_spread_over_the_last_quarter_of_an_interval() {
        let mut timers = Timers::new(1, false);
        let times: Vec<u64> = (0..1000).map(|_| timers.jittered(1000)).collect();
        assert!(times.iter().all(|time| (750..=1000).contains(time)));
        assert!(times.iter().any(|&time| time < 800) && times.iter().any(|&time| time > 950));
    }
}
