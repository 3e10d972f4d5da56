//! The plan's faults as they happen: what begins, what ends, and who was hit.

use super::{CLIENTS, NODE};
use crate::history::What;
use crate::plan::{FaultEvent, HOSTILE_HOST};
use crate::wires::Wires;
use crate::world::World;
use multibeam_model::Fault;
use std::collections::BTreeMap;
use std::rc::Rc;
use turmoil::Sim;

/// Chance in 65,536 that the node finds no descriptor while it is said to have none.
const NO_DESCRIPTORS: u16 = 60_000;

/// How long a node that ended by itself stays away, if the plan says nothing else.
const AWAY_MS: u64 = 100;

/// Something that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// `missed`: what has begun when the host had no connection.
    Wire {
        host: usize,
        wire: Wire,
        missed: Option<FaultEvent>,
    },
    Node,
    PowerLoss,
    Clients(usize),
    ClientsPower(usize),
    Hearing(usize),
    Descriptors,
}

/// What is wrong with the wire between a host and the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Cut,
    CutOneWay { from_node: bool },
    Held,
}

/// The schedule.
pub(super) struct Faults {
    world: Rc<World>,
    next: usize,
    undo: BTreeMap<(u64, usize), Undo>,
    numbers: usize,
    wires: Wires,
    node_down: bool,
    down: [bool; CLIENTS.len()],
    /// How long a node that ends by itself stays away.
    away_ms: u64,
}

/// From whom nothing comes to whom.
const fn one_way(host: usize, from_node: bool) -> (&'static str, &'static str) {
    if from_node { (NODE, CLIENTS[host]) } else { (CLIENTS[host], NODE) }
}

impl Faults {
    pub(super) fn new(world: &Rc<World>) -> Self {
        let (undo, down) = (BTreeMap::new(), [false; CLIENTS.len()]);
        let (world, wires) = (Rc::clone(world), Wires::default());
        Self { world, next: 0, undo, numbers: 0, wires, node_down: false, down, away_ms: AWAY_MS }
    }

    /// What is due now, ends before beginnings.
    pub(super) fn due(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        while let Some(entry) = self.undo.first_entry() {
            if entry.key().0 > now_ms {
                break;
            }
            let undo = entry.remove();
            self.end(sim, undo);
        }
        while let Some((at, event)) = self.world.plan.faults.get(self.next).copied() {
            if at > now_ms {
                break;
            }
            self.next += 1;
            self.world.trace.borrow_mut().text(now_ms * 1000, &format!("fault {event:?}"));
            if self.begin(sim, event, now_ms) {
                self.world.hit(&event);
            }
        }
    }

