//! What the leader of the consensus proposes: who joins, who is taken out, who leads what, who votes.
//!
//! Every node has a steward; it acts only while its node leads the consensus and a majority has acknowledged
//! that lately. Nothing here is an authority: a batch is a wish until it is applied, and whatever two stewards wish at a
//! time, the state machine refuses what does not fit (R1).
//!
//! ```text
//!  silent member ─► promises of a majority, each counted ─┐
//!  signed off ────────────────────────────────────────────┴► Remove ─► leaderless records: Change, Renew
//!  peer in touch ─► debounced ─► Join                                  partitions without record: Create
//!  lost or patient voter ─► learner ─► caught up ─► other voters
//! ```

mod records;
mod removals;
mod voters;

use super::config::ClusterConfig;
use super::detector::Contact;
use super::grantor::{GivenUp, Promise, Wish};
use super::outlasts;
use super::{Own, Peers};
use crate::planted::{self, Bug};
use crate::time::Time;
use crate::view::{Batch, Op, Outcome, Refusal, View};
use multibeam_wire::link::{Incarnation, NodeId, StoreId, Voters};
use records::Records;
use removals::Removals;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
pub use voters::PROMOTE_LAG_MAX;
use voters::VoterChange;

/// Ops of one batch: with the longest of records, half of what a batch may have.
const OPS_MAX: usize = 256;

/// How often voters are asked what they have promised, when there is nothing to ask them for.
const ASK_IDLE: Duration = Duration::from_secs(1);

/// A batch that changed nothing is not made again before: what is wrong is for people to mend.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// What ended without an outcome is not tried again before: the consensus may have refused it on the spot, and
/// would again.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(100);

/// What is known of the consensus on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsensusFacts {
    /// It leads, a majority has acknowledged that within an election's time, and the view holds all that was
    /// decided in earlier terms.
    pub leads: bool,
    /// Of the leadership.
    pub term: u64,
    /// Who leads, as far as is known.
    pub leader: Option<StoreId>,
    /// The newest voters in its log: told before the append is acknowledged, since leases are counted by them.
    pub voters: Voters,
    /// Whether they are committed.
    pub voters_committed: bool,
    /// How many entries of its log the view holds, counted as `voters.index` is: from 1, 0 for none.
    pub applied: u64,
    /// Index of the last entry in its log.
    pub last_log: u64,
    /// The last entry that each other node has, as far as the leader knows.
    pub matched: BTreeMap<StoreId, Option<u64>>,
}

impl ConsensusFacts {
    /// Whether the node of that disk votes, and its view holds all that was decided before its newest voters. A
    /// takeover among those is promised by the voters of before; those who came since have promised nothing, and
    /// by a view from before it would let lead whom it took out (R7).
    pub(super) fn may_grant(&self, own: StoreId) -> bool {
        self.voters.contains(own) && self.applied >= self.voters.index
    }
}

/// What the steward looks at.
#[derive(Clone, Copy, Debug)]
pub struct StewardInput<'a> {
    /// This node.
    pub own: &'a Own,
    /// The newest view.
    pub view: &'a View,
    /// The consensus.
    pub facts: &'a ConsensusFacts,
    /// Who is or was linked.
    pub peers: &'a Peers,
    /// Times and sizes.
    pub config: &'a ClusterConfig,
}

impl StewardInput<'_> {
    /// Whether a disk's node is in touch.
    fn is_alive(&self, store: StoreId, now: Time) -> bool {
        store == self.own.store || self.peers.is_alive(store, now)
    }
}

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Propose a batch; [`Steward::done`] tells how it ended.
    Propose(Batch),
    /// Ask a voter (it may be this node) for promises; the answer goes to [`Steward::promised`].
    AskPromises {
        /// Whom.
        voter: StoreId,
        /// Which nodes are to lead no more.
        wanted: Vec<Wish>,
    },
    /// Let a node have the log; [`Steward::done`] tells how it ended.
    AddLearner(StoreId),
    /// Let nodes have the log no longer; [`Steward::done`] tells how it ended.
    RemoveLearners(Vec<StoreId>),
    /// Change who votes; [`Steward::done`] tells how it ended.
    ChangeVoters(Vec<StoreId>),
}

