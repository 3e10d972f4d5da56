//! Connections between machines: what is sent arrives in order, late, after a cut heals, or never.

use crate::log::Log;
use crate::world::{CLUSTER, Event, MS, World, tell};
use multibeam_proto::Time;
use multibeam_proto::cluster::{Agent, Contact, GivenUp, Greeting, PeerStatus, Promise, Wish};
use multibeam_proto::view::View;
use multibeam_wire::link::{Identity, Lease, LinkHeartbeat, LinkHello, LinkPurpose, StoreId};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Heartbeat(LinkHeartbeat),
    Lease(Lease),
    State(Arc<View>),
    Append { term: u64, leader: StoreId, log: Log, commit: usize, sent: Time },
    Appended { term: u64, accepted: bool, has: usize, sent: Time },
    AskPromises(Vec<Wish>),
    Promised { made: Vec<(GivenUp, Promise)>, undecided: Vec<GivenUp> },
    SignedOff,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

pub(crate) struct Connection {
    /// Machines; by [`Side`], as all that follows.
    pub ends: [usize; 2],
    open: [bool; 2],
    identities: [Identity; 2],
    /// What is under way to that side, and when it arrives.
    queues: [VecDeque<(u64, Message)>; 2],
}

impl World {
    /// Dials whoever there is no connection to, and again before long.
    pub(crate) fn dial(&mut self, at: usize) -> Result<(), String> {
        for to in 0..self.machines.len() {
            self.dial_one(at, to)?;
        }
        if let Some(run) = self.process(at).map(|process| process.run) {
            let when = self.now + self.rng.between(30 * MS, 120 * MS);
            self.at(when, Event::Dial(at, run));
        }
        Ok(())
    }

    fn dial_one(&mut self, at: usize, to: usize) -> Result<(), String> {
        let reached =
            at != to && !self.cut[at][to] && !self.cut[to][at] && self.machines[to].paused_until <= self.now;
        let idle = |world: &Self| {
            world.machines[at].process.as_ref().is_some_and(|process| process.dialled[to].is_none())
        };
        if !reached || !idle(self) {
            return Ok(());
        }
        let (dialler_now, acceptor_now) = (self.clock(at), self.clock(to));
        let [Some(dialler), Some(acceptor)] = [&self.machines[at].process, &self.machines[to].process] else {
            return Ok(());
        };
        if dialler.signed_off || acceptor.signed_off {
            return Ok(());
        }
        let identities = [dialler.agent.identity(), acceptor.agent.identity()];
        let greetings =
            [dialler.agent.greet(&identities[1], true), acceptor.agent.greet(&identities[0], true)];
        if greetings.iter().any(|greeting| matches!(greeting, Greeting::Refused(_))) {
            return Ok(());
        }
        let name = self.unique();
        let connection = Connection {
            ends: [at, to],
            open: [true, true],
            identities,
            queues: [VecDeque::new(), VecDeque::new()],
        };
        self.connections.insert(name, connection);
        let address = format!("10.0.0.{at}:7500");
        let hello = LinkHello {
            identity: identities[0],
            purpose: LinkPurpose::Control,
            address: &address,
            clients: "",
            weight: 1,
        };
        for (end, greeting) in [at, to].into_iter().zip(greetings) {
            if let (Greeting::Adopt(_), Some(process)) = (greeting, self.process(end)) {
                process.agent.adopted(CLUSTER);
            }
        }
        if let Some(process) = self.process(to) {
            let before = process.accepted[at].replace(name);
            process.agent.linked(&identities[0], Some(&hello), acceptor_now);
            if let Some(before) = before {
                self.shut(before, Side::Acceptor);
            }
        }
        if let Some(process) = self.process(at) {
            process.dialled[to] = Some(name);
            process.agent.linked(&identities[1], None, dialler_now);
        }
        self.after(to)?;
        self.after(at)
    }

    /// Sends on this machine's own connection.
    pub(crate) fn ask(&mut self, at: usize, to: StoreId, message: Message) {
        let Some(peer) = self.by_store(to) else { return };
        let connection = self.process(at).and_then(|process| process.dialled[peer]);
        if let Some(connection) = connection {
            self.send(connection, Side::Acceptor, message);
        }
    }

    /// Sends on whichever connection there is.
    pub(crate) fn tell_peer(&mut self, at: usize, to: StoreId, message: Message) {
        let Some(peer) = self.by_store(to) else { return };
        let Some(process) = self.process(at) else { return };
        if let Some(connection) = process.accepted[peer] {
            self.send(connection, Side::Dialler, message);
        } else if let Some(connection) = process.dialled[peer] {
            self.send(connection, Side::Acceptor, message);
        }
    }

    /// Answers what came on a connection.
    pub(crate) fn answer(&mut self, connection: u64, at: usize, message: Message) {
        let Some(known) = self.connections.get(&connection) else { return };
        let to = if known.ends[0] == at { Side::Acceptor } else { Side::Dialler };
        self.send(connection, to, message);
    }

    fn send(&mut self, name: u64, to: Side, message: Message) {
        let Some(connection) = self.connections.get(&name) else { return };
        if !connection.open[to.other().index()] {
            return;
        }
        let ends = connection.ends;
        let due = self.now + self.delay(ends[to.other().index()], ends[to.index()]);
        let Some(connection) = self.connections.get_mut(&name) else { return };
        let queue = &mut connection.queues[to.index()];
        let due = queue.back().map_or(due, |(last, _)| due.max(*last));
        queue.push_back((due, message));
        if queue.len() == 1 {
            self.at(due, Event::Deliver(name, to));
        }
    }

