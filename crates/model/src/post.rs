//! The mail between the threads of one node.
//!
//! Each call is a point where another thread may have run: a thread that was preempted
//! between claiming places in a ring and publishing them goes on there, or not yet. What is
//! claimed and not published hides everything behind it, as in the real ring.

use crate::chooser::{Chooser, Fault};
use multibeam_proto::{Command, ConnectionId};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// A ring and its doorbell.
#[derive(Default)]
struct Inbox {
    published: VecDeque<(usize, Command)>,
    /// Claimed by preempted threads, in the order of claims.
    claimed: VecDeque<(usize, Command)>,
    sleeping: bool,
    rung: bool,
    /// Commands of each sender that were not given back.
    unpopped: Vec<usize>,
    /// Popped since the last time room was given back, by sender.
    popped: Vec<usize>,
    /// Replies of each sender that are in the ring.
    replies: Vec<usize>,
    /// Who waits for room here.
    wanted: Vec<bool>,
    wake: Option<Rc<dyn Fn()>>,
}

impl Inbox {
    fn ring(&mut self) {
        if self.sleeping {
            self.sleeping = false;
            self.rung = true;
            if let Some(wake) = &self.wake {
                wake();
            }
        }
    }

    /// Preempted threads go on: all of them, or as far as one that is not `only`'s.
    fn land(&mut self, only: Option<usize>) {
        let mut landed = false;
        while let Some((from, _)) = self.claimed.front() {
            if only.is_some_and(|only| only != *from)
                && !self.claimed.iter().any(|(from, _)| Some(*from) == only)
            {
                break;
            }
            self.published.extend(self.claimed.pop_front());
            landed = true;
        }
        if landed {
            self.ring();
        }
    }
}

/// What the model has seen happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Threads preempted between claim and publication.
    pub preempted: u64,
    /// Senders that were rung because room came free.
    pub room_rung: u64,
    /// Commands and replies that were delivered.
    pub delivered: u64,
    /// Hash of all of them, with sender, receiver and order.
    pub digest: u64,
}

/// All mailboxes of one node.
pub struct Post {
    chooser: Rc<RefCell<dyn Chooser>>,
    boxes: Vec<Inbox>,
    commands_max: usize,
    replies_max: usize,
    /// Publishes that their home shard has answered, by shard, connection and frame.
    answered: BTreeSet<(usize, ConnectionId, u32)>,
    seen: Seen,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("boxes", &self.boxes.len()).field("seen", &self.seen).finish()
    }
}

impl Post {
    /// Mailboxes of `threads` threads; each may have so many commands unpopped at each other.
    #[must_use]
    pub fn new(
        threads: usize,
        commands_max: usize,
        replies_max: usize,
        chooser: Rc<RefCell<dyn Chooser>>,
    ) -> Rc<RefCell<Self>> {
        assert!(commands_max > 0 && replies_max > 0, "each pair needs room for a command and a reply");
        let inbox = || Inbox {
            unpopped: vec![0; threads],
            popped: vec![0; threads],
            replies: vec![0; threads],
            wanted: vec![false; threads],
            ..Inbox::default()
        };
        let boxes = (0..threads).map(|_| inbox()).collect();
        Rc::new(RefCell::new(Self {
            chooser,
            boxes,
            commands_max,
            replies_max,
            answered: BTreeSet::new(),
            seen: Seen::default(),
        }))
    }

    /// Calls `wake` whenever thread `of` is rung.
    pub fn on_ring(&mut self, of: usize, wake: impl Fn() + 'static) {
        self.boxes[of].wake = Some(Rc::new(wake));
    }

    /// Whether another thread has answered the publish that `connection` of thread `of` sent
    /// in its frame `seq`.
    #[must_use]
    pub fn answered(&self, of: usize, connection: ConnectionId, seq: u32) -> bool {
        self.answered.contains(&(of, connection, seq))
    }

    /// What the model has seen happen.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Whether thread `of` was rung and has not woken up since.
    #[must_use]
    pub fn rung(&self, of: usize) -> bool {
        self.boxes[of].rung
    }

    /// Whether something is there for thread `of`, and nobody has told it.
    #[must_use]
    pub fn lies_unseen(&self, of: usize) -> bool {
        let inbox = &self.boxes[of];
        !inbox.published.is_empty() && !inbox.rung
    }

    /// Whether something is on its way that will move work which thread `of` keeps: mail for
    /// it, a request of it that will be answered, or a bell it waits for.
    #[must_use]
    pub fn moves(&self, of: usize) -> bool {
        let own = &self.boxes[of];
        own.rung
            || !own.claimed.is_empty()
            || !own.published.is_empty()
            || self.boxes.iter().any(|inbox| {
                let mut mail = inbox.published.iter().chain(&inbox.claimed);
                inbox.wanted[of] || mail.any(|(from, command)| *from == of && command.is_request())
            })
    }

