//! The section `[cluster]`: where this node's links are, whom it belongs with, and the cluster's times.

use super::ConfigError;
use crate::link_tls::LinkTlsFiles;
use multibeam_consensus::Settings;
use multibeam_proto::cluster::ClusterConfig;
use multibeam_proto::view::Durability;
use multibeam_proto::{ClassSet, PartitionId, WEIGHT_MAX};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Partitions of all classes of a node: each has a record in the view, which is sent whole to nodes without a
/// vote (some 35 KB for 4,096).
pub const PARTITIONS_MAX: usize = 16_384;

/// Addresses in `initial_voters` and `join`.
pub const SEEDS_MAX: usize = 32;

/// The section `[cluster.tls]`: see [`LinkTlsFiles`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// What a node knows of its cluster before it has talked to anybody.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Where links of other nodes come in; without it the node is a cluster of its own.
    pub listen: Option<SocketAddr>,
    /// Where other nodes reach that.
    pub advertise: Option<String>,
    /// Where clients reach this node.
    pub advertise_clients: Option<String>,
    /// What the node is called, whatever disk it has.
    pub name: Option<String>,
    /// Links of the nodes that vote first.
    pub initial_voters: Vec<String>,
    /// Links of nodes to ask for the way in.
    pub join: Vec<String>,
    /// Its share of the partitions.
    pub weight: u8,
    /// Certificates of links.
    pub tls: Option<LinkTlsFiles>,
    /// Times and sizes; [`ClusterSettings::cluster_config`] adds the partitions.
    pub times: ClusterConfig,
    /// Times of the consensus.
    pub consensus: Settings,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            listen: None,
            advertise: None,
            advertise_clients: None,
            name: None,
            initial_voters: Vec::new(),
            join: Vec::new(),
            weight: 1,
            tls: None,
            times: ClusterConfig::default(),
            consensus: Settings::default(),
        }
    }
}

