//! What goes wrong, and how it ends.

use crate::log::Disk;
use crate::oracle::{Oracle, SETTLED_AFTER, STILL_FOR};
use crate::wires::Message;
use crate::world::{Event, MS, Reached, World, tell};
use multibeam_proto::NodeId;
use multibeam_wire::link::{StoreId, Voters};

/// What came of a history.
pub(crate) struct Run {
    pub reached: Reached,
    pub failure: Option<String>,
    pub story: Vec<String>,
}

/// One history: it begins in peace, has faults for some seconds, and then must come back.
pub(crate) fn run(seed: u64, story: bool) -> Run {
    let mut world = World::new(seed, story);
    let failure = whole(&mut world).err();
    Run { reached: world.reached, failure, story: world.story.take().map(Into::into).unwrap_or_default() }
}

fn whole(world: &mut World) -> Result<(), String> {
    let begin = world.rng.between(500 * MS, 3000 * MS);
    world.faults_until = begin + world.rng.between(3000 * MS, 9000 * MS);
    world.at(begin, Event::Fault);
    world.run_until(world.faults_until)?;
    world.calm();
    world.run_until(world.faults_until + SETTLED_AFTER)?;
    Oracle::settled(world)?;
    let epoch = world.newest_epoch();
    world.run_until(world.faults_until + SETTLED_AFTER + STILL_FOR)?;
    Oracle::settled(world)?;
    if world.newest_epoch() != epoch {
        return Err(format!("P10: epochs go on from {epoch} to {} without a reason", world.newest_epoch()));
    }
    Ok(())
}

impl World {
    fn nodes(&self) -> usize {
        self.machines.len() - 1
    }

    fn some(&mut self) -> usize {
        let nodes = self.nodes() as u64;
        self.rng.below(nodes) as usize
    }

    /// One fault, and the next some time later.
    pub(crate) fn fault(&mut self) -> Result<(), String> {
        if self.now >= self.faults_until {
            return Ok(());
        }
        let at = self.some();
        let other = (at + 1 + self.rng.index(self.nodes() - 1)) % self.nodes();
        let mut next = self.now + self.rng.between(20 * MS, 700 * MS);
        match self.rng.below(22) {
            0..=4 => self.cut_pair(at, other),
            5..=7 => {
                tell!(self, "{at} is cut off");
                let both = self.rng.one_in(2);
                let one_way = self.rng.one_in(2);
                let spared = self.rng.index(self.machines.len());
                let until = self.now + self.rng.between(100 * MS, 4000 * MS);
                for peer in (0..self.machines.len()).filter(|peer| *peer != at && *peer != spared) {
                    if both || one_way {
                        self.cut_until(at, peer, until);
                    }
                    if both || !one_way {
                        self.cut_until(peer, at, until);
                    }
                }
            }
            8..=11 => self.crash(at),
            12..=14 => {
                let pause = self.rng.between(50 * MS, 1500 * MS);
                tell!(self, "{at} is paused for {} ms", pause / MS);
                self.machines[at].paused_until = self.now + pause;
            }
            15 => {
                let slow = if self.rng.one_in(2) { 500 * MS } else { 5 * MS };
                self.machines[at].apply_us = slow;
                tell!(self, "{at} applies within {} ms", slow / MS);
            }
            16 => self.delay_us[at][other] = self.rng.between(2 * MS, 150 * MS),
            17 => self.sign_off(at),
            18 => self.same_name(at),
            // Long enough for the voters to change.
            19 | 20 => next += self.leave_with_one_voter(),
            _ => self.heal(),
        }
        self.at(next, Event::Fault);
        Ok(())
    }