    /// Whether thread `of` will be rung when the ring of `at` has room, or was rung already.
    #[must_use]
    pub fn will_ring(&self, of: usize, at: usize) -> bool {
        self.boxes[of].rung || self.boxes[at].wanted[of]
    }

    /// Preempted threads go on, all of them.
    pub fn land_all(&mut self) {
        for inbox in &mut self.boxes {
            inbox.land(None);
        }
    }

    fn interrupt(&mut self, of: usize) {
        if !self.boxes[of].claimed.is_empty() && self.chooser.borrow_mut().below(2) == 1 {
            self.boxes[of].land(None);
        }
    }

    fn room(&self, from: usize, to: usize) -> usize {
        self.commands_max - self.boxes[to].unpopped[from]
    }
}

/// The mail of one thread: what [`multibeam::kernel::Mail`] says.
#[derive(Debug)]
pub struct ModelMail {
    post: Rc<RefCell<Post>>,
    own: usize,
    batch: Vec<(usize, Command)>,
}

impl ModelMail {
    /// The mail of thread `own`.
    #[must_use]
    pub fn new(post: Rc<RefCell<Post>>, own: usize) -> Self {
        Self { post, own, batch: Vec::new() }
    }

    /// The mailboxes of the node.
    #[must_use]
    pub fn post(&self) -> &Rc<RefCell<Post>> {
        &self.post
    }
}

impl multibeam::kernel::Mail for ModelMail {
    fn room(&mut self, to: usize) -> usize {
        let post = self.post.borrow();
        let batched = self.batch.iter().filter(|(at, command)| *at == to && !command.is_reply()).count();
        let room = post.room(self.own, to) - batched;
        if room > 0 && post.chooser.borrow_mut().strikes(Fault::LessRoom) { room - 1 } else { room }
    }

    fn want_room(&mut self, to: usize) -> bool {
        let mut post = self.post.borrow_mut();
        let room = post.room(self.own, to) > 0;
        post.boxes[to].wanted[self.own] = !room;
        room
    }

    fn push(&mut self, to: usize, command: Command) {
        self.batch.push((to, command));
    }

    fn flush(&mut self) {
        let mut post = self.post.borrow_mut();
        let post = &mut *post;
        for (to, command) in self.batch.drain(..) {
            let inbox = &mut post.boxes[to];
            let (count, max) = if command.is_reply() {
                (&mut inbox.replies[self.own], post.replies_max)
            } else {
                (&mut inbox.unpopped[self.own], post.commands_max)
            };
            *count += 1;
            assert!(*count <= max, "thread {} sent {to} more than it has room for: {command:?}", self.own);
            inbox.claimed.push_back((self.own, command));
        }
        for inbox in &mut post.boxes {
            if inbox.claimed.is_empty() {
                continue;
            }
            if post.chooser.borrow_mut().strikes(Fault::Preempted) {
                post.seen.preempted += 1;
            } else {
                inbox.land(Some(self.own));
            }
        }
    }

    fn pop(&mut self) -> Option<(usize, Command)> {
        let mut post = self.post.borrow_mut();
        post.interrupt(self.own);
        let post = &mut *post;
        let inbox = &mut post.boxes[self.own];
        let (from, command) = inbox.published.pop_front()?;
        post.seen.delivered += 1;
        let mut digest = DefaultHasher::new();
        (post.seen.digest, from, self.own, &command).hash(&mut digest);
        post.seen.digest = digest.finish();
        if let Command::Published(request) = &command {
            post.answered.insert((self.own, request.connection, request.seq.0));
        }
        if command.is_reply() {
            inbox.replies[from] -= 1;
        } else {
            inbox.popped[from] += 1;
        }
        Some((from, command))
    }

    fn drained(&mut self) {
        let mut post = self.post.borrow_mut();
        for from in 0..post.boxes.len() {
            let inbox = &mut post.boxes[self.own];
            let popped = std::mem::take(&mut inbox.popped[from]);
            inbox.unpopped[from] -= popped;
            if popped > 0 && std::mem::take(&mut inbox.wanted[from]) {
                post.seen.room_rung += 1;
                post.boxes[from].ring();
            }
        }
    }

    fn is_empty(&mut self) -> bool {
        let mut post = self.post.borrow_mut();
        post.interrupt(self.own);
        post.boxes[self.own].published.is_empty()
    }

    fn arm(&mut self) {
        let mut post = self.post.borrow_mut();
        // Whoever goes to sleep has finished its own pushes.
        let own = self.own;
        for inbox in &mut post.boxes {
            if inbox.claimed.iter().any(|(from, _)| *from == own) {
                inbox.land(Some(own));
            }
        }
        post.interrupt(own);
        post.boxes[own].sleeping = true;
    }

    fn disarm(&mut self) {
        let mut post = self.post.borrow_mut();
        let inbox = &mut post.boxes[self.own];
        inbox.sleeping = false;
        inbox.rung = false;
    }
}
