//! What a sleeping loop believes, for the checker that knows what is true.

use super::Loop;
use super::connections::Flags;
use crate::kernel::{Kernel, Token};
use multibeam_proto::Time;

/// Why one connection of a sleeping loop is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asleep {
    /// Its name at the kernel.
    pub token: Token,
    /// The loop waits for an edge before it reads; false if it does not mean to read.
    pub awaits_read_edge: bool,
    /// It would read, and knows that something is there: never true in a sleeping loop.
    pub has_unread: bool,
    /// Its session does not take input until somebody makes room.
    pub stalled: bool,
    /// There is output for it, be it under a lease.
    pub has_output: bool,
    /// What there is waits for a lease, and it is looked at when there is one.
    pub awaits_lease: bool,
    /// A send is tried again at this time, without an edge.
    pub send_retry: Option<Time>,
    /// It is looked at by the clock, sooner or later.
    pub has_deadline: bool,
}

/// What a sleeping loop waits for besides its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleeper {
    /// Believes that somebody may wait to be accepted, and pauses until then.
    pub accept_at: Option<Time>,
    /// Output waits for a lease, which is looked at then.
    pub lease_at: Option<Time>,
    /// Accepts nobody any more.
    pub stopping: bool,
    /// Connections open.
    pub connections: usize,
    /// Threads whose ring it waits to have room.
    pub wants_room_at: Vec<usize>,
}

impl<K: Kernel> Loop<K> {
    /// The state of each open connection.
    pub fn asleep(&self) -> impl Iterator<Item = Asleep> + '_ {
        self.connections.slots().filter_map(|slot| {
            let connection = self.connections.at(slot)?;
            let id = self.connections.id(slot);
            let stalled = self.shard.stalled(id).is_some();
            let reads = !connection.flags.has(Flags::ENDED) && !stalled;
            let readable = connection.flags.has(Flags::READABLE);
            Some(Asleep {
                token: self.connections.token(slot),
                awaits_read_edge: reads && !readable,
                has_unread: reads && readable,
                stalled,
                has_output: !connection.tail().is_empty() || self.shard.has_output(id),
                awaits_lease: connection.tail().is_empty()
                    && !self.shard.wants_to_send(id)
                    && self.shard.is_held_back(id),
                send_retry: connection.retry_at(),
                has_deadline: self.timers.is_set(slot),
            })
        })
    }

    /// The state of the loop itself.
    #[must_use]
    pub fn sleeper(&self) -> Sleeper {
        Sleeper {
            accept_at: if self.acceptable { self.accept_at } else { None },
            lease_at: self.lease_at,
            stopping: self.stop_at.is_some(),
            connections: self.connections.open(),
            wants_room_at: self
                .others()
                .filter(|to| self.shard.wants_ring(*to))
                .map(|to| usize::from(to.0))
                .collect(),
        }
    }

    /// Checks everything that must hold between turns; slow.
    ///
    /// # Panics
    /// When something does not.
    pub fn check(&self) {
        self.shard.check();
    }

    /// The kernel, to look at.
    #[must_use]
    pub fn kernel_ref(&self) -> &K {
        &self.kernel
    }

    /// The numbers counted so far.
    pub fn stats(&mut self) -> &multibeam_proto::Stats {
        self.shard.refresh_stats()
    }
}
