//! Connections between simulated nodes: streams of the simulated network, in pieces of seeded length, which a
//! paused process neither reads nor writes.

use crate::random::Random;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use turmoil::net::{TcpListener, TcpStream};

/// The simulated wall clock, for certificates.
#[derive(Debug)]
pub(super) struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        turmoil::since_epoch().map(UnixTime::since_unix_epoch)
    }
}

/// Whether a process is stopped; shared by everything of it that waits.
#[derive(Clone, Debug, Default)]
pub struct Pause(Arc<Mutex<Stop>>);

#[derive(Clone, Copy, Debug, Default)]
struct Stop {
    /// Asked for, from outside of the process' host.
    span: Option<Duration>,
    /// By the host's clock.
    until: Option<Instant>,
}

impl Pause {
    /// Stops the process for so long, from when it next does something.
    pub fn stop(&self, span: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).span = Some(span);
    }

    /// When it goes on, if it is stopped.
    #[must_use]
    pub fn ends(&self) -> Option<Instant> {
        let mut stop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = stop.span.take() {
            stop.until = Some(Instant::now() + span);
        }
        stop.until.filter(|until| *until > Instant::now())
    }

    /// Waits while it is stopped.
    pub async fn over(&self) {
        while let Some(until) = self.ends() {
            sleep_until(until).await;
        }
    }
}

/// A connection between two nodes.
pub struct SimLink {
    stream: TcpStream,
    random: Random,
    /// Longest piece, in bytes.
    piece: usize,
    pause: Pause,
    resume: Option<Pin<Box<Sleep>>>,
}

impl SimLink {
    fn new(stream: TcpStream, random: Random, piece: usize, pause: Pause) -> Self {
        Self { stream, random, piece, pause, resume: None }
    }

    /// Ready unless the process is stopped; then the task is woken when it goes on.
    fn poll_runs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(until) = self.pause.ends() {
            let mut resume = Box::pin(sleep_until(until));
            if resume.as_mut().poll(cx).is_pending() {
                self.resume = Some(resume);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for SimLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_runs(cx));
        let piece = self.piece;
        let limit = self.random.length(1..=piece).min(out.remaining());
        let mut part = out.take(limit);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let filled = part.filled().len();
        // The bytes were read into its own memory, which `take` shares.
        let read = part.filled().to_vec();
        out.put_slice(&read[..filled]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimLink {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_runs(cx));
        let piece = self.piece;
        let limit = self.random.length(1..=piece).min(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..limit])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What the streams of a node have in common.
#[derive(Clone, Debug)]
pub(super) struct LinkWorld {
    pub(super) piece: usize,
    pub(super) refusal: Duration,
    pub(super) pause: Pause,
}

/// Where links come in.
pub struct SimLinkListener {
    listener: TcpListener,
    address: SocketAddr,
    world: LinkWorld,
    random: Random,
}

impl SimLinkListener {
    pub(super) async fn bind(address: SocketAddr, world: LinkWorld, random: Random) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, world, random })
    }
}

impl axum::serve::Listener for SimLinkListener {
    type Io = SimLink;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (SimLink, SocketAddr) {
        loop {
            self.world.pause.over().await;
            if let Ok((stream, from)) = self.listener.accept().await {
                let random = Random::new(self.random.number(), "accepted link");
                return (SimLink::new(stream, random, self.world.piece, self.world.pause.clone()), from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Dials. Where the simulated network refuses at once, a real one would not answer for a while.
pub(super) async fn dial(address: &str, world: LinkWorld, random: Random) -> io::Result<SimLink> {
    world.pause.over().await;
    match TcpStream::connect(address).await {
        Ok(stream) => Ok(SimLink::new(stream, random, world.piece, world.pause)),
        Err(error) => {
            tokio::time::sleep(world.refusal).await;
            Err(error)
        }
    }
}