/// A time of leadership.
#[derive(Clone, Debug)]
struct Leading {
    term: u64,
    /// Since when others are listened to.
    since: Time,
    looked: Time,
    voters: Voters,
    /// Since when those are committed and no change is under way.
    voters_since: Option<Time>,
    asked: Option<Time>,
    removals: Removals,
    /// An operation of the consensus is under way.
    busy: bool,
    /// Nothing is proposed before.
    pause_until: Option<Time>,
    /// Joins that would be refused, and when they are looked at again: nothing else is to wait for them.
    refused_joins: BTreeMap<(NodeId, Incarnation), Time>,
    change: VoterChange,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Steward {
    leading: Option<Leading>,
    records: Records,
    signed_off: BTreeSet<(NodeId, Incarnation)>,
    refused: Option<Refusal>,
}

impl Steward {
    /// Looks at everything and says what is to be done now.
    pub fn look(&mut self, input: &StewardInput<'_>, now: Time) -> Vec<Act> {
        if !input.facts.leads {
            self.leading = None;
            self.signed_off.clear();
            return Vec::new();
        }
        if self.leading.as_ref().is_none_or(|leading| leading.term != input.facts.term) {
            self.leading = Some(Leading::new(input.facts, now));
        }
        self.signed_off.retain(|(node, incarnation)| {
            input.view.members().get(node).is_some_and(|member| member.incarnation == *incarnation)
        });
        let Some(leading) = &mut self.leading else { return Vec::new() };
        // A process that stood still has heard nobody, and that says nothing of them.
        if now.since(std::mem::replace(&mut leading.looked, now)) >= input.config.heartbeat * 2 {
            leading.since = now;
        }
        leading.note_voters(input.facts, now);
        leading.removals.look(input, leading.since, &self.signed_off, now);
        let mut acts = leading.ask(input, now);
        if leading.busy || leading.pause_until.is_some_and(|until| now < until) {
            return acts;
        }
        // A voter of before may have granted by longer settings than this node's.
        let lease = input.peers.iter().map(|(_, peer)| peer.lease).max().unwrap_or_default();
        let quiet = leading.quiet(lease.max(input.config.lease), now);
        let mut ops = leading.removals.ready(input.facts, quiet, now);
        leading.refused_joins.retain(|_, until| now < *until);
        let joins = joins(input, now);
        let refused = |join: &Op| joiner(join).is_some_and(|run| leading.refused_joins.contains_key(&run));
        ops.extend(joins.into_iter().filter(|join| !refused(join)));
        ops.truncate(OPS_MAX);
        for (op, refusal) in self.records.add(input, &mut ops) {
            if let Some(joiner) = joiner(&op) {
                leading.refused_joins.insert(joiner, now + REFUSED_PAUSE);
            }
            self.refused = Some(refusal);
        }
        let act = if ops.is_empty() {
            leading.change.look(input, now)
        } else {
            Some(Act::Propose(Batch { if_epoch: None, ops }))
        };
        leading.busy = act.is_some();
        acts.extend(act);
        acts
    }

    /// The operation of the consensus has ended, well or not: the next look sees what came of it. `outcome`:
    /// what became of a batch.
    pub fn done(&mut self, outcome: Option<&Outcome>, now: Time) {
        if let Some(leading) = &mut self.leading {
            leading.busy = false;
            // Also where nothing was refused: what is wished by a view that the log does not lead to is wished again.
            let pause = match outcome {
                None => Some(UNKNOWN_PAUSE),
                Some(outcome) if !outcome.changed => Some(REFUSED_PAUSE),
                Some(_) => None,
            };
            leading.pause_until = pause.map(|pause| now + pause);
            let unchanged = outcome.filter(|outcome| !outcome.changed);
            let refused = unchanged.and_then(|outcome| outcome.refused.first());
            self.refused = refused.map(|(_, refusal)| *refusal).or(self.refused);
        }
        self.records.look_again();
    }

    /// A voter's answer: what became of each wish, and what it has promised that nobody has decided.
    pub fn promised(
        &mut self,
        voter: StoreId,
        made: &[(GivenUp, Promise)],
        undecided: &[GivenUp],
        now: Time,
    ) {
        let Some(leading) = &mut self.leading else { return };
        leading.removals.answered(voter, made, undecided, now);
    }

