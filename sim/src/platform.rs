//! The world as a simulated node sees it: [`multibeam::platform::Platform`] over the kernel
//! model and the simulated network.
//!
//! ```text
//!   simulated TCP ──► in-pump ──► model socket ──► event loop (one task a shard)
//!                 ◄── out-pump ◄──                      │
//!                                                model mail between shards
//! ```
//!
//! Every stage holds a bounded number of bytes, or back-pressure would never be felt.

mod admin;
mod disk;
mod driver;
mod links;
mod mail;
mod pumps;

pub use admin::SimAdminListener;
pub use disk::{OpenDisk, SimDisk};
pub use links::{Pause, SimLink, SimLinkListener};
pub use mail::SimMail;

use crate::peers::Peers;
use crate::random::Random;
use crate::world::World;
use multibeam::event_loop::Loop;
use multibeam::lease::LeaseCell;
use multibeam::platform::{Platform, ShardsSetup, Started};
use multibeam_model::core::Time;
use multibeam_model::post::{ModelMail, Post};
use multibeam_model::sockets::{Caps, Sockets};
use multibeam_model::{Fault, ModelIo, ModelKernel, Seeded};
use rustls::time_provider::TimeProvider;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// One start of the node, and what can be seen of it from outside.
pub struct NodeRun {
    /// Its number, from 0.
    pub index: usize,
    /// What the kernel model does.
    pub chooser: Rc<RefCell<Seeded>>,
    /// The mail between its threads, once it has started.
    pub post: RefCell<Option<Rc<RefCell<Post>>>>,
    /// The sockets of each shard.
    pub sockets: RefCell<Vec<Rc<RefCell<Sockets>>>>,
    /// The numbers of each shard at its last turn.
    pub stats: RefCell<Vec<Vec<u64>>>,
    /// Its lease, once it serves.
    pub lease: RefCell<Option<LeaseCell>>,
    /// What passes its connections.
    pub peers: RefCell<Peers>,
    /// Bytes given to the network, by connection in the order of their arrival.
    pub pumped: RefCell<BTreeMap<u64, u64>>,
    /// Asks it to stop.
    pub stop: Notify,
    /// It was asked to stop, or something happened that may end it.
    pub may_end: Cell<bool>,
    /// It has ended by itself.
    pub ended: Cell<bool>,
    /// It serves.
    pub ready: Cell<bool>,
    /// Its host was killed.
    pub killed: Cell<bool>,
    /// Stops its process for a while.
    pub pause: Pause,
}

impl NodeRun {
    /// It serves, under a lease that stands there.
    pub fn serves(&self, lease: LeaseCell) {
        self.ready.set(true);
        *self.lease.borrow_mut() = Some(lease);
    }
}

/// The node's side of a [`World`].
#[derive(Clone)]
pub struct SimPlatform {
    world: Rc<World>,
    run: Rc<NodeRun>,
    random: Rc<RefCell<Random>>,
}

impl SimPlatform {
    /// The platform of the node's next start.
    #[must_use]
    pub fn new(world: &Rc<World>) -> Self {
        let index = world.node_runs.borrow().len();
        let seed = world.plan.seed;
        let mut chooser = Seeded::new(crate::random::derive(seed, &format!("kernel {index}")));
        if world.phase.get() == crate::world::Phase::Faults {
            for &fault in Fault::ALL {
                chooser.chance(fault, world.plan.kernel_chance(fault));
            }
        }
        let run = Rc::new(NodeRun {
            index,
            chooser: Rc::new(RefCell::new(chooser)),
            post: RefCell::default(),
            sockets: RefCell::default(),
            stats: RefCell::default(),
            lease: RefCell::default(),
            peers: RefCell::default(),
            pumped: RefCell::default(),
            stop: Notify::new(),
            may_end: Cell::new(false),
            ended: Cell::new(false),
            ready: Cell::new(false),
            killed: Cell::new(false),
            pause: Pause::default(),
        });
        world.node_runs.borrow_mut().push(Rc::clone(&run));
        let random = Rc::new(RefCell::new(Random::new(seed, &format!("platform {index}"))));
        Self { world: Rc::clone(world), run, random }
    }

    /// This start of the node.
    #[must_use]
    pub fn node_run(&self) -> &Rc<NodeRun> {
        &self.run
    }

    /// How long the world takes for what the node's clock shows as `duration`.
    fn on_its_clock(&self, duration: Duration) -> Duration {
        let rate = self.world.plan.host.clock_rate_ppm;
        Duration::from_micros((duration.as_micros() * 1_000_000 / u128::from(rate)) as u64)
    }

    fn link_world(&self) -> links::LinkWorld {
        links::LinkWorld {
            piece: self.world.plan.host.link_bytes,
            refusal: Duration::from_millis(self.world.plan.network.refusal_ms),
            pause: self.run.pause.clone(),
        }
    }

    /// Whether the node holds its lease; nobody asks before it serves.
    fn is_led(&self) -> bool {
        self.run.lease.borrow().as_ref().is_none_or(|lease| lease.holds(self.now()))
    }

