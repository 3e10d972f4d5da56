//! The session behind a lock, and who waits for it: the place where handles and driver meet.
//! The lock is held for one call into the session and never across an `.await`.

use crate::error::PublishError;
use crate::publish::Published;
use crate::session::{Notice, Session, Ticket};
use multibeam_wire::SubscriptionId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A publish whose future still exists.
#[derive(Debug, Default)]
pub(crate) struct PublishWaiter {
    pub(crate) accepted: bool,
    pub(crate) outcome: Option<Result<Published, PublishError>>,
    pub(crate) waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) session: Session,
    pub(crate) publishes: BTreeMap<Ticket, PublishWaiter>,
    pub(crate) readers: BTreeMap<SubscriptionId, Waker>,
    /// Rung when the handled cursor of a stored subscription may have moved.
    pub(crate) savers: BTreeMap<SubscriptionId, Arc<Notify>>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    locked: Mutex<Locked>,
    started: Instant,
    /// Rung for the driver.
    pub(crate) work: Notify,
    /// Rung for whoever watches the status.
    pub(crate) status: Notify,
}

impl Shared {
    pub(crate) fn new(session: Session) -> Self {
        let locked =
            Locked { session, publishes: BTreeMap::new(), readers: BTreeMap::new(), savers: BTreeMap::new() };
        Self {
            locked: Mutex::new(locked),
            started: Instant::now(),
            work: Notify::new(),
            status: Notify::new(),
        }
    }

    /// Calls into the session at the present time, then wakes whoever the call concerns.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Locked, u64) -> R) -> R {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 4);
        let mut wakers = Vec::new();
        let mut status_changed = false;
        let (returned, wake_driver) = {
            let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
            let returned = call(&mut locked, now_ms);
            while let Some(notice) = locked.session.poll_notice() {
                status_changed |= notice == Notice::Status;
                wakers.extend(locked.take(notice));
            }
            (returned, locked.session.take_wake())
        };
        wakers.into_iter().for_each(Waker::wake);
        if status_changed {
            self.status.notify_waiters();
        }
        if wake_driver {
            self.work.notify_one();
        }
        returned
    }

    /// When the session's `deadline_ms` is on the runtime's clock.
    pub(crate) fn instant(&self, deadline_ms: u64) -> Instant {
        self.started + std::time::Duration::from_millis(deadline_ms)
    }
}

impl Locked {
    /// Something of this subscription was handled.
    pub(crate) fn cursor_moved(&self, id: SubscriptionId) {
        if let Some(saver) = self.savers.get(&id) {
            saver.notify_one();
        }
    }

    fn take(&mut self, notice: Notice) -> Option<Waker> {
        match notice {
            Notice::PublishAccepted(ticket) => {
                let waiter = self.publishes.get_mut(&ticket)?;
                waiter.accepted = true;
                waiter.waker.take()
            }
            Notice::PublishEnded(ticket, outcome) => {
                let waiter = self.publishes.get_mut(&ticket)?;
                waiter.outcome = Some(outcome);
                waiter.waker.take()
            }
            Notice::Readable(id) => self.readers.remove(&id),
            Notice::Status => None,
        }
    }
}