    pub(crate) fn deliver(&mut self, name: u64, to: Side) -> Result<(), String> {
        let Some(connection) = self.connections.get(&name) else { return Ok(()) };
        let (sender, receiver) = (connection.ends[to.other().index()], connection.ends[to.index()]);
        if self.cut[sender][receiver] {
            let again = self.now + self.rng.between(5 * MS, 25 * MS);
            self.at(again, Event::Deliver(name, to));
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(&name) else { return Ok(()) };
        if !connection.open[to.index()] {
            connection.queues[to.index()].clear();
            if connection.open[to.other().index()] && !self.cut[receiver][sender] {
                self.at(self.now + 200, Event::Closed(name, to.other()));
            }
            return Ok(());
        }
        let message = connection.queues[to.index()].pop_front();
        let next = connection.queues[to.index()].front().map(|(due, _)| *due);
        let from = connection.identities[to.other().index()];
        if let Some(next) = next {
            self.at(next, Event::Deliver(name, to));
        }
        let Some((_, message)) = message else { return Ok(()) };
        let current = self
            .process(receiver)
            .is_some_and(|process| process.agent.is_current(from.store, from.incarnation));
        if !current {
            return self.close(name, to);
        }
        self.receive(receiver, name, &from, message)?;
        self.after(receiver)
    }

    fn receive(&mut self, at: usize, name: u64, from: &Identity, message: Message) -> Result<(), String> {
        let now = self.clock(at);
        let Some(process) = self.process(at) else { return Ok(()) };
        match message {
            Message::Heartbeat(heartbeat) => {
                let lease = process.agent.heartbeat(from.store, &heartbeat, now);
                self.oracle.granted(&self.machines[at], from.node, &lease)?;
                self.answer(name, at, Message::Lease(lease));
            }
            Message::Lease(lease) => process.agent.answered(from.store, &lease, now),
            Message::State(view) => {
                process.agent.heard(from.store, now);
                process.agent.applied(view, now);
            }
            Message::Append { term, leader, log, commit, sent } => {
                process.agent.heard(from.store, now);
                self.append(at, name, (term, leader), log, commit, sent)?;
            }
            Message::Appended { term, accepted, has, sent } => {
                process.agent.heard(from.store, now);
                self.appended(at, from.store, term, accepted, has, sent)?;
            }
            Message::AskPromises(wanted) => {
                process.agent.heard(from.store, now);
                self.promise(at, &wanted, Some(name));
            }
            Message::Promised { made, undecided } => {
                process.agent.heard(from.store, now);
                if made.iter().any(|(_, promise)| matches!(promise, Promise::Made { .. })) {
                    tell!(self, "{at} hears that {:?} promised {made:?}", from.store);
                }
                if let Some(process) = self.process(at) {
                    process.agent.promised(from.store, &made, &undecided, now);
                }
            }
            Message::SignedOff => process.agent.peer_signed_off(from.node, from.incarnation, now),
        }
        Ok(())
    }

    /// Whoever is silent is not waited for, nor an earlier run.
    pub(crate) fn close_silent(&mut self, at: usize, now: Time) -> Result<(), String> {
        let Some(process) = self.process(at) else { return Ok(()) };
        let ends = process.dialled.iter().map(|end| (*end, Side::Dialler));
        let ends: Vec<_> = ends.chain(process.accepted.iter().map(|end| (*end, Side::Acceptor))).collect();
        for (end, side) in ends {
            let Some(name) = end else { continue };
            let Some(connection) = self.connections.get(&name) else { continue };
            let peer = connection.identities[side.other().index()];
            let over = |agent: &Agent| {
                let silent = |of: &PeerStatus| of.store == peer.store && of.contact == Contact::Silent;
                !agent.is_current(peer.store, peer.incarnation) || agent.peers(now).any(|of| silent(&of))
            };
            if self.process(at).is_some_and(|process| over(&process.agent)) {
                self.close(name, side)?;
            }
        }
        Ok(())
    }

    /// One side closes, or learns that the other has.
    pub(crate) fn close(&mut self, name: u64, side: Side) -> Result<(), String> {
        let Some(connection) = self.connections.get(&name) else { return Ok(()) };
        if !connection.open[side.index()] {
            return Ok(());
        }
        let (at, peer) = (connection.ends[side.index()], connection.ends[side.other().index()]);
        let identity = connection.identities[side.other().index()];
        self.end(name, side, true);
        let now = self.clock(at);
        let Some(process) = self.process(at) else { return Ok(()) };
        let end = match side {
            Side::Dialler => &mut process.dialled[peer],
            Side::Acceptor => &mut process.accepted[peer],
        };
        if *end == Some(name) {
            *end = None;
            process.agent.unlinked(identity.store, identity.incarnation, side == Side::Dialler, now);
        }
        self.after(at)
    }

    /// A side is no more, and nobody at it needs to be told.
    pub(crate) fn end(&mut self, name: u64, side: Side, told: bool) {
        self.shut(name, side);
        let Some(connection) = self.connections.get(&name) else { return };
        let (at, peer) = (connection.ends[side.index()], connection.ends[side.other().index()]);
        if told && connection.open[side.other().index()] && !self.cut[at][peer] {
            let when = self.now + self.delay(at, peer);
            self.at(when, Event::Closed(name, side.other()));
        }
    }

    fn shut(&mut self, name: u64, side: Side) {
        if let Some(connection) = self.connections.get_mut(&name) {
            connection.open[side.index()] = false;
            if connection.open == [false, false] {
                self.connections.remove(&name);
            }
        }
    }
}
