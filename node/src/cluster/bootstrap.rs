//! The beginning of a cluster: by one node, once.
//!
//! Without a section `[cluster]` a node begins one by itself, alone. With it, an operator says `multibeam cluster
//! bootstrap` to one node; it asks all first voters who they are, makes durable what it is about to begin, and
//! begins it. All others only join.

use super::links::Links;
use super::{Cluster, identity};
use crate::config::can_vote;
use crate::platform::Platform;
use multibeam_wire::limits::VOTERS_MAX;
use multibeam_wire::link::{ClusterId, StoreId};
use std::collections::BTreeMap;

/// Why no cluster was begun. Each is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The configuration names no voters.
    #[error(
        "initial_voters in the section [cluster] is empty: name the links' addresses of the first voters there"
    )]
    NoVoters,
    /// This node is not among them.
    #[error("this node ({0}) is not among the initial_voters: bootstrap one of those, or add its address")]
    NotAmong(String),
    /// Somebody does not answer.
    #[error("no link to {address} yet: {trouble}")]
    Missing {
        /// Who.
        address: String,
        /// Why.
        trouble: String,
    },
    /// Somebody belongs to a cluster.
    #[error("{address} belongs to cluster {:032x} already: this node joins that one, or that one's disk is wiped", .cluster.0)]
    Taken {
        /// Who.
        address: String,
        /// Which cluster.
        cluster: ClusterId,
    },
    /// Two names of one node.
    #[error(
        "{one} and {other} in initial_voters are the same node: name each once, by the address that it advertises"
    )]
    Twice {
        /// A name.
        one: String,
        /// Another one.
        other: String,
    },
    /// Too many, or an even number.
    #[error(
        "initial_voters names {0} nodes: name an odd number, {VOTERS_MAX} at most; other nodes join later"
    )]
    Number(usize),
    /// This node has joined a cluster of others.
    #[error("this node belongs to cluster {:032x} already", .0.0)]
    Belongs(ClusterId),
    /// Store or consensus.
    #[error("{0}")]
    Failed(String),
}

/// Goes on with what was begun before the last end; begins alone where nothing is configured.
pub(super) async fn resume<P: Platform>(cluster: &Cluster<P>) -> Result<(), BootstrapError> {
    let own = cluster.own();
    let first = identity::first_voters(&cluster.inner.store);
    let first = first.map_err(|error| BootstrapError::Failed(error.to_string()))?;
    match first {
        // They may be others by now.
        Some(_) if cluster.inner.consensus.is_initialized().await => Ok(()),
        Some(voters) => initialize(cluster, &voters).await,
        None if own.cluster == ClusterId::default() && !cluster.inner.settings.is_configured() => {
            begin(cluster, &[own.store]).await
        }
        None => Ok(()),
    }
}

async fn begin<P: Platform>(cluster: &Cluster<P>, voters: &[StoreId]) -> Result<(), BootstrapError> {
    let mut bytes = [0; 16];
    cluster.inner.platform.entropy(&mut bytes);
    // 0 means that there is none.
    let id = ClusterId(u128::from_be_bytes(bytes) | 1);
    identity::belong(&cluster.inner.store, id, Some(voters))
        .map_err(|error| BootstrapError::Failed(error.to_string()))?;
    cluster.adopted(id);
    initialize(cluster, voters).await
}

async fn initialize<P: Platform>(cluster: &Cluster<P>, voters: &[StoreId]) -> Result<(), BootstrapError> {
    let initialized = cluster.inner.consensus.initialize(voters).await;
    initialized.map_err(|error| BootstrapError::Failed(error.to_string()))?;
    cluster.learn();
    Ok(())
}

impl<P: Platform> Cluster<P> {
    /// The node is of that cluster, durably. Its links were opened by a node of none, and its peers are to know.
    pub(super) fn adopted(&self, id: ClusterId) {
        self.inner.agent.borrow_mut().adopted(id);
        self.inner.links.borrow().close_where(|_, _, _| true);
    }

