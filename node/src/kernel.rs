//! The kernel as the event loop sees it: sockets of one shard, and its mail.
//!
//! Three kernels exist: epoll here, the network simulator's, and a scripted one for the
//! fuzzer. A kernel never blocks and holds no policy, timer or retry. Waiting is the
//! driver's: the one small function a kernel that may block and that reads a clock.

use multibeam_proto::Command;
use std::io::IoSlice;

/// Why a call on a socket did not do what was asked. Each call site matches each by name
/// and says what brings it back: an edge, the clock, a close, or now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EAGAIN: nothing there; an edge will come.
    Again,
    /// EINTR: try now.
    Interrupted,
    /// EMFILE, ENFILE: no descriptor; no edge will come.
    OutOfDescriptors,
    /// ENOBUFS, ENOMEM: no memory; no edge will come.
    OutOfBuffers,
    /// ECONNABORTED: this one connection went away before it was accepted; try the next.
    Aborted,
    /// ECONNRESET and its like: the peer is gone, nothing can be read or written.
    Reset,
    /// EPIPE: the peer takes no more.
    Pipe,
    /// Anything else, by its number.
    Other(i32),
}

/// Name of a registered socket: the slot's use in the upper half, the slot in the lower.
/// Never a descriptor, for those come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The token of use `generation` of `slot`.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// Index into the loop's columns.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    /// Use of the slot.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// An edge. Spurious and stale ones are legal, a missing one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody waits to be accepted.
    Accept,
    /// Somebody rang: there is mail, or room for mail.
    Doorbell,
    /// A socket became ready. End, hang-up and error count as both.
    Socket {
        /// As registered.
        token: Token,
        /// There is something to read: bytes, the end, an error.
        readable: bool,
        /// There is room to write, or an error.
        writable: bool,
        /// The peer's end, or an error, is there, behind what there is to read, and it is readable. It may be
        /// said once only.
        ended: bool,
    },
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes it took; 0 is the end of the stream.
    pub bytes: usize,
    /// As good as `Again` behind it: an edge will come for whatever comes, but not for an end that an edge
    /// has told of. False where the kernel can't tell.
    pub drained: bool,
}

/// One socket's part of a batch of sends.
#[derive(Debug)]
pub struct Send<'a, S> {
    /// Whose.
    pub token: Token,
    /// Its socket.
    pub sock: &'a S,
    /// The rest of a half-written frame, then fresh frames. Either may be empty, not both.
    pub bufs: [IoSlice<'a>; 2],
    /// Set by the kernel before [`Io::send`] returns: how many bytes it took.
    pub done: Option<Result<usize, Errno>>,
}

/// Sends in one batch, at the most.
pub const SEND_BATCH_MAX: usize = 64;

/// The sockets of one shard, edge-triggered. Nothing blocks.
pub trait Io {
    /// A socket. Linear: neither `Copy` nor `Clone`; [`Io::close`] is its only end.
    type Sock;

    /// Adds the edges that the driver's wait gathered.
    fn events(&mut self, out: &mut Vec<Event>);

    /// Takes one waiting connection.
    ///
    /// # Errors
    /// `Again`: nobody waits, an edge will tell. `OutOfDescriptors`, `OutOfBuffers`: somebody
    /// may wait, and no edge will come. `Interrupted`, `Aborted`: ask again.
    fn accept(&mut self) -> Result<Self::Sock, Errno>;

    /// Out of descriptors: gives up the spare one, accepts one connection with it, writes
    /// `farewell` as far as it goes at once, closes it and takes the spare back.
    ///
    /// # Errors
    /// As [`Io::accept`]; `OutOfDescriptors` also if there is no spare.
    fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno>;

    /// From here on edges of `sock` come under `token`; readiness present now counts as one.
    ///
    /// # Errors
    /// Any but `Again`: the socket can't be watched and must be closed.
    fn register(&mut self, sock: &Self::Sock, token: Token) -> Result<(), Errno>;

    /// Reads into `buf`.
    ///
    /// # Errors
    /// `Again`: an edge will come. `Interrupted`: now. Others: nothing more will be read.
    fn read(&mut self, sock: &Self::Sock, buf: &mut [u8]) -> Result<Read, Errno>;