    fn child(&self, purpose: &str) -> Random {
        let seed = self.random.borrow_mut().number();
        Random::new(seed, purpose)
    }
}

impl Platform for SimPlatform {
    type Kernel = ModelKernel;
    type RuntimeMail = SimMail;
    type Ended = Pin<Box<dyn Future<Output = Result<(), String>>>>;
    type Disk = OpenDisk;
    type LinkStream = SimLink;
    type LinkListener = SimLinkListener;
    type AdminListener = SimAdminListener;

    fn now(&self) -> Time {
        let host = &self.world.plan.host;
        host.clock(self.world.time_us())
    }

    fn wall_ms(&self) -> u64 {
        turmoil::since_epoch().map_or(0, |time| time.as_millis() as u64)
    }

    fn entropy(&self, out: &mut [u8]) {
        self.random.borrow_mut().fill(out);
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.on_its_clock(duration)).await;
        self.run.pause.over().await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn read_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.world.files.borrow().get(name).cloned())
    }

    fn write_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let fails = self.world.phase.get() == crate::world::Phase::Faults
            && self.random.borrow_mut().chance(self.world.plan.host.write_fails_percent);
        if !fails || self.random.borrow_mut().chance(50) {
            self.world.files.borrow_mut().insert(name.to_owned(), content.to_vec());
        }
        if fails {
            self.run.may_end.set(true);
            return Err(io::Error::other(format!("can't write {name}: the simulated disk failed")));
        }
        Ok(())
    }

    fn open_disk(&self, name: &str) -> io::Result<OpenDisk> {
        Ok(self.world.disk(name).open())
    }

    fn certificate_clock(&self) -> Arc<dyn TimeProvider> {
        Arc::new(links::WallClock)
    }

    async fn bind_links(&self, address: SocketAddr) -> io::Result<SimLinkListener> {
        SimLinkListener::bind(address, self.link_world(), self.child("links")).await
    }

    async fn dial(&self, address: &str) -> io::Result<SimLink> {
        links::dial(address, self.link_world(), self.child("dialled link")).await
    }

    async fn bind_admin(&self, address: SocketAddr) -> io::Result<SimAdminListener> {
        SimAdminListener::bind(address).await
    }

    async fn start_shards<F>(&self, setup: &ShardsSetup, make: F) -> io::Result<Started<SimMail, Self::Ended>>
    where
        F: Fn(usize, ModelKernel) -> Loop<ModelKernel> + Clone + Send + 'static,
    {
        let listener = turmoil::net::TcpListener::bind(setup.listen).await?;
        let listening = listener.local_addr()?;
        let chooser = Rc::clone(&self.run.chooser);
        let post = Post::new(setup.shards + 1, setup.ring_commands, setup.ring_replies, chooser);
        *self.run.post.borrow_mut() = Some(Rc::clone(&post));
        let knobs = &self.world.plan.host;
        let caps = Caps {
            rx_bytes: knobs.rx_bytes,
            tx_bytes: knobs.tx_bytes,
            backlog: knobs.backlog,
            descriptors: knobs.descriptors,
        };
        let (ended, mut all_ended) = mpsc::unbounded_channel();
        for index in 0..setup.shards {
            let sockets = Rc::new(RefCell::new(Sockets::new(caps, self.run.chooser.clone())));
            let wake = Rc::new(Notify::new());
            let ring = Rc::clone(&wake);
            post.borrow_mut().on_ring(index, move || ring.notify_one());
            let edge = Rc::clone(&wake);
            sockets.borrow_mut().on_edge(move || edge.notify_one());
            let kernel =
                ModelKernel::new(ModelIo::new(Rc::clone(&sockets)), ModelMail::new(Rc::clone(&post), index));
            self.run.sockets.borrow_mut().push(sockets);
            self.run.stats.borrow_mut().push(Vec::new());
            let driver = driver::Driver {
                platform: self.clone(),
                index,
                wake,
                post: Rc::clone(&post),
                random: self.child("driver"),
            };
            let (make, ended) = (make.clone(), ended.clone());
            tokio::task::spawn_local(async move {
                driver.drive(make(index, kernel)).await;
                let _ = ended.send(());
            });
        }
        let acceptor = pumps::Acceptor {
            world: Rc::clone(&self.world),
            run: Rc::clone(&self.run),
            random: self.child("accept"),
        };
        tokio::task::spawn_local(acceptor.accept(listener));
        let shards = setup.shards;
        let ended: Self::Ended = Box::pin(async move {
            for _ in 0..shards {
                all_ended.recv().await.ok_or("a shard vanished")?;
            }
            Ok(())
        });
        Ok(Started { listening, mail: SimMail::new(&post, setup.shards), ended })
    }

    fn shutdown(&self) -> impl Future<Output = ()> {
        let run = Rc::clone(&self.run);
        async move { run.stop.notified().await }
    }
}
