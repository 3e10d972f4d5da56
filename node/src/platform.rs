//! The one seam between a node and the world.
//!
//! [`crate::run()`] is written against this trait and runs unchanged on the operating system
//! ([`crate::os::OsPlatform`]) and in the network simulator. What stands behind it is not
//! simulated, so it stays thin: no decisions, no retries, no policy.

use crate::event_loop::Loop;
use crate::kernel::{Kernel, Mail};
use multibeam_consensus::Disk;
use multibeam_proto::Time;
use rustls::time_provider::TimeProvider;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What the shards of a node share when they start.
#[derive(Clone, Debug)]
pub struct ShardsSetup {
    /// Where clients connect. Port 0 lets the system choose one, the same for all shards.
    pub listen: SocketAddr,
    /// Event loops to start.
    pub shards: usize,
    /// Commands that one thread may have unpopped in the ring of another.
    pub ring_commands: usize,
    /// Replies that one thread may owe another.
    pub ring_replies: usize,
}

/// Shards that are running.
#[derive(Debug)]
pub struct Started<M, E> {
    /// Where clients can connect.
    pub listening: SocketAddr,
    /// The runtime's own mailbox; shards are 0 to `shards - 1`, the runtime is `shards`.
    pub mail: M,
    /// Ends when all shards have ended, or as soon as one failed.
    pub ended: E,
}

/// Mail of a task instead of a loop.
pub trait RuntimeMail: Mail {
    /// Waits until somebody rings. Only after [`Mail::arm`] and a look at the ring.
    fn rung(&mut self) -> impl Future<Output = ()>;
}

/// The world: clocks, entropy, files, listeners, tasks, threads.
pub trait Platform: Clone + 'static {
    /// What a shard's loop runs on.
    type Kernel: Kernel + 'static;
    /// The runtime's mailbox.
    type RuntimeMail: RuntimeMail + 'static;
    /// Ends with the shards. An error says which shard failed and how.
    type Ended: Future<Output = Result<(), String>> + 'static;
    /// A durable file of random access.
    type Disk: Disk;
    /// A connection between two nodes.
    type LinkStream: AsyncRead + AsyncWrite + Unpin + std::marker::Send + 'static;
    /// Where links of other nodes come in.
    type LinkListener: axum::serve::Listener<Io = Self::LinkStream, Addr = SocketAddr>;
    /// Where the admin server takes its connections from.
    type AdminListener: axum::serve::Listener<Addr = SocketAddr>;

    /// The monotonic clock, which goes on while the machine sleeps: leases are counted by it.
    fn now(&self) -> Time;

    /// Milliseconds since 1970. Only for people and logs; nothing is decided by it.
    fn wall_ms(&self) -> u64;

    /// Random bytes.
    fn entropy(&self, out: &mut [u8]);

    /// Waits.
    fn sleep(&self, duration: std::time::Duration) -> impl Future<Output = ()>;

    /// Runs a task beside this one, on the same thread.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// The content of a durable file of this node; `None` if it was never written.
    ///
    /// # Errors
    /// Names the file.
    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a durable file. When this returns, the new content survives a loss of power;
    /// before, the old one does.
    ///
    /// # Errors
    /// Names the file. Either content may be there.
    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Opens a durable file of random access, empty if it is new.
    ///
    /// # Errors
    /// Names the file.
    fn open_disk(&self, name: &str) -> io::Result<Self::Disk>;

    /// Opens the listener for links of other nodes.
    ///
    /// # Errors
    /// Names the address.
    fn bind_links(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::LinkListener>>;

    /// Connects to another node's links, at `host:port`. The caller bounds the wait.
    ///
    /// # Errors
    /// Nobody is there.
    fn dial(&self, address: &str) -> impl Future<Output = io::Result<Self::LinkStream>>;

    /// The wall clock that certificates of links are judged by.
    fn certificate_clock(&self) -> Arc<dyn TimeProvider>;

    /// Opens the admin listener.
    ///
    /// # Errors
    /// Names the address.
    fn bind_admin(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::AdminListener>>;

    /// Starts the shards. Each kernel is built on the shard's own thread or task and given
    /// to `make` there, so only `make` crosses.
    ///
    /// # Errors
    /// Names the address that can't be listened on.
    fn start_shards<F>(
        &self,
        setup: &ShardsSetup,
        make: F,
    ) -> impl Future<Output = io::Result<Started<Self::RuntimeMail, Self::Ended>>>
    where
        F: Fn(usize, Self::Kernel) -> Loop<Self::Kernel> + Clone + std::marker::Send + 'static;

    /// Ends when the node is asked to stop; that is noticed from this call on, not from the
    /// first poll.
    fn shutdown(&self) -> impl Future<Output = ()>;
}
