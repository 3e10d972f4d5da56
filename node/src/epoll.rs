//! The kernel on Linux: epoll for sockets, an eventfd for the doorbell, rings for mail.
//!
//! [`EpollKernel`] is what a shard's loop runs on; [`drive_epoll`] is the one place where a
//! shard's thread blocks and reads a clock. Nothing here knows what the bytes mean, retries
//! by itself, or keeps a timer.
//!
//! ```text
//!  drive_epoll ──► Loop::turn, Loop::release ──► EpollKernel ─┬─► EpollIo (sockets)
//!       └────────► EpollKernel::wait (epoll_pwait2)           └─► Mail    (rings)
//! ```

mod clock;
mod doorbell;
mod driver;
mod errno;
mod io;
mod listen;

pub use clock::Clock;
pub use doorbell::Doorbell;
pub use driver::drive_epoll;
pub use io::{DescriptorGate, EpollIo, ShardSockets};
pub use listen::listen_shards;

use crate::kernel::{Errno, Event, Io, Mail, Send, Token};
use multibeam_proto::Command;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Sockets and mail of one shard.
pub struct EpollKernel<M> {
    io: EpollIo,
    mail: M,
}

impl<M: Mail> EpollKernel<M> {
    /// A kernel whose mail rings the doorbell of `io`.
    #[must_use]
    pub const fn new(io: EpollIo, mail: M) -> Self {
        Self { io, mail }
    }

    /// Blocks until there is an edge, somebody rings, or `timeout` is over; `None` is for
    /// ever, zero only looks. The edges come out of [`Io::events`].
    ///
    /// # Errors
    /// The shard can't go on: its epoll is broken. A signal is no error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.io.wait(timeout)
    }
}

impl<M: Mail> Io for EpollKernel<M> {
    type Sock = OwnedFd;

    fn events(&mut self, out: &mut Vec<Event>) {
        self.io.events(out);
    }

    fn accept(&mut self) -> Result<OwnedFd, Errno> {
        self.io.accept()
    }

    fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        self.io.shed(farewell)
    }

    fn register(&mut self, sock: &OwnedFd, token: Token) -> Result<(), Errno> {
        self.io.register(sock, token)
    }

    fn read(&mut self, sock: &OwnedFd, buf: &mut [u8]) -> Result<usize, Errno> {
        self.io.read(sock, buf)
    }

    fn send(&mut self, batch: &mut [Send<'_, OwnedFd>]) {
        self.io.send(batch);
    }

    fn shutdown(&mut self, sock: &OwnedFd) {
        self.io.shutdown(sock);
    }

    fn close(&mut self, sock: OwnedFd) {
        self.io.close(sock);
    }

    fn stop_listening(&mut self) {
        self.io.stop_listening();
    }
}

impl<M: Mail> Mail for EpollKernel<M> {
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
