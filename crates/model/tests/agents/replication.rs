//! The made-up consensus: logs and terms as in the real one, and a test that says who is elected.
//!
//! It keeps what a driver of the real one must keep: a membership counts from when it stands in the log and
//! is changed in two steps by whoever leads; a leader says that it leads once it has applied all before its term.
//! A node that starts applies its log from the beginning and shows its agent each view on the way.

use crate::log::{Disk, Entry, Log, Membership};
use crate::wires::Message;
use crate::world::{Event, MS, Machine, Process, World, tell};
use multibeam_proto::cluster::{Act, ConsensusFacts, Contact};
use multibeam_proto::view::{Batch, Op, Replica};
use multibeam_proto::{NodeId, Time};
use multibeam_wire::link::{StoreId, VoterSet, Voters};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A leader believes that it leads for so long after a majority has acknowledged it, by its clock; and a voter
/// helps nobody else for so long after it has heard one.
const ELECTION: Duration = Duration::from_millis(600);

/// Entries are sent again this often.
const BEAT: u64 = 100 * MS;

/// What the leader's steward wanted and has not been told the end of.
#[derive(Clone, Debug)]
enum Operation {
    Batch(usize),
    Learner(usize),
    /// Both steps of it: when the first is committed, the second follows.
    Joint(usize, VoterSet),
    Uniform(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Leader {
    pub term: u64,
    /// The first entry of its own.
    first: usize,
    matched: BTreeMap<StoreId, usize>,
    /// When that was sent what was acknowledged last, by its clock.
    acknowledged: BTreeMap<StoreId, Time>,
    operation: Option<(Operation, Time)>,
}

fn facts(process: &Process, disk: &Disk, now: Time) -> ConsensusFacts {
    let voters = disk.voters();
    let leading = process.leading.as_ref();
    let leads = leading.is_some_and(|leader| {
        let fresh = |store: StoreId| {
            store == disk.store
                || leader.acknowledged.get(&store).is_some_and(|sent| now.since(*sent) < ELECTION)
        };
        process.applied >= leader.first && voters.majority(fresh)
    });
    let matched = leading.map(|leader| {
        let others = voters.all().chain(disk.membership().learners.iter().copied());
        let others = others.filter(|store| *store != disk.store);
        others.map(|store| (store, leader.matched.get(&store).map(|has| *has as u64))).collect()
    });
    ConsensusFacts {
        leads,
        term: disk.term,
        leader: process.leader,
        voters,
        voters_committed: process.commit >= disk.membership_index(),
        applied: process.applied as u64,
        last_log: disk.log.len() as u64,
        matched: matched.unwrap_or_default(),
    }
}

impl World {
    /// The agent hears what has changed.
    pub(crate) fn tell_consensus(&mut self, at: usize) {
        let now = self.clock(at);
        let machine = &mut self.machines[at];
        let Some(process) = &mut machine.process else { return };
        let facts = facts(process, &machine.disk, now);
        if facts != *process.agent.facts() {
            process.agent.consensus(facts, now);
        }
    }

    /// Now and then somebody is elected, if a voter may stand and a majority helps it.
    pub(crate) fn elect(&mut self) -> Result<(), String> {
        let impatient = self.now < self.faults_until && self.rng.one_in(60);
        let first = self.rng.index(self.machines.len());
        for step in 0..self.machines.len() {
            let at = (first + step) % self.machines.len();
            if self.try_elect(at, impatient)? {
                break;
            }
        }
        let when = self.now + self.rng.between(30 * MS, 90 * MS);
        self.at(when, Event::Elect);
        Ok(())
    }

    fn waits(&self, at: usize) -> bool {
        let machine = &self.machines[at];
        let Some(process) = &machine.process else { return false };
        machine.paused_until <= self.now
            && self.now - process.leader_heard > u64::try_from(ELECTION.as_micros()).unwrap()
    }

    fn try_elect(&mut self, at: usize, impatient: bool) -> Result<bool, String> {
        let machine = &self.machines[at];
        let disk = &machine.disk;
        let voters = disk.voters();
        let Some(process) = &machine.process else { return Ok(false) };
        let stands = process.may_stand
            && process.leading.is_none()
            && machine.paused_until <= self.now
            && voters.contains(disk.store)
            && (impatient || self.waits(at));
        if !stands {
            return Ok(false);
        }
        let helps = |other: usize| {
            let there = &self.machines[other];
            let up = there.process.is_some() && there.paused_until <= self.now;
            let reached = !self.cut[at][other] && !self.cut[other][at];
            other == at
                || (up && reached && there.disk.last() <= disk.last() && (impatient || self.waits(other)))
        };
        let helpers: Vec<usize> = (0..self.machines.len()).filter(|other| helps(*other)).collect();
        let stores: Vec<StoreId> = helpers.iter().map(|other| self.machines[*other].disk.store).collect();
        if !voters.majority(|store| stores.contains(&store)) {
            return Ok(false);
        }
        let helpers: Vec<usize> =
            helpers.into_iter().filter(|other| voters.contains(self.machines[*other].disk.store)).collect();
        let term = helpers.iter().map(|other| self.machines[*other].disk.term).max().unwrap_or(0) + 1;
        tell!(self, "{at} is elected in term {term} by {helpers:?}");
        self.reached.elected += 1;
        let unaware = self.machines.iter().enumerate().any(|(other, machine)| {
            let leads = |process: &Process| process.agent.facts().leads;
            !helpers.contains(&other) && machine.process.as_ref().is_some_and(leads)
        });
        self.reached.deposed_unaware += u64::from(unaware);
        for other in helpers.iter().filter(|other| **other != at) {
            self.machines[*other].disk.term = term;
            self.step_down(*other);
            let now = self.now;
            if let Some(process) = self.process(*other) {
                process.leader_heard = now;
            }
        }
        self.lead(at, term)?;
        for other in helpers {
            self.after(other)?;
        }
        Ok(true)
    }

    fn lead(&mut self, at: usize, term: u64) -> Result<(), String> {
        let machine = &mut self.machines[at];
        machine.disk.term = term;
        let first = machine.disk.append(term, Entry::Blank);
        let Some(process) = &mut machine.process else { return Ok(()) };
        process.leader = Some(machine.disk.store);
        process.leader_heard = self.now;
        let run = process.run;
        process.leading = Some(Leader {
            term,
            first,
            matched: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            operation: None,
        });
        self.commit(at);
        self.at(self.now, Event::Replicate(at, run, term));
        Ok(())
    }

    fn step_down(&mut self, at: usize) {
        let now = self.clock(at);
        let Some(process) = self.process(at) else { return };
        if let Some(leader) = process.leading.take() {
            process.leader = None;
            if leader.operation.is_some() {
                process.agent.done(None, now);
            }
            tell!(self, "{at} leads no more in term {}", leader.term);
        }
    }

    /// Sends the log to everybody in the membership.
    pub(crate) fn replicate(&mut self, at: usize, term: u64, again: bool) -> Result<(), String> {
        let now = self.clock(at);
        let machine = &self.machines[at];
        let Some(process) = &machine.process else { return Ok(()) };
        if process.leading.as_ref().is_none_or(|leader| leader.term != term) {
            return Ok(());
        }
        let (run, commit, leader) = (process.run, process.commit, machine.disk.store);
        let others: Vec<StoreId> =
            machine.disk.voters().all().chain(machine.disk.membership().learners.iter().copied()).collect();
        let log = Rc::clone(&machine.disk.log);
        for store in others.into_iter().filter(|store| *store != leader) {
            self.ask(at, store, Message::Append { term, leader, log: Rc::clone(&log), commit, sent: now });
        }
        if again {
            self.at(self.now + BEAT, Event::Replicate(at, run, term));
        }
        self.after(at)
    }

    pub(crate) fn append(
        &mut self,
        at: usize,
        name: u64,
        (term, leader): (u64, StoreId),
        log: Log,
        commit: usize,
        sent: Time,
    ) -> Result<(), String> {
        let disk = &self.machines[at].disk;
        let (ours, same_term) = (disk.log.len(), disk.last().0 == term);
        if term < disk.term {
            let answer = Message::Appended { term: disk.term, accepted: false, has: ours, sent };
            self.answer(name, at, answer);
            return Ok(());
        }
        if term > disk.term {
            self.step_down(at);
        }
        let disk = &mut self.machines[at].disk;
        disk.term = term;
        if !(same_term && log.len() <= ours) {
            disk.replace(log);
        }
        let has = disk.log.len();
        let now = self.now;
        if let Some(process) = self.process(at) {
            process.leader_heard = now;
            process.leader = Some(leader);
            process.commit = process.commit.max(commit.min(has));
        }
        self.apply_soon(at);
        self.answer(name, at, Message::Appended { term, accepted: true, has, sent });
        Ok(())
    }

    pub(crate) fn appended(
        &mut self,
        at: usize,
        from: StoreId,
        term: u64,
        accepted: bool,
        has: usize,
        sent: Time,
    ) -> Result<(), String> {
        if term > self.machines[at].disk.term {
            self.machines[at].disk.term = term;
            self.step_down(at);
            return Ok(());
        }
        let Some(process) = self.process(at) else { return Ok(()) };
        let Some(leader) = process.leading.as_mut().filter(|leader| accepted && leader.term == term) else {
            return Ok(());
        };
        let matched = leader.matched.entry(from).or_default();
        *matched = has.max(*matched);
        let acknowledged = leader.acknowledged.entry(from).or_default();
        *acknowledged = sent.max(*acknowledged);
        self.commit(at);
        Ok(())
    }

    /// What a majority of those who vote by the newest membership has, of this term, is committed.
    fn commit(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let disk = &machine.disk;
        let Some(process) = &mut machine.process else { return };
        let Some(leader) = &process.leading else { return };
        let has = |store: StoreId| {
            if store == disk.store {
                disk.log.len()
            } else {
                leader.matched.get(&store).copied().unwrap_or(0)
            }
        };
        let voters = disk.voters();
        let committed =
            (leader.first..=disk.log.len()).rev().find(|index| voters.majority(|store| has(store) >= *index));
        let Some(committed) = committed.filter(|committed| *committed > process.commit) else { return };
        process.commit = committed;
        let (run, term) = (process.run, leader.term);
        self.apply_soon(at);
        // Others hear of it without waiting for the next beat, most of the time.
        if !self.rng.one_in(4) {
            self.replicate_now(at, run, term);
        }
    }

    fn replicate_now(&mut self, at: usize, _run: u64, term: u64) {
        let now = self.clock(at);
        let machine = &self.machines[at];
        let Some(process) = &machine.process else { return };
        let (commit, leader) = (process.commit, machine.disk.store);
        let membership = machine.disk.membership().clone();
        let log = Rc::clone(&machine.disk.log);
        let voters: Vec<StoreId> = machine.disk.voters().all().chain(membership.learners).collect();
        for store in voters.into_iter().filter(|store| *store != leader) {
            self.ask(at, store, Message::Append { term, leader, log: Rc::clone(&log), commit, sent: now });
        }
    }

    pub(crate) fn apply_soon(&mut self, at: usize) {
        let most = self.machines[at].apply_us;
        let when = self.now + self.rng.below(most);
        let Some(process) = self.process(at) else { return };
        if process.applying || process.applied >= process.commit {
            return;
        }
        process.applying = true;
        let run = process.run;
        self.at(when, Event::Apply(at, run));
    }

    /// Applies what is committed: all of it, or one entry. Of several views at once, the agent may see the last
    /// alone.
    pub(crate) fn apply(&mut self, at: usize) -> Result<(), String> {
        let all = !self.rng.one_in(3);
        let now = self.clock(at);
        let noted = self.rng.one_in(3);
        let Machine { disk, process: Some(process), .. } = &mut self.machines[at] else { return Ok(()) };
        if noted {
            disk.committed = process.commit;
        }
        let log = Rc::clone(&disk.log);
        process.applying = false;
        let mut shown = false;
        while process.applied < process.commit {
            process.applied += 1;
            let entry = &log[process.applied - 1];
            self.oracle.committed(process.applied, entry)?;
            if let Entry::Batch(batch) = &entry.entry {
                let before = process.view.clone();
                let outcome = process.view.apply(batch);
                self.oracle.applied(
                    &before,
                    batch,
                    &outcome,
                    &process.view,
                    process.applied,
                    &mut self.reached,
                )?;
                process.outcomes.insert(process.applied, outcome);
            }
            let newer = process.view.epoch() > process.agent.view().epoch();
            let seen = process.applied == process.commit || self.rng.one_in(2);
            if newer && !seen {
                self.reached.views_skipped += 1;
            } else if newer {
                process.agent.applied(Arc::new(process.view.clone()), now);
                shown = true;
            }
            // What follows from a view is done before the next one.
            if !all || shown {
                break;
            }
        }
        // What was decided is forgotten on disk as well, at some time.
        if shown && self.rng.one_in(2) {
            let (bytes, run) = (process.agent.promises(), process.run);
            let when = self.now + self.rng.between(200, self.machines[at].durable_us);
            self.at(when, Event::Durable { at, run, bytes, answer: None });
        }
        self.apply_soon(at);
        self.after(at)
    }

    /// The steward wants something of the consensus.
    pub(crate) fn operate(&mut self, at: usize, act: Act) -> Result<(), String> {
        if matches!(act, Act::ChangeVoters(_)) {
            self.before_change(at);
        }
        let now = self.clock(at);
        let deadline = now + self.config.proposal_timeout;
        let machine = &mut self.machines[at];
        let Some(process) = &mut machine.process else { return Ok(()) };
        let Some(leader) = &mut process.leading else {
            process.agent.done(None, now);
            return Ok(());
        };
        let term = leader.term;
        let changeable = process.commit >= machine.disk.membership_index();
        let before = machine.disk.membership().clone();
        let operation = match act {
            Act::Propose(batch) => {
                Some(Operation::Batch(machine.disk.append(term, Entry::Batch(Rc::new(batch)))))
            }
            Act::AddLearner(store) if changeable => {
                let mut membership = before;
                membership.learners.push(store);
                let index = machine.disk.append(term, Entry::Membership(Rc::new(membership)));
                Some(Operation::Learner(index))
            }
            Act::ChangeVoters(stores) if changeable => {
                let goal = VoterSet::new(stores).unwrap();
                change_voters(&mut machine.disk, term, goal)
            }
            Act::RemoveLearners(stores) if changeable => {
                let mut membership = before;
                membership.learners.retain(|store| !stores.contains(store));
                let index = machine.disk.append(term, Entry::Membership(Rc::new(membership)));
                Some(Operation::Learner(index))
            }
            Act::AddLearner(_) | Act::RemoveLearners(_) | Act::ChangeVoters(_) => None,
            Act::AskPromises { .. } => unreachable!(),
        };
        let Some(operation) = operation else {
            process.agent.done(None, now);
            return Ok(());
        };
        leader.operation = Some((operation, deadline));
        let run = process.run;
        self.commit(at);
        self.replicate_now(at, run, term);
        Ok(())
    }

    pub(crate) fn operation_timed_out(&mut self, at: usize, now: Time) {
        let Some(process) = self.process(at) else { return };
        let Some(leader) = &mut process.leading else { return };
        if leader.operation.as_ref().is_some_and(|(_, deadline)| *deadline <= now) {
            leader.operation = None;
            process.agent.done(None, now);
            tell!(self, "{at} waits no longer for what it proposed");
        }
    }

    /// Whether what the steward wanted is done; the second step of a change of voters follows the first.
    pub(crate) fn operation_ended(&mut self, at: usize) {
        let now = self.clock(at);
        let machine = &mut self.machines[at];
        let Some(process) = &mut machine.process else { return };
        let Some(leader) = &mut process.leading else { return };
        let Some((operation, deadline)) = leader.operation.clone() else { return };
        match operation {
            Operation::Batch(index) => {
                if process.applied >= index && process.agent.view().epoch() >= process.outcomes[&index].epoch
                {
                    leader.operation = None;
                    let outcome = process.outcomes[&index].clone();
                    process.agent.done(Some(&outcome), now);
                }
            }
            Operation::Learner(index) | Operation::Uniform(index) => {
                if process.commit >= index {
                    leader.operation = None;
                    process.agent.done(None, now);
                }
            }
            Operation::Joint(index, goal) => {
                if process.commit >= index && machine.disk.membership_index() == index {
                    let term = leader.term;
                    let next = change_voters(&mut machine.disk, term, goal);
                    leader.operation = next.map(|operation| (operation, deadline));
                    let run = process.run;
                    self.reached.voters_changed += 1;
                    self.commit(at);
                    self.replicate_now(at, run, term);
                }
            }
        }
    }

    /// A node tends the records that it leads: whoever is silent leaves the set, whoever is there joins it.
    pub(crate) fn tend_records(&mut self, at: usize) {
        let now = self.clock(at);
        let Some(process) = self.machines[at].process.as_mut() else { return };
        let run = process.run;
        let leads = process.agent.lease_until(now).is_some();
        let view = Arc::clone(process.agent.view());
        let own = process.agent.own().clone();
        let alive: Vec<NodeId> = process
            .agent
            .peers(now)
            .filter(|peer| peer.peer.is_linked() && peer.contact != Contact::Silent)
            .map(|peer| peer.peer.node)
            .collect();
        let mut ops = Vec::new();
        for (id, record) in view.records() {
            let mine = record.leader == Some(own.node)
                && view.members().get(&own.node).is_some_and(|member| member.incarnation == own.incarnation);
            if !leads || !mine {
                continue;
            }
            let current = |node: NodeId| {
                let member = view.members().get(&node)?;
                Some(Replica { node, store: member.store, incarnation: member.incarnation })
            };
            let stays = |replica: &&Replica| {
                let same = current(replica.node).is_some_and(|now| now.is_same(replica, record.durability));
                same && (replica.node == own.node || alive.contains(&replica.node))
            };
            let mut in_sync: Vec<Replica> =
                record.in_sync.iter().filter(stays).filter_map(|replica| current(replica.node)).collect();
            let others = view.members().keys().filter(|node| alive.contains(node));
            let more = others.filter(|node| in_sync.iter().all(|replica| replica.node != **node));
            let more: Vec<NodeId> = more.copied().collect();
            if in_sync.len() < self.config.copies
                && let Some(more) = self.rng.pick(&more)
            {
                in_sync.extend(current(more));
            }
            in_sync.sort_unstable();
            if in_sync != record.in_sync {
                let if_epoch = record.partition_epoch;
                ops.push(Op::Change { partition: *id, if_epoch, leader: Some(own.node), in_sync });
            }
        }
        let leader = process.agent.facts().leader;
        if let Some(to) = leader.and_then(|store| self.by_store(store))
            && !ops.is_empty()
            && !self.cut[at][to]
        {
            let late = if self.rng.one_in(8) { 900 * MS } else { 15 * MS };
            let when = self.now + self.rng.below(late);
            self.at(when, Event::Proposal(to, Rc::new(Batch { if_epoch: None, ops })));
        }
        let when = self.now + self.rng.between(100 * MS, 300 * MS);
        self.at(when, Event::TendRecords(at, run));
    }

    /// Another node's proposal arrives at who was the leader.
    pub(crate) fn forwarded(&mut self, at: usize, batch: &Rc<Batch>) -> Result<(), String> {
        let machine = &mut self.machines[at];
        let Some(process) = &mut machine.process else { return Ok(()) };
        let Some(leader) = &process.leading else { return Ok(()) };
        let (run, term) = (process.run, leader.term);
        machine.disk.append(term, Entry::Batch(Rc::clone(batch)));
        self.commit(at);
        self.replicate_now(at, run, term);
        self.after(at)
    }
}

/// One step towards `goal`: both sets if that is neither of the present ones, else `goal` alone.
fn change_voters(disk: &mut Disk, term: u64, goal: VoterSet) -> Option<Operation> {
    let Membership { present, before, learners } = disk.membership().clone();
    let uniform = before.is_empty() && present == goal;
    if uniform {
        return None;
    }
    let one_of_them = !before.is_empty() && (present == goal || before == goal);
    let was = if one_of_them { VoterSet::default() } else { present };
    let votes = |store: StoreId| Voters { index: 0, present: goal, before: was }.contains(store);
    let learners = learners.into_iter().filter(|store| !votes(*store)).collect();
    let next = Membership { present: goal, before: was, learners };
    let index = disk.append(term, Entry::Membership(Rc::new(next)));
    Some(if one_of_them { Operation::Uniform(index) } else { Operation::Joint(index, goal) })
}
