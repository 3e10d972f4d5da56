//! What the hosts of one run share behind the network's back: the trace, the history, what
//! survives a crash, and how far the run has come.

use crate::history::{End, Entry, Failure, History, Places, PublishId, What};
use crate::lines::Lines;
use crate::plan::{FaultEvent, Plan};
use crate::platform::{NodeRun, SimDisk};
use crate::random::Random;
use crate::trace::Trace;
use crate::workload::connector::{Kill, Streams};
use crate::workload::restart::Restart;
use multibeam_client::{MemoryCursorStore, PublishError, Published};
use multibeam_wire::Position;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Faults happen.
    Faults,
    /// Faults are over; everybody must get something fresh.
    Healing,
    /// Publishers have stopped; every publish must end.
    Draining,
    /// The last message of each topic is out; everybody must get it.
    Settling,
    /// Done.
    Over,
}

/// A subscription over all processes of its client.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    /// Index of the subscriber.
    pub subscriber: usize,
    /// Index of the subscription among the subscriber's.
    pub index: usize,
    /// Topics that it is to get.
    pub wants: Vec<usize>,
    /// The last positions that the application has done with: there the next process goes on.
    pub cursor: Option<Places>,
    /// The last positions in hand.
    pub seen: Places,
    /// It got a message that was published after the faults.
    pub fresh: bool,
    /// Topics whose last message it got.
    pub settled: BTreeSet<usize>,
    /// Another one has taken its place.
    pub over: bool,
}

/// The last message of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Last {
    /// Which, as far as is known.
    pub publish: Option<PublishId>,
    /// Its partition and position.
    pub place: Option<(u32, Position)>,
}

/// One run's shared state. Everything is on one thread.
pub struct World {
    /// The plan.
    pub plan: Rc<Plan>,
    /// The trace.
    pub trace: RefCell<Trace>,
    /// The history.
    pub history: RefCell<History>,
    /// Broken promises found on the way.
    pub failures: RefCell<Vec<Failure>>,
    /// The node's durable files.
    pub files: RefCell<BTreeMap<String, Vec<u8>>>,
    /// The node's durable files of random access.
    pub disks: RefCell<BTreeMap<String, SimDisk>>,
    /// Each start of the node.
    pub node_runs: RefCell<Vec<Rc<NodeRun>>>,
    /// How far the run has come.
    pub phase: Cell<Phase>,
    /// Connections to the node, by the client's host.
    pub streams: RefCell<BTreeMap<IpAddr, usize>>,
    /// Subscriptions.
    pub followers: RefCell<Vec<Follower>>,
    /// Until when subscribers do not read, in simulated microseconds.
    pub slow_until_us: RefCell<Vec<u64>>,
    /// What passes the clients' connections.
    pub lines: Lines,
    /// Until when publishers do not pause, in simulated microseconds.
    pub flood_until_us: RefCell<Vec<u64>>,
    /// Until when nothing is published to topics that must not overrun anybody.
    pub calm_until_us: RefCell<Vec<u64>>,
    /// Begins a subscriber's application anew.
    pub restarts: Vec<Restart>,
    /// Breaks the connection of a client: publishers, then subscribers.
    pub kills: Vec<Kill>,
    /// Connections of the process that lives on each client host.
    pub streams_of: RefCell<Vec<Streams>>,
    /// Processes started on each client host.
    pub processes: RefCell<Vec<usize>>,
    /// Publishes without an end, of processes that live.
    pub open: RefCell<BTreeSet<PublishId>>,
    /// Publishes that were invoked after the faults.
    pub fresh: RefCell<BTreeSet<PublishId>>,
    /// The last message of each topic, and where it stands, once that is known.
    pub last: RefCell<Vec<Last>>,
    /// Publishes with a time to live.
    pub mortal: RefCell<BTreeSet<PublishId>>,
    /// Cursors that the clients' own store keeps.
    pub store: MemoryCursorStore,
    /// The last message of each topic is stored.
    pub all_said: Cell<bool>,
    /// Disturbances that hostile clients may have felt, counted up.
    pub disturbances: Cell<u64>,
    /// Those that last.
    pub disturbed: Cell<u64>,
    /// Planned faults that hit somebody.
    pub hits: RefCell<BTreeMap<&'static str, u64>>,
    /// The admin server answered as it should.
    pub admin_answered: Cell<bool>,
    /// Messages that hostile clients got.
    pub hostile_deliveries: Cell<u64>,
    /// Messages that subscribers got.
    pub deliveries: Cell<u64>,
    /// Simulated time where no host runs.
    pub outside_us: Cell<u64>,
}

