//! The epoll kernel on real sockets: what the event loop relies on, call by call.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam::epoll::{DescriptorGate, EpollIo, EpollKernel, ShardSockets, listen_shards};
use multibeam::kernel::{self, Errno, Event, Io, Mail, Send, Token};
use multibeam_proto::Command;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

/// Longest wait for an edge that must come. It is never waited for in full.
const PATIENCE: Duration = Duration::from_secs(10);

struct NoMail;

impl Mail for NoMail {
    fn room(&mut self, _: usize) -> usize {
        0
    }
    fn want_room(&mut self, _: usize) -> bool {
        false
    }
    fn push(&mut self, _: usize, _: Command) {}
    fn flush(&mut self) {}
    fn pop(&mut self) -> Option<(usize, Command)> {
        None
    }
    fn drained(&mut self) {}
    fn is_empty(&mut self) -> bool {
        true
    }
    fn arm(&mut self) {}
    fn disarm(&mut self) {}
}

struct Fixture {
    kernel: EpollKernel<NoMail>,
    address: SocketAddr,
}

impl Fixture {
    fn new() -> Self {
        let (address, mut listeners) = listen_shards("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let sockets = ShardSockets::open(listeners.pop().unwrap(), DescriptorGate::default()).unwrap();
        Self { kernel: EpollKernel::new(EpollIo::new(sockets), NoMail), address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection, accepted and registered, whose first edge was taken.
    fn pair(&mut self, token: Token) -> (OwnedFd, TcpStream) {
        let client = self.connect();
        let sock = self.accept();
        self.kernel.register(&sock, token).unwrap();
        self.until(token, false, true);
        (sock, client)
    }

    fn accept(&mut self) -> OwnedFd {
        match self.kernel.accept() {
            Ok(sock) => sock,
            Err(Errno::Again) => {
                self.wait(PATIENCE);
                self.kernel.accept().unwrap()
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn wait(&mut self, timeout: Duration) -> Vec<Event> {
        self.kernel.wait(Some(timeout)).unwrap();
        let mut events = Vec::new();
        self.kernel.events(&mut events);
        events
    }

    /// Waits until an edge of `token` says all that is asked for.
    fn until(&mut self, token: Token, readable: bool, writable: bool) {
        let mut seen = (false, false);
        while (readable && !seen.0) || (writable && !seen.1) {
            let events = self.wait(PATIENCE);
            assert!(!events.is_empty(), "no edge came; so far readable, writable = {seen:?}");
            for event in events {
                if let Event::Socket { token: of, readable, writable, .. } = event
                    && of == token
                {
                    seen = (seen.0 || readable, seen.1 || writable);
                }
            }
        }
    }

    /// Until the peer's end or error has arrived, whichever way.
    fn read_until_error(&mut self, sock: &OwnedFd, token: Token) -> Result<usize, Errno> {
        loop {
            match self.kernel.read(sock, &mut [0; 64]) {
                Err(Errno::Again) => self.until(token, true, false),
                Ok(read) if read.bytes > 0 => {}
                end => return end.map(|read| read.bytes),
            }
        }
    }

    fn send(&mut self, sock: &OwnedFd, first: &[u8], rest: &[u8]) -> Result<usize, Errno> {
        let bufs = [IoSlice::new(first), IoSlice::new(rest)];
        let mut batch = [Send { token: Token(0), sock, bufs, done: None }];
        self.kernel.send(&mut batch);
        batch[0].done.expect("set by the kernel")
    }
}

#[test]
fn an_edge_comes_once_for_what_it_tells() {
    let mut fixture = Fixture::new();
    let token = Token::new(7, 3);
    let (sock, mut client) = fixture.pair(token);
    client.write_all(b"ab").unwrap();
    fixture.until(token, true, false);
    // One byte stays unread, and nobody says so again.
    assert_eq!(fixture.kernel.read(&sock, &mut [0; 1]), Ok(kernel::Read { bytes: 1, drained: false }));
    assert_eq!(fixture.wait(Duration::ZERO), []);
    client.write_all(b"c").unwrap();
    fixture.until(token, true, false);
    let mut rest = [0; 8];
    assert_eq!(fixture.kernel.read(&sock, &mut rest), Ok(kernel::Read { bytes: 2, drained: true }));
    assert_eq!(&rest[..2], b"bc");
    assert_eq!(fixture.kernel.read(&sock, &mut rest), Err(Errno::Again));
}

#[test]
fn readiness_before_registration_is_an_edge() {
    let mut fixture = Fixture::new();
    let mut client = fixture.connect();
    client.write_all(b"early").unwrap();
    let sock = fixture.accept();
    let token = Token::new(0, 0);
    fixture.kernel.register(&sock, token).unwrap();
    fixture.until(token, true, true);
    assert_eq!(fixture.kernel.read(&sock, &mut [0; 8]), Ok(kernel::Read { bytes: 5, drained: true }));
}

#[test]
fn a_half_closed_peer_still_gets_output() {
    let mut fixture = Fixture::new();
    let token = Token::new(1, 0);
    let (sock, mut client) = fixture.pair(token);
    client.write_all(b"last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    fixture.until(token, true, false);
    assert_eq!(fixture.read_until_error(&sock, token), Ok(0));
    assert_eq!(fixture.send(&sock, b"ans", b"wer"), Ok(6));
    fixture.kernel.shutdown(&sock);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    fixture.kernel.close(sock);
}

#[test]
fn a_peer_that_is_gone_is_a_reset_then_a_broken_pipe() {
    let mut fixture = Fixture::new();
    let token = Token::new(1, 0);
    let (sock, client) = fixture.pair(token);
    // Unread input turns the peer's close into a reset.
    fixture.send(&sock, b"unread", b"").unwrap();
    client.peek(&mut [0; 1]).unwrap();
    drop(client);
    assert_eq!(fixture.read_until_error(&sock, token), Err(Errno::Reset));
    assert_eq!(fixture.send(&sock, b"x", b""), Err(Errno::Pipe));
}

#[test]
fn a_full_socket_takes_a_part_then_nothing_then_tells() {
    let mut fixture = Fixture::new();
    let token = Token::new(1, 0);
    let (sock, mut client) = fixture.pair(token);
    let (megabyte, mut sent) = (vec![1; 1 << 20], 0);
    loop {
        match fixture.send(&sock, &megabyte, &megabyte) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error, Errno::Again);
                break;
            }
        }
    }
    fixture.wait(Duration::ZERO);
    client.read_exact(&mut vec![0; sent]).unwrap();
    fixture.until(token, false, true);
    assert_eq!(fixture.send(&sock, b"", b"more"), Ok(4));
}

#[test]
fn entries_of_a_batch_are_independent() {
    let mut fixture = Fixture::new();
    let (one, gone) = fixture.pair(Token::new(1, 0));
    let (two, mut client) = fixture.pair(Token::new(2, 0));
    fixture.kernel.shutdown(&one);
    let entry =
        |token, sock| Send { token, sock, bufs: [IoSlice::new(b"a"), IoSlice::new(b"b")], done: None };
    let mut batch = [entry(Token::new(1, 0), &one), entry(Token::new(2, 0), &two)];
    fixture.kernel.send(&mut batch);
    assert_eq!(batch.map(|entry| entry.done), [Some(Err(Errno::Pipe)), Some(Ok(2))]);
    client.read_exact(&mut [0; 2]).unwrap();
    drop(gone);
}

#[test]
fn the_doorbell_wakes_a_sleeping_wait_and_is_never_lost() {
    let (address, mut listeners) = listen_shards("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let sockets = ShardSockets::open(listeners.pop().unwrap(), DescriptorGate::default()).unwrap();
    let doorbell = sockets.doorbell();
    let mut fixture = Fixture { kernel: EpollKernel::new(EpollIo::new(sockets), NoMail), address };
    // Before the wait, again and again although nobody reads the counter.
    for _ in 0..3 {
        doorbell.ring();
        assert_eq!(fixture.wait(PATIENCE), [Event::Doorbell]);
        assert_eq!(fixture.wait(Duration::ZERO), []);
    }
    // During the wait: it has no other way to end.
    let (woken_in, woken) = mpsc::channel();
    let (ready_in, ready) = mpsc::channel();
    let ringer = doorbell.clone();
    let sleeper = std::thread::spawn(move || {
        let (_, mut listeners) = listen_shards("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let sockets = ShardSockets::open(listeners.pop().unwrap(), DescriptorGate::default()).unwrap();
        ready_in.send(sockets.doorbell()).unwrap();
        let mut kernel = EpollKernel::new(EpollIo::new(sockets), NoMail);
        kernel.wait(None).unwrap();
        let mut events = Vec::new();
        kernel.events(&mut events);
        woken_in.send(events).unwrap();
    });
    let theirs = ready.recv_timeout(PATIENCE).unwrap();
    // Rings go to their own shard only.
    ringer.ring();
    assert_eq!(woken.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
    theirs.ring();
    assert_eq!(woken.recv_timeout(PATIENCE).unwrap(), [Event::Doorbell]);
    sleeper.join().unwrap();
}

#[test]
fn accepted_sockets_have_their_options() {
    let mut fixture = Fixture::new();
    let (sock, _client) = fixture.pair(Token::new(0, 0));
    let options = socket2::SockRef::from(&sock);
    assert!(options.tcp_nodelay().unwrap());
    assert!(options.keepalive().unwrap());
    assert_eq!(options.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    assert_eq!(options.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
    assert_eq!(options.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(options.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    assert!(options.nonblocking().unwrap());
    let flags = rustix::io::fcntl_getfd(&sock).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn shards_share_a_port_and_nobody_else_does() {
    let (address, listeners) = listen_shards("127.0.0.1:0".parse().unwrap(), 3).unwrap();
    for listener in &listeners {
        let bound = socket2::SockRef::from(listener).local_addr().unwrap();
        assert_eq!(bound.as_socket(), Some(address));
    }
    let error = listen_shards(address, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(listeners);
    // Not at once: a process that another test is starting may hold copies for a moment.
    let again = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        listen_shards(address, 2).is_ok()
    });
    assert!(again, "the port is not free again");
}

#[test]
fn who_stops_listening_refuses() {
    let mut fixture = Fixture::new();
    fixture.kernel.stop_listening();
    assert_eq!(TcpStream::connect(fixture.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(fixture.kernel.accept().map(drop), Err(Errno::Again));
}

/// The limit on descriptors holds for the whole process, so this runs in one of its own.
#[test]
fn out_of_descriptors_one_is_told_and_the_others_wait() {
    const CHILD: &str = "MULTIBEAM_TEST_CHILD";
    const NAME: &str = "out_of_descriptors_one_is_told_and_the_others_wait";
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().unwrap();
        let child =
            std::process::Command::new(this).args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output();
        let child = child.unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
        return;
    }
    let mut fixture = Fixture::new();
    let mut clients: Vec<TcpStream> = (0..6).map(|_| fixture.connect()).collect();
    // Two of six fit.
    let next = clients.iter().map(AsRawFd::as_raw_fd).max().unwrap() + 1;
    let limit = Rlimit { current: Some(u64::try_from(next).unwrap() + 2), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let held = [fixture.accept(), fixture.accept()];
    assert_eq!(fixture.kernel.accept().map(drop), Err(Errno::OutOfDescriptors));
    // The third is told, also if it had sent something, and the spare is there again.
    clients[2].write_all(b"HELLO").unwrap();
    assert_eq!(fixture.kernel.shed(b"full"), Ok(()));
    let mut told = String::new();
    clients[2].read_to_string(&mut told).unwrap();
    assert_eq!(told, "full");
    assert_eq!(fixture.kernel.shed(b"full"), Ok(()));
    assert_eq!(fixture.kernel.accept().map(drop), Err(Errno::OutOfDescriptors));
    // No edge tells of the last two, but they are there as soon as there is a descriptor.
    assert_eq!(fixture.wait(Duration::ZERO), [Event::Accept]);
    assert_eq!(fixture.wait(Duration::ZERO), []);
    for sock in held {
        fixture.kernel.close(sock);
    }
    let served = [fixture.kernel.accept().unwrap(), fixture.kernel.accept().unwrap()];
    fixture.send(&served[1], b"served", b"").unwrap();
    let mut answer = [0; 6];
    clients[5].read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"served");
    // Linux takes the descriptor before it looks whether anybody waits; the spare tells.
    assert_eq!(fixture.kernel.accept().map(drop), Err(Errno::OutOfDescriptors));
    assert_eq!(fixture.kernel.shed(b"full"), Err(Errno::Again));
}