    /// Of a voter that leads partitions, only one other voter hears: its lease is the two of them, until others
    /// vote in its place. How long that takes.
    fn leave_with_one_voter(&mut self) -> u64 {
        let Some(steward) = (0..self.nodes()).find(|at| {
            self.machines[*at].process.as_ref().is_some_and(|process| process.agent.facts().leads)
        }) else {
            return 0;
        };
        let voters = self.machines[steward].disk.voters();
        let votes = |at: &usize| *at != steward && voters.contains(self.machines[*at].disk.store);
        let others: Vec<usize> = (0..self.nodes()).filter(votes).collect();
        let leading: Vec<usize> = others.iter().copied().filter(|at| self.oracle.leads(*at)).collect();
        let Some(at) = self.rng.pick(&leading) else { return 0 };
        let others: Vec<usize> = others.into_iter().filter(|other| *other != at).collect();
        let Some(spared) = self.rng.pick(&others) else { return 0 };
        let patience = u64::try_from(self.config.voter_patience.as_micros()).unwrap();
        let until = self.now + patience + 1500 * MS;
        tell!(self, "{at}, which leads, is cut off from all but {spared}");
        for peer in (0..self.machines.len()).filter(|peer| *peer != at && *peer != spared) {
            self.cut_until(at, peer, until);
            self.cut_until(peer, at, until);
        }
        until - self.now
    }

    fn cut_pair(&mut self, at: usize, other: usize) {
        let until = self.now + self.rng.between(50 * MS, 3000 * MS);
        self.cut_until(at, other, until);
        if !self.rng.one_in(3) {
            self.cut_until(other, at, until);
        }
        tell!(self, "{at} and {other} are cut: {} {}", self.cut[at][other], self.cut[other][at]);
    }

    fn cut_until(&mut self, from: usize, to: usize, until: u64) {
        self.cut[from][to] = true;
        self.at(until, Event::Heal(from, to));
    }

    fn heal(&mut self) {
        tell!(self, "all is healed");
        for row in &mut self.cut {
            row.fill(false);
        }
    }

    /// The process ends at once, and starts again on the same disk, or on an empty one.
    fn crash(&mut self, at: usize) {
        if self.machines[at].process.is_none() {
            return;
        }
        let told = !self.rng.one_in(3);
        self.stop(at, told);
        if self.rng.one_in(5) && self.can_lose(at) {
            self.wipe(at);
        }
        let soon = self.rng.one_in(2);
        let when = self.now
            + if soon { self.rng.between(5 * MS, 200 * MS) } else { self.rng.between(200 * MS, 3000 * MS) };
        self.at(when, Event::Start(at));
    }

    /// A voter has promised: a moment at which it is worst if it forgets, and the node that it gave up comes back.
    pub(crate) fn after_promise(&mut self, at: usize, node: NodeId) {
        if self.now >= self.faults_until || !self.rng.one_in(3) {
            return;
        }
        let Some(other) = self.machines.iter().position(|machine| machine.node == node) else { return };
        self.cut[at][other] = false;
        self.cut[other][at] = false;
        tell!(self, "{at} has promised, crashes, and {other} reaches it again");
        self.stop(at, true);
        let when = self.now + self.rng.between(2 * MS, 30 * MS);
        self.at(when, Event::Start(at));
    }

    /// The voters change: a moment at which it is worst if leases of the old ones run on. Somebody who leads
    /// loses those who would tell it.
    pub(crate) fn before_change(&mut self, at: usize) {
        if self.now >= self.faults_until || self.rng.one_in(3) {
            return;
        }
        let leaders: Vec<usize> =
            (0..self.nodes()).filter(|other| *other != at && self.oracle.leads(*other)).collect();
        let Some(leader) = self.rng.pick(&leaders) else { return };
        tell!(self, "{leader} is cut off while the voters change");
        let until = self.now + self.rng.between(300 * MS, 1500 * MS);
        for peer in (0..self.machines.len()).filter(|peer| *peer != leader) {
            self.cut_until(leader, peer, until);
            self.cut_until(peer, leader, until);
        }
    }

    fn wipe(&mut self, at: usize) {
        tell!(self, "{at} loses its disk");
        self.reached.wiped += 1;
        let store = StoreId(1000 + self.unique());
        self.machines[at].disk = Disk::empty(store);
    }

    /// Whether a majority of those who vote, by any log, would still have its disk. No consensus survives more.
    fn can_lose(&self, at: usize) -> bool {
        let lost = self.machines[at].disk.store;
        let exists = |store: StoreId| {
            let here = |at: usize| self.machines[at].disk.store == store && !self.dead_for_good.contains(&at);
            store != lost && (0..self.machines.len()).any(here)
        };
        let newest =
            self.machines.iter().map(|machine| machine.disk.voters()).max_by_key(|voters| voters.index);
        let all: Vec<Voters> = self.machines.iter().map(|machine| machine.disk.voters()).collect();
        let newest = newest.map_or(0, |voters| voters.index);
        // Newer than what a majority knows, or older: both may be in force somewhere.
        let known = all.iter().filter(|voters| !voters.present.is_empty() && voters.index + 12 >= newest);
        let mut any = false;
        for voters in known {
            any = true;
            if !voters.majority(exists) {
                return false;
            }
        }
        any
    }

