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
use crate::link_tls::LinkTls;
use crate::platform::Platform;
use crate::runtime::Control;
use links::Links;
use multibeam_consensus::{Ask, Consensus, Setup, Store};
use multibeam_proto::Time;
use multibeam_proto::cluster::{Agent, ClusterConfig, Own};
use multibeam_proto::view::View;
use std::cell::{Cell, RefCell};
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
        let own = agent.own().node;
        let others = agent.view().members().iter().filter(|(node, _)| **node != own);
        let addresses = others.map(|(_, member)| member.clients.to_string());
        addresses.filter(|address| !address.is_empty()).take(multibeam_wire::limits::ADDRESSES_MAX).collect()
    }

    fn now(&self) -> Time {
        self.inner.platform.now()
    }
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
