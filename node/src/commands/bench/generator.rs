//! The load: thousands of clients on one thread, in a process of its own.
//!
//! It does what it is told on its standard input and answers on its standard output, see
//! [`super::protocol`]. Between orders it goes on to be a good client: it reads, acknowledges and
//! sends heartbeats. Every delivery is checked; the first fault ends it.
//!
//! ```text
//!   epoll ─► Client (frames, rules of the SDK) ─► Chain (is it the right message?)
//!     ▲         ▲                            └──► Rounds (is the round over?)
//!     └─ Timers ┘                                    └─► publishes
//! ```

mod client;
mod rounds;
mod timers;

pub(super) use rounds::{FLOOR_ACK, FLOOR_WINDOW, floor_channel, publishers};

use super::protocol::{Load, Order, Plan, Reply, Tally, Turn};
use super::stopwatch::Stopwatch;
use client::{Client, Context};
use rounds::Rounds;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use timers::{Due, Timers};

/// Clients from one source address to one server: beyond 14,000 the kernel searches long for a
/// free port.
const CLIENTS_PER_SOURCE_MAX: usize = 14_000;

/// Source addresses, at least, so that no measurement depends on there being one.
const SOURCES_MIN: usize = 2;

/// Clients that open at a time; many more would overflow the server's backlog.
const OPENING_MAX: usize = 256;

/// Clients between two words of progress.
const PROGRESS_STEP: usize = 500;

/// Edges that one wait fetches.
const EVENTS_MAX: usize = 1024;

/// Bytes that one read takes.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Time for a server to take the acknowledgements at the end of a turn.
const SETTLE_MS: u64 = 5;

/// A round that gets no further for so long has lost deliveries.
const STALLED_MS: u64 = 20_000;

/// A long turn says so often that it goes on.
const ALIVE_MS: u64 = 5_000;

const STDIN: u64 = u64::MAX;

/// What the publishers of a load call themselves; a floor knows them by it.
pub(super) const PUBLISHER_AGENT: &str = concat!("multibeam-bench-publisher/", env!("CARGO_PKG_VERSION"));
const SUBSCRIBER_AGENT: &str = concat!("multibeam-bench/", env!("CARGO_PKG_VERSION"));

/// Runs until the standard input ends. A fault is the last thing that is said.
///
/// # Errors
/// Only what can't be said.
pub(super) fn generate() -> Result<(), String> {
    let result = Generator::start().and_then(|generator| match generator {
        Some(mut generator) => generator.run(),
        None => Ok(()),
    });
    match result {
        Ok(()) => Ok(()),
        Err(error) => say(&Reply::Failed(error)),
    }
}

fn say(reply: &Reply) -> Result<(), String> {
    let mut line = serde_json::to_string(reply).map_err(|error| error.to_string())?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("can't answer: {error}"))
}

/// The order that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    None,
    Connect {
        clients: usize,
    },
    Run,
    /// All was delivered and acknowledged; answers when the server has had time to see it.
    Settle {
        until_ms: u64,
    },
}

/// Whether a turn gets on.
#[derive(Clone, Copy, Debug, Default)]
struct Alive {
    deliveries: u64,
    at_ms: u64,
    said_ms: u64,
}

struct Generator {
    plan: Plan,
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// The first client that is not known to be ready.
    ready: usize,
    context: Context,
    task: Task,
    alive: Alive,
    scratch: Vec<u8>,
}

impl Generator {
    /// Reads the plan; `None`: there is none.
    fn start() -> Result<Option<Self>, String> {
        let Some(line) = next_line()? else { return Ok(None) };
        let plan: Plan = serde_json::from_slice(&line).map_err(|error| format!("a bad plan: {error}"))?;
        let system = |error: Errno| format!("can't start a generator: {}", std::io::Error::from(error));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        epoll::add(&epoll, std::io::stdin(), epoll::EventData::new_u64(STDIN), epoll::EventFlags::IN)
            .map_err(system)?;
        let context = Context {
            watch: Stopwatch::start(),
            now_ms: 0,
            is_drained: true,
            tally: Tally::default(),
            rounds: Rounds::new(&plan),
            timers: Timers::new(plan.seed, plan.load == Load::Idle),
        };
        let scratch = vec![0; SCRATCH_BYTES];
        let (clients, alive) = (Vec::new(), Alive::default());
        Ok(Some(Self { plan, epoll, clients, ready: 0, context, task: Task::None, alive, scratch }))
    }

