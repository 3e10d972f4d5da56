//! A node's part in its cluster: the tasks around [`multibeam_proto::cluster::Agent`] and the consensus.
//!
//! ```text
//!  links (a task each) ─┐                       ┌─► lease cell ─► shards
//!  tick, consensus ─────┼─► Agent ─► outputs ───┼─► links, consensus
//!  admin ───────────────┘     (settle)          └─► Isolated / Rejoined ─► shards
//! ```
//!
//! Everything runs on the node's runtime thread. Whoever tells the agent something calls `settle` after
//! it, which does what the agent says. Nothing is decided here; what must survive is in the consensus' store.

mod bootstrap;
mod control;
mod drive;
mod identity;
mod links;
mod questions;
mod readings;
mod status;

pub use bootstrap::BootstrapError;
pub use control::{Changed, ClusterControl, ClusterRequests, Unanswered, cluster_control, serve_cluster};
pub use identity::{Identified, IdentityError};
pub use readings::{ClusterMetric, ClusterReadings, Standing};
pub use status::{ClusterStatus, LinkStatus, MemberStatus, RecordsStatus, RemoveError, VoterStatus};

use crate::config::ClusterSettings;
use crate::lease::LeaseCell;
use crate::link_tls::{self, LinkTls};
use crate::platform::Platform;
use crate::runtime::Control;
use links::Links;
use links::outbox::StateToSend;
use multibeam_consensus::{Ask, Consensus, Setup, Store};
use multibeam_proto::Time;
use multibeam_proto::cluster::{Agent, ClusterConfig, Contact, GivenUp, Own};
use multibeam_proto::view::{Member, View};
use multibeam_wire::link::NodeId;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Questions of the consensus that wait to be handed to a link: each of up to seven voters has a few at a time.
const ASKS_MAX: usize = 64;

/// A node in its cluster. A clone is the same one.
pub struct Cluster<P: Platform> {
    inner: Rc<Inner<P>>,
}

impl<P: Platform> Clone for Cluster<P> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

struct Inner<P: Platform> {
    platform: P,
    settings: ClusterSettings,
    tls: Option<LinkTls>,
    agent: RefCell<Agent>,
    consensus: Consensus,
    store: Store,
    lease: LeaseCell,
    /// When it last held; before that, the start.
    leased: Cell<Time>,
    /// For the shards; there are none before they have started.
    control: RefCell<Option<Control>>,
    links: RefCell<Links>,
    /// The newest view that was sent to somebody.
    state: RefCell<Option<StateToSend>>,
    /// The last term that it led the consensus in, and the last entry of its log when it came to.
    led: Cell<(u64, Option<u64>)>,
    /// Why the node can't go on.
    failure: RefCell<Option<String>>,
    failed: Notify,
    /// Something changed that somebody waits for: the lease, the view, the consensus.
    progress: Notify,
    numbers: Numbers,
}

/// Counted since the start.
#[derive(Debug, Default)]
struct Numbers {
    dials: Cell<u64>,
    dials_failed: Cell<u64>,
    refused: Cell<u64>,
    proposals: Cell<u64>,
    leases_lost: Cell<u64>,
    times_isolated: Cell<u64>,
    tls_full: Cell<u64>,
    tls_resumed: Cell<u64>,
}

impl Numbers {
    /// A handshake of TLS has succeeded.
    fn secured<S>(&self, stream: &tokio_rustls::TlsStream<S>) {
        count(if link_tls::is_resumed(stream) { &self.tls_resumed } else { &self.tls_full });
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Why a node has no part in a cluster. Each is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its store, or what the store says it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The consensus can't begin.
    #[error("{0}")]
    Consensus(String),
    /// It was a node among others and is to run alone.
    #[error(
        "the data directory belongs to a node of a cluster with {0} voters, and nothing says where its links listen: \
         set listen in the section [cluster], or choose another data directory"
    )]
    Alone(usize),
}