    /// Ends everything that goes on.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        self.world.trace.borrow_mut().text(now_ms * 1000, "heal");
        self.next = self.world.plan.faults.len();
        for undo in std::mem::take(&mut self.undo).into_values() {
            self.end(sim, undo);
        }
        if let Some(run) = self.world.node_run() {
            run.chooser.borrow_mut().calm();
        }
        self.world.slow_until_us.borrow_mut().fill(0);
    }

    /// Starts a node that ended by itself again.
    pub(super) fn restart(&mut self, sim: &mut Sim<'_>, now_ms: u64) {
        if !self.node_down && self.world.node_run().is_some_and(|run| run.ended.get()) {
            self.node_down = true;
            self.world.disturb();
            let away_ms = std::mem::replace(&mut self.away_ms, AWAY_MS);
            self.later(now_ms + away_ms, Undo::Node);
        }
        if self.world.phase.get() != crate::world::Phase::Faults {
            self.due(sim, now_ms);
        }
    }

    fn later(&mut self, at_ms: u64, undo: Undo) {
        self.numbers += 1;
        self.undo.insert((at_ms, self.numbers), undo);
    }

    /// Whether the host has a connection to the node.
    fn connected(&self, sim: &Sim<'_>, host: usize) -> bool {
        let address = sim.lookup(CLIENTS[host]);
        self.world.streams.borrow().get(&address).is_some_and(|count| *count > 0)
    }

    fn any_connected(&self, sim: &Sim<'_>) -> bool {
        (0..CLIENTS.len()).any(|host| self.connected(sim, host))
    }

    /// True: it hit somebody.
    fn begin(&mut self, sim: &mut Sim<'_>, event: FaultEvent, now_ms: u64) -> bool {
        match event {
            FaultEvent::Partition { host, for_ms } => {
                self.wires.cut(sim, NODE, CLIENTS[host]);
                self.wire_fault(sim, event, host, Wire::Cut, now_ms + for_ms)
            }
            FaultEvent::PartitionOneWay { host, from_node, for_ms } => {
                let (from, to) = one_way(host, from_node);
                self.wires.cut_one_way(sim, from, to);
                self.wire_fault(sim, event, host, Wire::CutOneWay { from_node }, now_ms + for_ms)
            }
            FaultEvent::Hold { host, for_ms } => {
                self.wires.hold(sim, NODE, CLIENTS[host]);
                self.wire_fault(sim, event, host, Wire::Held, now_ms + for_ms)
            }
            FaultEvent::KillNode { for_ms } => self.kill_node(sim, now_ms + for_ms, Undo::Node),
            FaultEvent::PowerLoss { for_ms } => {
                if self.node_down {
                    return false;
                }
                CLIENTS.iter().for_each(|host| self.wires.cut(sim, NODE, host));
                self.kill_node(sim, now_ms + for_ms, Undo::PowerLoss)
            }
            FaultEvent::BounceNode => self.kill_node(sim, now_ms, Undo::Node),
            FaultEvent::StopNode { for_ms } => self.stop_node(sim, for_ms),
            FaultEvent::KillClients { host, for_ms } => {
                self.kill_clients(sim, host, now_ms + for_ms, Undo::Clients(host))
            }
            FaultEvent::ClientsPowerLoss { host, for_ms } => {
                if self.down[host] {
                    return false;
                }
                self.wires.cut(sim, NODE, CLIENTS[host]);
                self.kill_clients(sim, host, now_ms + for_ms, Undo::ClientsPower(host))
            }
            FaultEvent::StopReading { client, for_ms } => {
                self.later(now_ms + for_ms, Undo::Hearing(client));
                self.world.kills.get(client).is_some_and(|kill| kill.deafen(true))
            }
            FaultEvent::RestartSubscriber { subscriber, politely } => {
                self.world.restarts.get(subscriber).is_some_and(|restart| restart.ask(politely))
            }
            FaultEvent::Flood { publisher, for_ms } => {
                self.world.flood_until_us.borrow_mut()[publisher] = (now_ms + for_ms) * 1000;
                !self.down[self.world.plan.workload.publishers[publisher].host]
            }
            FaultEvent::Cut { client } => {
                self.world.kills.get(client).is_some_and(crate::workload::connector::Kill::cut)
            }
            FaultEvent::SlowReader { subscriber, for_ms } => {
                let mut slow = self.world.slow_until_us.borrow_mut();
                let Some(until) = slow.get_mut(subscriber) else { return false };
                *until = (now_ms + for_ms) * 1000;
                true
            }
            FaultEvent::NoDescriptors { for_ms } => {
                self.descriptors(NO_DESCRIPTORS);
                self.world.disturb();
                self.world.disturbed.set(self.world.disturbed.get() + 1);
                self.later(now_ms + for_ms, Undo::Descriptors);
                self.any_connected(sim)
            }
        }
    }

    fn wire_fault(
        &mut self,
        sim: &Sim<'_>,
        event: FaultEvent,
        host: usize,
        wire: Wire,
        until_ms: u64,
    ) -> bool {
        let hit = self.connected(sim, host);
        self.later(until_ms, Undo::Wire { host, wire, missed: (!hit).then_some(event) });
        if host == HOSTILE_HOST {
            self.world.disturb();
            self.world.disturbed.set(self.world.disturbed.get() + 1);
        }
        hit
    }

    fn kill_node(&mut self, sim: &mut Sim<'_>, until_ms: u64, undo: Undo) -> bool {
        if self.node_down {
            return false;
        }
        let hit = self.any_connected(sim);
        self.node_down = true;
        self.world.disturb();
        if let Some(run) = self.world.node_run() {
            run.killed.set(true);
        }
        self.world.cut_disks(undo == Undo::PowerLoss);
        sim.crash(NODE);
        self.later(until_ms, undo);
        hit
    }

    fn stop_node(&mut self, sim: &Sim<'_>, for_ms: u64) -> bool {
        let Some(run) = self.world.node_run().filter(|run| !self.node_down && run.ready.get()) else {
            return false;
        };
        self.world.disturb();
        run.may_end.set(true);
        self.away_ms = for_ms;
        run.stop.notify_one();
        self.any_connected(sim)
    }

    fn kill_clients(&mut self, sim: &mut Sim<'_>, host: usize, until_ms: u64, undo: Undo) -> bool {
        if std::mem::replace(&mut self.down[host], true) {
            return false;
        }
        let hit = self.connected(sim, host);
        if host == HOSTILE_HOST {
            self.world.disturb();
        }
        self.world.streams_of.borrow()[host].dying();
        sim.crash(CLIENTS[host]);
        let publishers = &self.world.plan.workload.publishers;
        self.world.open.borrow_mut().retain(|publish| publishers[publish.publisher].host != host);
        self.world.record(What::Killed { host });
        self.later(until_ms, undo);
        hit
    }

    fn end(&mut self, sim: &mut Sim<'_>, undo: Undo) {
        match undo {
            Undo::Wire { host, wire, missed } => {
                // It has kept out whoever would have connected meanwhile.
                let keeps_out = !self.node_down && !self.down[host] && !self.connected(sim, host);
                if let Some(event) = missed.filter(|_| keeps_out) {
                    self.world.hit(&event);
                }
                match wire {
                    Wire::Cut => self.wires.mend(sim, NODE, CLIENTS[host]),
                    Wire::CutOneWay { from_node } => {
                        let (from, to) = one_way(host, from_node);
                        self.wires.mend_one_way(sim, from, to);
                    }
                    Wire::Held => self.wires.release(sim, NODE, CLIENTS[host]),
                }
                self.undisturb(host);
            }
            Undo::Node => self.start_node(sim),
            Undo::PowerLoss => {
                CLIENTS.iter().for_each(|host| self.wires.mend(sim, NODE, host));
                self.start_node(sim);
            }
            Undo::Clients(host) => {
                self.down[host] = false;
                sim.bounce(CLIENTS[host]);
            }
            Undo::ClientsPower(host) => {
                self.down[host] = false;
                self.wires.mend(sim, NODE, CLIENTS[host]);
                sim.bounce(CLIENTS[host]);
            }
            Undo::Hearing(client) => {
                self.world.kills.get(client).map(|kill| kill.deafen(false));
            }
            Undo::Descriptors => {
                self.world.disturbed.set(self.world.disturbed.get() - 1);
                self.descriptors(self.world.plan.kernel_chance(Fault::OutOfDescriptors));
            }
        }
    }

    fn start_node(&mut self, sim: &mut Sim<'_>) {
        self.node_down = false;
        self.world.disturb();
        sim.bounce(NODE);
    }

    fn undisturb(&self, host: usize) {
        if host == HOSTILE_HOST {
            self.world.disturbed.set(self.world.disturbed.get() - 1);
        }
    }

    fn descriptors(&self, chance: u16) {
        if let Some(run) = self.world.node_run() {
            run.chooser.borrow_mut().chance(Fault::OutOfDescriptors, chance);
        }
    }
}
