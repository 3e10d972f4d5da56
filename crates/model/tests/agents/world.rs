//! Machines with clocks of their own, processes that come and go, and the events between them.
//!
//! A process does nothing but what an event makes it do; while it is paused its events wait. All of the
//! history follows from the seed.

use crate::log::{Disk, Entry, Membership};
use crate::oracle::Oracle;
use crate::replication::Leader;
use crate::rng::Rng;
use crate::wires::{Connection, Message, Side};
use multibeam_proto::cluster::{Act, Agent, ClusterConfig, GivenUp, Output, Own, Promise, Wish};
use multibeam_proto::view::{Batch, Durability, Outcome, View};
use multibeam_proto::{ClassId, NodeId, PartitionId, Time};
use multibeam_wire::link::{ClusterId, Incarnation, StoreId, VoterSet};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A millisecond of the world's time, which is in microseconds.
pub(crate) const MS: u64 = 1000;

pub(crate) const CLUSTER: ClusterId = ClusterId(77);

macro_rules! reached {
    ($($name:ident,)*) => {
        /// What was seen of rare things.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Reached { $(pub $name: u64,)* }

        impl Reached {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

reached! {
    events,
    epochs,
    taken_over,
    views_skipped,
    promised,
    forced,
    undecided_at_start,
    elected,
    deposed_unaware,
    voters_changed,
    offline,
    renewed,
    wiped,
    same_name_twice,
    signed_off,
    observers_told,
    stale_changes,
    isolated,
    other_leases,
}

/// A process.
pub(crate) struct Process {
    pub agent: Agent,
    pub run: u64,
    /// What its consensus knows to be committed, has applied, and has shown to the agent.
    pub commit: usize,
    pub applied: usize,
    pub view: View,
    pub outcomes: BTreeMap<usize, Outcome>,
    pub applying: bool,
    pub leading: Option<Leader>,
    pub leader: Option<StoreId>,
    pub leader_heard: u64,
    pub may_stand: bool,
    pub signed_off: bool,
    pub dialled: Vec<Option<u64>>,
    pub accepted: Vec<Option<u64>>,
    pub tick_at: u64,
}

/// A machine: its name, disk and clock outlive processes.
pub(crate) struct Machine {
    pub node: NodeId,
    pub disk: Disk,
    pub process: Option<Process>,
    pub paused_until: u64,
    /// Microseconds that the clock shows at the world's 0, and how many parts in a million it is fast.
    offset: u64,
    fast_ppm: i64,
    /// How long it takes at most to apply what is committed, and to make something durable.
    pub apply_us: u64,
    pub durable_us: u64,
}

impl Machine {
    pub(crate) fn clock(&self, world_us: u64) -> Time {
        let drift = i128::from(world_us) * i128::from(self.fast_ppm) / 1_000_000;
        Time(u64::try_from(i128::from(self.offset) + i128::from(world_us) + drift).unwrap())
    }

    fn world_us(&self, clock_us: u64) -> u64 {
        u64::try_from(i128::from(clock_us) * 1_000_000 / i128::from(1_000_000 + self.fast_ppm)).unwrap() + 1
    }
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    Tick(usize, u64),
    Dial(usize, u64),
    Deliver(u64, Side),
    Closed(u64, Side),
    Durable { at: usize, run: u64, bytes: Vec<u8>, answer: Option<Answer> },
    Apply(usize, u64),
    Elect,
    Replicate(usize, u64, u64),
    TendRecords(usize, u64),
    Proposal(usize, Rc<Batch>),
    Start(usize),
    Exit(usize, u64),
    Heal(usize, usize),
    Fault,
}

/// What a voter says once its promises are durable; to itself, or on a connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub to: Option<u64>,
    pub made: Vec<(GivenUp, Promise)>,
}

pub(crate) struct World {
    pub rng: Rng,
    pub now: u64,
    /// The last one stands beside the others only to be started under the name of one of them.
    pub machines: Vec<Machine>,
    pub connections: BTreeMap<u64, Connection>,
    /// Whether nothing gets from the one to the other.
    pub cut: Vec<Vec<bool>>,
    /// A message takes so long at most.
    pub delay_us: Vec<Vec<u64>>,
    pub config: ClusterConfig,
    /// The settings are being changed, one node after the other.
    leases_differ: bool,
    pub oracle: Oracle,
    pub reached: Reached,
    pub story: Option<VecDeque<String>>,
    pub faults_until: u64,
    pub dead_for_good: Vec<usize>,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
}

/// A line of the story, where one is wanted.
macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.story.is_some() {
            let line = format!($($what)*);
            $world.tell(line);
        }
    };
}
pub(crate) use tell;

