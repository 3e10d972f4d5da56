//! Epoll keeps the contract of kernels, with real sockets and real rings.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam::epoll::{DescriptorGate, EpollIo, EpollKernel, ShardSockets, listen_shards};
use multibeam::os::{RingMail, mailboxes};
use multibeam_model::conformance::{self, Peer, Rig};
use rustix::net::sockopt::set_socket_linger;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

struct Socket {
    stream: Option<TcpStream>,
    outgoing: VecDeque<u8>,
    ending: bool,
    ended: bool,
}

struct EpollRig {
    kernel: EpollKernel<RingMail>,
    other: RingMail,
    address: SocketAddr,
    peers: Vec<Socket>,
}

impl EpollRig {
    fn new() -> Self {
        let (address, mut listeners) = listen_shards("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let sockets = ShardSockets::open(listeners.pop().unwrap(), DescriptorGate::default()).unwrap();
        let (mut mails, other) = mailboxes(vec![sockets.doorbell()], 3, 3);
        let kernel = EpollKernel::new(EpollIo::new(sockets), mails.pop().unwrap());
        Self { kernel, other, address, peers: Vec::new() }
    }
}

impl Rig for EpollRig {
    type Kernel = EpollKernel<RingMail>;
    type Other = RingMail;

    fn kernel(&mut self) -> &mut Self::Kernel {
        &mut self.kernel
    }

    fn other(&mut self) -> &mut RingMail {
        &mut self.other
    }

    fn connect(&mut self) -> Peer {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        self.peers.push(Socket {
            stream: Some(stream),
            outgoing: VecDeque::new(),
            ending: false,
            ended: false,
        });
        Peer(self.peers.len() - 1)
    }

    fn push(&mut self, peer: Peer, bytes: &[u8]) {
        self.peers[peer.0].outgoing.extend(bytes);
    }

    fn pull(&mut self, peer: Peer, max: usize) -> Vec<u8> {
        let socket = &mut self.peers[peer.0];
        let mut bytes = vec![0; max];
        let Some(stream) = &mut socket.stream else { return Vec::new() };
        match stream.read(&mut bytes) {
            Ok(0) => socket.ended |= max > 0,
            Ok(count) => return bytes[..count].to_vec(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => socket.ended = true,
        }
        Vec::new()
    }

    fn end(&mut self, peer: Peer) {
        self.peers[peer.0].ending = true;
    }

    fn reset(&mut self, peer: Peer) {
        let stream = self.peers[peer.0].stream.take().unwrap();
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }

    fn saw_end(&mut self, peer: Peer) -> bool {
        self.peers[peer.0].ended
    }

    fn wait(&mut self) {
        for socket in &mut self.peers {
            let Some(stream) = &mut socket.stream else { continue };
            if let Ok(count) = stream.write(socket.outgoing.make_contiguous()) {
                socket.outgoing.drain(..count);
            }
            if socket.ending && socket.outgoing.is_empty() {
                socket.ending = false;
                stream.shutdown(Shutdown::Write).unwrap();
            }
        }
        self.kernel.wait(Some(Duration::from_millis(2))).unwrap();
    }

    fn woken(&mut self) -> bool {
        false
    }
}

#[test]
fn epoll_conforms() {
    conformance::all(EpollRig::new);
}
