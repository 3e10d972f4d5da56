//! Sockets in buffers of a fixed size, with a client's side, under real loops: what these allocate while
//! they turn is theirs, for nothing here does.
//!
//! Allocations and live bytes are counted around [`Loop::turn`] and [`Loop::release`] alone.

#![allow(dead_code, reason = "each test uses a part of it")]

use multibeam::epoll::Doorbell;
use multibeam::event_loop::{Loop, LoopLimits, Next};
use multibeam::kernel::{Errno, Event, Io, Joined, Read, Send, Token};
use multibeam::lease::LeaseCell;
use multibeam::metrics::ShardMetrics;
use multibeam::os::{RingMail, mailboxes};
use multibeam_proto::{Shard, ShardConfig, ShardId, ShardSetup, Stat, Time};
use multibeam_wire::{
    Direction, Features, Frame, Generation, Hello, Inbound, Payload, ProducerId, Publish, Seq, Start,
    Subscribe, SubscriptionId, WindowUnit,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// One socket.
struct Wire {
    token: Option<Token>,
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
    /// Bytes that it takes before it says `Again`.
    room: usize,
}

/// All sockets of one shard.
struct Wires {
    wires: Vec<Wire>,
    waiting: VecDeque<u32>,
    edges: Vec<Event>,
}

impl Wires {
    fn edge(&mut self, wire: u32, readable: bool, writable: bool) {
        let token = self.wires[wire as usize].token.expect("registered");
        self.edges.push(Event::Socket { token, readable, writable, ended: false });
    }
}

pub(crate) struct WiresIo(Rc<RefCell<Wires>>);

/// The node's handle of a socket, as large as a descriptor.
pub(crate) struct Sock(u32);

impl Io for WiresIo {
    type Sock = Sock;

    fn events(&mut self, out: &mut Vec<Event>) {
        out.append(&mut self.0.borrow_mut().edges);
    }

    fn accept(&mut self) -> Result<Sock, Errno> {
        self.0.borrow_mut().waiting.pop_front().map(Sock).ok_or(Errno::Again)
    }

    fn shed(&mut self, _: &[u8]) -> Result<(), Errno> {
        unreachable!("there are descriptors enough")
    }

    fn register(&mut self, sock: &Sock, token: Token) -> Result<(), Errno> {
        let mut wires = self.0.borrow_mut();
        wires.wires[sock.0 as usize].token = Some(token);
        wires.edge(sock.0, true, true);
        Ok(())
    }

    fn read(&mut self, sock: &Sock, buf: &mut [u8]) -> Result<Read, Errno> {
        let wire = &mut self.0.borrow_mut().wires[sock.0 as usize];
        let rest = &wire.input[wire.read..];
        let count = rest.len().min(buf.len());
        if count == 0 {
            return Err(Errno::Again);
        }
        buf[..count].copy_from_slice(&rest[..count]);
        wire.read += count;
        Ok(Read { bytes: count, drained: count < buf.len() })
    }

    fn send(&mut self, batch: &mut [Send<'_, Sock>]) {
        let mut wires = self.0.borrow_mut();
        for send in batch {
            let wire = &mut wires.wires[send.sock.0 as usize];
            if wire.room == 0 {
                send.done = Some(Err(Errno::Again));
                continue;
            }
            let mut taken = 0;
            for buf in &send.bufs {
                let count = buf.len().min(wire.room - taken);
                assert!(wire.output.len() + count <= wire.output.capacity(), "the buffer would grow");
                wire.output.extend_from_slice(&buf[..count]);
                taken += count;
            }
            if wire.room != usize::MAX {
                wire.room -= taken;
            }
            send.done = Some(Ok(taken));
        }
    }

    fn shutdown(&mut self, _: &Sock) {}

    fn close(&mut self, sock: Sock) {
        panic!("connection {} was closed", sock.0);
    }

    fn stop_listening(&mut self) {}
}

struct Thread {
    turning: Loop<Joined<WiresIo, RingMail>>,
    wires: Rc<RefCell<Wires>>,
}

/// The shards of a node, turned one after the other, with the mail of the real node between them.
pub(crate) struct Node {
    threads: Vec<Thread>,
    _runtime: RingMail,
    pub(crate) now: Time,
    /// Counted since [`Node::forget_counts`], while the shards turned.
    pub(crate) allocations: u64,
    pub(crate) live_bytes: i64,
}

impl Node {
    pub(crate) fn new(shards: u16, config: &ShardConfig) -> Self {
        let doorbells = (0..shards).map(|_| Doorbell::new().unwrap()).collect();
        let (mail, runtime) = mailboxes(doorbells, 256, config.ring_replies);
        let thread = |(id, mail)| {
            let setup = ShardSetup { id: ShardId(id), shards, generation: Generation(1), seed: 1 };
            let wires = Wires { wires: Vec::new(), waiting: VecDeque::new(), edges: Vec::new() };
            let wires = Rc::new(RefCell::new(wires));
            let kernel = Joined::new(WiresIo(Rc::clone(&wires)), mail);
            let shard = Shard::new(config.clone(), setup);
            Thread {
                turning: Loop::new(
                    kernel,
                    shard,
                    LoopLimits::default(),
                    ShardMetrics::new(),
                    LeaseCell::unlimited(),
                ),
                wires,
            }
        };
        let threads = (0..shards).zip(mail).map(thread).collect();
        Self { threads, _runtime: runtime, now: Time(1_000_000), allocations: 0, live_bytes: 0 }
    }

    /// Turns until no shard has anything to do.
    pub(crate) fn run(&mut self) {
        let mut asleep = 0;
        // One pass in which all sleep may have left mail for who slept first.
        while asleep < 2 {
            let mut all_sleep = true;
            for thread in &mut self.threads {
                let now = self.now;
                let counted = allocation_counter::measure(|| {
                    thread.turning.turn(now);
                    all_sleep &= matches!(thread.turning.release(now), Next::Sleep(_));
                });
                self.allocations += counted.count_total;
                self.live_bytes += counted.bytes_current;
            }
            asleep = if all_sleep { asleep + 1 } else { 0 };
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub(crate) fn forget_counts(&mut self) {
        (self.allocations, self.live_bytes) = (0, 0);
    }

    pub(crate) fn stat(&mut self, stat: Stat) -> u64 {
        self.threads.iter_mut().map(|thread| thread.turning.stats().load(stat)).sum()
    }

    /// Everything that must hold between turns.
    pub(crate) fn check(&self) {
        self.threads.iter().for_each(|thread| thread.turning.check());
    }

    /// A client of `shard` past its HELLO, whose socket keeps so many bytes each way.
    pub(crate) fn client(&mut self, shard: usize, features: Features, socket_bytes: usize) -> Client {
        let wire = self.connect(shard, socket_bytes);
        let mut client = Client {
            shard,
            wire,
            inbound: Inbound::new(Direction::ToClient),
            seq: Seq(0),
            ack: Seq(0),
            deliveries: 0,
            gaps: 0,
        };
        let hello = Hello {
            features,
            window_unit_log2: u64::from(WindowUnit::SMALLEST.log2()),
            producer: ProducerId(u128::from(wire) << 8 | shard as u128 | 1 << 64),
            agent: "test",
            system_after: None,
        };
        client.say(self, &Payload::Hello(hello));
        self.run();
        client.hear(self);
        client
    }

    fn connect(&mut self, shard: usize, socket_bytes: usize) -> u32 {
        let mut wires = self.threads[shard].wires.borrow_mut();
        let number = wires.wires.len() as u32;
        wires.wires.push(Wire {
            token: None,
            input: Vec::with_capacity(socket_bytes),
            read: 0,
            output: Vec::with_capacity(socket_bytes),
            room: usize::MAX,
        });
        let sockets = wires.wires.len();
        // An edge each for what is read and what is written.
        wires.edges.reserve(2 * sockets + 1);
        wires.waiting.push_back(number);
        wires.edges.push(Event::Accept);
        drop(wires);
        self.run();
        number
    }
}

/// The far end of one socket.
pub(crate) struct Client {
    shard: usize,
    wire: u32,
    inbound: Inbound,
    seq: Seq,
    /// The last sequenced frame heard; what its frames acknowledge.
    ack: Seq,
    pub(crate) deliveries: u64,
    pub(crate) gaps: u64,
}

impl Client {
    /// Puts a frame into the socket; the node reads it when it runs.
    pub(crate) fn say(&mut self, node: &mut Node, payload: &Payload<'_>) {
        if payload.frame_type().sequenced() {
            self.seq = self.seq.next();
        }
        let mut wires = node.threads[self.shard].wires.borrow_mut();
        let wire = &mut wires.wires[self.wire as usize];
        if wire.read == wire.input.len() {
            wire.input.clear();
            wire.read = 0;
        }
        payload.encode(self.seq, self.ack, u16::MAX, &mut wire.input);
        if wire.token.is_some() {
            wires.edge(self.wire, true, false);
        }
    }

    pub(crate) fn publish(&mut self, node: &mut Node, number: u64, topic: &str, body: &[u8]) {
        self.say(node, &Payload::Publish(Publish::new(number, topic, body)));
    }

    pub(crate) fn subscribe(&mut self, node: &mut Node, number: u32, topic: &str) {
        let subscription = SubscriptionId(number);
        self.say(node, &Payload::Subscribe(Subscribe { subscription, topic, start: Start::New }));
        node.run();
        self.hear(node);
    }

    /// Takes what has come.
    pub(crate) fn hear(&mut self, node: &mut Node) {
        let mut wires = node.threads[self.shard].wires.borrow_mut();
        let wire = &mut wires.wires[self.wire as usize];
        self.inbound.push(&wire.output);
        wire.output.clear();
        while let Some(Frame { header, payload }) = self.inbound.next_frame().unwrap() {
            self.ack = header.seq;
            match payload {
                Payload::Welcome(welcome) if welcome.features.has(Features::COMPACT) => {
                    self.inbound.agree_compact();
                }
                Payload::Delivery(_) => self.deliveries += 1,
                Payload::Gap(_) => self.gaps += 1,
                Payload::Error(refusal) => panic!("{refusal:?}"),
                Payload::Bye(bye) => panic!("{bye:?}"),
                Payload::Welcome(_)
                | Payload::Publish(_)
                | Payload::Heartbeat
                | Payload::Ack(_)
                | Payload::WindowUpdate
                | Payload::Hello(_)
                | Payload::Subscribe(_)
                | Payload::Subscribed(_)
                | Payload::Unsubscribe(_)
                | Payload::GoAway(_)
                | Payload::Reject(_) => {}
            }
        }
    }

    /// The last frame that came and is whole is handled.
    pub(crate) fn acknowledge(&mut self, node: &mut Node) {
        self.say(node, &Payload::ACK);
    }

    /// From here on the socket takes so many bytes and no more.
    pub(crate) fn take(&self, node: &mut Node, room: usize) {
        let mut wires = node.threads[self.shard].wires.borrow_mut();
        let wire = &mut wires.wires[self.wire as usize];
        let was = std::mem::replace(&mut wire.room, room);
        if was == 0 && room > 0 {
            wires.edge(self.wire, false, true);
        }
    }

    /// Bytes that have come and were not taken.
    pub(crate) fn unread(&self, node: &Node) -> usize {
        node.threads[self.shard].wires.borrow().wires[self.wire as usize].output.len()
    }
}
