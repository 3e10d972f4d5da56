//! The bare loop that a node is measured against, in a process of its own.
//!
//! It says WELCOME and SUBSCRIBED to the generator's clients, so that these do the very same
//! with it as with a node, and from then on it understands nothing: it receives, and it sends
//! what it was sent, epoll edge-triggered. Nothing is decoded, stored, numbered, counted or timed.
//!
//! ```text
//!   fanout:   publisher ─► receive a record ─► one send of its bytes to each subscriber
//!   unicast:  publishers ─► receive what there is ─► the bytes of each user side by side
//!                                                 ─► one send to each user that has any
//!   echo:     client ─► receive ─► send the same
//!   beat:     client ─► receive ─► send a heartbeat
//!   all:      subscriber ─► receive and forget (acknowledgements)
//! ```

mod greeting;
mod relay;

pub(super) use relay::Record;

use clap::{Args, ValueEnum};
use greeting::{Greeting, Role};
use relay::Relay;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Socket, Type};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Edges that one wait fetches, as many as a node's shard.
const EVENTS_MAX: usize = 1024;

/// Bytes that one receive takes, as many as a node's shard reads from a connection in a turn.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Connections that may wait to be accepted, as many as at a node's shard.
const BACKLOG: i32 = 4096;

const LISTENER: u64 = u64::MAX;
const STDIN: u64 = u64::MAX - 1;

/// What the loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Fanout,
    Unicast,
    Echo,
    Beat,
}

#[derive(Debug, Args)]
pub(super) struct FloorArgs {
    /// What the loop does.
    #[arg(long, value_enum)]
    kind: Kind,
    /// How often clients send heartbeats.
    #[arg(long, default_value_t = 3_600_000)]
    heartbeat_interval_ms: u32,
}

/// Runs until the standard input ends.
///
/// # Errors
/// The system's, or a socket that did not take all that it was sent.
pub(super) fn floor(args: &FloorArgs) -> Result<(), String> {
    let failed = |error: io::Error| format!("the floor failed: {error}");
    Floor::start(args).and_then(|mut floor| floor.run()).map_err(failed)
}

enum Peer {
    Greeting(Greeting),
    Publisher,
    Subscriber,
    Gone,
}

struct Floor {
    kind: Kind,
    heartbeat_interval_ms: u32,
    epoll: OwnedFd,
    listener: OwnedFd,
    sockets: Vec<OwnedFd>,
    peers: Vec<Peer>,
    relay: Relay,
    heartbeat: Vec<u8>,
    scratch: Vec<u8>,
}

impl Floor {
    /// Listens, and says where.
    fn start(args: &FloorArgs) -> io::Result<Self> {
        let FloorArgs { kind, heartbeat_interval_ms } = *args;
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(BACKLOG)?;
        let address = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no IP address"))?;
        let listener = OwnedFd::from(socket);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let level = epoll::EventFlags::IN;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), level)?;
        epoll::add(&epoll, std::io::stdin(), epoll::EventData::new_u64(STDIN), level)?;
        println!("clients {address}");
        io::stdout().flush()?;
        let heartbeat = greeting::heartbeat();
        let scratch = vec![0; SCRATCH_BYTES];
        let (sockets, peers) = (Vec::new(), Vec::new());
        let relay = Relay::default();
        Ok(Self { kind, heartbeat_interval_ms, epoll, listener, sockets, peers, relay, heartbeat, scratch })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                // The struct is packed: copy, don't borrow.
                let data = event.data;
                match data.u64() {
                    LISTENER => self.accept()?,
                    STDIN => return Ok(()),
                    index => self.readable(index as usize)?,
                }
            }
            self.relay.send(|index, bytes| send_all(&self.sockets[index], bytes))?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(
                &self.listener,
                SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            ) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
            let edges = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(self.sockets.len() as u64), edges)?;
            self.sockets.push(socket);
            self.peers.push(Peer::Greeting(Greeting::new(self.heartbeat_interval_ms)));
        }
    }

    fn readable(&mut self, index: usize) -> io::Result<()> {
        loop {
            let count =
                match rustix::net::recv(&self.sockets[index], &mut self.scratch[..], RecvFlags::empty()) {
                    Ok((_, count)) => count,
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(Errno::INTR) => continue,
                    Err(Errno::CONNRESET) => 0,
                    Err(error) => return Err(error.into()),
                };
            if count == 0 {
                return self.leave(index);
            }
            self.received(index, count)?;
            // A stream that had less than was asked for is drained, and an edge tells of more.
            if count < self.scratch.len() {
                return Ok(());
            }
        }
    }

    fn received(&mut self, index: usize, count: usize) -> io::Result<()> {
        let bytes = &self.scratch[..count];
        match (&mut self.peers[index], self.kind) {
            (Peer::Greeting(greeting), _) => {
                let mut answer = Vec::new();
                let role = greeting.handle(bytes, &mut answer)?;
                send_all(&self.sockets[index], &answer)?;
                if let Some(role) = role {
                    self.peers[index] = match role {
                        Role::Publisher => Peer::Publisher,
                        Role::Subscriber { user } => {
                            self.relay.subscribed(index, user.filter(|_| self.kind == Kind::Unicast));
                            Peer::Subscriber
                        }
                    };
                }
                Ok(())
            }
            (Peer::Publisher, Kind::Fanout | Kind::Unicast) => self.relay.received(index, bytes),
            (Peer::Publisher | Peer::Subscriber, Kind::Echo) => send_all(&self.sockets[index], bytes),
            (Peer::Subscriber, Kind::Beat) => send_all(&self.sockets[index], &self.heartbeat),
            (Peer::Subscriber, Kind::Fanout | Kind::Unicast)
            | (Peer::Publisher, Kind::Beat)
            | (Peer::Gone, _) => Ok(()),
        }
    }

    /// A floor serves one crowd: its clients leave together, and are not replaced.
    fn leave(&mut self, index: usize) -> io::Result<()> {
        self.peers[index] = Peer::Gone;
        epoll::delete(&self.epoll, &self.sockets[index])?;
        Ok(())
    }
}

/// One send. In the rounds of a generator a socket's buffer is empty when its turn comes.
fn send_all(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(count) => Err(io::Error::other(format!("a socket took {count} bytes of {}", bytes.len()))),
        Err(error) => Err(error.into()),
    }
}
