//! The right to acknowledge one message, which travels with it.

use crate::session::HandoutId;
use crate::shared::Shared;
use multibeam_wire::SubscriptionId;
use std::fmt;
use std::sync::Arc;

/// Used once: by [`Self::handled`], or by being dropped, which gives the message back.
pub(crate) struct AckHandle {
    shared: Arc<Shared>,
    subscription: SubscriptionId,
    handout: HandoutId,
    used: bool,
}

impl AckHandle {
    pub(crate) const fn new(shared: Arc<Shared>, subscription: SubscriptionId, handout: HandoutId) -> Self {
        Self { shared, subscription, handout, used: false }
    }

    pub(crate) fn handled(mut self) {
        self.used = true;
        self.shared.with(|locked, now_ms| {
            locked.session.ack(self.subscription, self.handout, now_ms);
            locked.cursor_moved(self.subscription);
        });
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if !self.used {
            self.shared.with(|locked, _| locked.session.give_back(self.subscription, self.handout));
        }
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckHandle").field("subscription", &self.subscription).finish_non_exhaustive()
    }
}
