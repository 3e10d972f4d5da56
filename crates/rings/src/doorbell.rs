//! Wakes the sleeping consumer of a ring, and costs a producer no system call while it is awake.
//!
//! The consumer arms the bell, looks at its ring once more, and sleeps only if the ring is
//! still empty. A producer publishes, then rings. Each side writes its own word, fences, and
//! reads the word of the other (Dekker), so at least one of them sees the other's write:
//!
//! ```text
//!  consumer: sleeping := true;   fence;  ring empty?  ──► sleep
//!  producer: publish an item;    fence;  sleeping?    ──► wake
//! ```
//!
//! The bell only says who must wake whom. How, is the [`Wake`] of the sleeper.

use crate::sync::{Arc, AtomicBool, Ordering, fence, swap};

/// How a sleeping thread is woken: an eventfd, a notifier of a runtime, a condition variable.
///
/// A wake must not get lost if the thread has not gone to sleep yet: it leaves a token behind
/// that makes the next sleep return at once. Spurious wakes are allowed.
pub trait Wake {
    /// Wakes the thread. Called from any thread, at most once for each time it armed its bell.
    fn wake(&self);
}

impl<W: Wake + ?Sized> Wake for Arc<W> {
    fn wake(&self) {
        (**self).wake();
    }
}

/// The bell of one consumer. It alone arms and disarms; any thread rings.
#[derive(Debug)]
pub struct Doorbell {
    /// Set by the consumer before it sleeps; taken by whoever is to wake it, with a swap, so that the
    /// one who takes it is the only one.
    sleeping: AtomicBool,
}

impl Doorbell {
    /// A bell that is not armed.
    #[must_use]
    pub fn new() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }

    /// Announces sleep. The consumer must look at its ring afterwards, and sleep only if it is
    /// empty. Consumer only.
    pub fn arm(&self) {
        // Partner: the swap in `ring`.
        swap("bell.arm.swap", &self.sleeping, true);
        // Partner: the fence in `ring`. Keeps the look at the ring behind the announcement.
        fence("bell.arm.fence", Ordering::SeqCst);
    }

    /// Takes the announcement back, after a sleep or instead of one. Consumer only.
    pub fn disarm(&self) {
        // Relaxed: who still sees it armed finds it taken, and has published what the consumer will find
        // at its next look behind a fence.
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// To be called after publishing. True if the caller must wake the consumer; among all
    /// callers, one gets this answer for one `arm`. Any thread.
    #[must_use]
    pub fn ring(&self) -> bool {
        // Partner: the fence in `arm`. Keeps the look at `sleeping` behind the publication.
        fence("bell.ring.fence", Ordering::SeqCst);
        // Relaxed: ordered by the fence; spares the locked swap while the consumer is awake.
        // Partner of the swap: that in `arm`.
        self.sleeping.load(Ordering::Relaxed) && swap("bell.ring.swap", &self.sleeping, false)
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}