    /// A node says that it leads nothing any more, and never will in this run.
    pub fn signed_off(&mut self, node: NodeId, incarnation: Incarnation) {
        if self.leading.is_some() {
            self.signed_off.insert((node, incarnation));
        }
    }

    /// Why something was refused that is still wished, for people.
    #[must_use]
    pub const fn last_refusal(&self) -> Option<Refusal> {
        self.refused
    }
}

impl Leading {
    fn new(facts: &ConsensusFacts, now: Time) -> Self {
        Self {
            term: facts.term,
            since: now,
            looked: now,
            voters: facts.voters,
            voters_since: None,
            asked: None,
            removals: Removals::default(),
            busy: false,
            pause_until: None,
            refused_joins: BTreeMap::new(),
            change: VoterChange::default(),
        }
    }

    fn note_voters(&mut self, facts: &ConsensusFacts, now: Time) {
        let same = (facts.voters.present, facts.voters.before) == (self.voters.present, self.voters.before);
        self.voters = facts.voters;
        if !same {
            self.voters_since = None;
        }
        if self.voters_since.is_none() && facts.voters_committed && facts.voters.before.is_empty() {
            self.voters_since = Some(now);
        }
    }

    /// Whether leases that were counted among other voters have run out.
    fn quiet(&self, lease: Duration, now: Time) -> bool {
        self.voters_since.is_some_and(|since| now.since(since) >= outlasts(lease))
            || planted::on(Bug::TakeoverAfterVoters)
    }

    fn ask(&mut self, input: &StewardInput<'_>, now: Time) -> Vec<Act> {
        let pause = if self.removals.is_empty() { ASK_IDLE } else { input.config.heartbeat };
        if self.asked.is_some_and(|asked| now.since(asked) < pause) {
            return Vec::new();
        }
        let reached = |voter: StoreId| {
            voter == input.own.store || input.peers.get(voter).is_some_and(|peer| peer.dialled)
        };
        // Without a majority in touch nothing can be decided. What this node promised all the same would have to be,
        // once it is back: the others, who were well all the time, would be taken out.
        if !input.facts.voters.majority(|voter| reached(voter) && input.is_alive(voter, now)) {
            return Vec::new();
        }
        self.asked = Some(now);
        let asked = |voter| Act::AskPromises {
            voter,
            wanted: self.removals.wanted(&input.facts.voters, input.own.store, voter),
        };
        input.facts.voters.all().filter(|voter| reached(*voter)).map(asked).collect()
    }
}

/// Which run of which node wishes to join.
const fn joiner(op: &Op) -> Option<(NodeId, Incarnation)> {
    if let Op::Join { node, incarnation, .. } = op { Some((*node, *incarnation)) } else { None }
}

/// Who is in touch and no member in this run.
fn joins(input: &StewardInput<'_>, now: Time) -> Vec<Op> {
    let own = input.own;
    let joins = |node: NodeId, incarnation: Incarnation, store: StoreId| {
        match input.view.members().get(&node) {
            // With another disk, the run before has to be taken out first: it may be alive elsewhere.
            Some(member) => member.store == store && member.incarnation < incarnation,
            None => true,
        }
    };
    let mut ops = Vec::new();
    if joins(own.node, own.incarnation, own.store) {
        ops.push(Op::Join {
            node: own.node,
            incarnation: own.incarnation,
            store: own.store,
            address: own.address.clone(),
            clients: own.clients.clone(),
            weight: own.weight,
        });
    }
    for (store, peer) in input.peers.iter() {
        let steady = peer.linked_since.is_some_and(|since| now.since(since) >= input.config.join_debounce);
        let welcome = steady
            && peer.is_linked()
            && input.peers.contact(peer, now) == Contact::Alive
            && joins(peer.node, peer.incarnation, store)
            && !peer.leaving
            // It says so when it dials; who was only dialled is not known to others yet.
            && !peer.address.is_empty();
        if welcome {
            ops.push(Op::Join {
                node: peer.node,
                incarnation: peer.incarnation,
                store,
                address: peer.address.clone(),
                clients: peer.clients.clone(),
                weight: peer.weight,
            });
        }
    }
    ops
}
