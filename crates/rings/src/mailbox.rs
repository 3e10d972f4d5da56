//! The mesh of mailboxes: every thread of a group can post to every one, itself included.
//!
//! Each thread owns one [`Endpoint`]: the reading side of its own ring, and a producer's side to
//! the ring of each. What is pushed is collected by destination and published in batches. A push
//! cannot fail: the caller asks for [`room`](Endpoint::room) *before* it builds a command, and
//! leaves the work where it is if there is none.
//!
//! A turn of the thread:
//!
//! ```text
//!  pop() until None          handle each, push() what follows from it
//!  granted() until None      take up the work that waited for room
//!  flush()                   publish, give room back, ring who must know
//!  arm();  if is_empty() { sleep until woken };  disarm()
//! ```

use crate::doorbell::{Doorbell, Wake};
use crate::mpsc::{Consumer, Lane, Producer, Quota, ring};
use crate::sync::{Arc, CachePadded};

/// Items collected for one destination before they are published unasked. A claim of 16 costs about
/// as much as one of a single item; doubling it gains little and holds the first item back longer.
pub const FLUSH_ITEMS_MAX: usize = 16;

/// Makes a mesh with one endpoint for each of `wakes`, in their order, which are how each
/// participant is woken. `quota(from, to)` says how much `from` may have in the ring of `to`.
///
/// # Panics
/// If a quota has not at least one command and one reply, or a ring cannot be built ([`ring`]).
#[must_use]
pub fn mesh<T, W: Wake>(quota: impl Fn(u16, u16) -> Quota, wakes: Vec<W>) -> Vec<Endpoint<T, W>> {
    let participants = u16::try_from(wakes.len()).expect("participants are numbered in 16 bits");
    let seat = |wake| Arc::new(Seat { bell: CachePadded::new(Doorbell::new()), wake });
    let mut endpoints: Vec<_> = (0..participants).map(|_| Vec::new()).collect();
    let mut inboxes = Vec::new();
    for (to, seat) in (0..participants).zip(wakes.into_iter().map(seat)) {
        let quotas: Vec<_> = (0..participants).map(|from| quota(from, to)).collect();
        assert!(quotas.iter().all(|q| q.replies > 0), "each participant may be asked by each");
        let (producers, consumer) = ring(&quotas);
        for (posts, producer) in endpoints.iter_mut().zip(producers) {
            posts.push(Post::new(producer, Arc::clone(&seat)));
        }
        inboxes.push(consumer);
    }
    let parts = (0..).zip(inboxes).zip(endpoints);
    parts.map(|((index, inbox), posts)| Endpoint { index, inbox, posts, collected: 0, wanting: 0 }).collect()
}

/// One participant's side of a mesh. It may move to its thread, and is used by that thread alone.
/// Participants are named by their index in the mesh.
#[derive(Debug)]
pub struct Endpoint<T, W> {
    index: u16,
    inbox: Consumer<T>,
    posts: Vec<Post<T, W>>,
    /// Items in all outboxes.
    collected: usize,
    /// Destinations with `wanting`.
    wanting: usize,
}

impl<T, W: Wake> Endpoint<T, W> {
    /// The index of this participant.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// How many participants the mesh has, this one included.
    #[must_use]
    pub fn participants(&self) -> u16 {
        u16::try_from(self.posts.len()).expect("numbered in 16 bits")
    }

    /// How this participant is woken: what it sleeps on.
    #[must_use]
    pub fn wake(&self) -> &W {
        &self.posts[usize::from(self.index)].seat.wake
    }

    /// How many commands may be pushed to `to`. Those collected and not yet flushed are counted.
    #[must_use]
    #[inline]
    pub fn room(&self, to: u16) -> usize {
        self.posts[usize::from(to)].room()
    }

    /// Asks to be woken when there is room for a command to `to`; what was collected for it is
    /// published first. True: there is room already. False: once `to` has made room this endpoint is
    /// rung, is not [empty](Self::is_empty), and names `to` in [`granted`](Self::granted).
    #[must_use]
    pub fn want_room(&mut self, to: u16) -> bool {
        self.flush_to(to);
        let post = &mut self.posts[usize::from(to)];
        if post.producer.want_room() {
            self.settle(to);
            return true;
        }
        self.wanting += usize::from(!post.wanting);
        post.wanting = true;
        self.invariants();
        false
    }

    /// A destination that was wanted room of, and has it. Each wish is granted once.
    pub fn granted(&mut self) -> Option<u16> {
        for to in 0..self.participants() {
            if self.wanting == 0 {
                break;
            }
            // An answer may be late, and the room it tells of used: then the wish is made again.
            if self.posts[usize::from(to)].is_answered() && (self.room(to) > 0 || self.want_room(to)) {
                self.settle(to);
                return Some(to);
            }
        }
        None
    }

