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

    /// The ring towards `to` has room for `commands`; `requests_wait` says whether sessions
    /// still wait there. True: work was waiting and can be tried.
    pub(crate) fn set(&mut self, to: ShardId, commands: usize, requests_wait: bool) -> bool {
        let room = &mut self.to[usize::from(to.0)];
        room.commands = commands;
        room.request_waits &= requests_wait;
        let tried = room.wanted && room.commands > 0;
        room.wanted &= !tried;
        tried
    }

    /// Takes a place for a command without an answer. False: wait for room.
    pub(crate) fn take(&mut self, to: ShardId) -> bool {
        let room = &mut self.to[usize::from(to.0)];
        if room.commands <= usize::from(room.request_waits) {
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
        let room = &mut self.to[usize::from(to.0)];
        if room.awaited >= self.replies_max {
            return false;
        }
        if room.commands == 0 {
            room.wanted = true;
            room.request_waits = true;
            return false;
        }
        room.request_waits = false;
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
