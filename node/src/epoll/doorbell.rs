//! How one thread wakes another that sleeps in epoll: an eventfd.
//!
//! It is registered edge-triggered, where each write is an edge. It is never read: that
//! would be one more system call a wake-up and nothing would come of it.

use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Rings one shard; every producer of its mail has a clone.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    /// A doorbell that nobody has rung.
    ///
    /// # Errors
    /// No descriptor or memory left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes the shard, or keeps it from its next sleep.
    pub fn ring(&self) {
        // The only error that a write of 1 can have is EAGAIN near 2^64 rings.
        let rung = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        debug_assert_eq!(rung, Ok(8));
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
