//! The platform on Linux: threads, files, signals, listeners.
//!
//! Used inside a tokio `LocalSet` on a current-thread runtime. It makes no decision: what it
//! is told fails with a text that names the file or the address, and nothing is retried.

mod data_dir;
mod mail;
mod shards;
mod signals;

pub use data_dir::{DataDir, DiskFile};
pub use mail::{Bell, RingMail, mailboxes};
pub use shards::ShardsEnded;
pub(crate) use shards::is_shard;
pub use signals::Signals;

use crate::epoll::{Clock, EpollKernel};
use crate::event_loop::Loop;
use crate::platform::{Platform, ShardsSetup, Started};
use multibeam_proto::Time;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// The operating system, for one node.
#[derive(Clone, Debug)]
pub struct OsPlatform {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    data_dir: DataDir,
    signals: RefCell<Option<Signals>>,
    stop: Arc<Notify>,
}

/// Asks a node to stop, from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Notify>);

impl StopHandle {
    /// Like a first SIGTERM.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl OsPlatform {
    /// A platform with its files in `data_dir`, which is created if need be and locked as
    /// long as a clone of the platform lives.
    ///
    /// # Errors
    /// Names the directory: it can't be created or written, or another node uses it.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let data_dir = DataDir::open(data_dir)?;
        let (signals, stop) = (RefCell::new(None), Arc::new(Notify::new()));
        Ok(Self { inner: Rc::new(Inner { clock: Clock::start(), data_dir, signals, stop }) })
    }

    /// From here on SIGTERM and SIGINT ask the node to stop, and a second one ends the
    /// process. Only within a tokio runtime.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn handle_signals(&self) -> io::Result<()> {
        *self.inner.signals.borrow_mut() = Some(Signals::install()?);
        Ok(())
    }

    /// Stops the node without a signal.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.inner.stop))
    }
}

impl Platform for OsPlatform {
    type Kernel = EpollKernel<RingMail>;
    type RuntimeMail = RingMail;
    type Ended = ShardsEnded;
    type Disk = DiskFile;
    type LinkStream = tokio::net::TcpStream;
    type LinkListener = tokio::net::TcpListener;
    type AdminListener = tokio::net::TcpListener;

    fn now(&self) -> Time {
        self.inner.clock.now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn entropy(&self, out: &mut [u8]) {
        let mut filled = 0;
        while filled < out.len() {
            match rustix::rand::getrandom(&mut out[filled..], rustix::rand::GetRandomFlags::empty()) {
                Ok(bytes) => filled += bytes,
                Err(rustix::io::Errno::INTR) => {}
                // Linux has had the call since 3.17, and it can't fail otherwise.
                Err(error) => panic!("the system gives no random numbers: {error}"),
            }
        }
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(duration)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.inner.data_dir.read(name)
    }

    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.inner.data_dir.write(name, content)
    }

    fn open_disk(&self, name: &str) -> io::Result<DiskFile> {
        self.inner.data_dir.open_disk(name)
    }

    fn certificate_clock(&self) -> Arc<dyn TimeProvider> {
        Arc::new(DefaultTimeProvider)
    }

    async fn bind_links(&self, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(address).await.map_err(|error| {
            let why = if error.kind() == io::ErrorKind::AddrInUse {
                "the address is in use: stop what listens there, or choose another (listen in [cluster])"
                    .to_owned()
            } else {
                error.to_string()
            };
            io::Error::new(
                error.kind(),
                format!("links of other nodes can't be listened for on {address}: {why}"),
            )
        })
    }

    async fn dial(&self, address: &str) -> io::Result<tokio::net::TcpStream> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        // Heartbeats are small and must not wait for others.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn bind_admin(&self, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(address).await.map_err(|error| {
            let why = if error.kind() == io::ErrorKind::AddrInUse {
                "the address is in use: stop what listens there, or choose another with --admin".to_owned()
            } else {
                error.to_string()
            };
            io::Error::new(error.kind(), format!("the admin server can't listen on {address}: {why}"))
        })
    }

    async fn start_shards<F>(
        &self,
        setup: &ShardsSetup,
        make: F,
    ) -> io::Result<Started<Self::RuntimeMail, Self::Ended>>
    where
        F: Fn(usize, Self::Kernel) -> Loop<Self::Kernel> + Clone + Send + 'static,
    {
        shards::start(self.inner.clock, setup, make)
    }

    fn shutdown(&self) -> impl Future<Output = ()> {
        let signals = self.inner.signals.borrow_mut().take();
        let stop = Arc::clone(&self.inner.stop);
        async move {
            let signalled = async {
                match signals {
                    Some(signals) => signals.first().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = signalled => {}
                () = stop.notified() => {}
            }
        }
    }
}
