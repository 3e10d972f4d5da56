//! One node's part in the cluster: see [`super`].

use super::config::ClusterConfig;
use super::detector::Contact;
use super::gate::Gate;
use super::grantor::{Grantor, Promise, UnreadablePromises};
use super::greeting::{Greeting, greet};
use super::holder::LeaseHolder;
use super::isolation::Isolation;
use super::steward::{Act, ConsensusFacts, Steward, StewardInput};
use crate::placement::WEIGHT_MAX;
use crate::planted::{self, Bug};
use crate::time::Time;
use crate::view::{Outcome, View};
use multibeam_wire::Features;
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, Incarnation, Lease, LinkHeartbeat, LinkHello, NodeId, StoreId, Voters,
};
use smol_str::SmolStr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Peers that are remembered: members, and as many that are not, or not any more.
const PEERS_MAX: usize = 4 * crate::placement::MEMBERS_MAX;

/// The view is sent to a node that is behind again if it has not said by then that it has it.
const STATE_AGAIN: Duration = Duration::from_millis(500);

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

/// What is known of a peer from its links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Its name.
    pub node: NodeId,
    /// Its run.
    pub incarnation: Incarnation,
    /// Its cluster; 0 while it has none.
    pub cluster: ClusterId,
    /// Where it says that other nodes reach it.
    pub address: SmolStr,
    /// Where it says that clients reach it.
    pub clients: SmolStr,
    /// Its share of the partitions.
    pub weight: u8,
    /// The last sign of life.
    pub heard: Time,
    /// Since when it has been linked without a break.
    pub linked_since: Option<Time>,
    /// This node's control connection to it stands.
    pub dialled: bool,
    /// Its control connection to this node stands.
    pub accepted: bool,
    /// It has said that it is leaving.
    pub leaving: bool,
    /// The view it has, by its heartbeats.
    pub epoch: Epoch,
    /// How long leases are by its settings, as it last said.
    pub lease: Duration,
    /// Time from the last heartbeat to its answer.
    pub round_trip: Option<Duration>,
    state_sent: Option<(Epoch, Time)>,
    behind_since: Option<Time>,
}

impl PeerState {
    /// Whether a control connection stands, in either direction.
    #[must_use]
    pub const fn is_linked(&self) -> bool {
        self.dialled || self.accepted
    }
}

