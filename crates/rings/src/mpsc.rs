//! A bounded ring with many producers and one consumer, in which a push cannot fail.
//!
//! Each producer has a quota, and the ring has at least as many slots as the quotas sum up to,
//! so a producer within its quota finds its slots free and claims them with one `fetch_add`.
//!
//! ```text
//!   gates, one a producer          slots, a power of two of them
//!  ┌──────────────────────┐      ┌───────┬───────┬───────┬───────┬───
//!  │ released commands    │      │ seq 9 │ seq 10│ seq 11│ seq 4 │ ...    seq = position + 1
//!  │ released replies     │      │ entry │ entry │  ...  │       │        once written
//!  │ wants room?          │      └───────┴───────┴───────┴───────┴───
//!  └──────────────────────┘          ▲ head          ▲ tail: next position to claim
//!                                    └ the consumer's own
//! ```
//!
//! Who writes what: producers write `tail`, slots and their `wants_room`; the consumer writes
//! the released counters, once a drain, and takes `wants_room`. It never writes to a slot.
//!
//! Why a claimed slot is free. Producer `j` has claimed at most `released[j] + quota[j]` items,
//! by the counter it saw before its claim. Summed up over all claims before mine, position
//! `tail - capacity` was popped before one of these counters was stored. Each claim is an
//! acquire-release step on `tail`, so my claim has seen whatever the claims before it had seen:
//! the pop of the entry whose slot I overwrite happened before my write.
#![allow(unsafe_code, reason = "slots are written and read through raw cells; each access states its owner")]

use crate::slots::{Entry, Gate, Shared};
use crate::sync::{Arc, AtomicUsize, Ordering, fence, ord, panicking};

/// Producers of one ring. One a thread of the process is far below it; a mesh has the square of it
/// in gates, so doubling it is a memory question only.
pub const PRODUCERS_MAX: usize = 1024;

/// Slots of one ring. Bounds what a typing error in a quota can allocate.
pub const CAPACITY_MAX: usize = 1 << 22;

// Positions count up for ever and are compared without regard to wrapping; an entry names its
// producer in 16 bits.
const _: () = assert!(usize::BITS == 64 && PRODUCERS_MAX <= 1 << 16);

/// What an entry counts against, in the quota of its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Pushed whenever the producer has [`room`](Producer::room).
    Command,
    /// The answer to a request of the consumer, which set a reply slot aside before it asked. It may
    /// set the same slot aside again after the reply was popped *and* [released](Consumer::release).
    Reply,
}

/// How many entries a producer may have in the ring without their being released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Entries on the command lane, at least one.
    pub commands: usize,
    /// Entries on the reply lane: how many requests the consumer may have open with this producer.
    pub replies: usize,
}

/// Makes a ring with one producer for each quota, in their order. Its capacity is the sum of the
/// quotas, rounded up to a power of two.
///
/// # Panics
/// If there is no quota or more than [`PRODUCERS_MAX`], if one has no command, or if they sum up to
/// more than [`CAPACITY_MAX`].
#[must_use]
pub fn ring<T>(quotas: &[Quota]) -> (Vec<Producer<T>>, Consumer<T>) {
    assert!((1..=PRODUCERS_MAX).contains(&quotas.len()), "{} producers", quotas.len());
    assert!(quotas.iter().all(|q| q.commands > 0), "a producer without commands could never push");
    let sum = quotas.iter().fold(0_usize, |sum, q| sum.saturating_add(q.commands).saturating_add(q.replies));
    assert!(sum <= CAPACITY_MAX, "quotas sum up to {sum}");
    let shared = Arc::new(Shared::new(quotas.len(), sum.next_power_of_two()));
    let producers = quotas.iter().zip(0_u16..).map(|(&quota, index)| Producer {
        shared: Arc::clone(&shared),
        index,
        quota,
        pushed: Tally::default(),
    });
    let producers = producers.collect();
    let consumer = Consumer {
        head: 0,
        popped: vec![Popped::default(); quotas.len()].into_boxed_slice(),
        unreleased: Vec::with_capacity(quotas.len()),
        shared,
    };
    (producers, consumer)
}