    fn sign_off(&mut self, at: usize) {
        let Some(process) = self.process(at) else { return };
        if process.signed_off {
            return;
        }
        process.signed_off = true;
        process.agent.sign_off();
        let run = process.run;
        self.reached.signed_off += 1;
        tell!(self, "{at} signs off");
        let peers: Vec<StoreId> = self.machines.iter().map(|machine| machine.disk.store).collect();
        for store in peers {
            self.ask(at, store, Message::SignedOff);
        }
        let exit = self.now + self.rng.between(20 * MS, 600 * MS);
        self.at(exit, Event::Exit(at, run));
        let back = exit + self.rng.between(10 * MS, 1500 * MS);
        self.at(back, Event::Start(at));
    }

    /// Somebody starts a second process under a name that is in use, on another machine and disk, while the
    /// first can't be reached by some.
    fn same_name(&mut self, at: usize) {
        let spare = self.nodes();
        if self.machines[spare].process.is_some() || self.machines[at].process.is_none() {
            return;
        }
        self.reached.same_name_twice += 1;
        let until = self.now + self.rng.between(500 * MS, 3000 * MS);
        let spared = self.some();
        for peer in (0..self.nodes()).filter(|peer| *peer != at && *peer != spared) {
            self.cut_until(at, peer, until);
            self.cut_until(peer, at, until);
        }
        let store = StoreId(1000 + self.unique());
        self.machines[spare].node = self.machines[at].node;
        self.machines[spare].disk = Disk::empty(store);
        tell!(self, "{spare} is started under the name of {at}, which is cut off from all but {spared}");
        self.at(self.now, Event::Start(spare));
    }

    /// No faults any more: whoever is dead starts, but for one that nobody needs.
    fn calm(&mut self) {
        self.heal();
        tell!(self, "calm");
        for row in &mut self.delay_us {
            row.fill(3 * MS);
        }
        for machine in &mut self.machines {
            machine.paused_until = 0;
            machine.apply_us = 8 * MS;
        }
        let spare = self.nodes();
        self.one_of_a_name(spare);
        let doomed = self.some();
        if self.rng.one_in(3) && self.nodes() > 3 && self.can_lose(doomed) && self.dead_for_good.is_empty() {
            tell!(self, "{doomed} is dead for good");
            self.stop(doomed, false);
            self.dead_for_good.push(doomed);
        }
        for at in 0..self.nodes() {
            let when = self.now + self.rng.below(1000 * MS);
            self.at(when, Event::Start(at));
        }
    }

    /// Of two processes of one name, the one that is no member gets a name of its own.
    fn one_of_a_name(&mut self, spare: usize) {
        let name = self.machines[spare].node;
        let first = (0..spare).find(|at| self.machines[*at].node == name);
        if self.machines[spare].process.is_none() {
            self.dead_for_good.push(spare);
            // An earlier run than the cluster knows stays outside.
            if let Some(first) = first {
                self.stop(first, false);
            }
            return;
        }
        let Some(first) = first else { return };
        let store = self.machines[spare].disk.store;
        let newest = self.machines.iter().filter_map(|machine| Some(machine.process.as_ref()?.agent.view()));
        let newest = newest.max_by_key(|view| view.epoch());
        let joined =
            newest.and_then(|view| view.members().get(&name)).is_some_and(|member| member.store == store);
        let (renamed, stays) = if joined { (first, spare) } else { (spare, first) };
        tell!(self, "of {first} and {spare}, {renamed} gets another name");
        self.stop(renamed, false);
        self.machines[renamed].node = NodeId(90);
        self.stop(stays, false);
        for at in [renamed, stays] {
            let when = self.now + self.rng.below(1000 * MS);
            self.at(when, Event::Start(at));
        }
    }
}
