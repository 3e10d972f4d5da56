//! How simulated clients connect: over streams that read and write in small pieces, break when
//! they are told to, and take their time to fail.

use crate::plan::{CLIENT_PORT, Plan};
use crate::random::Random;
use multibeam_client::Connector;
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

/// Breaks the connections of one client.
#[derive(Clone, Debug, Default)]
pub struct Kill(Arc<Mutex<Killed>>);

#[derive(Debug, Default)]
struct Killed {
    cuts: u64,
    live: usize,
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
}

/// Connects one client to the simulated node.
#[derive(Debug)]
pub struct SimConnector {
    kill: Kill,
    permits: Arc<Semaphore>,
    random: Mutex<Random>,
    refusal: Duration,
    short_percent: u64,
    write_bytes: usize,
}

impl SimConnector {
    /// A connector of a client that `kill` can cut off.
    #[must_use]
    pub fn new(plan: &Plan, kill: Kill, permits: Arc<Semaphore>, random: Random) -> Self {
        Self {
            kill,
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
        match TcpStream::connect((server, CLIENT_PORT)).await {
            Ok(stream) => {
                let random = Random::new(lock(&self.random).number(), "stream");
                let mut killed = lock(&self.kill.0);
                killed.live += 1;
                let (kill, cuts) = (self.kill.clone(), killed.cuts);
                Ok(CutStream {
                    stream,
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
    stream: TcpStream,
    kill: Kill,
    cuts: u64,
    random: Random,
    short_percent: u64,
    write_bytes: usize,
}

impl CutStream {
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        let mut killed = lock(&self.kill.0);
        if killed.cuts != self.cuts {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !killed.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            killed.wakers.push(context.waker().clone());
        }
        Ok(())
    }
}

impl Drop for CutStream {
    fn drop(&mut self) {
        lock(&self.kill.0).live -= 1;
    }
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        let percent = self.short_percent;
        if !self.random.chance(percent) {
            return Pin::new(&mut self.stream).poll_read(context, buf);
        }
        let mut bytes = [0; SHORT_MAX];
        let most = self.random.length(1..=SHORT_MAX).min(buf.remaining());
        let mut short = ReadBuf::new(&mut bytes[..most]);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut short);
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
        Pin::new(&mut self.stream).poll_write(context, &buf[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