    fn run(&mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), self.timeout().as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(format!("can't wait: {}", std::io::Error::from(error))),
            }
            self.context.now_ms = self.context.watch.now_ms();
            self.context.is_drained = events.len() < EVENTS_MAX;
            for event in events.drain(..) {
                // The struct is packed: copy, don't borrow.
                let (flags, data) = (event.flags, event.data);
                if data.u64() == STDIN {
                    let Some(line) = next_line()? else { return Ok(()) };
                    let order = serde_json::from_slice(&line);
                    self.obey(order.map_err(|error| format!("a bad order: {error}"))?)?;
                } else {
                    self.event(data.u64() as usize, flags)?;
                }
            }
            self.timers()?;
            self.advance()?;
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let task_ms = match self.task {
            Task::None | Task::Connect { .. } => None,
            Task::Run => Some(self.alive.said_ms + ALIVE_MS),
            Task::Settle { until_ms } => Some(until_ms),
        };
        let next_ms = self.context.timers.next_ms().into_iter().chain(task_ms).min()?;
        let left_ms = next_ms.saturating_sub(self.context.watch.now_ms());
        let (tv_sec, tv_nsec) = ((left_ms / 1000) as i64, (left_ms % 1000) as i64 * 1_000_000);
        Some(Timespec { tv_sec, tv_nsec })
    }

    fn obey(&mut self, order: Order) -> Result<(), String> {
        if self.task != Task::None {
            return Err("an order came before the last one was carried out".to_owned());
        }
        match order {
            Order::Connect { subscribers } => {
                self.context.rounds.grow(subscribers);
                let publishers =
                    if self.plan.load == Load::PingPong { 0 } else { publishers(self.plan.load) };
                self.task = Task::Connect { clients: publishers + subscribers };
            }
            Order::Run { rounds } => {
                self.context.tally = Tally::default();
                self.context.rounds.begin(rounds, &self.context.watch);
                let now_ms = self.context.watch.now_ms();
                self.alive = Alive { deliveries: 0, at_ms: now_ms, said_ms: now_ms };
                self.task = Task::Run;
            }
            Order::Count => say(&Reply::Counted(std::mem::take(&mut self.context.tally)))?,
            Order::Leave => {
                self.clients.clear();
                self.ready = 0;
                self.context.timers.clear();
                say(&Reply::Left)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, index: usize, flags: epoll::EventFlags) -> Result<(), String> {
        use epoll::EventFlags as Flags;
        // It may have left since the event was fetched.
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        let ended = flags.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR);
        let mut handle = || {
            if flags.intersects(Flags::OUT | Flags::ERR | Flags::HUP) {
                let publishes = index < publishers(self.plan.load);
                let agent = if publishes { PUBLISHER_AGENT } else { SUBSCRIBER_AGENT };
                client.writable(agent, &mut self.context)?;
            }
            if flags.contains(Flags::IN) || ended {
                client.readable(ended, &mut self.scratch, &mut self.context)?;
            }
            Ok(())
        };
        handle().map_err(|error: String| format!("client {index}: {error}"))
    }

    fn timers(&mut self) -> Result<(), String> {
        while let Some(due) = self.context.timers.pop(self.context.now_ms) {
            let (Due::Ack(index) | Due::Heartbeat(index)) = due;
            let client = &mut self.clients[index as usize];
            match due {
                Due::Ack(_) => client.ack_timer(&mut self.context),
                Due::Heartbeat(_) => client.heartbeat_timer(&mut self.context),
            }
            .map_err(|error| format!("client {index}: {error}"))?;
        }
        Ok(())
    }

    /// Goes on with the present order as far as it can.
    fn advance(&mut self) -> Result<(), String> {
        match self.task {
            Task::None => Ok(()),
            Task::Connect { clients } => self.connect(clients),
            Task::Run => self.turn(),
            Task::Settle { until_ms } if self.context.now_ms < until_ms => Ok(()),
            Task::Settle { .. } => {
                self.task = Task::None;
                let rounds = &mut self.context.rounds;
                say(&Reply::Ran(Turn {
                    tally: std::mem::take(&mut self.context.tally),
                    publishes: rounds.publishes,
                    wall_ns: rounds.wall_ns(),
                    round_trips_ns: std::mem::take(&mut rounds.round_trips_ns),
                }))
            }
        }
    }

    fn connect(&mut self, goal: usize) -> Result<(), String> {
        while self.clients.get(self.ready).is_some_and(Client::is_ready) {
            self.ready += 1;
            if self.ready.is_multiple_of(PROGRESS_STEP) {
                say(&Reply::Progress(self.ready))?;
            }
        }
        if self.ready == goal {
            self.context.rounds.check_room(&self.clients)?;
            self.task = Task::None;
            return say(&Reply::Connected);
        }
        let sources = goal.div_ceil(CLIENTS_PER_SOURCE_MAX).max(SOURCES_MIN);
        while self.clients.len() < goal.min(self.ready + OPENING_MAX) {
            self.open(sources)
                .map_err(|error| format!("client {}: can't connect: {error}", self.clients.len()))?;
        }
        Ok(())
    }

    fn open(&mut self, sources: usize) -> std::io::Result<()> {
        let index = self.clients.len();
        let server = self.plan.servers[index % self.plan.servers.len()];
        let topic = match self.plan.load {
            Load::PingPong => Some(0),
            Load::Fanout { .. } => (index > 0).then_some(0),
            Load::Unicast { .. } | Load::Idle => {
                index.checked_sub(publishers(self.plan.load)).map(|topic| topic as u64)
            }
        };
        let source = source(server, index % sources);
        let client = Client::connect(index as u32, server, source, topic)?;
        let edges =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, client.socket(), epoll::EventData::new_u64(index as u64), edges)?;
        self.clients.push(client);
        Ok(())
    }

    /// Begins the next round when the last one is over, and ends the turn behind the last.
    fn turn(&mut self) -> Result<(), String> {
        let publishers = publishers(self.plan.load);
        let answered = || self.clients[..publishers].iter().all(Client::is_answered);
        let is_node = self.plan.target == super::protocol::Target::Node;
        if !self.context.rounds.is_delivered() || (is_node && !answered()) {
            return self.stay_alive();
        }
        if Rounds::publish(&mut self.clients, &mut self.context)? {
            return Ok(());
        }
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.acknowledge(&mut self.context).map_err(|error| format!("client {index}: {error}"))?;
        }
        self.task = Task::Settle { until_ms: self.context.watch.now_ms() + SETTLE_MS };
        Ok(())
    }
}