impl World {
    /// The world of a plan, before anything happens.
    #[must_use]
    pub fn new(plan: Plan, keep_trace: bool) -> Rc<Self> {
        let mut followers = Vec::new();
        for (subscriber, own) in plan.workload.subscribers.iter().enumerate() {
            for (index, follow) in own.follows.iter().enumerate() {
                let wants = plan.wanted(&follow.target);
                followers.push(Follower { subscriber, index, wants, ..Follower::default() });
            }
        }
        let clients = plan.workload.publishers.len() + plan.workload.subscribers.len();
        Rc::new(Self {
            trace: RefCell::new(Trace::new(keep_trace)),
            history: RefCell::default(),
            failures: RefCell::default(),
            files: RefCell::default(),
            disks: RefCell::default(),
            node_runs: RefCell::default(),
            phase: Cell::new(Phase::Faults),
            streams: RefCell::default(),
            followers: RefCell::new(followers),
            slow_until_us: RefCell::new(vec![0; plan.workload.subscribers.len()]),
            lines: Lines::default(),
            flood_until_us: RefCell::new(vec![0; plan.workload.publishers.len()]),
            calm_until_us: RefCell::new(vec![0; plan.workload.topics.len()]),
            restarts: std::iter::repeat_with(Restart::default)
                .take(plan.workload.subscribers.len())
                .collect(),
            kills: std::iter::repeat_with(Kill::default).take(clients).collect(),
            streams_of: RefCell::new(vec![Streams::default(); crate::plan::GOOD_HOSTS + 1]),
            processes: RefCell::new(vec![0; crate::plan::GOOD_HOSTS + 1]),
            open: RefCell::default(),
            fresh: RefCell::default(),
            last: RefCell::new(vec![Last::default(); plan.workload.topics.len()]),
            mortal: RefCell::default(),
            store: MemoryCursorStore::new(),
            all_said: Cell::new(false),
            disturbances: Cell::new(0),
            disturbed: Cell::new(0),
            hits: RefCell::default(),
            admin_answered: Cell::new(false),
            hostile_deliveries: Cell::new(0),
            deliveries: Cell::new(0),
            outside_us: Cell::new(0),
            plan: Rc::new(plan),
        })
    }

    /// The node's file of that name.
    #[must_use]
    pub fn disk(&self, name: &str) -> SimDisk {
        let random = || Random::new(crate::random::derive(self.plan.seed, "disk"), name);
        let mut disks = self.disks.borrow_mut();
        disks.entry(name.to_owned()).or_insert_with(|| SimDisk::new(random())).clone()
    }

    /// The node's process is gone, and with the power what it had not synced.
    pub fn cut_disks(&self, power: bool) {
        for disk in self.disks.borrow().values() {
            if power { disk.lose_power() } else { disk.kill() }
        }
    }

    /// Simulated time.
    #[must_use]
    pub fn time_us(&self) -> u64 {
        if !turmoil::in_simulation() {
            return self.outside_us.get();
        }
        turmoil::sim_elapsed().map_or(self.outside_us.get(), |elapsed| elapsed.as_micros() as u64)
    }

    /// A promise is broken: the run ends.
    pub fn fail(&self, oracle: &str, detail: impl Into<String>) {
        self.failures.borrow_mut().push(Failure::new(oracle, detail));
    }

