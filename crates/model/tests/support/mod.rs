//! A node of one shard, driven by hand.

#![allow(dead_code, reason = "each test file uses a part of it")]

use multibeam::event_loop::{Loop, LoopLimits, Next};
use multibeam::kernel::Mail;
use multibeam::lease::LeaseCell;
use multibeam::metrics::ShardMetrics;
use multibeam_model::invariants::check_sleep;
use multibeam_model::post::{ModelMail, Post};
use multibeam_model::sockets::{Caps, SocketId, Sockets};
use multibeam_model::{Benign, Chooser, ModelIo, ModelKernel};
use multibeam_proto::{Command, Shard, ShardConfig, ShardId, ShardSetup, Stat, Time};
use multibeam_wire::{
    Direction, Features, Generation, Hello, Inbound, Payload, ProducerId, Publish, Seq, Start, Subscribe,
    SubscriptionId, WindowUnit,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub(crate) struct Node {
    shard: Loop<ModelKernel>,
    pub(crate) sockets: Rc<RefCell<Sockets>>,
    runtime: ModelMail,
    pub(crate) lease: LeaseCell,
    pub(crate) now: Time,
    pub(crate) done: bool,
    /// Runs between the halves of each turn.
    pub(crate) between_halves: Option<Box<dyn Fn()>>,
}

impl Node {
    pub(crate) fn new(config: ShardConfig, limits: LoopLimits, caps: Caps) -> Self {
        Self::beside(0, config, limits, caps)
    }

    /// A node of which the other `idle` shards never turn.
    pub(crate) fn beside(idle: u16, config: ShardConfig, limits: LoopLimits, caps: Caps) -> Self {
        let shards = 1 + idle;
        let chooser: Rc<RefCell<dyn Chooser>> = Rc::new(RefCell::new(Benign));
        let post = Post::new(usize::from(shards) + 1, 8, 8, Rc::clone(&chooser));
        let sockets = Rc::new(RefCell::new(Sockets::new(caps, chooser)));
        let kernel = ModelKernel::new(ModelIo::new(Rc::clone(&sockets)), ModelMail::new(Rc::clone(&post), 0));
        let setup = ShardSetup { id: ShardId(0), shards, generation: Generation(3), seed: 1 };
        let lease = LeaseCell::unlimited();
        let shard = Loop::new(kernel, Shard::new(config, setup), limits, ShardMetrics::new(), lease.clone());
        let runtime = ModelMail::new(post, usize::from(shards));
        Self { shard, sockets, runtime, lease, now: Time(1_000_000), done: false, between_halves: None }
    }

    /// Turns until the shard sleeps; checks that it may.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            self.shard.turn(self.now);
            if let Some(act) = &self.between_halves {
                act();
            }
            match self.shard.release(self.now) {
                Next::Again => {}
                Next::Sleep(until) => {
                    check_sleep(&mut self.shard, 0, until).unwrap();
                    if !self.sockets.borrow().has_edges() {
                        return;
                    }
                }
                Next::Done => {
                    self.done = true;
                    return;
                }
            }
        }
        panic!("the shard never sleeps");
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        // In steps, as a driver would wake up in time.
        let until = self.now + time;
        while self.now < until {
            self.now = (self.now + Duration::from_millis(20)).min(until);
            self.run();
        }
    }

    pub(crate) fn connect(&mut self) -> Peer {
        let socket = self.sockets.borrow_mut().connect().expect("refused");
        self.run();
        Peer {
            socket,
            inbound: Inbound::new(Direction::ToClient),
            seq: Seq(0),
            ack: Seq(0),
            acked: Seq(0),
            window: 4096,
        }
    }

    /// A client past its HELLO.
    pub(crate) fn client(&mut self) -> Peer {
        let mut peer = self.connect();
        peer.say(self, &hello());
        assert!(peer.hear(self).iter().any(|frame| frame.starts_with("Welcome")));
        peer
    }

    /// The mail of another thread, to play it by hand.
    pub(crate) fn mail_of(&self, thread: usize) -> ModelMail {
        ModelMail::new(Rc::clone(self.runtime.post()), thread)
    }

    /// A command of the runtime.
    pub(crate) fn command(&mut self, command: Command) {
        self.runtime.push(0, command);
        self.runtime.flush();
        self.runtime.arm();
        self.run();
    }

    pub(crate) fn stop(&mut self) {
        self.runtime.push(0, Command::Stop);
        self.runtime.flush();
        self.runtime.arm();
        self.run();
    }

    pub(crate) fn stat(&mut self, stat: Stat) -> u64 {
        self.shard.stats().load(stat)
    }
}

pub(crate) struct Peer {
    pub(crate) socket: SocketId,
    inbound: Inbound,
    pub(crate) seq: Seq,
    /// What its frames acknowledge.
    pub(crate) ack: Seq,
    /// What the node's frames have acknowledged.
    pub(crate) acked: Seq,
    pub(crate) window: u16,
}

impl Peer {
    /// Sends raw bytes.
    pub(crate) fn rave(&mut self, node: &mut Node, bytes: &[u8]) {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += node.sockets.borrow_mut().push(self.socket, &bytes[sent..]);
            node.run();
        }
    }

    /// Sends a frame by the rules of numbering.
    pub(crate) fn say(&mut self, node: &mut Node, payload: &Payload<'_>) {
        if payload.frame_type().sequenced() {
            self.seq = self.seq.next();
        }
        let mut bytes = Vec::new();
        payload.encode(self.seq, self.ack, self.window, &mut bytes);
        self.rave(node, &bytes);
    }

    /// The frames that have come, as text.
    pub(crate) fn hear(&mut self, node: &mut Node) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            node.run();
            let bytes = node.sockets.borrow_mut().pull(self.socket, usize::MAX);
            if bytes.is_empty() {
                return heard;
            }
            self.inbound.push(&bytes);
            while let Some(frame) = self.inbound.next_frame().unwrap() {
                let compact = matches!(frame.payload, Payload::Welcome(welcome) if welcome.features.has(Features::COMPACT));
                // What every session is told.
                if let Payload::Subscribed(subscribed) = frame.payload
                    && subscribed.subscription == SubscriptionId::SYSTEM
                {
                    continue;
                }
                self.acked = frame.header.ack_seq;
                heard.push(format!("{:?}", frame.payload));
                if compact {
                    self.inbound.agree_compact();
                }
            }
        }
    }

    /// The code of the BYE that has come, if one has.
    pub(crate) fn bye(&mut self, node: &mut Node) -> Option<u16> {
        let heard = self.hear(node);
        let last = heard.last()?;
        let code = last.strip_prefix("Bye(Bye { code: ")?.split(',').next()?;
        code.parse().ok()
    }

    pub(crate) fn ended(&self, node: &Node) -> bool {
        node.sockets.borrow().ended(self.socket)
    }
}

pub(crate) fn hello() -> Payload<'static> {
    let unit = u64::from(WindowUnit::SMALLEST.log2());
    Payload::Hello(Hello {
        features: multibeam_wire::Features::NONE,
        window_unit_log2: unit,
        producer: ProducerId(9),
        agent: "test",
        system_after: None,
    })
}

pub(crate) fn publish<'a>(number: u64, topic: &'a str, body: &'a [u8]) -> Payload<'a> {
    Payload::Publish(Publish::new(number, topic, body))
}

pub(crate) fn subscribe<'a>(subscription: u32, topic: &'a str, start: Start<'a>) -> Payload<'a> {
    Payload::Subscribe(Subscribe { subscription: SubscriptionId(subscription), topic, start })
}
