//! A bounded ring with many producers and one consumer, in which a push cannot fail.
//!
//! Each producer has a quota, and the ring has at least as many slots as the quotas sum up to,
//! so a producer within its quota finds its slots free and claims them with one `fetch_add`.
//!
//! ```text
//!   gates, one a producer          slots, a power of two of them
//!  ┌──────────────────────┐      ┌─────────┬────────┬────────┬─────────┬───
//!  │ released commands    │      │ no. 17, │ no. 17 │ no. 17 │ no. 4,  │
//!  │ released replies     │      │ 3 items │        │        │ 1 item  │ ...
//!  │ wants room?          │      │ item    │ item   │ item   │ (empty) │
//!  └──────────────────────┘      └─────────┴────────┴────────┴─────────┴───
//!                                  ▲ head                      ▲ tail: next position to claim
//!                                  └ the consumer's own
//! ```
//!
//! A batch is claimed by one step of `tail`, written, and published as a *range* by one release
//! store: that of its first slot's word, which has the range's number (its position + 1), its
//! producer and lane, and how many items there are. The consumer loads that word once and then takes
//! the items without looking at any shared word. The other slots of the range get its number too, so
//! that no word is ever older than one lap.
//!
//! Who writes what: producers write `tail`, slots and their `wants_room`; the consumer writes
//! the released counters, once a drain, and takes `wants_room`. It never writes to a slot.
//!
//! Reservation needs no call: room that a producer has seen stays its own until it pushes, since
//! nobody else draws on its quota, and a reply slot is set aside by not asking more than
//! [`Quota::replies`] requests at a time. So whoever looked first finds its slots, whenever it pushes.
//!
//! Why a claimed slot is free. Producer `j` has claimed at most `released[j] + quota[j]` items, by
//! the counter it saw before its claim (any earlier value bounds it too, so it keeps the last one and
//! looks again only when that one leaves no room). Summed up over all claims before mine, position
//! `tail - capacity` was popped before one of these counters was stored. Each claim is an
//! acquire-release step on `tail`, so my claim has seen whatever the claims before it had seen:
//! the pop of the entry whose slot I overwrite happened before my write.
#![allow(unsafe_code, reason = "slots are written and read through raw cells; each access states its owner")]

use crate::slots::{Gate, Range, Shared, at, publish_range};
use crate::sync::{Arc, AtomicUsize, Ordering, fence, ord, panicking, swap};

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
        limit: Tally { commands: quota.commands, replies: quota.replies },
    });
    let producers = producers.collect();
    let consumer = Consumer {
        head: 0,
        range: Range { producer: 0, lane: Lane::Command, items: 0 },
        range_end: 0,
        settled: 0,
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
    /// How far `pushed` may go: the released counters as they were last looked at, plus the quota.
    limit: Tally,
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
        swap("mpsc.want.swap", wants, true);
        // Partner: the fence in `Consumer::release`. Keeps the second look behind the flag.
        fence("mpsc.want.fence", Ordering::SeqCst);
        if self.room() == 0 {
            return false;
        }
        // Relaxed: a release that has seen the wish may still answer it.
        wants.store(false, Ordering::Relaxed);
        true
    }

    /// Whether a wish for room stands: made, and not answered. To be asked between arming a doorbell and
    /// sleeping. Once it is false, [`room`](Self::room) shows what the release that answered gave.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        // Partner: the swap in `Consumer::release`, behind the fence. I see the counter it came after.
        self.gate().wants_room.load(ord("mpsc.waiting.load", Ordering::Acquire))
    }

    /// Whether there is [`room`](Self::room) for so many commands. Looks at what the consumer says only
    /// if there was not enough when it last looked.
    #[must_use]
    #[inline]
    pub fn has_room(&mut self, commands: usize) -> bool {
        self.pushed.commands + commands <= self.limit.commands || {
            self.look_at_releases();
            self.pushed.commands + commands <= self.limit.commands
        }
    }

    /// Pushes one item. The consumer is not woken: that is the caller's part, afterwards.
    ///
    /// # Panics
    /// If the quota of the lane has no room for it; nothing was pushed then.
    #[inline]
    pub fn push(&mut self, lane: Lane, item: T) {
        self.claim_quota(lane, 1);
        let slots = &*self.shared.slots;
        let start = self.claim(1);
        let slot = at(slots, start);
        // SAFETY: `start` is claimed, and written here alone.
        unsafe { slot.write(item) };
        slot.publish(start, Range { producer: self.index, lane, items: 1 });
    }

    /// Pushes all items with one claim, in their order and with nothing in between, and leaves the
    /// vector empty. They become visible at once, or part by part where the lane changes. The consumer
    /// is not woken: that is the caller's part, afterwards.
    ///
    /// # Panics
    /// If the quota of a lane has no room for them; nothing was pushed then.
    pub fn push_batch(&mut self, items: &mut Vec<(Lane, T)>) {
        if items.is_empty() {
            return;
        }
        let replies = items.iter().filter(|(lane, _)| *lane == Lane::Reply).count();
        self.check_quota(Lane::Command, items.len() - replies);
        self.check_quota(Lane::Reply, replies);
        self.pushed.commands += items.len() - replies;
        self.pushed.replies += replies;
        let mut start = self.claim(items.len());
        let mut items = items.drain(..);
        // Nothing from here on can panic: a claimed slot that stays empty would stop the ring for good.
        while let Some(&(lane, _)) = items.as_slice().first() {
            let run = items.as_slice().iter().take_while(|(other, _)| *other == lane).count();
            start += self.write_range(start, lane, run, items.by_ref().map(|(_, item)| item));
        }
    }

    /// Pushes all items of one lane, as [`push_batch`](Self::push_batch) does.
    ///
    /// # Panics
    /// If the quota of the lane has no room for them; nothing was pushed then.
    #[inline]
    pub fn push_all(&mut self, lane: Lane, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        self.claim_quota(lane, items.len());
        let mut start = self.claim(items.len());
        let mut items = items.drain(..);
        // As above: nothing from here on can panic.
        while items.len() > 0 {
            start += self.write_range(start, lane, items.len(), items.by_ref());
        }
    }

    /// Writes and publishes a range of `count` items, or of as many as one range can have, and returns
    /// how many. The positions are claimed, and there are as many items.
    #[inline]
    fn write_range(
        &self,
        start: usize,
        lane: Lane,
        count: usize,
        mut items: impl Iterator<Item = T>,
    ) -> usize {
        let count = count.min(Range::ITEMS_MAX);
        let range = Range { producer: self.index, lane, items: count as u16 };
        // SAFETY: the positions are claimed, and there are as many items.
        unsafe { publish_range(&self.shared.slots, start, range, &mut items) };
        count
    }

    /// Takes the next `count` positions, which are within the quota, and returns the first.
    #[inline]
    fn claim(&self, count: usize) -> usize {
        // Partner: the same operation of the other producers. Acquire: I see the releases that they
        // saw. Release: they see mine. The module's doc says why both are needed.
        self.shared.tail.fetch_add(count, ord("mpsc.tail.claim", Ordering::AcqRel))
    }

    /// Counts items as pushed.
    #[inline]
    fn claim_quota(&mut self, lane: Lane, items: usize) {
        self.check_quota(lane, items);
        match lane {
            Lane::Command => self.pushed.commands += items,
            Lane::Reply => self.pushed.replies += items,
        }
    }

    /// This check is what the soundness of the slots rests on, so it is not for debug builds only.
    #[inline]
    fn check_quota(&mut self, lane: Lane, items: usize) {
        let fits = |producer: &Self| match lane {
            Lane::Command => producer.pushed.commands + items <= producer.limit.commands,
            Lane::Reply => producer.pushed.replies + items <= producer.limit.replies,
        };
        if fits(self) {
            return;
        }
        self.look_at_releases();
        assert!(fits(self), "producer {} pushes {items} of lane {lane:?} without room", self.index);
    }

    /// Brings `limit` up to date.
    #[cold]
    fn look_at_releases(&mut self) {
        let commands = released(&self.gate().commands) + self.quota.commands;
        let replies = released(&self.gate().replies) + self.quota.replies;
        debug_assert!(commands >= self.limit.commands && replies >= self.limit.replies);
        self.limit = Tally { commands, replies };
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
    /// The range that `head` is in, or has come to the end of; it does not start here.
    range: Range,
    /// Where it ends.
    range_end: usize,
    /// All pops before this position are in `popped`; those from here to `head` are of `range`.
    settled: usize,
    popped: Box<[Popped]>,
    /// Producers with pops in `popped` that their gate does not show yet, each once.
    unreleased: Vec<u16>,
}

