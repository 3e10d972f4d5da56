//! The loop's columns: one slot a connection, reused, with a generation in each token.

use crate::kernel::Token;
use multibeam_proto::{ConnectionId, Time};
use multibeam_rings::pool::Buffer;

/// What a slot is doing; a set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// Holds a connection.
    pub(super) const OPEN: Self = Self(1);
    /// A read may find something. Cleared by `Again` and by the end, by nothing else.
    pub(super) const READABLE: Self = Self(1 << 1);
    /// A send may find room. Cleared by `Again` and `OutOfBuffers`, by nothing else.
    pub(super) const WRITABLE: Self = Self(1 << 2);
    /// The peer's end was read.
    pub(super) const ENDED: Self = Self(1 << 3);
    /// Stands in the list of those to read from.
    pub(super) const READ_QUEUED: Self = Self(1 << 4);
    /// Stands in the list of those to write to.
    pub(super) const WRITE_QUEUED: Self = Self(1 << 5);
    /// The last byte went out and our half was ended.
    pub(super) const SHUT: Self = Self(1 << 6);

    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) const fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    /// Clears the flag and says whether it was set.
    pub(super) const fn take(&mut self, flag: Self) -> bool {
        let was = self.has(flag);
        self.clear(flag);
        was
    }

    pub(super) const fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }
}

/// A numbered close under way: what is queued, BYE, our end, then the peer's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    /// When we close, whatever the peer does.
    pub(super) deadline: Time,
    /// Bytes read and thrown away since.
    pub(super) discarded: usize,
}

/// One slot. An idle connection owns no buffer.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) flags: Flags,
    /// Received bytes that wait for the rest of their frame, or for the session to resume.
    pub(super) parked: Option<Buffer>,
    /// Parked bytes that are worth another look; 0 while a stall lasts.
    pub(super) parked_needed: usize,
    /// Rest of a half-written frame, from `tail_at` on.
    pub(super) tail: Vec<u8>,
    pub(super) tail_at: usize,
    pub(super) closing: Option<Closing>,
    /// When to try a send again that found no buffers.
    pub(super) retry_at: Option<Time>,
}

// There may be a million of these in a shard.
const _: () = assert!(size_of::<Connection>() <= 96);

impl Connection {
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail[self.tail_at..]
    }

    /// Bytes parked.
    pub(super) fn parked_len(&self) -> usize {
        self.parked.as_ref().map_or(0, Buffer::len)
    }

    /// Whether what is parked is worth another look.
    pub(super) fn is_parked_whole(&self) -> bool {
        self.parked.is_some() && self.parked_len() >= self.parked_needed
    }
}

/// All slots of one shard. Sockets are a column of their own, beside these.
#[derive(Debug)]
pub(super) struct Connections<S> {
    pub(super) slots: Vec<Connection>,
    pub(super) socks: Vec<Option<S>>,
    free: Vec<u32>,
}

impl<S> Connections<S> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), socks: Vec::new(), free: Vec::new() }
    }

    /// Connections open.
    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A free slot and its token. The slot is taken only by [`Connections::occupy`].
    pub(super) fn vacancy(&mut self) -> Token {
        let slot = match self.free.last() {
            Some(slot) => *slot,
            None => {
                let slot = self.slots.len() as u32;
                self.slots.push(Connection::default());
                self.socks.push(None);
                self.free.push(slot);
                slot
            }
        };
        Token::new(slot, self.slots[slot as usize].generation)
    }

    /// Takes the slot that [`Connections::vacancy`] named.
    pub(super) fn occupy(&mut self, token: Token, sock: S) {
        let slot = self.free.pop();
        assert_eq!(slot, Some(token.slot()), "another slot was named");
        let place = &mut self.socks[token.slot() as usize];
        assert!(place.is_none(), "slot {} holds a socket", token.slot());
        *place = Some(sock);
        self.slots[token.slot() as usize].flags.set(Flags::OPEN);
    }

    /// Empties a slot and gives its socket to be closed.
    pub(super) fn vacate(&mut self, slot: u32) -> Option<S> {
        let sock = self.socks[slot as usize].take()?;
        let generation = self.slots[slot as usize].generation.wrapping_add(1);
        self.slots[slot as usize] = Connection { generation, ..Connection::default() };
        self.free.push(slot);
        Some(sock)
    }

    /// The slot of a token, if that connection is still the one in it.
    pub(super) fn find(&self, token: Token) -> Option<u32> {
        let connection = self.slots.get(token.slot() as usize)?;
        let current = connection.generation == token.generation();
        if current && connection.flags.has(Flags::OPEN) { Some(token.slot()) } else { None }
    }

    /// The session's name of the connection in `slot`.
    pub(super) fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: self.slots[slot as usize].generation }
    }

    /// The kernel's name of the connection in `slot`.
    pub(super) fn token(&self, slot: u32) -> Token {
        Token::new(slot, self.slots[slot as usize].generation)
    }
}
