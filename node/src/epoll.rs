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
mod heap;
mod io;
mod listen;

pub use clock::Clock;
pub use doorbell::Doorbell;
pub use driver::drive_epoll;
pub use io::{DescriptorGate, EpollIo, ShardSockets};
pub use listen::listen_shards;

use crate::kernel::Joined;
use std::time::Duration;

/// Sockets and mail of one shard.
pub type EpollKernel<M> = Joined<EpollIo, M>;

impl<M> EpollKernel<M> {
    /// Blocks until there is an edge, somebody rings, or `timeout` is over; `None` is for
    /// ever, zero only looks. The edges come out of [`crate::kernel::Io::events`].
    ///
    /// # Errors
    /// The shard can't go on: its epoll is broken. A signal is no error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.io.wait(timeout)
    }
}