/// One producer's handle. It may move to another thread, and only its owner pushes.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    index: u16,
    quota: Quota,
    pushed: Tally,
}

impl<T> Producer<T> {
    /// How many commands this producer may push: its quota less what the consumer has not released.
    /// Never more than the truth; it grows when the consumer releases.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        let outstanding = self.pushed.commands - released(&self.gate().commands);
        debug_assert!(outstanding <= self.quota.commands);
        self.quota.commands - outstanding
    }

    /// Asks to be woken when there is room. False: a release of the consumer will name this producer,
    /// which then looks at its room and, if there is none, asks again: a release may be late to answer
    /// an earlier wish, with room that was used since. True: there is room already, and the wish is
    /// taken back.
    #[must_use]
    pub fn want_room(&self) -> bool {
        let wants = &self.gate().wants_room;
        // Partner: the swap in `Consumer::release`.
        wants.swap(true, ord("mpsc.want.set", Ordering::AcqRel));
        // Partner: the fence in `Consumer::release`. Keeps the second look behind the flag.
        fence("mpsc.want.fence", Ordering::SeqCst);
        if self.room() == 0 {
            return false;
        }
        // Partner: the swap in `Consumer::release`.
        wants.swap(false, ord("mpsc.want.unset", Ordering::AcqRel));
        true
    }

    /// Whether a wish for room stands: made, and not answered. To be asked between arming a doorbell and
    /// sleeping. Once it is false, [`room`](Self::room) shows what the release that answered gave.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        // Partner: the swap in `Consumer::release`, behind the fence. I see the counter it came after.
        self.gate().wants_room.load(ord("mpsc.waiting.load", Ordering::Acquire))
    }

    /// Pushes all items with one claim, in their order and with nothing in between, and leaves the
    /// vector empty. The consumer is not woken: that is the caller's part, afterwards.
    ///
    /// # Panics
    /// If the quota of a lane has no room for them; nothing was pushed then.
    pub fn push_batch(&mut self, items: &mut Vec<(Lane, T)>) {
        let commands = items.iter().filter(|(lane, _)| *lane == Lane::Command).count();
        let replies = items.len() - commands;
        if items.is_empty() {
            return;
        }
        self.claim_quota(commands, replies);
        // Partner: the same operation of the other producers. Acquire: I see the releases that they
        // saw. Release: they see mine. The module's doc says why both are needed.
        let start = self.shared.tail.fetch_add(items.len(), ord("mpsc.tail.claim", Ordering::AcqRel));
        // Nothing from here on can panic: a claimed slot that stays empty would stop the ring for good.
        for (position, (lane, item)) in (start..).zip(items.drain(..)) {
            let slot = self.shared.slot(position);
            slot.entry.with_mut(|entry| {
                // SAFETY: this position was claimed by this call alone, and the entry of the lap before
                // was moved out before (module's doc), so the place is ours and holds no value.
                unsafe { (*entry).write(Entry { producer: self.index, lane, item }) };
            });
            // Partner: the load in `Shared::published`. Hands the entry to the consumer.
            slot.seq.store(position + 1, ord("mpsc.seq.store", Ordering::Release));
        }
    }

    /// Counts the items as pushed. This check is what the soundness of the slots rests on, so it is
    /// not for debug builds only.
    fn claim_quota(&mut self, commands: usize, replies: usize) {
        let pushed =
            Tally { commands: self.pushed.commands + commands, replies: self.pushed.replies + replies };
        let gate = self.gate();
        // A lane that nothing is pushed to needs no look at its counter.
        assert!(
            commands == 0 || pushed.commands - released(&gate.commands) <= self.quota.commands,
            "producer {} pushes {commands} commands without room",
            self.index
        );
        assert!(
            replies == 0 || pushed.replies - released(&gate.replies) <= self.quota.replies,
            "producer {} pushes {replies} replies that nobody set a slot aside for",
            self.index
        );
        self.pushed = pushed;
    }

    fn gate(&self) -> &Gate {
        &self.shared.gates[usize::from(self.index)]
    }
}

/// Reads a released counter: what was popped before it was stored may be overwritten.
#[inline]
fn released(counter: &AtomicUsize) -> usize {
    // Partner: the store in `Consumer::release`.
    counter.load(ord("mpsc.released.load", Ordering::Acquire))
}