impl<P: Platform> Cluster<P> {
    /// Begins where the store left off. No task runs yet; see [`Cluster::spawn`].
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start(
        platform: P,
        settings: ClusterSettings,
        config: ClusterConfig,
        opened: Opened,
        tls: Option<LinkTls>,
        lease: LeaseCell,
        addresses: Addresses,
    ) -> Result<(Self, mpsc::Receiver<Ask>), ClusterError> {
        let Opened { store, identified } = opened;
        let mut seed = [0; 8];
        platform.entropy(&mut seed);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let setup = Setup {
            store: store.clone(),
            id: identified.store,
            settings: settings.consensus,
            seed: u64::from_le_bytes(seed),
            asks,
        };
        let consensus = Consensus::start(setup).await;
        let consensus = consensus.map_err(|error| ClusterError::Consensus(error.to_string()))?;
        let voters = consensus.status().voters.present.stores().len();
        if !settings.is_configured() && voters > 1 {
            return Err(ClusterError::Alone(voters));
        }
        let own = Own {
            cluster: identified.cluster,
            node: identified.node,
            store: identified.store,
            incarnation: identified.incarnation,
            address: addresses.links.into(),
            clients: addresses.clients.into(),
            weight: settings.weight,
        };
        let promises = identified.promises.as_deref();
        let agent = Agent::new(own, config, promises, platform.now()).map_err(|error| {
            ClusterError::Consensus(format!("{error}: begin with an empty data directory"))
        })?;
        identity::keep_promises(&store, promises, &agent.promises())?;
        let leased = Cell::new(platform.now());
        // Only once the agent says so: it hears a majority.
        consensus.allow_election(!settings.is_configured());
        let inner = Inner {
            platform,
            settings,
            tls,
            agent: RefCell::new(agent),
            consensus,
            store,
            lease,
            leased,
            control: RefCell::new(None),
            links: RefCell::default(),
            state: RefCell::default(),
            led: Cell::default(),
            failure: RefCell::default(),
            failed: Notify::new(),
            progress: Notify::new(),
            numbers: Numbers::default(),
        };
        Ok((Self { inner: Rc::new(inner) }, asked))
    }

    /// Starts all tasks. `listener`: where links come in.
    ///
    /// # Errors
    /// A cluster that was begun here and not finished can't be.
    pub async fn spawn(
        &self,
        asked: mpsc::Receiver<Ask>,
        listener: Option<P::LinkListener>,
    ) -> Result<(), ClusterError> {
        bootstrap::resume(self).await.map_err(|error| ClusterError::Consensus(error.to_string()))?;
        drive::spawn(self, asked);
        if let Some(listener) = listener {
            links::accept::spawn(self, listener);
        }
        links::dial::renew(self);
        Ok(())
    }

    /// Where the shards are told whether the node is isolated.
    pub fn serve(&self, control: Control) {
        if self.inner.agent.borrow().is_isolated() {
            control.isolated(&self.other_addresses());
        }
        *self.inner.control.borrow_mut() = Some(control);
    }

    /// The newest view that this node has.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(self.inner.agent.borrow().view())
    }

    /// This node.
    #[must_use]
    pub fn own(&self) -> Own {
        self.inner.agent.borrow().own().clone()
    }

    /// Until when this node may lead, by its own clock; 0 if it may not.
    #[must_use]
    pub fn lease_until(&self) -> Time {
        self.inner.lease.until()
    }

    /// Where that stands for all shards.
    #[must_use]
    pub fn lease(&self) -> LeaseCell {
        self.inner.lease.clone()
    }

    /// Whether the node is isolated.
    #[must_use]
    pub fn is_isolated(&self) -> bool {
        self.inner.agent.borrow().is_isolated()
    }

    /// Which nodes this one, as a voter, has promised to let lead no more, and nobody has decided.
    #[must_use]
    pub fn undecided(&self) -> Vec<GivenUp> {
        self.inner.agent.borrow().undecided()
    }

    /// Ends when the node can't go on, with a sentence.
    pub async fn failure(&self) -> String {
        loop {
            let failed = self.inner.failed.notified();
            if let Some(failure) = self.inner.failure.borrow().clone() {
                return failure;
            }
            failed.await;
        }
    }

    fn fail(&self, sentence: String) {
        self.inner.failure.borrow_mut().get_or_insert(sentence);
        self.inner.failed.notify_one();
    }

    /// Waits until the node may lead, at most so long. Whether it may.
    pub async fn leased(&self, patience: Duration) -> bool {
        let give_up = self.inner.platform.now() + patience;
        loop {
            let now = self.inner.platform.now();
            if self.inner.lease.until() > now {
                return true;
            }
            if now >= give_up {
                return false;
            }
            tokio::select! {
                biased;
                () = self.inner.progress.notified() => {}
                () = self.inner.platform.sleep(give_up.since(now)) => {}
            }
        }
    }

    /// Where else clients could go.
    fn other_addresses(&self) -> Vec<String> {
        let agent = self.inner.agent.borrow();
        let alive: BTreeSet<NodeId> = agent
            .peers(self.now())
            .filter(|status| status.peer.is_linked() && status.contact != Contact::Silent)
            .map(|status| status.peer.node)
            .collect();
        ways_on(agent.view().members(), agent.own().node, &alive)
    }

    fn now(&self) -> Time {
        self.inner.platform.now()
    }
}

