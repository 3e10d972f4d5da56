//! Output: bytes made for those who can take them, sent in batches, and taken back where
//! the socket took less.

use super::connections::Flags;
use super::{Loop, StagedSend};
use crate::close::CloseReason;
use crate::kernel::{Errno, Kernel, SEND_BATCH_MAX, Send};
use multibeam_proto::planted::{self, Bug};
use multibeam_proto::{Stat, Time};
use smallvec::SmallVec;
use std::io::IoSlice;

impl<K: Kernel> Loop<K> {
    /// Makes bytes for those in the list, within the budgets of a turn.
    pub(super) fn stage(&mut self, now: Time) {
        while let Some(slot) = self.writers.pop_front() {
            if self.sends.len() >= self.limits.send_budget
                || self.staged_bytes.len() >= self.limits.stage_bytes
            {
                self.writers.push_front(slot);
                self.shard.stats().add(Stat::SendCut, 1);
                break;
            }
            // Without the flag the entry is that of a connection which had the slot before.
            let Some(connection) = self.connections.at_mut(slot) else { continue };
            let queued = connection.flags.take(Flags::WRITE_QUEUED);
            if !queued || !connection.flags.has(Flags::WRITABLE) {
                continue;
            }
            let tail = connection.tail().len();
            let (bytes, frames) = (self.staged_bytes.len(), self.staged_frames.len());
            let mut run = None;
            if tail < self.limits.send_bytes {
                let room = self.limits.send_bytes - tail;
                let id = self.connections.id(slot);
                // A send has two buffers: a tail and what is copied, or that and a run.
                let direct = tail == 0;
                let (out, staged) = (&mut self.staged_bytes, &mut self.staged_frames);
                run = self.shard.stage(id, room, direct, out, staged, now).run;
            }
            if tail > 0 || run.is_some() || self.staged_bytes.len() > bytes {
                let (bytes, frames) = (bytes..self.staged_bytes.len(), frames..self.staged_frames.len());
                self.sends.push(StagedSend { slot, bytes, run, frames });
            }
        }
    }

    /// The lease has run out since these were staged: they are as if the sockets had taken nothing, and are
    /// made anew from what may be said then. The rest of a frame that has begun goes all the same, in the next
    /// turn: it was said under a lease, as were the bytes that the kernel holds.
    pub(super) fn withdraw(&mut self, now: Time) {
        let mut sends = std::mem::take(&mut self.sends);
        self.staged_bytes.clear();
        self.staged_frames.clear();
        self.shard.stats().add(Stat::SendsWithdrawn, sends.len() as u64);
        for send in sends.drain(..) {
            if !planted::on(Bug::WithdrawnSendLost) {
                self.look_at(send.slot, now);
            }
        }
        self.sends = sends;
    }

    /// Sends what was staged; nothing advances before the socket's word.
    pub(super) fn send(&mut self, now: Time) {
        let sends = std::mem::take(&mut self.sends);
        for batch in sends.chunks(SEND_BATCH_MAX) {
            let mut entries: SmallVec<[Send<'_, K::Sock>; SEND_BATCH_MAX]> = SmallVec::new();
            for send in batch {
                let Some(sock) = self.connections.sock(send.slot) else {
                    unreachable!("staged for a closed slot")
                };
                let tail = self.connections.tail(send.slot);
                let fresh = &self.staged_bytes[send.bytes.clone()];
                let run = send.run.as_ref().map(|run| self.shard.run_bytes(run));
                debug_assert!(tail.is_empty() || run.is_none());
                let bufs = match run {
                    Some(run) => [IoSlice::new(fresh), IoSlice::new(run)],
                    None => [IoSlice::new(tail), IoSlice::new(fresh)],
                };
                let token = self.connections.token(send.slot);
                entries.push(Send { token, sock, bufs, done: None });
            }
            self.kernel.send(&mut entries);
            let mut done = [Err(Errno::Again); SEND_BATCH_MAX];
            for (done, entry) in done.iter_mut().zip(&entries) {
                let Some(result) = entry.done else {
                    unreachable!("the kernel left an entry of a batch undone")
                };
                *done = result;
            }
            drop(entries);
            for (send, done) in batch.iter().zip(done) {
                self.sent(send, done, now);
            }
        }
        self.sends = sends;
        self.sends.clear();
        self.staged_bytes.clear();
        self.staged_frames.clear();
    }

    fn sent(&mut self, send: &StagedSend, done: Result<usize, Errno>, now: Time) {
        let slot = send.slot;
        let Some(connection) = self.connections.at_mut(slot) else { return };
        match done {
            Ok(count) => {
                let run = send.run.map_or(0, |run| run.bytes);
                let total = connection.tail().len() + send.bytes.len() + run;
                assert!(0 < count && count <= total, "the kernel took {count} of {total} bytes");
                self.shard.stats().add(Stat::BytesOut, count as u64);
                let count = if planted::on(Bug::ShortWriteWhole) { total } else { count };
                self.advance(send, count, now);
            }
            // An edge brings us back.
            Err(Errno::Again) => connection.flags.clear(Flags::WRITABLE),
            // Now: `look_at` queues it again.
            Err(Errno::Interrupted) => {
                if planted::on(Bug::InterruptedAsAgain) {
                    connection.flags.clear(Flags::WRITABLE);
                }
                self.shard.stats().add(Stat::Interrupted, 1);
            }
            // The clock brings us back: no edge is owed.
            Err(Errno::OutOfBuffers) => {
                connection.flags.clear(Flags::WRITABLE);
                if !planted::on(Bug::NoBuffersWaitsForEdge) {
                    connection.set_retry_at(Some(now + self.limits.send_retry));
                }
                self.shard.stats().add(Stat::OutOfBuffers, 1);
            }
            // Nothing brings us back.
            Err(Errno::Reset | Errno::Pipe | Errno::Aborted | Errno::OutOfDescriptors | Errno::Other(_)) => {
                self.close(slot, CloseReason::PeerReset, false);
                return;
            }
        }
        self.look_at(slot, now);
    }

    /// The socket took `count` bytes: first of the tail, then of what was staged.
    fn advance(&mut self, send: &StagedSend, count: usize, now: Time) {
        let id = self.connections.id(send.slot);
        let Some(connection) = self.connections.at_mut(send.slot) else { return };
        let of_tail = count.min(connection.tail().len());
        connection.tail_taken(of_tail);
        if !connection.tail().is_empty() {
            return;
        }
        let taken = count - of_tail;
        let end = self.shard.commit(id, taken, &self.staged_frames[send.frames.clone()], now);
        if end > taken {
            let fresh = &self.staged_bytes[send.bytes.clone()];
            let run = send.run.as_ref().map_or(&[][..], |run| self.shard.run_bytes(run));
            let mut owed = Vec::with_capacity(end - taken);
            owed.extend_from_slice(fresh.get(taken..end.min(fresh.len())).unwrap_or_default());
            let (from, to) = (taken.saturating_sub(fresh.len()), end.saturating_sub(fresh.len()));
            owed.extend_from_slice(&run[from..to]);
            if let Some(connection) = self.connections.at_mut(send.slot) {
                connection.keep_tail(owed);
            }
        }
    }
}
