//! Input: from sockets through one scratch area into sessions; partial frames are parked.

use super::Loop;
use super::connections::{Connection, Flags};
use crate::close::CloseReason;
use crate::kernel::{Errno, Kernel, Read};
use multibeam_proto::planted::{self, Bug};
use multibeam_proto::{Stat, Time};
use multibeam_rings::pool::bytes_reserved;
use multibeam_wire::CloseCode;
use std::ops::Range;

/// How a visit to one connection goes on.
enum Visit {
    /// Read more, within the budget.
    More,
    /// Nothing more to do here; something else brings us back.
    Over,
}

impl<K: Kernel> Loop<K> {
    /// Visits exactly those that stand in the list now: who is queued meanwhile waits for
    /// the next turn.
    pub(super) fn read(&mut self, now: Time) {
        for _ in 0..self.readers.len() {
            let Some(slot) = self.readers.pop_front() else { break };
            // Without the flag the entry is that of a connection which had the slot before.
            if self.connections.at_mut(slot).is_some_and(|known| known.flags.take(Flags::READ_QUEUED)) {
                self.read_one(slot, now);
            }
        }
    }

    fn read_one(&mut self, slot: u32, now: Time) {
        let mut budget = self.limits.read_budget;
        loop {
            if self.shard.stalled(self.connections.id(slot)).is_some() {
                break;
            }
            if self.connections.at(slot).is_some_and(Connection::is_parked_whole) {
                self.hand_over(slot, 0, now);
                if !self.connections.is_open(slot) {
                    return;
                }
                continue;
            }
            let flags = self.connections.flags(slot);
            if !flags.has(Flags::READABLE) || flags.has(Flags::ENDED) {
                break;
            }
            if budget == 0 {
                self.shard.stats().add(Stat::ReadCut, 1);
                if planted::on(Bug::NoRequeueAfterReadBudget) {
                    return;
                }
                break;
            }
            match self.read_chunk(slot, &mut budget, now) {
                Visit::More => {}
                Visit::Over => break,
            }
            if !self.connections.is_open(slot) {
                return;
            }
        }
        self.look_at(slot, now);
    }

    fn read_chunk(&mut self, slot: u32, budget: &mut usize, now: Time) -> Visit {
        let parked = self.connections.at(slot).map_or(0, Connection::parked_len);
        let chunk = self.limits.read_chunk.min(*budget);
        // It fits: what is parked is less than a frame, or it would have been handed over.
        self.buffers.set_len(&mut self.scratch, parked + chunk);
        let Some(sock) = self.connections.sock(slot) else { return Visit::Over };
        let result = self.kernel.read(sock, &mut self.buffers.bytes_mut(&mut self.scratch)[parked..]);
        let Some(connection) = self.connections.at_mut(slot) else { return Visit::Over };
        let flags = &mut connection.flags;
        match result {
            Ok(Read { bytes: 0, .. }) => {
                flags.set(Flags::ENDED);
                self.peer_ended(slot, now);
                Visit::Over
            }
            Ok(Read { bytes, drained }) => {
                *budget -= bytes;
                let over = drained && (!flags.has(Flags::ENDING) || planted::on(Bug::DrainedHidesEnd));
                if over {
                    // An edge brings us back.
                    flags.clear(Flags::READABLE);
                }
                self.shard.stats().add(Stat::BytesIn, bytes as u64);
                self.hand_over(slot, bytes, now);
                if over { Visit::Over } else { Visit::More }
            }
            // An edge brings us back.
            Err(Errno::Again) => {
                flags.clear(Flags::READABLE);
                Visit::Over
            }
            // Now; it counts as a byte so that the budget ends it.
            Err(Errno::Interrupted) => {
                *budget -= 1;
                if planted::on(Bug::InterruptedAsAgain) {
                    flags.clear(Flags::READABLE);
                }
                self.shard.stats().add(Stat::Interrupted, 1);
                Visit::More
            }
            // Nothing brings us back: no read of a stream is documented to fail so and go on.
            Err(
                Errno::Reset
                | Errno::Pipe
                | Errno::Aborted
                | Errno::OutOfBuffers
                | Errno::OutOfDescriptors
                | Errno::Other(_),
            ) => {
                self.close(slot, CloseReason::PeerReset, false);
                Visit::Over
            }
        }
    }

    /// Gives parked bytes and `count` fresh ones behind them to the session.
    fn hand_over(&mut self, slot: u32, count: usize, now: Time) {
        let id = self.connections.id(slot);
        let Some(connection) = self.connections.at(slot) else { return };
        let parked = connection.parked_len();
        if let Some(buffer) = connection.parked().and_then(|parked| parked.buffer.as_ref()) {
            self.buffers.copy(buffer, 0..parked, &mut self.scratch);
        }
        self.buffers.set_len(&mut self.scratch, parked + count);
        let received = self.shard.received(id, self.buffers.bytes(&self.scratch), now);
        if let Some(connection) = self.connections.at_mut(slot)
            && connection.closing().is_some()
            && let Some(closing) = connection.closing_mut()
        {
            closing.discarded += count;
        }
        if !self.park(slot, received.used..parked + count, received.needed) {
            self.shard.close(id, CloseCode::MemoryMax);
        }
    }

    /// Keeps that part of the scratch area for the connection, and nothing else of it. False: there is
    /// no memory for it, and nothing is kept.
    fn park(&mut self, slot: u32, rest: Range<usize>, needed: usize) -> bool {
        let Some(connection) = self.connections.at_mut(slot) else { return true };
        if rest.is_empty() && connection.parked_len() == 0 {
            return true;
        }
        let parked = connection.parked_mut();
        parked.needed = needed;
        let suits = |buffer| Some(self.buffers.capacity(buffer)) == bytes_reserved(rest.len());
        // An idle connection owns no buffer.
        if rest.is_empty() || !parked.buffer.as_ref().is_some_and(suits) {
            if let Some(buffer) = parked.buffer.take() {
                self.buffers.give(buffer);
            }
            if !rest.is_empty() {
                parked.buffer = self.buffers.take(rest.len());
            }
        }
        match &mut parked.buffer {
            Some(buffer) => self.buffers.copy(&self.scratch, rest, buffer),
            None => return rest.is_empty(),
        }
        true
    }

    /// Throws away what is parked.
    pub(super) fn unpark(&mut self, slot: u32) {
        if let Some(buffer) = self.connections.at_mut(slot).and_then(Connection::unpark) {
            self.buffers.give(buffer);
        }
    }

    /// Bytes reserved for what is parked.
    pub(super) fn parked_bytes(&self) -> usize {
        self.buffers.reserved() - self.buffers.capacity(&self.scratch)
    }

    fn peer_ended(&mut self, slot: u32, now: Time) {
        let id = self.connections.id(slot);
        self.unpark(slot);
        self.shard.peer_ended(id, now);
        let output = !self.connections.tail(slot).is_empty() || self.shard.has_output(id);
        if output {
            self.shard.stats().add(Stat::HalfClosed, 1);
        }
        if planted::on(Bug::EndCutsOutput) {
            self.close(slot, CloseReason::PeerEnded, false);
        }
    }
}
