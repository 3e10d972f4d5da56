//! One node's part in the cluster: see [`super`].

use super::config::ClusterConfig;
use super::gate::Gate;
use super::grantor::{GivenUp, Grantor, Promise, UnreadablePromises, Wish};
use super::greeting::{Greeting, greet};
use super::holder::LeaseHolder;
use super::isolation::Isolation;
use super::peers::{PeerStatus, Peers};
use super::steward::{Act, ConsensusFacts, Steward, StewardInput};
use crate::planted::{self, Bug};
use crate::time::Time;
use crate::view::{Outcome, View};
use multibeam_wire::Features;
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, Incarnation, Lease, LinkHeartbeat, LinkHello, NodeId, StoreId, Voters,
};
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::sync::Arc;

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its cluster; 0 while it has none.
    pub cluster: ClusterId,
    /// Its name.
    pub node: NodeId,
    /// Its disk, and the name of its vote.
    pub store: StoreId,
    /// Its run.
    pub incarnation: Incarnation,
    /// Where other nodes reach it.
    pub address: SmolStr,
    /// Where clients reach it.
    pub clients: SmolStr,
    /// Its share of the partitions.
    pub weight: u8,
}

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a heartbeat on this node's control connection to the peer.
    Heartbeat {
        /// To whom.
        to: StoreId,
        /// What.
        heartbeat: LinkHeartbeat,
    },
    /// Send the newest view to a node that dialled this one: it has no vote, or the consensus does not reach it.
    State {
        /// To whom.
        to: StoreId,
    },
    /// Allow or forbid this node's consensus to stand for election.
    Elections(bool),
    /// The node has become isolated, or is no more.
    Isolated(bool),
    /// What the steward wants done.
    Act(Act),
}

/// See the documentation of [`super`].
#[derive(Debug)]
pub struct Agent {
    own: Own,
    config: ClusterConfig,
    view: Arc<View>,
    facts: ConsensusFacts,
    peers: Peers,
    holder: LeaseHolder,
    grantor: Grantor,
    isolation: Isolation,
    gate: Gate,
    steward: Steward,
    heartbeat_at: Time,
    heartbeats: u64,
    signed_off: bool,
    wishes: LeaseWishes,
    outputs: VecDeque<Output>,
}

/// Wishes of other nodes for a lease that this voter answered since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseWishes {
    /// It lets them lead.
    pub granted: u64,
    /// It does not: they are no members, have been given up, or it is not in touch with the leader.
    pub refused: u64,
}

impl Agent {
    /// A node that starts at `now`. `promises`: what [`Agent::promises`] gave when it was last made durable.
    ///
    /// # Errors
    /// The promises can't be read.
    pub fn new(
        own: Own,
        config: ClusterConfig,
        promises: Option<&[u8]>,
        now: Time,
    ) -> Result<Self, UnreadablePromises> {
        let grantor = Grantor::new(config.lease, promises, now)?;
        Ok(Self {
            holder: LeaseHolder::new(config.lease),
            grantor,
            isolation: Isolation::new(config.isolated_after, now),
            gate: Gate::default(),
            steward: Steward::default(),
            heartbeat_at: now,
            heartbeats: 0,
            signed_off: false,
            wishes: LeaseWishes::default(),
            outputs: VecDeque::new(),
            view: Arc::default(),
            facts: ConsensusFacts::default(),
            peers: Peers::new(config.heartbeat, config.silent_after),
            own,
            config,
        })
    }

    /// This node.
    #[must_use]
    pub const fn own(&self) -> &Own {
        &self.own
    }

