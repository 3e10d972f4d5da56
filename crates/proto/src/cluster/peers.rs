//! Who is or was linked with this node, when it was heard, and what it said of itself.

use super::detector::Contact;
use crate::placement::WEIGHT_MAX;
use crate::time::Time;
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, Incarnation, Lease, LinkHeartbeat, LinkHello, NodeId, StoreId,
};
use smol_str::SmolStr;
use std::collections::BTreeMap;
use std::time::Duration;

/// Peers that are remembered: members, and as many that are not, or not any more.
const PEERS_MAX: usize = 4 * crate::placement::MEMBERS_MAX;

/// The view is sent to a node that is behind again if it has not said by then that it has it.
const STATE_AGAIN: Duration = Duration::from_millis(500);

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
    fn new(peer: &Identity, now: Time) -> Self {
        Self {
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
        }
    }

    /// Whether the peer, which has just said that it has the view of `says`, is to be sent that of `epoch`. Who
    /// votes has time to get it by the consensus.
    pub(super) fn is_to_be_told(&mut self, epoch: Epoch, says: Epoch, votes: bool, now: Time) -> bool {
        if says >= epoch {
            self.behind_since = None;
            return false;
        }
        let since = *self.behind_since.get_or_insert(now);
        let sent = self.state_sent.is_some_and(|(sent, at)| sent == epoch && now.since(at) < STATE_AGAIN);
        let is_told = !sent && (!votes || now.since(since) >= STATE_AGAIN);
        if is_told {
            self.state_sent = Some((epoch, now));
        }
        is_told
    }

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

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Peers {
    by_store: BTreeMap<StoreId, PeerState>,
    heartbeat: Duration,
    silent_after: Duration,
}

impl Peers {
    /// Nobody; who says something each `heartbeat` is alive, and who says nothing for `silent_after` is silent.
    pub(super) const fn new(heartbeat: Duration, silent_after: Duration) -> Self {
        Self { by_store: BTreeMap::new(), heartbeat, silent_after }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_store.is_empty()
    }

    pub(super) fn get(&self, store: StoreId) -> Option<&PeerState> {
        self.by_store.get(&store)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StoreId, &PeerState)> {
        self.by_store.iter().map(|(store, peer)| (*store, peer))
    }

    /// A control connection stands. False: of a run that was followed by another.
    pub(super) fn linked(&mut self, peer: &Identity, hello: Option<&LinkHello<'_>>, now: Time) -> bool {
        if self.has_later_run(peer.store, peer.incarnation) {
            return false;
        }
        if !self.is_current(peer.store, peer.incarnation) {
            self.make_room(now);
            self.by_store.insert(peer.store, PeerState::new(peer, now));
        }
        let Some(known) = self.by_store.get_mut(&peer.store) else { return false };
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
        true
    }

    /// Forgets whoever has been gone for longest, if there are too many.
    fn make_room(&mut self, now: Time) {
        if self.by_store.len() < PEERS_MAX {
            return;
        }
        let gone = self.by_store.iter().filter(|(_, peer)| !peer.is_linked());
        let oldest = gone.max_by_key(|(_, peer)| now.since(peer.heard)).map(|(store, _)| *store);
        if let Some(oldest) = oldest {
            self.by_store.remove(&oldest);
        }
    }

    pub(super) fn has_room(&self, store: StoreId) -> bool {
        self.by_store.contains_key(&store)
            || self.by_store.len() < PEERS_MAX
            || self.by_store.values().any(|peer| !peer.is_linked())
    }

    /// A control connection of that run is gone. False: another run is known, or none.
    pub(super) fn unlinked(&mut self, store: StoreId, incarnation: Incarnation, dialled: bool) -> bool {
        let Some(peer) = self.by_store.get_mut(&store).filter(|peer| peer.incarnation == incarnation) else {
            return false;
        };
        if dialled {
            peer.dialled = false;
        } else {
            peer.accepted = false;
        }
        if !peer.is_linked() {
            peer.linked_since = None;
        }
        true
    }

    pub(super) fn is_current(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.by_store.get(&store).is_some_and(|peer| peer.incarnation == incarnation)
    }

    pub(super) fn has_later_run(&self, store: StoreId, incarnation: Incarnation) -> bool {
        self.by_store.get(&store).is_some_and(|peer| incarnation < peer.incarnation)
    }

    /// A heartbeat came.
    pub(super) fn heartbeat(
        &mut self,
        from: StoreId,
        heartbeat: &LinkHeartbeat,
        now: Time,
    ) -> Option<&mut PeerState> {
        let peer = self.by_store.get_mut(&from)?;
        peer.heard = now;
        peer.epoch = peer.epoch.max(heartbeat.epoch);
        Some(peer)
    }

    /// The answer to a heartbeat came.
    pub(super) fn answered(&mut self, from: StoreId, lease: &Lease, now: Time) -> Option<&mut PeerState> {
        let peer = self.by_store.get_mut(&from)?;
        peer.heard = now;
        peer.epoch = peer.epoch.max(lease.epoch);
        peer.lease = Duration::from_millis(lease.lease_ms.into());
        Some(peer)
    }

    /// Any other frame came.
    pub(super) fn heard(&mut self, from: StoreId, now: Time) {
        if let Some(peer) = self.by_store.get_mut(&from) {
            peer.heard = now;
        }
    }

    /// That run is about to end, and says so.
    pub(super) fn leaves(&mut self, node: NodeId, incarnation: Incarnation) {
        let leaves = |peer: &&mut PeerState| (peer.node, peer.incarnation) == (node, incarnation);
        self.by_store.values_mut().filter(leaves).for_each(|peer| peer.leaving = true);
    }

    pub(super) fn contact(&self, peer: &PeerState, now: Time) -> Contact {
        Contact::of(peer.heard, self.heartbeat, self.silent_after, now)
    }

    /// Whether a disk's node is in touch.
    pub(super) fn is_alive(&self, store: StoreId, now: Time) -> bool {
        let linked = self.by_store.get(&store).filter(|peer| peer.is_linked());
        linked.is_some_and(|peer| self.contact(peer, now) != Contact::Silent)
    }

    /// Whether that run of a node is linked and says something as often as it should.
    pub(super) fn hears(&self, node: NodeId, incarnation: Incarnation, now: Time) -> bool {
        self.by_store.values().any(|peer| {
            (peer.node, peer.incarnation) == (node, incarnation)
                && peer.is_linked()
                && self.contact(peer, now) == Contact::Alive
        })
    }

    /// For people.
    pub(super) fn statuses(&self, now: Time) -> impl Iterator<Item = PeerStatus> + '_ {
        self.by_store.iter().map(move |(store, peer)| PeerStatus {
            store: *store,
            contact: self.contact(peer, now),
            silence: now.since(peer.heard),
            peer: peer.clone(),
        })
    }
}