    /// Sends each of `batch` (at most [`SEND_BATCH_MAX`], a socket at most once) and sets
    /// its `done`. Short counts are legal, entries are independent, nothing stays borrowed.
    ///
    /// `Again`: an edge will come. `Interrupted`: now. `OutOfBuffers`: by the clock, no edge
    /// will come. Others: nothing more will be written.
    fn send(&mut self, batch: &mut [Send<'_, Self::Sock>]);

    /// Ends our sending half; what was sent before still arrives.
    fn shutdown(&mut self, sock: &Self::Sock);

    /// Closes; takes the handle with it. Unread input turns this into a reset that may
    /// destroy output on its way.
    fn close(&mut self, sock: Self::Sock);

    /// Accepts nobody any more; whoever waits is refused.
    fn stop_listening(&mut self);
}

/// The mail between threads. Every call is a point where another thread may have run.
pub trait Mail {
    /// Commands that may be pushed to `to` before room runs out. Replies need none.
    fn room(&mut self, to: usize) -> usize;

    /// Asks to be rung when `to` has room again. True: it has room already, nobody will ring.
    fn want_room(&mut self, to: usize) -> bool;

    /// Puts one into the batch for `to`. Can't fail: a command was given room by
    /// [`Mail::room`], a reply by whoever asked.
    fn push(&mut self, to: usize, command: Command);

    /// Publishes the batches and rings whoever sleeps.
    fn flush(&mut self);

    /// Takes the next one, with its sender.
    fn pop(&mut self) -> Option<(usize, Command)>;

    /// After a drain: gives the room back and rings senders that wait for it.
    fn drained(&mut self);

    /// Whether nothing is there to pop.
    fn is_empty(&mut self) -> bool;

    /// From here on every flush towards us rings. Look again afterwards, then sleep.
    fn arm(&mut self);

    /// Awake: no need to ring.
    fn disarm(&mut self);
}

/// What an event loop runs on.
pub trait Kernel: Io + Mail {}

impl<T: Io + Mail> Kernel for T {}

/// Sockets and mail that were made apart, as one kernel.
#[derive(Debug)]
pub struct Joined<I, M> {
    /// The sockets.
    pub io: I,
    /// The mail.
    pub mail: M,
}

impl<I, M> Joined<I, M> {
    /// A kernel of both.
    #[must_use]
    pub const fn new(io: I, mail: M) -> Self {
        Self { io, mail }
    }
}

impl<I: Io, M> Io for Joined<I, M> {
    type Sock = I::Sock;

    fn events(&mut self, out: &mut Vec<Event>) {
        self.io.events(out);
    }

    fn accept(&mut self) -> Result<Self::Sock, Errno> {
        self.io.accept()
    }

    fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        self.io.shed(farewell)
    }

    fn register(&mut self, sock: &Self::Sock, token: Token) -> Result<(), Errno> {
        self.io.register(sock, token)
    }

    fn read(&mut self, sock: &Self::Sock, buf: &mut [u8]) -> Result<Read, Errno> {
        self.io.read(sock, buf)
    }

    fn send(&mut self, batch: &mut [Send<'_, Self::Sock>]) {
        self.io.send(batch);
    }

    fn shutdown(&mut self, sock: &Self::Sock) {
        self.io.shutdown(sock);
    }

    fn close(&mut self, sock: Self::Sock) {
        self.io.close(sock);
    }

    fn stop_listening(&mut self) {
        self.io.stop_listening();
    }
}

impl<I, M: Mail> Mail for Joined<I, M> {
    fn room(&mut self, to: usize) -> usize {
        self.mail.room(to)
    }

    fn want_room(&mut self, to: usize) -> bool {
        self.mail.want_room(to)
    }

    fn push(&mut self, to: usize, command: Command) {
        self.mail.push(to, command);
    }

    fn flush(&mut self) {
        self.mail.flush();
    }

    fn pop(&mut self) -> Option<(usize, Command)> {
        self.mail.pop()
    }

    fn drained(&mut self) {
        self.mail.drained();
    }

    fn is_empty(&mut self) -> bool {
        self.mail.is_empty()
    }

    fn arm(&mut self) {
        self.mail.arm();
    }

    fn disarm(&mut self) {
        self.mail.disarm();
    }
}
