//! The threads of the shards.

use super::mail::{RingMail, mailboxes};
use crate::epoll::{Clock, DescriptorGate, EpollIo, EpollKernel, ShardSockets, drive_epoll, listen_shards};
use crate::event_loop::Loop;
use crate::platform::{ShardsSetup, Started};
use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use tokio::sync::mpsc;

type Kernel = EpollKernel<RingMail>;

/// Ends when every shard has ended, or as soon as one has failed.
#[derive(Debug)]
pub struct ShardsEnded {
    results: mpsc::Receiver<Result<(), String>>,
    running: usize,
}

impl Future for ShardsEnded {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while self.running > 0 {
            match self.results.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(()))) => self.running -= 1,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Err("a shard vanished without a word".to_owned())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How the names of the shards' threads begin.
const SHARD_THREAD: &str = "shard-";

/// Binds all listeners, then starts a thread a shard.
pub(super) fn start<F>(
    clock: Clock,
    setup: &ShardsSetup,
    make: F,
) -> io::Result<Started<RingMail, ShardsEnded>>
where
    F: Fn(usize, Kernel) -> Loop<Kernel> + Clone + Send + 'static,
{
    let (listening, listeners) = listen_shards(setup.listen, setup.shards)?;
    let gate = DescriptorGate::default();
    let open = |listener| ShardSockets::open(listener, gate.clone());
    let sockets = listeners.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
    let doorbells = sockets.iter().map(ShardSockets::doorbell).collect();
    let (mails, mail) = mailboxes(doorbells, setup.ring_commands, setup.ring_replies);
    // Each shard sends once, so that nobody waits for a place.
    let (result, results) = mpsc::channel(setup.shards);
    for (index, (sockets, mail)) in sockets.into_iter().zip(mails).enumerate() {
        let (make, result) = (make.clone(), result.clone());
        thread::Builder::new().name(format!("{SHARD_THREAD}{index}")).spawn(move || {
            let shard = || {
                let kernel = EpollKernel::new(EpollIo::new(sockets), mail);
                drive_epoll(&mut make(index, kernel), clock)
            };
            // The loop dies with the thread: nothing is seen after an unwind.
            let end = match catch_unwind(AssertUnwindSafe(shard)) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("shard {index} failed: {error}")),
                Err(panic) => Err(format!("shard {index} panicked: {}", panic_text(panic.as_ref()))),
            };
            let _ = result.try_send(end);
        })?;
    }
    Ok(Started { listening, mail, ended: ShardsEnded { results, running: setup.shards } })
}

/// Whether a thread of that name is one that catches its panics.
pub(crate) fn is_shard(thread: &str) -> bool {
    thread.starts_with(SHARD_THREAD)
}

/// The first line, so that it fits in one.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_panics_ends_all_and_is_named() {
        let listen = "127.0.0.1:0".parse().expect("an address");
        let setup = ShardsSetup { listen, shards: 2, ring_commands: 1, ring_replies: 1 };
        let make = |index, _| -> Loop<Kernel> { panic!("planted in {index}\nand more") };
        let started = start(Clock::start(), &setup, make).expect("the system has descriptors");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let error = runtime.block_on(started.ended).expect_err("both have panicked");
        assert!(
            ["shard 0 panicked: planted in 0", "shard 1 panicked: planted in 1"].contains(&&*error),
            "{error}"
        );
    }
}
