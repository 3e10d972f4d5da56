//! Does what the agent says, and tells it what the consensus knows and what time it is.

use super::links::dial;
use super::questions::{self, AskPromises, Promises, SignOff};
use super::{Cluster, count};
use crate::cluster::links::outbox::StateToSend;
use crate::platform::Platform;
use multibeam_consensus::{Ask, ProposeError, Role, Status};
use multibeam_proto::Time;
use multibeam_proto::cluster::{Act, ConsensusFacts, Output, Wish};
use multibeam_proto::view::Batch;
use multibeam_wire::link::{Epoch, Incarnation, LinkPayload, NodeId, StoreId};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a voter may take with its promises: a few writes to its disk.
const PROMISES_MAX: Duration = Duration::from_millis(500);

/// How long the leader may take to take note of a node that signs off.
const SIGN_OFF_MAX: Duration = Duration::from_millis(800);

/// Starts the tasks that live as long as the node.
pub(super) fn spawn<P: Platform>(cluster: &Cluster<P>, asked: mpsc::Receiver<Ask>) {
    let spawn = &cluster.inner.platform;
    spawn.spawn(tick(cluster.clone()));
    spawn.spawn(follow(cluster.clone()));
    spawn.spawn(carry(cluster.clone(), asked));
    let failing = cluster.clone();
    spawn.spawn(async move {
        let sentence = failing.inner.consensus.failed().await;
        failing.fail(sentence);
    });
    cluster.learn();
}

/// The time, as often as the agent wants to know it.
async fn tick<P: Platform>(cluster: Cluster<P>) {
    let mut looked = Time::default();
    loop {
        let now = cluster.now();
        let next = cluster.inner.agent.borrow().next(now);
        cluster.inner.platform.sleep(next.since(now).max(Duration::from_millis(1))).await;
        let now = cluster.now();
        let heartbeat = cluster.inner.settings.times.heartbeat;
        if now.since(looked) >= heartbeat {
            looked = now;
            // How fresh the leadership is changes without a word.
            cluster.learn();
            cluster.beat_data();
        }
        cluster.inner.agent.borrow_mut().tick(now);
        cluster.settle();
        cluster.close_silent(now);
    }
}

/// What the consensus knows, whenever that changes.
async fn follow<P: Platform>(cluster: Cluster<P>) {
    loop {
        cluster.inner.consensus.changed().await;
        cluster.learn();
        if cluster.inner.consensus.status().role == Role::Stopped {
            // Whoever watches over it says why.
            return;
        }
    }
}

/// Hands the consensus' questions to the links.
async fn carry<P: Platform>(cluster: Cluster<P>, mut asked: mpsc::Receiver<Ask>) {
    while let Some(Ask { to, kind, bytes, answer }) = asked.recv().await {
        cluster.inner.links.borrow().ask(to, kind, bytes, answer);
    }
}

impl<P: Platform> Cluster<P> {
    /// Tells the agent what the consensus knows.
    pub(super) fn learn(&self) {
        let now = self.now();
        let view = self.inner.consensus.view();
        let facts = self.facts();
        {
            let mut agent = self.inner.agent.borrow_mut();
            agent.applied(view, now);
            agent.consensus(facts, now);
        }
        self.settle();
    }

    /// Does what the agent says, until it says nothing more.
    pub(super) fn settle(&self) {
        let before = self.inner.agent.borrow().view().epoch();
        loop {
            let output = self.inner.agent.borrow_mut().poll();
            match output {
                None => break,
                Some(Output::Heartbeat { to, heartbeat }) => {
                    self.inner.links.borrow().send(to, &LinkPayload::Heartbeat(heartbeat));
                }
                Some(Output::State { to }) => self.send_state(to),
                Some(Output::Elections(allowed)) => self.inner.consensus.allow_election(allowed),
                Some(Output::Isolated(isolated)) => self.tell_shards(isolated),
                Some(Output::Act(act)) => self.act(act),
            }
        }
        self.renew_lease();
        let epoch = self.inner.agent.borrow().view().epoch();
        let known = self.inner.links.borrow().known();
        if epoch != before || known != (epoch, self.linked()) {
            self.inner.links.borrow_mut().set_known((epoch, self.linked()));
            dial::renew(self);
            self.inner.progress.notify_waiters();
        }
    }

