//! Sockets of one shard on epoll, edge-triggered.

use super::doorbell::Doorbell;
use super::errno::{of_accept, of_socket};
use crate::kernel::{Errno, Event, Io, Read, SEND_BATCH_MAX, Send, Token};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno as Os;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags};
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// Edges that one wait fetches. More stay in the kernel and come with the next wait; this is
/// 12 KiB, and a turn's work far beyond what its budgets allow.
const EVENTS_MAX: usize = 1024;

/// Bytes thrown away of a connection that is shed. What its client sends first fits many
/// times; more would let it hold up the shard.
const SHED_DISCARD_BYTES: usize = 4096;

/// No slot of a loop has this number, so no connection has these tokens.
const LISTENER: Token = Token::new(u32::MAX, 0);
const DOORBELL: Token = Token::new(u32::MAX, 1);

/// What the shards of a process share: descriptors are the whole process's. A shard that gives
/// up its spare to accept with it must not lose it to another shard's accept in between.
#[derive(Clone, Debug, Default)]
pub struct DescriptorGate(Arc<RwLock<()>>);

impl DescriptorGate {
    /// Beside others that accept.
    fn beside(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// While nobody accepts. Others are held up for a few system calls, none of which waits.
    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The descriptors of one shard. They may be made on any thread, so that a node learns before
/// it starts one what it can't have.
#[derive(Debug)]
pub struct ShardSockets {
    epoll: OwnedFd,
    listener: Option<OwnedFd>,
    doorbell: Doorbell,
    /// Kept open so that there is a descriptor to say farewell with when none is left.
    spare: Option<OwnedFd>,
    gate: DescriptorGate,
}

impl ShardSockets {
    /// Watches `listener` and a doorbell of its own. All shards of a process share one gate.
    ///
    /// # Errors
    /// No descriptor or memory left.
    pub fn open(listener: OwnedFd, gate: DescriptorGate) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let doorbell = Doorbell::new()?;
        let edges = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER.0), edges)?;
        epoll::add(&epoll, &doorbell, epoll::EventData::new_u64(DOORBELL.0), edges)?;
        Ok(Self { epoll, listener: Some(listener), doorbell, spare: Some(open_spare()?), gate })
    }

    /// What wakes this shard.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }
}

/// An epoll with one listener, one doorbell and the connections of one shard.
pub struct EpollIo {
    sockets: ShardSockets,
    /// What the last wait gathered.
    ready: Vec<epoll::Event>,
}

impl EpollIo {
    /// On the shard's own thread.
    #[must_use]
    pub fn new(sockets: ShardSockets) -> Self {
        Self { sockets, ready: Vec::with_capacity(EVENTS_MAX) }
    }

    /// See [`super::EpollKernel::wait`].
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        let timeout = timeout.map(timespec);
        debug_assert!(self.ready.is_empty(), "edges of the last wait were not taken");
        match epoll::wait(&self.sockets.epoll, spare_capacity(&mut self.ready), timeout.as_ref()) {
            // EINTR: the driver takes a turn, finds nothing and waits again.
            Ok(_) | Err(Os::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept_one(&self) -> Result<OwnedFd, Errno> {
        let Some(listener) = &self.sockets.listener else { return Err(Errno::Again) };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        rustix::net::accept_with(listener, flags).map_err(of_accept)
    }
}

/// Exact to the nanosecond; `epoll_pwait2` takes it as it is.
fn timespec(timeout: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    }
}

fn open_spare() -> Result<OwnedFd, Os> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

impl Io for EpollIo {
    type Sock = OwnedFd;

    fn events(&mut self, out: &mut Vec<Event>) {
        out.extend(self.ready.drain(..).map(|ready| {
            // The struct is packed: copy, don't borrow.
            let (flags, token) = (ready.flags, Token(ready.data.u64()));
            match token {
                LISTENER => Event::Accept,
                DOORBELL => Event::Doorbell,
                token => event(token, flags),
            }
        }));
    }

    fn accept(&mut self) -> Result<OwnedFd, Errno> {
        let _beside = self.sockets.gate.beside();
        // Something else in the process may have taken the spare's place; it goes first.
        if self.sockets.spare.is_none() {
            self.sockets.spare = Some(open_spare().map_err(of_accept)?);
        }
        self.accept_one()
    }

    fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        let _alone = self.sockets.gate.alone();
        if self.sockets.spare.is_none() {
            self.sockets.spare = Some(open_spare().map_err(of_accept)?);
        }
        self.sockets.spare = None;
        let result = self.accept_one().map(|sock| {
            // Best effort: whoever does not get it sees the end of the connection.
            let _ = rustix::net::send(&sock, farewell, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            let _ = rustix::net::shutdown(&sock, Shutdown::Write);
            // Unread input would turn the close into a reset that destroys the farewell.
            let mut discard = [0; SHED_DISCARD_BYTES];
            let _ = rustix::net::recv(&sock, &mut discard, RecvFlags::DONTWAIT);
        });
        self.sockets.spare = open_spare().ok();
        result
    }

    fn register(&mut self, sock: &OwnedFd, token: Token) -> Result<(), Errno> {
        debug_assert_ne!(token.slot(), u32::MAX, "the slot of the listener and the doorbell");
        let edges =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.sockets.epoll, sock, epoll::EventData::new_u64(token.0), edges).map_err(of_socket)
    }

    fn read(&mut self, sock: &OwnedFd, buf: &mut [u8]) -> Result<Read, Errno> {
        debug_assert!(!buf.is_empty(), "a read into nothing looks like the end of the stream");
        let asked = buf.len();
        match rustix::net::recv(sock, buf, RecvFlags::empty()) {
            // epoll(7): a stream that gave less than was asked for is exhausted, and what arrives
            // from then on is an edge.
            Ok((_, bytes)) => Ok(Read { bytes, drained: bytes < asked }),
            Err(error) => Err(of_socket(error)),
        }
    }

    fn send(&mut self, batch: &mut [Send<'_, OwnedFd>]) {
        debug_assert!(batch.len() <= SEND_BATCH_MAX);
        for entry in batch {
            entry.done = Some(send_one(entry.sock, &entry.bufs));
        }
    }

    fn shutdown(&mut self, sock: &OwnedFd) {
        // Fails only if the connection is gone already, and then an edge tells.
        let _ = rustix::net::shutdown(sock, Shutdown::Write);
    }

    fn close(&mut self, sock: OwnedFd) {
        // No descriptor is duplicated, so closing also ends the registration.
        drop(sock);
    }

    fn stop_listening(&mut self) {
        self.sockets.listener = None;
    }
}

fn event(token: Token, flags: epoll::EventFlags) -> Event {
    let both = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
    Event::Socket {
        token,
        readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | both),
        writable: flags.intersects(epoll::EventFlags::OUT | both),
        ended: flags.intersects(epoll::EventFlags::RDHUP | both),
    }
}

fn send_one(sock: &OwnedFd, bufs: &[IoSlice<'_>; 2]) -> Result<usize, Errno> {
    debug_assert!(bufs.iter().any(|buf| !buf.is_empty()), "a send of nothing");
    // NOSIGNAL: a peer that is gone must not kill the process.
    let sent = match bufs {
        [first, rest] if rest.is_empty() => rustix::net::send(sock, first, SendFlags::NOSIGNAL),
        [first, rest] if first.is_empty() => rustix::net::send(sock, rest, SendFlags::NOSIGNAL),
        both => rustix::net::sendmsg(sock, both, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL),
    };
    sent.map_err(of_socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_passed_on_unrounded() {
        let exact = timespec(Duration::from_micros(100));
        assert_eq!((exact.tv_sec, exact.tv_nsec), (0, 100_000));
        let exact = timespec(Duration::new(7, 1));
        assert_eq!((exact.tv_sec, exact.tv_nsec), (7, 1));
        assert_eq!(timespec(Duration::MAX).tv_sec, i64::MAX);
    }

    /// The older system call takes milliseconds, so a library that used it would round, and
    /// would never notice nanoseconds that do not exist.
    #[test]
    fn the_system_call_takes_the_timeout_as_it_is() {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let invalid = Timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
        let mut ready = Vec::<epoll::Event>::with_capacity(1);
        let result = epoll::wait(&epoll, spare_capacity(&mut ready), Some(&invalid));
        assert_eq!(result, Err(Os::INVAL));
    }

    #[test]
    fn end_hang_up_and_error_count_as_readiness() {
        let token = Token::new(3, 4);
        for (flags, readable, writable, ended) in [
            (epoll::EventFlags::IN, true, false, false),
            (epoll::EventFlags::OUT, false, true, false),
            (epoll::EventFlags::RDHUP, true, false, true),
            (epoll::EventFlags::HUP, true, true, true),
            (epoll::EventFlags::ERR, true, true, true),
        ] {
            assert_eq!(event(token, flags), Event::Socket { token, readable, writable, ended }, "{flags:?}");
        }
    }
}