    /// Begins the cluster of the configured first voters; the id it has. Done already, it changes nothing.
    ///
    /// # Errors
    /// See [`BootstrapError`]. Nothing was changed, unless it is [`BootstrapError::Failed`].
    pub async fn bootstrap(&self) -> Result<ClusterId, BootstrapError> {
        let settings = &self.inner.settings;
        if settings.initial_voters.is_empty() {
            return Err(BootstrapError::NoVoters);
        }
        let own = self.own();
        if !settings.initial_voters.iter().any(|address| self.is_own(address)) {
            return Err(BootstrapError::NotAmong(own.address.to_string()));
        }
        if own.cluster != ClusterId::default() {
            let began = identity::first_voters(&self.inner.store);
            let began = began.map_err(|error| BootstrapError::Failed(error.to_string()))?.is_some();
            if !began {
                return Err(BootstrapError::Belongs(own.cluster));
            }
            resume(self).await?;
            return Ok(own.cluster);
        }
        let voters = self.first_voters()?;
        begin(self, &voters).await?;
        Ok(self.own().cluster)
    }

    /// The disks of the configured first voters, all of whom are of no cluster.
    fn first_voters(&self) -> Result<Vec<StoreId>, BootstrapError> {
        let own = self.own();
        let links = self.inner.links.borrow();
        let mut voters: BTreeMap<StoreId, &String> = BTreeMap::new();
        for address in &self.inner.settings.initial_voters {
            let store = if self.is_own(address) { own.store } else { self.virgin_at(address, &links)? };
            if let Some(one) = voters.insert(store, address) {
                return Err(BootstrapError::Twice { one: one.clone(), other: address.clone() });
            }
        }
        if !can_vote(voters.len()) {
            return Err(BootstrapError::Number(voters.len()));
        }
        Ok(voters.into_keys().collect())
    }

    fn virgin_at(&self, address: &str, links: &Links) -> Result<StoreId, BootstrapError> {
        let Some(peer) = links.at(address) else {
            let trouble = links.troubles().find(|(known, _)| *known == address).and_then(|(_, why)| why);
            let trouble = trouble.unwrap_or_else(|| "it is being dialled".to_owned());
            return Err(BootstrapError::Missing { address: address.to_owned(), trouble });
        };
        if peer.cluster == ClusterId::default() {
            Ok(peer.store)
        } else {
            Err(BootstrapError::Taken { address: address.to_owned(), cluster: peer.cluster })
        }
    }

    fn is_own(&self, address: &str) -> bool {
        self.inner.agent.borrow().own().address == address || self.inner.links.borrow().is_own(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Addresses, open};
    use crate::config::ClusterSettings;
    use crate::lease::LeaseCell;
    use crate::os::OsPlatform;
    use multibeam_proto::cluster::ClusterConfig;
    use tokio::task::LocalSet;

    #[test]
    fn a_beginning_that_was_cut_off_is_finished_by_saying_it_again() {
        let dir = std::env::temp_dir().join(format!("multibeam-bootstrap-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let platform = OsPlatform::open(&dir).unwrap();
            let address = "127.0.0.1:7401".to_owned();
            let settings = ClusterSettings {
                listen: Some(address.parse().unwrap()),
                initial_voters: vec![address.clone()],
                ..ClusterSettings::default()
            };
            let opened = open(&platform, &settings).unwrap();
            let addresses = Addresses { links: address, clients: "127.0.0.1:7400".to_owned() };
            let (lease, config) = (LeaseCell::none(), ClusterConfig::default());
            let begun = Cluster::start(platform, settings, config, opened, None, lease, addresses).await;
            let (cluster, _asked) = begun.unwrap();
            let id = ClusterId(9);
            identity::belong(&cluster.inner.store, id, Some(&[cluster.own().store])).unwrap();
            cluster.adopted(id);
            assert!(!cluster.inner.consensus.is_initialized().await);
            for _ in 0..2 {
                assert_eq!(cluster.bootstrap().await.unwrap(), id);
                assert!(cluster.inner.consensus.is_initialized().await);
            }
            cluster.shutdown().await;
        });
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
