//! Room in the rings towards the other threads, as of this turn.
//!
//! A command is built only after a place for it, and for its reply, was taken here. Without
//! one, the work stays where it is: a socket unread, a cursor unmoved. Two kinds of work
//! compete for a ring, requests of sessions and appends to followers; where a request
//! waits, appends leave it the last place, so that neither starves.

use crate::ids::ShardId;

/// Room towards each other thread.
#[derive(Debug)]
pub(crate) struct Rooms {
    to: Vec<Room>,
    replies_max: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// Commands that still fit.
    commands: usize,
    /// Requests whose reply has not come.
    awaited: usize,
    /// Work waits for a place. A wait for a reply needs no flag: each reply resumes.
    wanted: bool,
    /// A request is among the work that waits.
    request_waits: bool,
}

impl Rooms {
    pub(crate) fn new(threads: usize, replies_max: usize) -> Self {
        assert!(replies_max > 0, "each pair of threads needs at least one reply slot");
        Self { to: vec![Room::default(); threads], replies_max }
    }

    /// The ring towards `to` has room for `commands`. True: work was waiting and can be tried.
    pub(crate) fn set(&mut self, to: ShardId, commands: usize) -> bool {
        let room = &mut self.to[usize::from(to.0)];
        room.commands = commands;
        let tried = room.wanted && room.commands > 0;
        room.wanted &= !tried;
        tried
    }

    /// Requests towards `to` that could be made now.
    pub(crate) fn requests(&self, to: ShardId) -> usize {
        let room = &self.to[usize::from(to.0)];
        room.commands.min(self.replies_max - room.awaited)
    }

    /// Sessions wait, or do not wait any more, to make a request of `to`.
    pub(crate) fn requests_wait(&mut self, to: ShardId, wait: bool) {
        let replies_max = self.replies_max;
        let room = &mut self.to[usize::from(to.0)];
        room.request_waits = wait;
        // For a reply, each reply tries again.
        room.wanted |= wait && room.awaited < replies_max;
    }

    /// Takes a place for a command without an answer. False: wait for room.
    pub(crate) fn take(&mut self, to: ShardId) -> bool {
        let replies_max = self.replies_max;
        let room = &mut self.to[usize::from(to.0)];
        let kept = room.request_waits && room.awaited < replies_max;
        if room.commands <= usize::from(kept) {
            room.wanted = true;
            return false;
        }
        room.commands -= 1;
        true
    }

    /// Takes a place ahead of everything else that waits. False: wait for room.
    pub(crate) fn take_first(&mut self, to: ShardId) -> bool {
        let room = &mut self.to[usize::from(to.0)];
        if room.commands == 0 {
            room.wanted = true;
            return false;
        }
        room.commands -= 1;
        true
    }

    /// Takes a place for a request and for its reply. False: wait for room.
    pub(crate) fn take_request(&mut self, to: ShardId) -> bool {
        if self.requests(to) == 0 {
            self.requests_wait(to, true);
            return false;
        }
        let room = &mut self.to[usize::from(to.0)];
        room.commands -= 1;
        room.awaited += 1;
        true
    }

    /// A request was not made after all.
    pub(crate) fn give_back(&mut self, to: ShardId) {
        let room = &mut self.to[usize::from(to.0)];
        room.commands += 1;
        room.awaited -= 1;
    }

    /// A reply of `from` came in.
    pub(crate) fn replied(&mut self, from: ShardId) {
        let room = &mut self.to[usize::from(from.0)];
        assert!(room.awaited > 0, "a reply of {from:?} that nobody asked for");
        room.awaited -= 1;
    }

    /// Whether work waits until the ring towards `to` has room.
    pub(crate) fn wants_ring(&self, to: ShardId) -> bool {
        let room = &self.to[usize::from(to.0)];
        room.wanted && room.commands == 0
    }

    /// Whether work waits although there is room: a place that was kept for a request.
    pub(crate) fn wants_turn(&self, to: ShardId) -> bool {
        let room = &self.to[usize::from(to.0)];
        room.wanted && room.commands > 0
    }
}