/// A peer as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its disk.
    pub store: StoreId,
    /// The rest.
    pub peer: PeerState,
    /// Whether it is alive.
    pub contact: Contact,
    /// How long ago it was heard.
    pub silence: Duration,
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
    peers: BTreeMap<StoreId, PeerState>,
    holder: LeaseHolder,
    grantor: Grantor,
    isolation: Isolation,
    gate: Gate,
    steward: Steward,
    heartbeat_at: Time,
    heartbeats: u64,
    signed_off: bool,
    outputs: VecDeque<Output>,
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
            outputs: VecDeque::new(),
            view: Arc::default(),
            facts: ConsensusFacts::default(),
            peers: BTreeMap::new(),
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
        if self.has_later_run(peer.store, peer.incarnation) {
            return;
        }
        if !self.is_current(peer.store, peer.incarnation) {
            let fresh = PeerState {
                node: peer.node,
                incarnation: peer.incarnation,
                cluster: peer.cluster,
                address: SmolStr::default(),
                clients: SmolStr::default(),
                weight: 1,
                heard: now,
                linked_since: None,
                dialled: false,
                accepted: false,
                leaving: false,
                epoch: peer.epoch,
                lease: Duration::ZERO,
                round_trip: None,
                state_sent: None,
                behind_since: None,
            };
            self.make_room(now);
            self.peers.insert(peer.store, fresh);
        }
        let Some(known) = self.peers.get_mut(&peer.store) else { return };
        known.cluster = peer.cluster;
        known.heard = now;
        known.leaving = false;
        match hello {
            None => known.dialled = true,
            Some(hello) => {
                known.accepted = true;
                known.address = hello.address.into();
                known.clients = hello.clients.into();
                let weight = u8::try_from(hello.weight).unwrap_or(WEIGHT_MAX);
                known.weight = weight.clamp(1, WEIGHT_MAX);
            }
        }
        known.linked_since.get_or_insert(now);
        self.look(now);
    }

    /// Forgets whoever has been gone for longest, if there are too many.
    fn make_room(&mut self, now: Time) {
        if self.peers.len() < PEERS_MAX {
            return;
        }
        let gone = self.peers.iter().filter(|(_, peer)| !peer.is_linked());
        let oldest = gone.max_by_key(|(_, peer)| now.since(peer.heard)).map(|(store, _)| *store);
        if let Some(oldest) = oldest {
            self.peers.remove(&oldest);
        }
    }

    /// Whether another peer can be remembered. Without room, its connection is refused.
    #[must_use]
    pub fn has_room(&self, store: StoreId) -> bool {
        self.peers.contains_key(&store)
            || self.peers.len() < PEERS_MAX
            || self.peers.values().any(|peer| !peer.is_linked())
    }

    /// A control connection of that run of a peer is gone.
    pub fn unlinked(&mut self, store: StoreId, incarnation: Incarnation, dialled: bool, now: Time) {
        let Some(peer) = self.peers.get_mut(&store) else { return };
        if peer.incarnation != incarnation {
            return;
        }
        if dialled {
            peer.dialled = false;
            self.holder.forget_requests(store);
        } else {
            peer.accepted = false;
        }
        if !peer.is_linked() {
            peer.linked_since = None;
        }
        self.look(now);
    }

    /// Whether the run that a connection was opened with is still the one that is known.
    #[must_use]
    pub fn is_current(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.peers.get(&store).is_some_and(|peer| peer.incarnation == incarnation)
    }

    /// Whether a connection was opened with a run that was followed by another: it must not take the place of
    /// one with that, and is to be closed.
    #[must_use]
    pub fn has_later_run(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.peers.get(&store).is_some_and(|peer| incarnation < peer.incarnation)
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
        let Some(peer) = self.peers.get_mut(&from) else { return lease };
        peer.heard = now;
        peer.epoch = peer.epoch.max(heartbeat.epoch);
        lease.incarnation = peer.incarnation;
        lease.granted = self.facts.may_grant(self.own.store)
            && self.grantor.grant(peer.node, peer.incarnation, &self.view, now);
        if heartbeat.epoch >= epoch {
            peer.behind_since = None;
        }
        // A voter has it by the consensus, unless that does not reach it: it may not know where the leader is.
        let behind = heartbeat.epoch < epoch && votes && {
            let since = *peer.behind_since.get_or_insert(now);
            !self.facts.voters.contains(from) || now.since(since) >= STATE_AGAIN
        };
        let sent = peer.state_sent.is_some_and(|(sent, at)| sent == epoch && now.since(at) < STATE_AGAIN);
        if behind && !sent {
            peer.state_sent = Some((epoch, now));
            self.outputs.push_back(Output::State { to: from });
        }
        lease
    }

    /// The answer to a heartbeat of this node came.
    pub fn answered(&mut self, from: StoreId, lease: &Lease, now: Time) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.heard = now;
        peer.epoch = peer.epoch.max(lease.epoch);
        peer.lease = Duration::from_millis(lease.lease_ms.into());
        // A grant to another run of this node is none.
        let mut lease = *lease;
        lease.granted &= lease.incarnation == self.own.incarnation && !self.signed_off;
        peer.round_trip = self.holder.answered(from, &lease, now).or(peer.round_trip);
        self.look(now);
    }

    /// Any other frame came from a peer.
    pub fn heard(&mut self, from: StoreId, now: Time) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.heard = now;
        }
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
    pub fn promise(
        &mut self,
        wanted: &[(NodeId, Incarnation, u64, bool)],
        now: Time,
    ) -> Vec<(NodeId, Incarnation, u64, Promise)> {
        let mut made = Vec::with_capacity(wanted.len());
        for (node, incarnation, joined, forced) in wanted {
            let hears = self.hears(*node, *incarnation, now);
            let promise = if hears && !forced && !self.grantor.has_promised(*node, *joined) {
                Promise::Heard
            } else {
                self.grantor.promise(*node, *incarnation, *joined).map_or(Promise::TooMany, |counts| {
                    let wait = u64::try_from(counts.since(now).as_micros()).unwrap_or(u64::MAX);
                    Promise::Made { counts_in_us: wait }
                })
            };
            made.push((*node, *incarnation, *joined, promise));
        }
        // A steward behind this voter's view may ask about what is decided.
        self.grantor.applied(&self.view, now);
        made
    }

    fn hears(&self, node: NodeId, incarnation: Incarnation, now: Time) -> bool {
        self.peers.values().any(|peer| {
            peer.node == node
                && peer.incarnation == incarnation
                && peer.is_linked()
                && self.contact(peer, now) == Contact::Alive
        })
    }

    fn contact(&self, peer: &PeerState, now: Time) -> Contact {
        Contact::of(peer.heard, self.config.heartbeat, self.config.silent_after, now)
    }

    /// The promises of this voter, to be made durable.
    #[must_use]
    pub fn promises(&self) -> Vec<u8> {
        self.grantor.promises()
    }

    /// Its promises that nobody has decided: about which nodes, in which runs, that joined in which epochs.
    #[must_use]
    pub fn undecided(&self) -> Vec<(NodeId, Incarnation, u64)> {
        self.grantor.undecided().collect()
    }

    /// A voter's answer to the steward of this node.
    pub fn promised(
        &mut self,
        voter: StoreId,
        made: &[(NodeId, Incarnation, u64, Promise)],
        undecided: &[(NodeId, Incarnation, u64)],
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
        for peer in
            self.peers.values_mut().filter(|peer| (peer.node, peer.incarnation) == (node, incarnation))
        {
            peer.leaving = true;
        }
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

    /// Peers, for people.
    pub fn peers(&self, now: Time) -> impl Iterator<Item = PeerStatus> + '_ {
        self.peers.iter().map(move |(store, peer)| PeerStatus {
            store: *store,
            contact: self.contact(peer, now),
            silence: now.since(peer.heard),
            peer: peer.clone(),
        })
    }

    /// Whether a peer's connections are to be closed: it is silent.
    #[must_use]
    pub fn is_silent(&self, store: StoreId, now: Time) -> bool {
        self.peers.get(&store).is_some_and(|peer| self.contact(peer, now) == Contact::Silent)
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
            debug_assert_ne!(*to, self.own.store, "{peer:?}");
            self.holder.asked(*to, number, now);
            self.outputs.push_back(Output::Heartbeat { to: *to, heartbeat: LinkHeartbeat { number, epoch } });
        }
    }

    /// Whatever may follow from what has changed.
    fn look(&mut self, now: Time) {
        let voters = self.voters();
        let known = (!voters.present.is_empty()).then_some(&voters);
        let alive = |store: StoreId| {
            self.peers.get(&store).is_some_and(|peer| {
                peer.is_linked()
                    && Contact::of(peer.heard, self.config.heartbeat, self.config.silent_after, now)
                        != Contact::Silent
            })
        };
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
