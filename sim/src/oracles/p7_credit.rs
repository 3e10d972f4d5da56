//! P7, bounded by credit: payload bytes in flight to a client never pass the window that it granted, or
//! one frame when nothing is in flight; and what a node says that it holds never passes its budgets.
//!
//! Judged at the client's side of the wire, for every client. The node goes by some statement of the
//! client, (number acknowledged, window), of those on their way: each message must be allowed by one of
//! them, and no later message by older ones only, since statements arrive in order.

use crate::frames::{Seen, kind};
use crate::world::World;
use multibeam_model::core::Stat;
use std::collections::VecDeque;

pub(crate) const ORACLE: &str = "P7";

/// What a client said, as far as the node may go by it.
#[derive(Clone, Copy, Debug)]
struct Said {
    acked: u32,
    window_bytes: u64,
}

/// Messages to one client against what it granted.
#[derive(Debug, Default)]
pub struct Ledger {
    unit_log2: u32,
    said: VecDeque<Said>,
    /// Messages that some statement leaves in flight.
    messages: VecDeque<(u32, u64)>,
}

impl Ledger {
    /// The client sent a frame. A statement is in force from its last byte on.
    pub fn up(&mut self, frame: &Seen) {
        if frame.kind == kind::HELLO
            && let Some([_, unit_log2]) = frame.numbers()
        {
            self.unit_log2 = unit_log2.min(15) as u32;
        }
        let window_bytes = u64::from(frame.window) << self.unit_log2;
        self.said.push_back(Said { acked: frame.ack, window_bytes });
    }

    /// The client got a frame.
    ///
    /// # Errors
    /// It may not have been sent by anything that the node was told; as a sentence.
    pub fn down(&mut self, frame: &Seen) -> Result<(), String> {
        if frame.kind != kind::DATA {
            return Ok(());
        }
        let bytes = frame.payload.len() as u64;
        let allows = |said: &Said| {
            let behind = |seq: u32| said.acked.wrapping_sub(seq).cast_signed() < 0;
            let flight = self.messages.iter().filter(|(seq, _)| behind(*seq));
            let before: u64 = flight.map(|(_, bytes)| bytes).sum();
            if before == 0 { said.window_bytes > 0 } else { before + bytes <= said.window_bytes }
        };
        let Some(first) = self.said.iter().position(allows) else {
            let newest = self.said.back();
            let seq = frame.seq;
            return Err(format!("{bytes} bytes in frame {seq} against {newest:?} and all before it"));
        };
        self.said.drain(..first);
        self.messages.push_back((frame.seq, bytes));
        if let Some(oldest) = self.said.front() {
            let acked = oldest.acked;
            while self.messages.front().is_some_and(|(seq, _)| acked.wrapping_sub(*seq).cast_signed() >= 0) {
                self.messages.pop_front();
            }
        }
        Ok(())
    }
}

/// Bytes that the tables of a shard without messages keep: they are not given back one by one.
const RESERVED_BYTES: u64 = 16 << 10;

/// Gauges of each shard that have a budget.
pub fn check_memory(world: &World) {
    let Some(run) = world.node_run() else { return };
    let knobs = &world.plan.node;
    let budgets = [
        (Stat::ParkedBytes, knobs.parked_bytes_max as u64),
        (Stat::MessageBytes, knobs.messages_bytes_max as u64 + RESERVED_BYTES),
    ];
    for (shard, stats) in run.stats.borrow().iter().enumerate() {
        for (stat, most) in budgets {
            let bytes = stats.get(stat as usize).copied().unwrap_or_default();
            if bytes > most {
                let metric = stat.metric();
                world.fail(ORACLE, format!("shard {shard} holds {bytes} {metric}, its budget is {most}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger with a unit of a byte, so that windows are bytes.
    #[derive(Default)]
    struct Rig(Ledger);

    impl Rig {
        fn say(&mut self, ack: u32, window: u16) {
            self.0.up(&Seen { kind: 2, ack, window, ..Seen::default() });
        }

        fn may(&mut self, seq: u32, bytes: usize) -> bool {
            let payload = vec![0; bytes];
            self.0.down(&Seen { kind: kind::DATA, seq, payload, ..Seen::default() }).is_ok()
        }
    }

    #[test]
    fn nothing_may_come_before_it_is_granted() {
        let mut rig = Rig::default();
        assert!(!rig.may(1, 1));
        rig.say(0, 0);
        assert!(!rig.may(1, 1));
    }

    #[test]
    fn one_of_any_size_may_come_when_nothing_is_in_flight() {
        let mut rig = Rig::default();
        rig.say(0, 1);
        assert!(rig.may(1, 500) && !rig.may(2, 1));
        rig.say(2, 16);
        assert!(rig.may(3, 8) && rig.may(4, 8) && !rig.may(5, 1));
    }

    #[test]
    fn an_older_statement_does_not_come_back() {
        let mut rig = Rig::default();
        rig.say(0, 100);
        rig.say(0, 0);
        rig.say(0, 10);
        assert!(rig.may(1, 90), "the first statement may still be the newest one that the node has");
        assert!(rig.may(2, 10));
        rig.say(2, 10);
        assert!(rig.may(3, 10) && !rig.may(4, 1));
        rig.say(3, 5);
        assert!(rig.may(4, 5));
        assert!(!rig.may(5, 5), "only the statement before the last would allow it");
    }

    #[test]
    fn the_unit_is_the_clients() {
        let mut rig = Rig::default();
        let hello = Seen { kind: kind::HELLO, window: 2, payload: vec![0, 4], ..Seen::default() };
        rig.0.up(&hello);
        assert!(rig.may(1, 20) && rig.may(2, 12) && !rig.may(3, 1));
    }
}