    fn linked(&self) -> usize {
        let agent = self.inner.agent.borrow();
        agent.peers(self.now()).filter(|status| status.peer.is_linked()).count()
    }

    fn renew_lease(&self) {
        let now = self.now();
        let until = self.inner.agent.borrow_mut().lease_until(now);
        let before = self.inner.lease.until();
        self.inner.lease.set(until.unwrap_or_default());
        match until {
            Some(_) if before <= now => self.inner.progress.notify_waiters(),
            // It may have ended a moment before anybody looked.
            None if before > Time::default() => {
                self.inner.leased.set(before.min(now));
                count(&self.inner.numbers.leases_lost);
            }
            Some(_) | None => {}
        }
    }

    fn tell_shards(&self, isolated: bool) {
        if isolated {
            count(&self.inner.numbers.times_isolated);
        }
        let addresses = self.other_addresses();
        let Some(control) = &*self.inner.control.borrow() else { return };
        if isolated { control.isolated(&addresses) } else { control.rejoined() }
    }

    fn send_state(&self, to: StoreId) {
        let view = self.view();
        let epoch = Epoch(view.epoch());
        let mut last = self.inner.state.borrow_mut();
        // Many are sent the same.
        let state = match last.take() {
            Some(state) if state.epoch == epoch => state,
            Some(_) | None => StateToSend { epoch, bytes: Rc::new(view.encode()) },
        };
        self.inner.links.borrow().send_state(to, last.insert(state));
    }

    fn beat_data(&self) {
        let payload =
            LinkPayload::Heartbeat(multibeam_wire::link::LinkHeartbeat { number: 0, epoch: Epoch(0) });
        for outbox in self.inner.links.borrow().data() {
            outbox.urgent(outbox.frame(&payload));
        }
    }

    /// Closes connections on which nothing has come for too long, and those of runs that were followed by others.
    fn close_silent(&self, now: Time) {
        let silent_after = self.inner.settings.times.silent_after;
        let agent = self.inner.agent.borrow();
        self.inner.links.borrow().close_where(|store, incarnation, outbox| {
            let silent = now.since(outbox.heard.get()) >= silent_after
                && !multibeam_proto::planted::on(multibeam_proto::planted::Bug::SilenceNeverNoticed);
            silent || !agent.is_current(store, incarnation)
        });
    }

    fn act(&self, act: Act) {
        let cluster = self.clone();
        let timeout = self.inner.settings.times.proposal_timeout;
        match act {
            Act::Propose(batch) => self.inner.platform.spawn(async move {
                count(&cluster.inner.numbers.proposals);
                let outcome = cluster.propose(batch).await.ok();
                cluster.learn();
                cluster.inner.agent.borrow_mut().done(outcome.as_ref(), cluster.now());
                cluster.settle();
            }),
            Act::AddLearner(store) => self.inner.platform.spawn(async move {
                let _ = cluster.inner.consensus.add_learner(store, timeout).await;
                cluster.done().await;
            }),
            Act::RemoveLearners(stores) => self.inner.platform.spawn(async move {
                let _ = cluster.inner.consensus.remove_learners(&stores, timeout).await;
                cluster.done().await;
            }),
            Act::ChangeVoters(voters) => self.inner.platform.spawn(async move {
                let _ = cluster.inner.consensus.change_voters(&voters, timeout).await;
                cluster.done().await;
            }),
            Act::AskPromises { voter, wanted } => self.inner.platform.spawn(async move {
                cluster.ask_promises(voter, wanted).await;
            }),
        }
    }

    /// Proposes, and says what became of it.
    pub(super) async fn propose(&self, batch: Batch) -> Result<multibeam_proto::view::Outcome, ProposeError> {
        self.inner.consensus.propose(batch, self.inner.settings.times.proposal_timeout).await
    }

    async fn done(&self) {
        // A change of voters that was refused is tried again, and not at once.
        self.inner.platform.sleep(self.inner.settings.times.heartbeat).await;
        self.learn();
        self.inner.agent.borrow_mut().done(None, self.now());
        self.settle();
    }

