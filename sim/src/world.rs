//! What the hosts of one run share behind the network's back: the trace, the history, what
//! survives a crash, and how far the run has come.

use crate::history::{End, Entry, Failure, History, PublishId, What};
use crate::plan::{FaultEvent, Plan};
use crate::platform::NodeRun;
use crate::trace::Trace;
use crate::workload::connector::{Kill, Streams};
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
    /// Index of the topic.
    pub topic: usize,
    /// The last position in hand.
    pub cursor: Option<Position>,
    /// It got a message that was published after the faults.
    pub fresh: bool,
    /// It got the last message of its topic.
    pub settled: bool,
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
    /// The last message of each topic.
    pub last: RefCell<Vec<Option<PublishId>>>,
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
        for (subscriber, plan) in plan.workload.subscribers.iter().enumerate() {
            for &topic in &plan.topics {
                followers.push(Follower { subscriber, topic, ..Follower::default() });
            }
        }
        let clients = plan.workload.publishers.len() + plan.workload.subscribers.len();
        Rc::new(Self {
            trace: RefCell::new(Trace::new(keep_trace)),
            history: RefCell::default(),
            failures: RefCell::default(),
            files: RefCell::default(),
            node_runs: RefCell::default(),
            phase: Cell::new(Phase::Faults),
            streams: RefCell::default(),
            followers: RefCell::new(followers),
            slow_until_us: RefCell::new(vec![0; plan.workload.subscribers.len()]),
            kills: std::iter::repeat_with(Kill::default).take(clients).collect(),
            streams_of: RefCell::new(vec![Streams::default(); crate::plan::GOOD_HOSTS + 1]),
            processes: RefCell::new(vec![0; crate::plan::GOOD_HOSTS + 1]),
            open: RefCell::default(),
            fresh: RefCell::default(),
            last: RefCell::new(vec![None; plan.workload.topics.len()]),
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
            What::Invoke { publish, .. } => {
                self.open.borrow_mut().insert(*publish);
                if self.phase.get() >= Phase::Healing {
                    self.fresh.borrow_mut().insert(*publish);
                }
            }
            What::Ended { publish, .. } => {
                self.open.borrow_mut().remove(publish);
            }
            What::Subscribed { subscription, from } => self.advance(*subscription, *from),
            What::Delivered { subscription, position, publish } => {
                self.deliveries.set(self.deliveries.get() + 1);
                self.advance(*subscription, *position);
                if let Some(publish) = publish {
                    self.got(*subscription, *publish);
                }
            }
            What::Gap { subscription, to, .. } => self.advance(*subscription, *to),
            What::Subscribe { .. }
            | What::Refused { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
        self.history.borrow_mut().push(Entry { time_us, what });
    }

    fn advance(&self, subscription: usize, position: Position) {
        let cursor = &mut self.followers.borrow_mut()[subscription].cursor;
        *cursor = (*cursor).max(Some(position));
    }

    fn got(&self, subscription: usize, publish: PublishId) {
        let follower = &mut self.followers.borrow_mut()[subscription];
        follower.fresh |= self.fresh.borrow().contains(&publish);
        follower.settled |= self.last.borrow()[follower.topic] == Some(publish);
    }

    /// `publish` is the last message of `topic`, as far as is known.
    pub fn last_is(&self, topic: usize, publish: PublishId) {
        self.last.borrow_mut()[topic] = Some(publish);
        for follower in self.followers.borrow_mut().iter_mut().filter(|follower| follower.topic == topic) {
            follower.settled = false;
        }
    }

    /// The end of a publish, from what the client says.
    pub fn publish_ended(&self, publish: PublishId, result: Result<(), multibeam_client::PublishError>) {
        let end = match result {
            Ok(()) => End::Stored,
            Err(error) if error.is_definite() => End::NotStored,
            Err(_) => End::Unknown,
        };
        self.record(What::Ended { publish, end });
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