    /// Adds to the history and to the trace.
    pub fn record(&self, what: What) {
        let time_us = self.time_us();
        self.trace.borrow_mut().text(time_us, &format!("{what:?}"));
        match &what {
            What::Invoke { publish, ttl_ms, .. } => {
                self.open.borrow_mut().insert(*publish);
                if ttl_ms.is_some() {
                    self.mortal.borrow_mut().insert(*publish);
                }
                if self.phase.get() >= Phase::Healing {
                    self.fresh.borrow_mut().insert(*publish);
                }
            }
            What::Ended { publish, receipts, .. } => {
                self.open.borrow_mut().remove(publish);
                self.last_stands(*publish, receipts);
            }
            What::Subscribed { subscription, from } => {
                let seen = &mut self.followers.borrow_mut()[*subscription].seen;
                for (partition, position) in from {
                    seen.entry(*partition).or_insert(*position);
                }
            }
            What::Delivered { subscription, topic, partition, position, publish } => {
                self.deliveries.set(self.deliveries.get() + 1);
                self.advance(*subscription, *partition, *position);
                if let (Some(publish), Some(topic)) = (publish, topic) {
                    self.got(*subscription, *topic, *publish);
                }
            }
            What::Gap { subscription, partition, to, .. } => self.advance(*subscription, *partition, *to),
            What::Subscribe { subscription, after, .. } => {
                self.followers.borrow_mut()[*subscription].seen = after.clone().unwrap_or_default();
            }
            What::Over { subscription } => self.followers.borrow_mut()[*subscription].over = true,
            What::Refused { .. }
            | What::Sent { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
        self.history.borrow_mut().push(Entry { time_us, what });
    }

    fn advance(&self, subscription: usize, partition: u32, position: Position) {
        let seen = &mut self.followers.borrow_mut()[subscription].seen;
        let known = seen.entry(partition).or_insert(position);
        *known = (*known).max(position);
    }

    fn got(&self, subscription: usize, topic: usize, publish: PublishId) {
        let follower = &mut self.followers.borrow_mut()[subscription];
        follower.fresh |= self.fresh.borrow().contains(&publish);
        if self.last.borrow()[topic].publish == Some(publish) {
            follower.settled.insert(topic);
        }
    }

    /// `publish` is the last message of `topic`, as far as is known.
    pub fn last_is(&self, topic: usize, publish: PublishId) {
        self.last.borrow_mut()[topic] = Last { publish: Some(publish), place: None };
        for follower in self.followers.borrow_mut().iter_mut() {
            follower.settled.remove(&topic);
        }
    }

    fn last_stands(&self, publish: PublishId, receipts: &[(u32, Position)]) {
        let mut last = self.last.borrow_mut();
        let Some(topic) = last.iter().position(|last| last.publish == Some(publish)) else { return };
        let class = (self.plan.class_of(topic) as u32) << 16;
        last[topic].place = receipts.first().map(|(partition, position)| (class | partition, *position));
    }

    /// Whether a subscription has come to the last message of each of its topics. What it did not get on
    /// the way is another oracle's matter.
    #[must_use]
    pub fn settled(&self, subscription: usize) -> bool {
        let follower = &self.followers.borrow()[subscription];
        let last = self.last.borrow();
        follower.over
            || follower.wants.iter().all(|topic| {
                let passed = last[*topic].place.is_some_and(|(partition, position)| {
                    follower.seen.get(&partition).is_some_and(|seen| *seen >= position)
                });
                follower.settled.contains(topic) || passed
            })
    }

    /// The end of a publish, from what the client says.
    pub fn publish_ended(&self, publish: PublishId, result: Result<Published, PublishError>) {
        let mut receipts = Vec::new();
        let end = match result {
            Ok(published) => {
                let stands = published.receipts.iter().map(|receipt| (receipt.partition, receipt.position));
                receipts.extend(stands);
                End::Stored
            }
            Err(error) if error.is_definite() => End::NotStored,
            Err(_) => End::Unknown,
        };
        self.record(What::Ended { publish, end, receipts });
    }

    /// A planned fault found somebody.
    pub fn hit(&self, event: &FaultEvent) {
        *self.hits.borrow_mut().entry(event.label()).or_default() += 1;
    }

    /// The start of the node that is in force.
    #[must_use]
    pub fn node_run(&self) -> Option<Rc<NodeRun>> {
        self.node_runs.borrow().last().cloned()
    }

    /// Something happens that a hostile client may feel.
    pub fn disturb(&self) {
        self.disturbances.set(self.disturbances.get() + 1);
    }
}