impl World {
    pub(crate) fn new(seed: u64, story: bool) -> Self {
        let mut rng = Rng::new(seed);
        let nodes = rng.between(3, 5) as usize;
        let voters = if rng.one_in(4) { 1 } else { 3 };
        let wanted = if nodes == 5 && rng.one_in(3) { 5 } else { 3 };
        let durabilities = [Durability::Memory, Durability::Disk];
        let partition = |index| PartitionId { class: ClassId(0), index };
        let config = ClusterConfig {
            partitions: (0..4)
                .map(|index| (partition(index), durabilities[usize::from(index % 2)]))
                .collect(),
            voters: wanted,
            copies: rng.between(1, 3) as usize,
            voter_patience: Duration::from_millis(rng.between(600, 2000)),
            ..ClusterConfig::default()
        };
        config.check().unwrap();
        let machine = |at: usize, rng: &mut Rng| Machine {
            node: NodeId(10 + at as u64),
            disk: Disk::empty(StoreId(100 + at as u64)),
            process: None,
            paused_until: 0,
            offset: rng.below(100_000_000),
            fast_ppm: rng.between(0, 94_000) as i64 - 47_000,
            apply_us: if rng.one_in(3) { 200 * MS } else { 8 * MS },
            durable_us: if rng.one_in(4) { 60 * MS } else { 4 * MS },
        };
        let mut machines: Vec<Machine> = (0..=nodes).map(|at| machine(at, &mut rng)).collect();
        let first = VoterSet::new(machines[..voters].iter().map(|machine| machine.disk.store)).unwrap();
        let membership = Membership { present: first, ..Membership::default() };
        for machine in &mut machines[..voters] {
            machine.disk.append(0, Entry::Membership(Rc::new(membership.clone())));
        }
        let delay_us = (0..=nodes)
            .map(|_| (0..=nodes).map(|_| if rng.one_in(5) { 60 * MS } else { 3 * MS }).collect())
            .collect();
        let leases_differ = rng.one_in(4);
        let mut world = Self {
            now: 0,
            leases_differ,
            connections: BTreeMap::new(),
            cut: vec![vec![false; nodes + 1]; nodes + 1],
            delay_us,
            config,
            oracle: Oracle::new(nodes + 1),
            reached: Reached::default(),
            story: story.then(VecDeque::new),
            faults_until: 0,
            dead_for_good: Vec::new(),
            events: BTreeMap::new(),
            number: 0,
            machines,
            rng,
        };
        for at in 0..nodes {
            let when = world.rng.below(500 * MS);
            world.at(when, Event::Start(at));
        }
        world.at(0, Event::Elect);
        world
    }

