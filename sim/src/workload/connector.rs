//! How simulated clients connect: over streams that read and write in small pieces, break when
//! they are told to, and take their time to fail.

use crate::lines::{Line, Lines};
use crate::plan::{CLIENT_PORT, Plan};
use crate::random::Random;
use multibeam_client::Connector;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use turmoil::net::TcpStream;

/// Bytes of a read or write that is cut short, at the most.
const SHORT_MAX: usize = 16;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Breaks the connections of one client, or makes it stop reading them.
#[derive(Clone, Debug, Default)]
pub struct Kill(Arc<Mutex<Killed>>);

#[derive(Debug, Default)]
struct Killed {
    cuts: u64,
    live: usize,
    /// What comes stays in the network.
    deaf: bool,
    wakers: Vec<Waker>,
}

impl Kill {
    /// Breaks what is open. True if something was.
    pub fn cut(&self) -> bool {
        let mut killed = lock(&self.0);
        killed.cuts += 1;
        killed.wakers.drain(..).for_each(Waker::wake);
        killed.live > 0
    }

    /// Stops reading, or goes on with it. True if something is open.
    pub fn deafen(&self, deaf: bool) -> bool {
        let mut killed = lock(&self.0);
        killed.deaf = deaf;
        killed.wakers.drain(..).for_each(Waker::wake);
        killed.live > 0
    }
}

/// The streams of one process of a client host, in the order in which they were opened.
///
/// When a host is killed, its runtime drops the clients' tasks in an order that depends on what
/// else runs in this process. So that the network sees the same ends in each run, the streams
/// themselves are kept here and dropped in order, by a task of the host.
#[derive(Clone, Debug, Default)]
pub struct Streams(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    dying: bool,
    opened: u64,
    streams: BTreeMap<u64, Arc<Mutex<Option<TcpStream>>>>,
}

impl Streams {
    /// The host is about to be killed.
    pub fn dying(&self) {
        lock(&self.0).dying = true;
    }

    fn keep(&self, stream: TcpStream) -> (u64, Arc<Mutex<Option<TcpStream>>>) {
        let stream = Arc::new(Mutex::new(Some(stream)));
        let mut kept = lock(&self.0);
        kept.opened += 1;
        let number = kept.opened;
        kept.streams.insert(number, Arc::clone(&stream));
        (number, stream)
    }

    fn drop_one(&self, number: u64) {
        let mut kept = lock(&self.0);
        if !kept.dying {
            let stream = kept.streams.remove(&number).and_then(|stream| lock(&stream).take());
            drop(kept);
            drop(stream);
        }
    }

    /// Drops all that are left, in order.
    pub(crate) fn drop_all(&self) {
        let streams = std::mem::take(&mut lock(&self.0).streams);
        for stream in streams.into_values() {
            let stream = lock(&stream).take();
            drop(stream);
        }
    }
}

/// Where the frames of a client are looked at.
#[derive(Clone, Debug)]
pub struct Watch {
    /// All lines of the run.
    pub lines: Lines,
    /// What the client is called there.
    pub who: String,
    /// How long it waits for an answer to HELLO.
    pub handshake_ms: u64,
}

/// The host part of an address: nodes name each other with their port, which is the same everywhere, and
/// plans name them without.
#[must_use]
pub fn host_of(server: &str) -> &str {
    server.rsplit_once(':').map_or(server, |(host, _)| host)
}

/// Connects one client to a simulated node.
#[derive(Debug)]
pub struct SimConnector {
    kill: Kill,
    streams: Streams,
    watch: Watch,
    permits: Arc<Semaphore>,
    random: Mutex<Random>,
    refusal: Duration,
    short_percent: u64,
    write_bytes: usize,
}

impl SimConnector {
    /// A connector of a client that `kill` can cut off.
    #[must_use]
    pub fn new(
        plan: &Plan,
        kill: Kill,
        streams: Streams,
        watch: Watch,
        permits: Arc<Semaphore>,
        random: Random,
    ) -> Self {
        Self {
            kill,
            streams,
            watch,
            permits,
            random: Mutex::new(random),
            refusal: Duration::from_millis(plan.network.refusal_ms),
            short_percent: plan.workload.short_percent,
            write_bytes: plan.host.pump_bytes,
        }
    }
}

impl Connector for SimConnector {
    type Stream = CutStream;

    async fn connect(&self, server: &str) -> io::Result<CutStream> {
        let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
        match TcpStream::connect((host_of(server), CLIENT_PORT)).await {
            Ok(stream) => {
                let random = Random::new(lock(&self.random).number(), "stream");
                let mut killed = lock(&self.kill.0);
                killed.live += 1;
                let (kill, cuts) = (self.kill.clone(), killed.cuts);
                let (number, stream) = self.streams.keep(stream);
                let Watch { lines, who, handshake_ms } = &self.watch;
                Ok(CutStream {
                    line: lines.open(who.clone(), Some(*handshake_ms)),
                    number,
                    stream,
                    streams: self.streams.clone(),
                    kill,
                    cuts,
                    random,
                    short_percent: self.short_percent,
                    write_bytes: self.write_bytes,
                })
            }
            // The simulated network refuses at once where a real one says nothing.
            Err(error) => {
                tokio::time::sleep(self.refusal).await;
                Err(error)
            }
        }
    }
}

/// A stream in small pieces that can be cut.
#[derive(Debug)]
pub struct CutStream {
    line: Line,
    number: u64,
    stream: Arc<Mutex<Option<TcpStream>>>,
    streams: Streams,
    kill: Kill,
    cuts: u64,
    random: Random,
    short_percent: u64,
    write_bytes: usize,
}

impl CutStream {
    /// Whether it may read.
    fn check(&self, context: &Context<'_>) -> io::Result<bool> {
        let mut killed = lock(&self.kill.0);
        if killed.cuts != self.cuts {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !killed.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            killed.wakers.push(context.waker().clone());
        }
        Ok(!killed.deaf)
    }
}

impl Drop for CutStream {
    fn drop(&mut self) {
        lock(&self.kill.0).live -= 1;
        self.streams.drop_one(self.number);
    }
}

impl CutStream {
    /// Polls the stream inside.
    fn with<T>(&self, poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut *lock(&self.stream) {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.check(context)? {
            return Poll::Pending;
        }
        let percent = self.short_percent;
        let before = buf.filled().len();
        if !self.random.chance(percent) {
            let read = self.with(|stream| stream.poll_read(context, buf));
            self.line.down(&buf.filled()[before..]);
            return read;
        }
        let mut bytes = [0; SHORT_MAX];
        let most = self.random.length(1..=SHORT_MAX).min(buf.remaining());
        let mut short = ReadBuf::new(&mut bytes[..most]);
        let read = self.with(|stream| stream.poll_read(context, &mut short));
        self.line.down(short.filled());
        buf.put_slice(short.filled());
        read
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let percent = self.short_percent;
        let most =
            if self.random.chance(percent) { self.random.length(1..=SHORT_MAX) } else { self.write_bytes };
        let most = most.min(buf.len());
        let written = self.with(|stream| stream.poll_write(context, &buf[..most]));
        if let Poll::Ready(Ok(count)) = written {
            self.line.up(&buf[..count]);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(context))
    }
}
