//! The simulator's kernel keeps the contract of kernels: the model's sockets, filled and
//! drained through the simulated network.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam::event_loop::Loop;
use multibeam::platform::{Platform, ShardsSetup};
use multibeam_model::ModelKernel;
use multibeam_model::conformance::{self, Peer, Rig};
use multibeam_sim::plan::Plan;
use multibeam_sim::platform::{SimMail, SimPlatform};
use multibeam_sim::world::World;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::Sim;
use turmoil::net::TcpStream;

/// Bytes that a peer takes from the network before somebody asks for them.
const HELD_MAX: usize = 256;

thread_local! {
    /// The kernel that the platform has built. Its loop is left without one of its own.
    static KERNEL: RefCell<Option<ModelKernel>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Line {
    outgoing: VecDeque<u8>,
    incoming: VecDeque<u8>,
    ending: bool,
    resetting: bool,
    ended: bool,
}

type Lines = Rc<RefCell<Vec<Rc<RefCell<Line>>>>>;

struct SimRig {
    sim: Sim<'static>,
    kernel: ModelKernel,
    other: SimMail,
    world: Rc<World>,
    lines: Lines,
}

impl SimRig {
    fn new() -> Self {
        let world = World::new(plan(), false);
        let lines = Lines::default();
        let mail = Rc::new(RefCell::new(None));
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(1)
            .tick_duration(Duration::from_millis(1))
            .simulation_duration(Duration::from_secs(600));
        builder.tcp_capacity(64).max_message_latency(Duration::from_millis(2));
        let mut sim = builder.build();
        let (node, node_mail) = (Rc::clone(&world), Rc::clone(&mail));
        sim.host("node", move || {
            let (world, mail) = (Rc::clone(&node), Rc::clone(&node_mail));
            async move {
                let listen = "0.0.0.0:7400".parse()?;
                let setup = ShardsSetup { listen, shards: 1, ring_commands: 3, ring_replies: 3 };
                let started = SimPlatform::new(&world).start_shards(&setup, |_, kernel| idle(kernel)).await?;
                *mail.borrow_mut() = Some(started.mail);
                std::future::pending().await
            }
        });
        let peers = Rc::clone(&lines);
        sim.host("peers", move || peer_host(Rc::clone(&peers)));
        while mail.borrow().is_none() || KERNEL.with_borrow(Option::is_none) {
            sim.step().unwrap();
        }
        let other = mail.borrow_mut().take().unwrap();
        let kernel = KERNEL.take().unwrap();
        Self { sim, kernel, other, world, lines }
    }

    fn line(&self, peer: Peer) -> Rc<RefCell<Line>> {
        Rc::clone(&self.lines.borrow()[peer.0])
    }
}

fn plan() -> Plan {
    let mut plan = Plan::of(1);
    plan.kernel.clear();
    (plan.host.rx_bytes, plan.host.tx_bytes, plan.host.pump_bytes) = (300, 200, 64);
    (plan.host.backlog, plan.host.descriptors) = (64, 64);
    plan
}

/// Takes the kernel away and gives the driver a loop that has nothing to do.
fn idle(kernel: ModelKernel) -> Loop<ModelKernel> {
    KERNEL.set(Some(kernel));
    conformance::idle_loop()
}

/// Opens a connection for each line that appears.
async fn peer_host(lines: Lines) -> turmoil::Result {
    let mut opened = 0;
    loop {
        let fresh = lines.borrow().get(opened).cloned();
        match fresh {
            Some(line) => {
                opened += 1;
                tokio::task::spawn_local(play(line));
            }
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Moves the bytes of one line until it is reset.
async fn play(line: Rc<RefCell<Line>>) {
    let stream = TcpStream::connect(("node", 7400)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let reading = Rc::clone(&line);
    let reader = tokio::task::spawn_local(async move {
        let mut buffer = [0; 64];
        loop {
            let room = HELD_MAX - reading.borrow().incoming.len();
            if room == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            match read.read(&mut buffer[..room.min(64)]).await {
                Ok(0) | Err(_) => break,
                Ok(count) => reading.borrow_mut().incoming.extend(&buffer[..count]),
            }
        }
        reading.borrow_mut().ended = true;
    });
    let mut shut = false;
    loop {
        let chunk: Vec<u8> = {
            let mut line = line.borrow_mut();
            if line.resetting {
                break;
            }
            let count = line.outgoing.len().min(64);
            line.outgoing.drain(..count).collect()
        };
        if !chunk.is_empty() {
            let _ = write.write_all(&chunk).await;
            continue;
        }
        if line.borrow().ending && !shut {
            shut = true;
            let _ = write.shutdown().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    reader.abort();
}

impl Rig for SimRig {
    type Kernel = ModelKernel;
    type Other = SimMail;

    fn kernel(&mut self) -> &mut ModelKernel {
        &mut self.kernel
    }

    fn other(&mut self) -> &mut SimMail {
        &mut self.other
    }

    fn connect(&mut self) -> Peer {
        self.lines.borrow_mut().push(Rc::default());
        Peer(self.lines.borrow().len() - 1)
    }

    fn push(&mut self, peer: Peer, bytes: &[u8]) {
        self.line(peer).borrow_mut().outgoing.extend(bytes);
    }

    fn pull(&mut self, peer: Peer, max: usize) -> Vec<u8> {
        let line = self.line(peer);
        let mut line = line.borrow_mut();
        let count = max.min(line.incoming.len());
        line.incoming.drain(..count).collect()
    }

    fn end(&mut self, peer: Peer) {
        self.line(peer).borrow_mut().ending = true;
    }

    fn reset(&mut self, peer: Peer) {
        self.line(peer).borrow_mut().resetting = true;
    }

    fn saw_end(&mut self, peer: Peer) -> bool {
        let line = self.line(peer);
        let line = line.borrow();
        line.ended && line.incoming.is_empty()
    }

    fn wait(&mut self) {
        for _ in 0..3 {
            self.sim.step().unwrap();
        }
    }

    fn woken(&mut self) -> bool {
        let run = self.world.node_run().unwrap();
        let post = run.post.borrow();
        post.as_ref().unwrap().borrow().rung(0)
    }
}

#[test]
fn the_simulated_kernel_conforms() {
    conformance::all(SimRig::new);
}