    /// What this node says of itself in a handshake.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Own { cluster, node, store, incarnation, .. } = self.own;
        Identity { features: Features::NONE, cluster, node, store, incarnation, epoch: self.epoch() }
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.view.epoch())
    }

    /// The newest view that this node has.
    #[must_use]
    pub const fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// What it knows of the consensus.
    #[must_use]
    pub const fn facts(&self) -> &ConsensusFacts {
        &self.facts
    }

    /// The steward, for people.
    #[must_use]
    pub const fn steward(&self) -> &Steward {
        &self.steward
    }

    /// Whether a peer may be talked to. With [`Greeting::Adopt`], the cluster is made durable and then
    /// [`Agent::adopted`].
    #[must_use]
    pub fn greet(&self, peer: &Identity, invited: bool) -> Greeting {
        greet(&self.identity(), peer, invited, &self.view)
    }

    /// This node is of that cluster from here on; it is durable.
    pub fn adopted(&mut self, cluster: ClusterId) {
        assert!(self.own.cluster == ClusterId::default() || self.own.cluster == cluster);
        self.own.cluster = cluster;
    }

    /// A control connection stands: this node dialled it, or accepted it. `hello`: what the dialler said of
    /// its addresses; of a node that was dialled they are known from its own dialling. A handshake of an earlier
    /// run than the one that is known came late: nothing follows from it; see [`Agent::has_later_run`].
    pub fn linked(&mut self, peer: &Identity, hello: Option<&LinkHello<'_>>, now: Time) {
        if self.peers.linked(peer, hello, now) {
            self.look(now);
        }
    }

    /// Whether another peer can be remembered. Without room, its connection is refused.
    #[must_use]
    pub fn has_room(&self, store: StoreId) -> bool {
        self.peers.has_room(store)
    }

    /// A control connection of that run of a peer is gone.
    pub fn unlinked(&mut self, store: StoreId, incarnation: Incarnation, dialled: bool, now: Time) {
        if !self.peers.unlinked(store, incarnation, dialled) {
            return;
        }
        if dialled {
            self.holder.forget_requests(store);
        }
        self.look(now);
    }

    /// Whether the run that a connection was opened with is still the one that is known.
    #[must_use]
    pub fn is_current(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.peers.is_current(store, incarnation)
    }

    /// Whether a connection was opened with a run that was followed by another: it must not take the place of
    /// one with that, and is to be closed.
    #[must_use]
    pub fn has_later_run(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.peers.has_later_run(store, incarnation)
    }

    /// A heartbeat came on a connection that the peer dialled; what to answer.
    pub fn heartbeat(&mut self, from: StoreId, heartbeat: &LinkHeartbeat, now: Time) -> Lease {
        let epoch = self.epoch();
        let votes = self.facts.voters.contains(self.own.store);
        let mut lease = Lease {
            number: heartbeat.number,
            granted: false,
            incarnation: Incarnation::default(),
            voters: self.facts.voters,
            epoch,
            lease_ms: self.lease_ms(),
        };
        let Some(peer) = self.peers.heartbeat(from, heartbeat, now) else { return lease };
        lease.incarnation = peer.incarnation;
        lease.granted = self.facts.may_grant(self.own.store)
            && self.grantor.grant(peer.node, peer.incarnation, &self.view, now);
        self.wishes.granted += u64::from(lease.granted);
        self.wishes.refused += u64::from(votes && !lease.granted);
        // Only a voter tells. Another voter has it by the consensus, unless that does not reach it.
        if votes && peer.is_to_be_told(epoch, heartbeat.epoch, self.facts.voters.contains(from), now) {
            self.outputs.push_back(Output::State { to: from });
        }
        lease
    }

    /// The answer to a heartbeat of this node came.
    pub fn answered(&mut self, from: StoreId, lease: &Lease, now: Time) {
        let Some(peer) = self.peers.answered(from, lease, now) else { return };
        // A grant to another run of this node is none.
        let mut lease = *lease;
        lease.granted &= lease.incarnation == self.own.incarnation && !self.signed_off;
        peer.round_trip = self.holder.answered(from, &lease, now).or(peer.round_trip);
        self.look(now);
    }

    /// Any other frame came from a peer.
    pub fn heard(&mut self, from: StoreId, now: Time) {
        self.peers.heard(from, now);
    }

    /// What consensus says has changed.
    pub fn consensus(&mut self, facts: ConsensusFacts, now: Time) {
        self.facts = facts;
        self.look(now);
    }

    /// A view was applied here, or came from a voter. Older ones than the newest are ignored, and views may be
    /// passed over.
    pub fn applied(&mut self, view: Arc<View>, now: Time) {
        if view.epoch() <= self.view.epoch() {
            return;
        }
        self.grantor.applied(&view, now);
        self.view = view;
        self.look(now);
    }

    /// A steward asks for promises. What came of each; [`Agent::promises`] must be durable before the answer
    /// leaves, and the times in it count from `now`.
    pub fn promise(&mut self, wanted: &[Wish], now: Time) -> Vec<(GivenUp, Promise)> {
        let mut made = Vec::with_capacity(wanted.len());
        for Wish { given_up, forced } in wanted {
            let GivenUp { node, incarnation, joined } = *given_up;
            let hears = self.peers.hears(node, incarnation, now);
            let promise = if hears && !forced && !self.grantor.has_promised(node, joined) {
                Promise::Heard
            } else {
                self.grantor.promise(*given_up).map_or(Promise::TooMany, |counts| {
                    let wait = u64::try_from(counts.since(now).as_micros()).unwrap_or(u64::MAX);
                    Promise::Made { counts_in_us: wait }
                })
            };
            made.push((*given_up, promise));
        }
        // A steward behind this voter's view may ask about what is decided.
        self.grantor.applied(&self.view, now);
        made
    }

    /// The promises of this voter, to be made durable.
    #[must_use]
    pub fn promises(&self) -> Vec<u8> {
        self.grantor.promises()
    }

    /// Its promises that nobody has decided.
    #[must_use]
    pub fn undecided(&self) -> Vec<GivenUp> {
        self.grantor.undecided().collect()
    }

    /// A voter's answer to the steward of this node.
    pub fn promised(
        &mut self,
        voter: StoreId,
        made: &[(GivenUp, Promise)],
        undecided: &[GivenUp],
        now: Time,
    ) {
        self.steward.promised(voter, made, undecided, now);
        self.look(now);
    }

    /// The steward's operation has ended.
    pub fn done(&mut self, outcome: Option<&Outcome>, now: Time) {
        self.steward.done(outcome, now);
        self.look(now);
    }

    /// A peer leads nothing any more and is about to end.
    pub fn peer_signed_off(&mut self, node: NodeId, incarnation: Incarnation, now: Time) {
        self.peers.leaves(node, incarnation);
        self.steward.signed_off(node, incarnation);
        self.look(now);
    }

    /// From here on this run leads nothing.
    pub const fn sign_off(&mut self) {
        self.signed_off = true;
    }

    /// Until when this node may lead; `None`: it may not.
    pub fn lease_until(&mut self, now: Time) -> Option<Time> {
        if self.signed_off {
            return None;
        }
        self.holder.until(Epoch(self.view.epoch()), now)
    }

    /// Whether the node is isolated.
    #[must_use]
    pub const fn is_isolated(&self) -> bool {
        self.isolation.is_isolated()
    }

    /// The newest voters that this node knows of: from its own log, or as grants name them.
    #[must_use]
    pub fn voters(&self) -> Voters {
        let told = self.holder.voters().unwrap_or_default();
        if told.index > self.facts.voters.index { told } else { self.facts.voters }
    }

    /// How often this voter was asked for a lease.
    #[must_use]
    pub const fn lease_wishes(&self) -> LeaseWishes {
        self.wishes
    }

    /// Peers, for people.
    pub fn peers(&self, now: Time) -> impl Iterator<Item = PeerStatus> + '_ {
        self.peers.statuses(now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if self.heartbeat_at <= now {
            self.heartbeat_at = now + self.config.heartbeat;
            self.beat(now);
        }
        self.look(now);
    }

    /// When [`Agent::tick`] is due at the latest. A quarter of a heartbeat, where there is somebody to watch.
    #[must_use]
    pub fn next(&self, now: Time) -> Time {
        let soon = if self.peers.is_empty() { self.heartbeat_at } else { now + self.config.heartbeat / 4 };
        soon.min(self.heartbeat_at)
    }

    fn lease_ms(&self) -> u32 {
        u32::try_from(self.config.lease.as_millis()).unwrap_or(u32::MAX)
    }

    fn beat(&mut self, now: Time) {
        self.heartbeats += 1;
        let (number, epoch) = (self.heartbeats, self.epoch());
        if self.facts.voters.contains(self.own.store) && !self.signed_off {
            let store = self.own.store;
            self.holder.asked(store, number, now);
            let granted = self.facts.may_grant(self.own.store)
                && self.grantor.grant(self.own.node, self.own.incarnation, &self.view, now);
            let (incarnation, voters, lease_ms) = (self.own.incarnation, self.facts.voters, self.lease_ms());
            let lease = Lease { number, granted, incarnation, voters, epoch, lease_ms };
            self.holder.answered(store, &lease, now);
        }
        if planted::on(Bug::HeartbeatNeverFires) && self.heartbeats > 20 {
            return;
        }
        for (to, peer) in self.peers.iter().filter(|(_, peer)| peer.dialled) {
            debug_assert_ne!(to, self.own.store, "{peer:?}");
            self.holder.asked(to, number, now);
            self.outputs.push_back(Output::Heartbeat { to, heartbeat: LinkHeartbeat { number, epoch } });
        }
    }

    /// Whatever may follow from what has changed.
    fn look(&mut self, now: Time) {
        let voters = self.voters();
        let known = (!voters.present.is_empty()).then_some(&voters);
        let alive = |store: StoreId| self.peers.is_alive(store, now);
        if self.gate.look(self.own.store, known, alive, now) {
            self.outputs.push_back(Output::Elections(self.gate.is_open()));
        }
        let leased = self.lease_until(now).is_some();
        if self.isolation.at(leased, now) {
            self.outputs.push_back(Output::Isolated(self.isolation.is_isolated()));
        }
        let input = StewardInput {
            own: &self.own,
            view: &self.view,
            facts: &self.facts,
            peers: &self.peers,
            config: &self.config,
        };
        let acts = if self.signed_off { Vec::new() } else { self.steward.look(&input, now) };
        self.outputs.extend(acts.into_iter().map(Output::Act));
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
