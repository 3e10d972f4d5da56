//! Whether this node is cut off from the majority (R8).

use crate::time::Time;
use std::time::Duration;

/// See [`Isolation::at`].
#[derive(Clone, Copy, Debug)]
pub struct Isolation {
    after: Duration,
    leased: Time,
    isolated: bool,
}

impl Isolation {
    /// A node that starts at `now`, and is isolated if it gets no lease within `after`.
    #[must_use]
    pub const fn new(after: Duration, now: Time) -> Self {
        Self { after, leased: now, isolated: false }
    }

    /// The time passes, with or without a lease. Whether that changed anything.
    pub fn at(&mut self, leased: bool, now: Time) -> bool {
        if leased {
            self.leased = now;
        }
        let isolated = now.since(self.leased) >= self.after;
        std::mem::replace(&mut self.isolated, isolated) != isolated
    }

    /// Whether the node is isolated.
    #[must_use]
    pub const fn is_isolated(&self) -> bool {
        self.isolated
    }
}