/// Where clients of `own` could go: first to members that are in touch, and from each node in another order, so that
/// not all of them go to one.
fn ways_on(members: &BTreeMap<NodeId, Member>, own: NodeId, alive: &BTreeSet<NodeId>) -> Vec<String> {
    let (before, behind) = (members.range(..own), members.range(own..).filter(|(node, _)| **node != own));
    let others = behind.chain(before).filter(|(_, member)| !member.clients.is_empty());
    let (near, far): (Vec<_>, Vec<_>) = others.partition(|(node, _)| alive.contains(node));
    let addresses = near.into_iter().chain(far).map(|(_, member)| member.clients.to_string());
    addresses.take(multibeam_wire::limits::ADDRESSES_MAX).collect()
}

/// The store of a node, and who it says the node is.
#[derive(Debug)]
pub struct Opened {
    store: Store,
    identified: Identified,
}

impl Opened {
    /// A number for what this run stores that no other run of any node has, and that grows with the time of the
    /// start: milliseconds since 1970, and 8 bits of the node's id.
    #[must_use]
    pub const fn number_of_run(&self) -> u64 {
        self.identified.incarnation.0 << 8 | self.identified.node.0 & 0xff
    }
}

/// Opens the node's store and begins a new run.
///
/// # Errors
/// See [`IdentityError`].
pub fn open<P: Platform>(platform: &P, settings: &ClusterSettings) -> Result<Opened, IdentityError> {
    let (store, identified) = identity::open(platform, settings)?;
    Ok(Opened { store, identified })
}

/// Where others reach this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Other nodes.
    pub links: String,
    /// Clients.
    pub clients: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_proto::view::MemberState;
    use multibeam_wire::link::{Incarnation, StoreId};

    #[test]
    fn clients_are_sent_to_who_is_in_touch_and_not_all_to_the_same() {
        let member = |node: u64| Member {
            incarnation: Incarnation(1),
            store: StoreId(node),
            address: "".into(),
            clients: if node == 6 { "".into() } else { format!("n{node}:1").into() },
            weight: 1,
            state: MemberState::Up,
            joined: 1,
        };
        let of =
            |count: u64| (1..=count).map(|node| (NodeId(node), member(node))).collect::<BTreeMap<_, _>>();
        let alive: BTreeSet<NodeId> = [1, 3, 6].map(NodeId).into();
        assert_eq!(ways_on(&of(6), NodeId(2), &alive), ["n3:1", "n1:1", "n4:1", "n5:1"]);
        assert_eq!(ways_on(&of(6), NodeId(4), &alive), ["n1:1", "n3:1", "n5:1", "n2:1"]);
        assert_eq!(ways_on(&of(6), NodeId(9), &BTreeSet::new()).len(), 5, "a node that was taken out");
        assert_eq!(ways_on(&of(100), NodeId(2), &alive).len(), multibeam_wire::limits::ADDRESSES_MAX);
    }
}