/// The only reader of a ring. It may move to another thread.
///
/// If it is dropped, producers keep what room they have and get no more.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The position to pop next. All before it are popped.
    head: usize,
    popped: Box<[Popped]>,
    /// Producers with pops that their gate does not show yet, each once.
    unreleased: Vec<u16>,
}

impl<T> Consumer<T> {
    /// Takes the next entry: the index of its producer, and the item. Entries of one producer come in
    /// the order of its pushes.
    #[inline]
    pub fn pop(&mut self) -> Option<(u16, T)> {
        if !self.shared.published(self.head, ord("mpsc.seq.load", Ordering::Acquire)) {
            return None;
        }
        let slot = self.shared.slot(self.head);
        // SAFETY: the slot's number says that its entry is written for this position, and no producer
        // touches it again before this pop is released. `head` moves on, so it is moved out once.
        let Entry { producer, lane, item } = slot.entry.with(|entry| unsafe { (*entry).assume_init_read() });
        self.head += 1;
        let popped = &mut self.popped[usize::from(producer)];
        match lane {
            Lane::Command => {
                popped.tally.commands += 1;
                popped.gives_room = true;
            }
            Lane::Reply => popped.tally.replies += 1,
        }
        if !popped.unreleased {
            popped.unreleased = true;
            self.unreleased.push(producer);
        }
        Some((producer, item))
    }

    /// Whether there is nothing to pop. To be asked between arming a doorbell and sleeping.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        // Relaxed: the answer lets nobody read an entry. Before a sleep, the doorbell's fence orders it.
        !self.shared.published(self.head, Ordering::Relaxed)
    }

    /// Whether pops wait to be released. A consumer that sleeps on them may never be woken, since its
    /// producers may be waiting for room.
    #[must_use]
    #[inline]
    pub fn has_unreleased(&self) -> bool {
        !self.unreleased.is_empty()
    }

    /// Gives the room of what was popped back to the producers, and names to `wake` each of them that
    /// [wanted room](Producer::want_room) and has some. To be called once after a drain: it costs a
    /// store for each producer popped from, and one fence.
    pub fn release(&mut self, mut wake: impl FnMut(u16)) {
        if self.unreleased.is_empty() {
            return;
        }
        debug_assert_eq!(self.head, self.popped.iter().map(|p| p.tally.commands + p.tally.replies).sum());
        for &producer in &self.unreleased {
            let gate = &self.shared.gates[usize::from(producer)];
            let popped = &mut self.popped[usize::from(producer)];
            // Partner of both: the load in `released`. Hands the emptied slots back.
            gate.commands.store(popped.tally.commands, ord("mpsc.released.store", Ordering::Release));
            gate.replies.store(popped.tally.replies, ord("mpsc.released.store", Ordering::Release));
            popped.unreleased = false;
        }
        // Partner: the fence in `want_room`. Keeps the look at the flags behind the counters.
        fence("mpsc.release.fence", Ordering::SeqCst);
        for producer in self.unreleased.drain(..) {
            if !std::mem::take(&mut self.popped[usize::from(producer)].gives_room) {
                continue;
            }
            let wants = &self.shared.gates[usize::from(producer)].wants_room;
            // Relaxed: ordered by the fence. Partner of the swap: those in `want_room`.
            if wants.load(Ordering::Relaxed) && wants.swap(false, ord("mpsc.release.take", Ordering::AcqRel))
            {
                wake(producer);
            }
        }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        if panicking() {
            return;
        }
        self.shared.left_at.with_mut(|left_at| {
            // SAFETY: only the one consumer writes here, once, and only the drop of `Shared` reads it,
            // after the consumer has let go of its reference.
            unsafe { *left_at = self.head };
        });
    }
}

/// Entries by lane, counted from the beginning of the ring.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    commands: usize,
    replies: usize,
}

/// What the consumer knows of one producer.
#[derive(Debug, Clone, Copy, Default)]
struct Popped {
    tally: Tally,
    /// Whether the producer is in the list of those to release.
    unreleased: bool,
    /// Whether commands are among what is to be released: a wish is not answered by replies.
    gives_room: bool,
}