    /// Collects an item for `to`. It is published by the next [`flush`](Self::flush), or at once with
    /// the others when there are [`FLUSH_ITEMS_MAX`] of them.
    ///
    /// A reply is pushed only to a participant that set a slot aside for it before it asked. It may
    /// set that slot aside again, and ask again, as soon as it has popped the reply.
    ///
    /// # Panics
    /// If it is a command and there is no [`room`](Self::room); at the flush, if it is a reply that
    /// no slot was set aside for.
    pub fn push(&mut self, to: u16, lane: Lane, item: T) {
        let post = &mut self.posts[usize::from(to)];
        match lane {
            Lane::Command => {
                assert!(
                    post.producer.has_room(post.commands + 1),
                    "{} has no room for a command to {to}",
                    self.index
                );
                post.commands += 1;
            }
            Lane::Reply => {}
        }
        post.outbox.push((lane, item));
        let is_full = post.outbox.len() == FLUSH_ITEMS_MAX;
        self.collected += 1;
        self.invariants();
        if is_full {
            self.flush_to(to);
        }
    }

    /// Publishes what was collected, one claim a destination, and rings each that sleeps. Includes
    /// [`released`](Self::released).
    pub fn flush(&mut self) {
        self.released();
        for to in 0..self.posts.len() {
            if self.collected == 0 {
                break;
            }
            self.publish(to);
        }
        debug_assert_eq!(self.collected, 0);
        self.invariants();
    }

    /// Takes the next item out of this participant's ring, with the index of its sender. Items of one
    /// sender come in the order of its pushes.
    #[inline]
    pub fn pop(&mut self) -> Option<(u16, T)> {
        self.inbox.pop()
    }

    /// Gives back the room of what was popped, and rings the participants that wanted it. To be called
    /// after a drain; free if nothing was popped.
    pub fn released(&mut self) {
        let Self { index, inbox, posts, .. } = self;
        inbox.release(|from| {
            // The seat of a participant hangs at our producer to it. We ourselves are awake.
            if from != *index {
                posts[usize::from(from)].seat.ring();
            }
        });
    }

    /// Whether there is nothing to do: nothing to pop and no wish for room answered, which
    /// [`granted`](Self::granted) would look into.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty() && (self.wanting == 0 || !self.posts.iter().any(Post::is_answered))
    }

    /// Announces sleep. [`is_empty`](Self::is_empty) must be asked afterwards, and the thread may
    /// sleep only if it is.
    ///
    /// # Panics
    /// If something is collected and not flushed, or popped and not released: others may be asleep
    /// until they see it.
    pub fn arm(&mut self) {
        assert!(self.collected == 0, "asleep with {} items collected", self.collected);
        assert!(!self.inbox.has_unreleased(), "asleep with room that was not given back");
        self.own_seat().bell.arm();
    }

    /// Takes the announcement back, after the sleep or instead of it.
    pub fn disarm(&mut self) {
        self.own_seat().bell.disarm();
    }

    /// No wish for room at `to` is left.
    fn settle(&mut self, to: u16) {
        let post = &mut self.posts[usize::from(to)];
        self.wanting -= usize::from(post.wanting);
        post.wanting = false;
        self.invariants();
    }

    /// Publishes for one destination. What was popped is released first: a request that is flushed
    /// here may reuse the reply slot of a reply popped before, and its responder must see it free.
    fn flush_to(&mut self, to: u16) {
        self.released();
        self.publish(usize::from(to));
        self.invariants();
    }

    fn publish(&mut self, to: usize) {
        let post = &mut self.posts[to];
        if post.outbox.is_empty() {
            return;
        }
        self.collected -= post.outbox.len();
        post.producer.push_batch(&mut post.outbox);
        post.commands = 0;
        if to != usize::from(self.index) {
            post.seat.ring();
        }
    }

    fn own_seat(&self) -> &Seat<W> {
        &self.posts[usize::from(self.index)].seat
    }

    fn invariants(&self) {
        debug_assert_eq!(self.collected, self.posts.iter().map(|post| post.outbox.len()).sum());
        debug_assert_eq!(self.wanting, self.posts.iter().filter(|post| post.wanting).count());
        debug_assert!(self.posts.iter().all(|post| post.commands <= post.outbox.len()));
    }
}

/// The way to one destination.
#[derive(Debug)]
struct Post<T, W> {
    producer: Producer<T>,
    seat: Arc<Seat<W>>,
    outbox: Vec<(Lane, T)>,
    /// How many in the outbox are commands.
    commands: usize,
    /// Whether the owner waits for room here.
    wanting: bool,
}

impl<T, W> Post<T, W> {
    fn new(producer: Producer<T>, seat: Arc<Seat<W>>) -> Self {
        let outbox = Vec::with_capacity(FLUSH_ITEMS_MAX);
        Self { producer, seat, outbox, commands: 0, wanting: false }
    }

    #[inline]
    fn room(&self) -> usize {
        let room = self.producer.room();
        debug_assert!(self.commands <= room, "collected more commands than there was room for");
        room - self.commands
    }

    /// The destination answers the wish before it rings us, so that the fences of the doorbell order
    /// this look as they do that at the ring.
    fn is_answered(&self) -> bool {
        self.wanting && !self.producer.is_waiting()
    }
}

/// Where a participant sits: shared by all who may ring it.
#[derive(Debug)]
struct Seat<W> {
    bell: CachePadded<Doorbell>,
    wake: W,
}

impl<W: Wake> Seat<W> {
    fn ring(&self) {
        if self.bell.ring() {
            self.wake.wake();
        }
    }
}