impl<T> Consumer<T> {
    /// Takes the next entry: the index of its producer, and the item. Entries of one producer come in
    /// the order of its pushes.
    #[inline]
    pub fn pop(&mut self) -> Option<(u16, T)> {
        if self.head == self.range_end {
            let range = at(&self.shared.slots, self.head).published(self.head)?;
            self.settle();
            self.range_end = self.head + usize::from(range.items);
            self.range = range;
        }
        // SAFETY: the position is in a published range, and `head` moves on.
        let item = unsafe { at(&self.shared.slots, self.head).read() };
        self.head += 1;
        Some((self.range.producer, item))
    }

    /// Counts what was popped of the range.
    #[inline]
    fn settle(&mut self) {
        let count = self.head - self.settled;
        if count == 0 {
            return;
        }
        self.settled = self.head;
        let popped = &mut self.popped[usize::from(self.range.producer)];
        match self.range.lane {
            Lane::Command => {
                popped.tally.commands += count;
                popped.gives_room = true;
            }
            Lane::Reply => popped.tally.replies += count,
        }
        if !popped.unreleased {
            popped.unreleased = true;
            self.unreleased.push(self.range.producer);
        }
    }

    /// Whether there is nothing to pop. To be asked between arming a doorbell and sleeping.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        // Before a sleep, the doorbell's fence orders this look.
        self.head == self.range_end && !at(&self.shared.slots, self.head).has_published(self.head)
    }

    /// Whether pops wait to be released. A consumer that sleeps on them may never be woken, since its
    /// producers may be waiting for room.
    #[must_use]
    #[inline]
    pub fn has_unreleased(&self) -> bool {
        self.head != self.settled || !self.unreleased.is_empty()
    }

    /// Gives the room of what was popped back to the producers, and names to `wake` each of them that
    /// [wanted room](Producer::want_room) and has some. To be called once after a drain: it costs a
    /// store for each producer popped from, and one fence.
    pub fn release(&mut self, mut wake: impl FnMut(u16)) {
        self.settle();
        if self.unreleased.is_empty() {
            return;
        }
        debug_assert_eq!(
            self.head,
            self.popped.iter().map(|p| p.tally.commands + p.tally.replies).sum::<usize>()
        );
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
            if wants.load(Ordering::Relaxed) && swap("mpsc.grant.swap", wants, false) {
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
