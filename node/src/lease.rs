//! Until when this node may lead: one cell, written where the lease is renewed, read by every shard.
//!
//! A shard reads it twice a turn, with the time of each half ([`crate::event_loop::Loop::turn`],
//! [`crate::event_loop::Loop::release`]); nobody is woken when it changes. Whoever decides about leases is
//! not here.

use multibeam_proto::Time;
use multibeam_rings::Counter;
use std::sync::Arc;

/// The time up to which this node may ack, deliver and answer: microseconds of its monotonic clock.
///
/// One clone writes, the others read. A reader may see a value that is a moment old, in no order with
/// anything else. A later time that is seen late costs a moment's silence; so whoever takes a lease back
/// before its time, as the node does when it signs off or hears of newer voters, has to wait that time out all the
/// same: nobody relies on a shard having seen it.
#[derive(Clone, Debug)]
pub struct LeaseCell(Arc<Counter>);

impl LeaseCell {
    /// A lease without an end: that of a node which is alone.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::until_time(Time(u64::MAX))
    }

    /// No lease.
    #[must_use]
    pub fn none() -> Self {
        Self::until_time(Time(0))
    }

    fn until_time(until: Time) -> Self {
        let cell = Self(Arc::new(Counter::new()));
        cell.set(until);
        cell
    }

    /// From here on it holds until that time. Only one thread may say so.
    pub fn set(&self, until: Time) {
        self.0.set(until.0);
    }

    /// Until when it holds, that moment not included.
    #[must_use]
    pub fn until(&self) -> Time {
        Time(self.0.load())
    }

    /// Whether it holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Time) -> bool {
        now < self.until()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_at_its_time_for_every_clone() {
        let (writer, reader) = {
            let cell = LeaseCell::none();
            (cell.clone(), cell)
        };
        assert!(!reader.holds(Time(0)));
        writer.set(Time(10));
        assert!(reader.holds(Time(9)) && !reader.holds(Time(10)));
        writer.set(Time(0));
        assert!(!reader.holds(Time(0)));
        assert!(LeaseCell::unlimited().holds(Time(u64::MAX - 1)));
    }
}