impl Generator {
    fn stay_alive(&mut self) -> Result<(), String> {
        let (now_ms, deliveries) = (self.context.now_ms, self.context.tally.deliveries);
        let alive = &mut self.alive;
        if deliveries != alive.deliveries {
            (alive.deliveries, alive.at_ms) = (deliveries, now_ms);
        }
        if now_ms >= alive.at_ms + STALLED_MS {
            return Err(self.context.rounds.missing());
        }
        if now_ms >= alive.said_ms + ALIVE_MS {
            alive.said_ms = now_ms;
            say(&Reply::Progress(self.clients.len()))?;
        }
        Ok(())
    }
}

/// Where a client of a server on this machine comes from; `None`: the system chooses. Each process
/// has addresses of its own: the ports of an earlier crowd are blocked for a minute, and to find one
/// that is not takes the kernel longer the fewer there are.
fn source(server: SocketAddr, index: usize) -> Option<IpAddr> {
    let loopback = server.is_ipv4() && server.ip().is_loopback();
    // Address 1 is everybody's, and so is all of 127.0.
    let last = u8::try_from(index + 2).ok().filter(|_| loopback)?;
    let [.., high, low] = std::process::id().to_be_bytes();
    Some(Ipv4Addr::new(127, 1 + high % 254, low, last).into())
}

/// The next line of the standard input; `None` at its end. Blocks if there is none. Takes nothing
/// that lies behind it: what is left in the pipe is what wakes the loop.
fn next_line() -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(std::io::stdin(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => return Ok(Some(line)),
            Ok(_) => line.extend_from_slice(&byte),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("can't read orders: {}", std::io::Error::from(error))),
        }
    }
}