    pub(crate) fn tell(&mut self, line: String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            if story.len() == 600 {
                story.pop_front();
            }
            story.push_back(format!("{:>6}.{:03} {line}", now / MS, now % MS));
        }
    }

    pub(crate) fn at(&mut self, when: u64, event: Event) {
        self.number += 1;
        self.events.insert((when.max(self.now), self.number), event);
    }

    pub(crate) fn unique(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn clock(&self, at: usize) -> Time {
        self.machines[at].clock(self.now)
    }

    pub(crate) fn process(&mut self, at: usize) -> Option<&mut Process> {
        self.machines[at].process.as_mut()
    }

    pub(crate) fn is_run(&self, at: usize, run: u64) -> bool {
        self.machines[at].process.as_ref().is_some_and(|process| process.run == run)
    }

    pub(crate) fn by_store(&self, store: StoreId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.disk.store == store)
    }

    pub(crate) fn delay(&mut self, from: usize, to: usize) -> u64 {
        let most = self.delay_us[from][to];
        let most = if self.rng.one_in(20) { most * 5 } else { most };
        100 + self.rng.below(most)
    }

    /// Lets the world go on until then.
    pub(crate) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(first) = self.events.first_entry() {
            if first.key().0 > end {
                break;
            }
            self.now = first.key().0;
            let event = first.remove();
            self.reached.events += 1;
            let machine = self.whose(&event);
            if let Some(at) = machine {
                let paused = self.machines[at].paused_until;
                if self.machines[at].process.is_some() && paused > self.now {
                    let late = self.rng.below(300);
                    self.at(paused + late, event);
                    continue;
                }
            }
            self.happens(event)?;
            Oracle::one_leader(self)?;
        }
        self.now = end;
        Ok(())
    }

    /// Whose process has to run for it.
    fn whose(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Tick(at, _)
            | Event::Dial(at, _)
            | Event::Apply(at, _)
            | Event::Replicate(at, _, _)
            | Event::TendRecords(at, _)
            | Event::Exit(at, _)
            | Event::Proposal(at, _)
            | Event::Durable { at, .. } => Some(*at),
            Event::Deliver(connection, side) | Event::Closed(connection, side) => {
                self.connections.get(connection).map(|connection| connection.ends[side.index()])
            }
            Event::Elect | Event::Start(_) | Event::Heal(..) | Event::Fault => None,
        }
    }

    fn happens(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick(at, run) if self.is_run(at, run) => self.tick(at)?,
            Event::Dial(at, run) if self.is_run(at, run) => self.dial(at)?,
            Event::Deliver(connection, side) => self.deliver(connection, side)?,
            Event::Closed(connection, side) => self.close(connection, side)?,
            Event::Durable { at, run, bytes, answer } if self.is_run(at, run) => {
                self.durable(at, bytes, answer)?;
            }
            Event::Apply(at, run) if self.is_run(at, run) => self.apply(at)?,
            Event::Replicate(at, run, term) if self.is_run(at, run) => self.replicate(at, term, true)?,
            Event::TendRecords(at, run) if self.is_run(at, run) => self.tend_records(at),
            Event::Proposal(at, batch) => self.forwarded(at, &batch)?,
            Event::Elect => self.elect()?,
            Event::Start(at) => self.start(at)?,
            Event::Exit(at, run) if self.is_run(at, run) => self.stop(at, true),
            Event::Heal(from, to) => {
                self.cut[from][to] = false;
                tell!(self, "{from}->{to} healed");
            }
            Event::Fault => self.fault()?,
            Event::Tick(..)
            | Event::Dial(..)
            | Event::Durable { .. }
            | Event::Apply(..)
            | Event::Replicate(..)
            | Event::TendRecords(..)
            | Event::Exit(..) => {}
        }
        Ok(())
    }

    /// A process starts, with what is on the disk.
    fn start(&mut self, at: usize) -> Result<(), String> {
        if self.machines[at].process.is_some() || self.dead_for_good.contains(&at) {
            return Ok(());
        }
        let now = self.clock(at);
        let incarnation = Incarnation(1000 + self.now);
        let run = self.unique();
        let machine = &self.machines[at];
        let in_cluster = !machine.disk.log.is_empty();
        let own = Own {
            cluster: if in_cluster { CLUSTER } else { ClusterId::default() },
            node: machine.node,
            store: machine.disk.store,
            incarnation,
            address: format!("10.0.0.{at}:7500").into(),
            clients: format!("10.0.0.{at}:7400").into(),
            weight: 1,
        };
        let promises = machine.disk.promises.as_deref();
        let mut config = self.config.clone();
        if self.leases_differ && self.rng.one_in(2) {
            config.lease = Duration::from_millis(self.rng.between(300, 1500));
            self.reached.other_leases += 1;
        }
        let agent = Agent::new(own, config, promises, now).map_err(|error| error.to_string())?;
        let promises = agent.promises();
        if !agent.undecided().is_empty() {
            self.reached.undecided_at_start += 1;
        }
        tell!(
            self,
            "{at} starts as {:?} {:?} {incarnation:?}, has promised {:?}",
            machine.node,
            machine.disk.store,
            agent.undecided()
        );
        let (machines, committed) = (self.machines.len(), self.machines[at].disk.committed);
        let process = Process {
            agent,
            run,
            commit: committed,
            applied: 0,
            view: View::default(),
            outcomes: BTreeMap::new(),
            applying: false,
            leading: None,
            leader: None,
            leader_heard: self.now,
            may_stand: false,
            signed_off: false,
            dialled: vec![None; machines],
            accepted: vec![None; machines],
            tick_at: 0,
        };
        self.machines[at].process = Some(process);
        self.machines[at].disk.promises = Some(promises);
        self.machines[at].paused_until = 0;
        let tend = self.now + self.rng.below(150 * MS);
        self.at(self.now, Event::Tick(at, run));
        self.at(self.now, Event::Dial(at, run));
        self.at(tend, Event::TendRecords(at, run));
        self.apply_soon(at);
        self.after(at)
    }

    /// A process ends. `told`: the kernel closes its connections; without power it can't.
    pub(crate) fn stop(&mut self, at: usize, told: bool) {
        let Some(process) = self.machines[at].process.take() else { return };
        self.machines[at].paused_until = 0;
        tell!(self, "{at} ends");
        let ends = process.dialled.iter().map(|end| (end, Side::Dialler));
        let ends = ends.chain(process.accepted.iter().map(|end| (end, Side::Acceptor)));
        for (connection, side) in ends {
            if let Some(connection) = *connection {
                self.end(connection, side, told);
            }
        }
        self.oracle.gone(at);
    }

    fn tick(&mut self, at: usize) -> Result<(), String> {
        let now = self.clock(at);
        if let Some(process) = self.process(at) {
            process.tick_at = 0;
            process.agent.tick(now);
        }
        self.operation_timed_out(at, now);
        self.close_silent(at, now)?;
        self.after(at)
    }

    /// What a driver does after each call: the agent's outputs, the consensus' news, the next tick.
    pub(crate) fn after(&mut self, at: usize) -> Result<(), String> {
        loop {
            self.operation_ended(at);
            self.tell_consensus(at);
            let Some(output) = self.process(at).and_then(|process| process.agent.poll()) else { break };
            self.carry_out(at, output)?;
        }
        self.oracle.look(&self.machines[at], at)?;
        let now = self.clock(at);
        let world_now = self.now;
        let Some(process) = self.process(at) else { return Ok(()) };
        if process.tick_at <= world_now {
            let wait = process.agent.next(now).since(now);
            let run = process.run;
            let wait = u64::try_from(wait.as_micros()).unwrap();
            let due = self.now + self.machines[at].world_us(wait) + self.rng.below(2 * MS);
            if let Some(process) = self.process(at) {
                process.tick_at = due;
            }
            self.at(due, Event::Tick(at, run));
        }
        Ok(())
    }

    fn carry_out(&mut self, at: usize, output: Output) -> Result<(), String> {
        match output {
            Output::Heartbeat { to, heartbeat } => self.ask(at, to, Message::Heartbeat(heartbeat)),
            Output::State { to } => {
                let view = self.process(at).map(|process| Arc::clone(process.agent.view()));
                self.reached.observers_told += 1;
                if let Some(view) = view {
                    self.tell_peer(at, to, Message::State(view));
                }
            }
            Output::Elections(may) => {
                if let Some(process) = self.process(at) {
                    process.may_stand = may;
                }
            }
            Output::Isolated(isolated) => {
                self.reached.isolated += u64::from(isolated);
                tell!(self, "{at} isolated: {isolated}");
            }
            Output::Act(Act::AskPromises { voter, wanted }) => {
                if let Some(process) = &self.machines[at].process {
                    self.oracle.wished(process.agent.view().epoch(), &wanted)?;
                }
                self.reached.forced += wanted.iter().filter(|wish| wish.forced).count() as u64;
                if !wanted.is_empty() {
                    tell!(self, "{at} asks {voter:?} for promises {wanted:?}");
                }
                if voter == self.machines[at].disk.store {
                    self.promise(at, &wanted, None);
                } else {
                    self.ask(at, voter, Message::AskPromises(wanted));
                }
            }
            Output::Act(
                act @ (Act::Propose(_) | Act::AddLearner(_) | Act::RemoveLearners(_) | Act::ChangeVoters(_)),
            ) => {
                tell!(self, "{at} {act:?}");
                self.operate(at, act)?;
            }
        }
        Ok(())
    }

    /// A voter promises; the answer leaves when it is durable.
    pub(crate) fn promise(&mut self, at: usize, wanted: &[Wish], to: Option<u64>) {
        let now = self.clock(at);
        let Some(process) = self.process(at) else { return };
        let made = process.agent.promise(wanted, now);
        let (bytes, run) = (process.agent.promises(), process.run);
        if !made.is_empty() {
            tell!(self, "{at} promises {made:?}");
        }
        self.reached.promised +=
            made.iter().filter(|(_, promise)| matches!(promise, Promise::Made { .. })).count() as u64;
        let most = self.machines[at].durable_us;
        let when = self.now + self.rng.between(200, most);
        let answer = Some(Answer { to, made });
        self.at(when, Event::Durable { at, run, bytes, answer });
    }

    fn durable(&mut self, at: usize, bytes: Vec<u8>, answer: Option<Answer>) -> Result<(), String> {
        self.machines[at].disk.promises = Some(bytes);
        let now = self.clock(at);
        let store = self.machines[at].disk.store;
        let Some(Answer { to, made }) = answer else { return Ok(()) };
        let Some(process) = self.process(at) else { return Ok(()) };
        let undecided = process.agent.undecided();
        let given_up = made.iter().find(|(_, promise)| matches!(promise, Promise::Made { .. }));
        let given_up = given_up.map(|(given_up, _)| given_up.node);
        match to {
            None => process.agent.promised(store, &made, &undecided, now),
            Some(connection) => {
                self.answer(connection, at, Message::Promised { made, undecided });
                if let Some(node) = given_up {
                    self.after_promise(at, node);
                }
            }
        }
        self.after(at)
    }
}
