//! The loop's columns: one slot a connection, reused, with a generation in each token.

use crate::kernel::Token;
use multibeam_proto::{Column, ConnectionId, Table, Time};
use multibeam_rings::pool::Buffer;

/// What a slot is doing; a set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// A read may find something. Cleared by `Again`, by a drained read and by the end, by nothing else.
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
    /// An edge told of the peer's end, or of an error: it must be read, for no other edge may come.
    pub(super) const ENDING: Self = Self(1 << 7);

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

/// Received bytes that wait for the rest of their frame, or for the session to resume.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub(super) buffer: Option<Buffer>,
    /// So many of them are worth another look; 0 while a stall lasts.
    pub(super) needed: usize,
}

/// Rest of a half-written frame, from `at` on.
#[derive(Debug)]
struct Tail {
    bytes: Box<[u8]>,
    at: u32,
}

/// What few connections have at a time.
#[derive(Debug, Default)]
struct Rare {
    parked: Parked,
    closing: Option<Closing>,
    /// When to try a send again that found no buffers.
    retry_at: Option<Time>,
}

/// One connection. An idle one owns no buffer, and nothing but its slot.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) flags: Flags,
    tail: Option<Box<Tail>>,
    rare: Option<Box<Rare>>,
}

// There may be a million of these in a shard.
const _: () = assert!(size_of::<Connection>() <= 24);

/// Sizes of the pieces of which a loop's memory consists, in bytes; see docs/CAPACITY.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// A connection in its table.
    pub connection: usize,
    /// Its socket, on Linux: a column of descriptors.
    pub socket: usize,
    /// What holds a half-written frame, without its bytes.
    pub tail: usize,
    /// What holds a half-received frame, without its buffer.
    pub parked: usize,
    /// A close under way, or a send that waits for buffers.
    pub rare: usize,
    /// Places in the lists of those that are to be read from and written to, and of those that changed.
    pub lists: usize,
}

/// The sizes of this build.
#[must_use]
pub const fn footprint() -> Footprint {
    Footprint {
        connection: size_of::<Option<(std::num::NonZeroU32, Connection)>>(),
        socket: size_of::<Option<std::os::fd::OwnedFd>>(),
        tail: size_of::<Tail>(),
        parked: size_of::<Parked>(),
        rare: size_of::<Rare>(),
        lists: 2 * size_of::<u32>() + size_of::<ConnectionId>(),
    }
}

impl Connection {
    pub(super) fn tail(&self) -> &[u8] {
        self.tail.as_ref().map_or(&[], |tail| &tail.bytes[tail.at as usize..])
    }

    /// The socket took so many bytes of the tail.
    pub(super) fn tail_taken(&mut self, count: usize) {
        if let Some(tail) = &mut self.tail {
            tail.at += count as u32;
            if tail.at as usize == tail.bytes.len() {
                self.tail = None;
            }
        }
        debug_assert!(count == 0 || self.tail.is_some() || self.tail().is_empty());
    }

    /// These bytes are owed to the socket.
    pub(super) fn keep_tail(&mut self, bytes: Vec<u8>) {
        assert!(self.tail.is_none(), "a half-written frame behind another");
        self.tail = Some(Box::new(Tail { bytes: bytes.into_boxed_slice(), at: 0 }));
    }

    /// Bytes parked.
    pub(super) fn parked_len(&self) -> usize {
        self.rare.as_ref().and_then(|rare| rare.parked.buffer.as_ref()).map_or(0, Buffer::len)
    }

    /// Whether what is parked is worth another look.
    pub(super) fn is_parked_whole(&self) -> bool {
        self.parked()
            .is_some_and(|parked| parked.buffer.as_ref().is_some_and(|buffer| buffer.len() >= parked.needed))
    }

    pub(super) fn parked(&self) -> Option<&Parked> {
        self.rare.as_ref().map(|rare| &rare.parked)
    }

    /// A place to park bytes; kept once a connection had need of it, until it is found idle.
    pub(super) fn parked_mut(&mut self) -> &mut Parked {
        &mut self.rare.get_or_insert_default().parked
    }

    /// Takes what is parked.
    pub(super) fn unpark(&mut self) -> Option<Buffer> {
        self.rare.as_mut().and_then(|rare| rare.parked.buffer.take())
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        let unused =
            |rare: &Rare| rare.parked.buffer.is_none() && rare.closing.is_none() && rare.retry_at.is_none();
        if self.rare.as_deref().is_some_and(unused) {
            self.rare = None;
        }
    }

    pub(super) fn closing(&self) -> Option<Closing> {
        self.rare.as_ref().and_then(|rare| rare.closing)
    }

    pub(super) fn closing_mut(&mut self) -> &mut Option<Closing> {
        &mut self.rare.get_or_insert_default().closing
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        self.rare.as_ref().and_then(|rare| rare.retry_at)
    }

    pub(super) fn set_retry_at(&mut self, at: Option<Time>) {
        if at.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().retry_at = at;
        }
    }
}

/// All connections of one shard. Sockets are a column of their own, beside these.
#[derive(Debug)]
pub(super) struct Connections<S> {
    table: Table<Connection>,
    socks: Column<S>,
}

impl<S> Connections<S> {
    pub(super) fn new() -> Self {
        Self { table: Table::default(), socks: Column::default() }
    }

    /// Connections open.
    pub(super) fn open(&self) -> usize {
        self.table.len()
    }

    /// Slots of those open.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.table.iter().map(|(slot, _, _)| slot)
    }

    /// The token that [`Connections::occupy`] will use next.
    pub(super) fn vacancy(&self) -> Token {
        let (slot, generation) = self.table.vacancy();
        Token::new(slot, generation)
    }

    /// Takes the slot that [`Connections::vacancy`] named.
    pub(super) fn occupy(&mut self, token: Token, sock: S) {
        let taken = self.table.insert(Connection::default());
        assert_eq!(taken, (token.slot(), token.generation()), "another slot was named");
        self.socks.put(token.slot(), sock);
    }

    /// Empties a slot and gives its socket to be closed.
    pub(super) fn vacate(&mut self, slot: u32) -> Option<S> {
        self.table.remove(slot)?;
        self.socks.take(slot)
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Connection> {
        self.table.at(slot)
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.table.at_mut(slot)
    }

    pub(super) fn sock(&self, slot: u32) -> Option<&S> {
        self.socks.at(slot)
    }

    pub(super) fn is_open(&self, slot: u32) -> bool {
        self.table.at(slot).is_some()
    }

    /// Flags of the connection in `slot`; none are set where there is none.
    pub(super) fn flags(&self, slot: u32) -> Flags {
        self.table.at(slot).map_or(Flags::default(), |connection| connection.flags)
    }

    /// Bytes owed to the connection in `slot` from a half-written frame.
    pub(super) fn tail(&self, slot: u32) -> &[u8] {
        self.table.at(slot).map_or(&[], Connection::tail)
    }

    /// The slot of a token, if that connection is still the one in it.
    pub(super) fn find(&self, token: Token) -> Option<u32> {
        (self.table.used(token.slot()) == Some(token.generation())).then_some(token.slot())
    }

    /// The session's name of the connection in `slot`.
    pub(super) fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: self.table.used(slot).unwrap_or_default() }
    }

    /// The kernel's name of the connection in `slot`.
    pub(super) fn token(&self, slot: u32) -> Token {
        Token::new(slot, self.table.used(slot).unwrap_or_default())
    }
}
