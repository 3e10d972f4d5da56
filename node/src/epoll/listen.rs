//! Listeners: one a shard, all on one port.
//!
//! `SO_REUSEPORT` lets the kernel spread connections over the shards. It would also let a
//! second node of the same user take half of the first one's connections, so the address is
//! first bound without it.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Connections that may wait to be accepted, a shard. A storm of clients arrives at a few
/// 10,000 a second; this is 100 ms of it. The system caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A silent connection is asked for a sign of life after this long. Heartbeats of the
/// protocol are faster; this finds peers that died before HELLO or while closing.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered questions until the connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 3;

/// What was sent must be acknowledged by the peer's kernel this soon. Without it a dead peer
/// with output on its way is kept for a quarter of an hour.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Binds and listens once a shard. With port 0 the first listener chooses and the others
/// follow. All listen when this returns, so no connection finds a part of the shards.
///
/// # Errors
/// Names the address. Nothing stays bound.
pub fn listen_shards(address: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    assert!(shards > 0, "a node without shards");
    listen_all(address, shards).map_err(|error| named(address, &error))
}

fn listen_all(address: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    if address.port() != 0 {
        refuse_shared(address)?;
    }
    let first = listen(address)?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the system bound something that is no IP address"))?;
    let mut listeners = vec![OwnedFd::from(first)];
    while listeners.len() < shards {
        listeners.push(listen(bound)?.into());
    }
    Ok((bound, listeners))
}

/// Fails when anybody listens on `address`, even somebody who would share it.
fn refuse_shared(address: SocketAddr) -> io::Result<()> {
    let probe = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    // Only for what is left of connections of an earlier process.
    probe.set_reuse_address(true)?;
    probe.bind(&address.into())
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    set_connection_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Set once on the listener: on Linux each accepted socket is a copy of it, which saves five
/// system calls a connection.
fn set_connection_options(socket: &Socket) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

fn named(address: SocketAddr, error: &io::Error) -> io::Error {
    let kind = error.kind();
    let why = if kind == io::ErrorKind::AddrInUse {
        "the address is in use: stop what listens there, or choose another with --listen".to_owned()
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this machine does not have the address: choose one of its own with --listen".to_owned()
    } else if kind == io::ErrorKind::PermissionDenied {
        "this user may not use the port: choose one above 1023 with --listen".to_owned()
    } else {
        error.to_string()
    };
    io::Error::new(kind, format!("can't listen on {address}: {why}"))
}