    async fn ask_promises(&self, voter: StoreId, wanted: Vec<Wish>) {
        let own = self.inner.agent.borrow().own().store;
        let promises = if voter == own {
            self.promise(&wanted)
        } else {
            let bytes = questions::encode(&AskPromises { wanted });
            self.ask(voter, questions::PROMISES, bytes, PROMISES_MAX)
                .await
                .and_then(|bytes| questions::decode::<Promises>(&bytes))
        };
        if let Some(Promises { made, undecided }) = promises {
            self.inner.agent.borrow_mut().promised(voter, &made, &undecided, self.now());
            self.settle();
        }
    }

    async fn ask(&self, to: StoreId, kind: u16, bytes: Vec<u8>, within: Duration) -> Option<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        self.inner.links.borrow().ask(to, kind, bytes, answer);
        tokio::select! {
            biased;
            answer = answered => answer.ok().and_then(Result::ok),
            () = self.inner.platform.sleep(within) => None,
        }
    }

    /// The node ends and leads nothing any more: tells the leader, so that nobody has to wait. The shards have
    /// ended before.
    pub async fn sign_off(&self) {
        self.inner.agent.borrow_mut().sign_off();
        self.settle();
        let (own, leader, leads, alone) = {
            let agent = self.inner.agent.borrow();
            let facts = agent.facts();
            (agent.own().clone(), facts.leader, facts.leads, agent.view().members().len() <= 1)
        };
        if alone || !agent_is_member(self, own.node, own.incarnation) {
            return;
        }
        if leads {
            let remove = multibeam_proto::view::Op::Remove { node: own.node, incarnation: own.incarnation };
            let _ = self.propose(Batch { if_epoch: None, ops: vec![remove] }).await;
            return;
        }
        // Who leads is known to the voters only; another node asks those it is linked with.
        let voters: Vec<StoreId> = match leader {
            Some(leader) => vec![leader],
            None => self.inner.agent.borrow().voters().all().collect(),
        };
        let bytes = questions::encode(&SignOff { node: own.node, incarnation: own.incarnation });
        let give_up = self.now() + SIGN_OFF_MAX;
        for voter in voters {
            let left = give_up.since(self.now());
            let answer = self.ask(voter, questions::SIGN_OFF, bytes.clone(), left).await;
            if answer.is_some_and(|answer| answer == [1]) {
                return;
            }
        }
    }

    /// Ends the consensus tidily.
    pub async fn shutdown(&self) {
        self.inner.consensus.shutdown().await;
    }
}

fn agent_is_member<P: Platform>(cluster: &Cluster<P>, node: NodeId, incarnation: Incarnation) -> bool {
    let view = cluster.view();
    view.members().get(&node).is_some_and(|member| member.incarnation == incarnation)
}

impl<P: Platform> Cluster<P> {
    fn facts(&self) -> ConsensusFacts {
        let status = self.inner.consensus.status();
        let leads = status.role == Role::Leader;
        // What was decided before its term may still be on its way into the view: a leader proposes nothing
        // until the view has all that its log had when it came to lead.
        let (term, before) = self.inner.led.get();
        if leads && term != status.term {
            self.inner.led.set((status.term, status.last_log));
        }
        let has_all = leads && term == status.term && status.applied >= before;
        facts(status, has_all, self.inner.settings.consensus.election_max)
    }
}

/// `leads`: and its view has all that was decided before.
fn facts(status: Status, leads: bool, election_max: Duration) -> ConsensusFacts {
    let alone = status.voters.before.is_empty() && status.voters.present.stores().len() == 1;
    let acked = alone || status.quorum_acked.is_some_and(|since| since < election_max);
    // Counted from 1 in a configuration, from 0 elsewhere.
    let committed = status.committed.map_or(0, |index| index + 1);
    let applied = status.applied.map_or(0, |index| index + 1);
    ConsensusFacts {
        leads: leads && acked,
        term: status.term,
        leader: status.leader,
        voters: status.voters,
        voters_committed: committed >= status.voters.index,
        applied,
        last_log: status.last_log.unwrap_or(0),
        matched: status.replication,
    }
}
