//! Ends of connections: BYE, our end, what the peer still sends, close; and the loop's own.

use super::Loop;
use super::connections::{Closing, Flags};
use crate::close::CloseReason;
use crate::kernel::Kernel;
use multibeam_proto::Time;
use multibeam_proto::planted::{self, Bug};

impl<K: Kernel> Loop<K> {
    /// Moves a close under way on. True: the connection is gone.
    pub(super) fn advance_close(&mut self, slot: u32, now: Time) -> bool {
        let id = self.connections.id(slot);
        let flushed = self.connections.tail(slot).is_empty();
        if let Some(code) = self.shard.closing(id) {
            let deadline = now + self.limits.linger;
            self.unpark(slot);
            let said = flushed && self.shard.farewell_taken(id);
            let Some(connection) = self.connections.at_mut(slot) else { return true };
            let closing = *connection.closing_mut().get_or_insert(Closing { deadline, discarded: 0 });
            if said && !connection.flags.has(Flags::SHUT) {
                connection.flags.set(Flags::SHUT);
                if let Some(sock) = self.connections.sock(slot) {
                    self.kernel.shutdown(sock);
                }
            }
            let heard = self.connections.flags(slot).has(Flags::ENDED) || planted::on(Bug::NoLinger);
            let overdue = now >= closing.deadline || closing.discarded >= self.limits.linger_bytes_max;
            if (said && heard) || overdue {
                self.close(slot, CloseReason::Numbered(code), overdue);
                return true;
            }
        } else if flushed && self.shard.finished(id) {
            self.close(slot, CloseReason::PeerEnded, false);
            return true;
        }
        false
    }

    /// Closes at once. `overdue`: the peer had its time to take what was meant for it.
    pub(super) fn close(&mut self, slot: u32, reason: CloseReason, overdue: bool) {
        let id = self.connections.id(slot);
        let left = !self.connections.tail(slot).is_empty() || self.shard.has_output(id);
        assert!(!left || overdue || reason.may_lose_output(), "{} threw output away", reason.label());
        self.unpark(slot);
        self.closed[reason.index()] += 1;
        self.timers.clear(slot);
        self.shard.closed(id);
        if let Some(sock) = self.connections.vacate(slot) {
            self.kernel.close(sock);
        }
        // A descriptor came free: who waits for one is accepted now.
        self.accept_at = None;
    }

    /// The node stops: nobody is accepted, everybody is told, and after a while all are gone.
    pub(super) fn stop(&mut self, now: Time) {
        if !self.shard.stopping() {
            return;
        }
        match self.stop_at {
            None => {
                self.kernel.stop_listening();
                self.acceptable = false;
                self.stop_at = Some(now + self.limits.stop_deadline);
            }
            Some(at) if now >= at => {
                let open: Vec<u32> = self.connections.slots().collect();
                for slot in open {
                    let code = multibeam_wire::CloseCode::Shutdown;
                    self.close(slot, CloseReason::Numbered(code), true);
                }
            }
            Some(_) => {}
        }
    }
}
