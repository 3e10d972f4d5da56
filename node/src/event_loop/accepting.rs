//! New connections: accepted within a budget, refused with a word when there is no place.

use super::Loop;
use crate::close::CloseReason;
use crate::kernel::{Errno, Kernel};
use multibeam_proto::planted::{self, Bug};
use multibeam_proto::{Stat, Time};
use multibeam_wire::{CloseCode, Payload, Seq};

impl<K: Kernel> Loop<K> {
    pub(super) fn accept(&mut self, now: Time) {
        if self.stop_at.is_some() || !self.acceptable || self.accept_at.is_some_and(|at| now < at) {
            return;
        }
        self.accept_at = None;
        for _ in 0..self.limits.accept_budget {
            if self.connections.open() >= self.limits.connections_max + self.limits.refusals_max {
                // A close or the clock brings us back.
                self.accept_at = Some(now + self.limits.accept_retry);
                return;
            }
            match self.kernel.accept() {
                Ok(sock) => self.open(sock, now),
                // An edge brings us back.
                Err(Errno::Again) => {
                    self.acceptable = false;
                    return;
                }
                // Now, within the budget.
                Err(Errno::Interrupted) => self.shard.stats().add(Stat::Interrupted, 1),
                Err(Errno::Aborted | Errno::Reset | Errno::Pipe) => {}
                Err(Errno::OutOfDescriptors) => {
                    self.shard.stats().add(Stat::OutOfDescriptors, 1);
                    if planted::on(Bug::OutOfDescriptorsAsEmpty) {
                        self.acceptable = false;
                        return;
                    }
                    return self.shed(now);
                }
                // The clock or a close brings us back: no edge is owed for those who wait.
                Err(Errno::OutOfBuffers | Errno::Other(_)) => {
                    self.accept_at = Some(now + self.limits.accept_retry);
                    return;
                }
            }
        }
        self.shard.stats().add(Stat::AcceptCut, 1);
    }

    /// Out of descriptors: tells some of those who wait, then pauses.
    fn shed(&mut self, now: Time) {
        let mut farewell = Vec::new();
        Payload::bye(CloseCode::DescriptorsMax).encode(Seq(0), Seq(0), 0, &mut farewell);
        for _ in 0..self.limits.shed_budget {
            match self.kernel.shed(&farewell) {
                Ok(()) => self.shard.stats().add(Stat::Shed, 1),
                // Now, within the budget.
                Err(Errno::Interrupted | Errno::Aborted | Errno::Reset | Errno::Pipe) => {}
                // Nobody waits any more: an edge brings us back.
                Err(Errno::Again) => {
                    self.acceptable = false;
                    return;
                }
                Err(Errno::OutOfDescriptors | Errno::OutOfBuffers | Errno::Other(_)) => break,
            }
        }
        // The clock or a close brings us back.
        self.accept_at = Some(now + self.limits.accept_retry);
    }

    fn open(&mut self, sock: K::Sock, now: Time) {
        self.shard.stats().add(Stat::Accepted, 1);
        let token = self.connections.vacancy();
        if self.kernel.register(&sock, token).is_err() {
            self.shard.stats().add(Stat::RegisterFailed, 1);
            self.closed[CloseReason::RegisterFailed.index()] += 1;
            if planted::on(Bug::RegisterLeaks) {
                drop(sock);
            } else {
                self.kernel.close(sock);
            }
            return;
        }
        let full = self.connections.open() >= self.limits.connections_max;
        self.connections.occupy(token, sock);
        let id = self.connections.id(token.slot());
        self.shard.opened(id, now);
        if full {
            self.shard.close(id, CloseCode::ConnectionsMax);
        }
        self.look_at(token.slot(), now);
    }
}