impl ClusterSettings {
    /// Whether this node is to be one of several.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.listen.is_some()
    }

    /// What names the node: its name, or else where it is.
    #[must_use]
    pub fn node_name(&self) -> Option<String> {
        self.is_configured().then(|| self.name.clone().or_else(|| self.advertise.clone())).flatten()
    }

    /// Whether the configuration names a node's address.
    #[must_use]
    pub fn names(&self, address: &str) -> bool {
        self.initial_voters.iter().chain(&self.join).any(|named| named == address)
    }

    /// Times and sizes, and the partitions of these classes.
    #[must_use]
    pub fn cluster_config(&self, classes: &ClassSet) -> ClusterConfig {
        let partitions = classes.iter().flat_map(|(class, settings)| {
            (0..settings.partitions).map(move |index| (PartitionId { class, index }, Durability::Memory))
        });
        ClusterConfig { partitions: partitions.collect(), ..self.times.clone() }
    }

    /// Whether the settings go together.
    pub(super) fn check(&self, classes: &ClassSet) -> Result<(), ConfigError> {
        let wrong = |sentence: String| Err(ConfigError::Cluster(sentence));
        let partitions: usize = classes.iter().map(|(_, class)| usize::from(class.partitions)).sum();
        if partitions > PARTITIONS_MAX {
            return wrong(format!(
                "the classes have {partitions} partitions together, and {PARTITIONS_MAX} are the most: choose fewer"
            ));
        }
        self.times.check().map_err(|error| ConfigError::Cluster(error.to_string()))?;
        self.consensus.check().map_err(|error| ConfigError::Cluster(error.to_string()))?;
        let Some(listen) = self.listen else {
            let alone = self.initial_voters.is_empty() && self.join.is_empty() && self.tls.is_none();
            return if alone && self.advertise.is_none() && self.name.is_none() {
                Ok(())
            } else {
                wrong(
                    "the section [cluster] has no listen: set it to the address for links of other nodes"
                        .into(),
                )
            };
        };
        if self.initial_voters.len() + self.join.len() > SEEDS_MAX {
            return wrong(format!(
                "initial_voters and join have more than {SEEDS_MAX} addresses: choose fewer"
            ));
        }
        if self.advertise.is_none() && (listen.ip().is_unspecified() || listen.port() == 0) {
            return wrong(format!(
                "other nodes can't dial {listen}: set advertise in [cluster] to the host and port where they reach it"
            ));
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return wrong(format!("weight = {} in [cluster]: choose 1 to {WEIGHT_MAX}", self.weight));
        }
        if self.tls.is_none() {
            let listens = listen.ip().is_loopback();
            let dialled = self.initial_voters.iter().chain(&self.join).chain(&self.advertise);
            let far = dialled.into_iter().find(|address| !is_loopback(address));
            if let Some(far) = far.cloned().or_else(|| (!listens).then(|| listen.to_string())) {
                return wrong(format!(
                    "links to {far} leave this machine and would be plain: give [cluster.tls] ca, certificate and key \
                     ('multibeam cluster init-ca' makes some to try out)"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a `host:port` is on this machine for certain.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The section as it stands in the file. An absent key keeps its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClusterFile {
    #[serde(deserialize_with = "super::file::address")]
    listen: Option<SocketAddr>,
    advertise: Option<String>,
    advertise_clients: Option<String>,
    name: Option<String>,
    initial_voters: Vec<String>,
    join: Vec<String>,
    weight: Option<u8>,
    voters: Option<usize>,
    copies: Option<usize>,
    heartbeat_ms: Option<u64>,
    lease_ms: Option<u64>,
    silent_after_ms: Option<u64>,
    isolated_after_ms: Option<u64>,
    voter_patience_ms: Option<u64>,
    consensus_heartbeat_ms: Option<u64>,
    election_min_ms: Option<u64>,
    election_max_ms: Option<u64>,
    tls: Option<TlsFile>,
}

impl ClusterFile {
    pub(super) fn apply(self, path: &Path, settings: &mut ClusterSettings) -> Result<(), ConfigError> {
        for address in
            self.initial_voters.iter().chain(&self.join).chain(&self.advertise).chain(&self.advertise_clients)
        {
            host_and_port(path, address)?;
        }
        settings.listen = self.listen.or(settings.listen);
        settings.advertise = self.advertise.or_else(|| settings.listen.map(|listen| listen.to_string()));
        settings.advertise_clients = self.advertise_clients;
        settings.name = self.name;
        settings.initial_voters = self.initial_voters;
        settings.join = self.join;
        settings.weight = self.weight.unwrap_or(settings.weight);
        settings.tls = self.tls.map(|TlsFile { ca, certificate, key }| LinkTlsFiles { ca, certificate, key });
        let times = &mut settings.times;
        times.voters = self.voters.unwrap_or(times.voters);
        times.copies = self.copies.unwrap_or(times.copies);
        let millis = |value: Option<u64>, default: Duration| value.map_or(default, Duration::from_millis);
        times.heartbeat = millis(self.heartbeat_ms, times.heartbeat);
        times.lease = millis(self.lease_ms, times.lease);
        times.silent_after = millis(self.silent_after_ms, times.silent_after);
        times.isolated_after = millis(self.isolated_after_ms, times.isolated_after);
        times.voter_patience = millis(self.voter_patience_ms, times.voter_patience);
        let consensus = &mut settings.consensus;
        consensus.heartbeat = millis(self.consensus_heartbeat_ms, consensus.heartbeat);
        consensus.election_min = millis(self.election_min_ms, consensus.election_min);
        consensus.election_max = millis(self.election_max_ms, consensus.election_max);
        Ok(())
    }
}

fn host_and_port(path: &Path, address: &str) -> Result<(), ConfigError> {
    let fits = address.len() <= multibeam_wire::limits::ADDRESS_BYTES_MAX;
    let good =
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if fits && good {
        return Ok(());
    }
    let text = format!(
        "{}: {address:?} in [cluster] is no address: expected HOST:PORT, such as 10.0.0.1:7500",
        path.display()
    );
    Err(ConfigError::Cluster(text))
}
