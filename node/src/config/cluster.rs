//! The section `[cluster]`: where this node's links are, whom it belongs with, and the cluster's times.

use super::ConfigError;
use super::limits::Setting;
use crate::link_tls::LinkTlsFiles;
use multibeam_consensus::Settings;
use multibeam_proto::cluster::ClusterConfig;
use multibeam_proto::view::Durability;
use multibeam_proto::{ClassSet, PartitionId, WEIGHT_MAX};
use multibeam_wire::limits::VOTERS_MAX;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Partitions of all classes of a node: each has a record in the view, which is sent whole to nodes without a
/// vote (some 35 KB for 4,096).
pub const PARTITIONS_MAX: usize = 16_384;

/// Addresses in `initial_voters` and `join`.
pub const SEEDS_MAX: usize = 32;

/// Whether so many can vote: of an even number one more may fail no more of them.
#[must_use]
pub const fn can_vote(voters: usize) -> bool {
    voters <= VOTERS_MAX && voters % 2 == 1
}

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

    /// Whether a link there may be dialled: a plain one leads nowhere but to this machine, whoever names the address.
    #[must_use]
    pub fn may_dial(&self, address: &str) -> bool {
        let on_this_machine = self.listen.is_some_and(|listen| listen.ip().is_loopback());
        self.tls.is_some() || !on_this_machine || is_loopback(address)
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
        let voters = self.initial_voters.len();
        if voters > 0 && !can_vote(voters) {
            return wrong(format!(
                "initial_voters in [cluster] has {voters} addresses: name an odd number, {VOTERS_MAX} at most; other \
                 nodes join later"
            ));
        }
        if voters + self.join.len() > SEEDS_MAX {
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

/// A key of the section `[cluster]`, for the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSetting {
    /// The key.
    pub key: &'static str,
    /// What holds without it.
    pub default: String,
    /// The values it may have.
    pub values: String,
    /// What it says, as sentences.
    pub help: &'static str,
}

/// An address of this machine.
#[derive(Clone, Copy, Debug)]
struct Address(SocketAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::file::address(deserializer).map(Self)
    }
}

macro_rules! cluster_settings {
    (
        words { $($(#[doc = $said:literal])* $word:ident: $type:ty, $none:literal, $values:literal;)* }
        numbers { $($(#[doc = $doc:literal])* $key:ident: $low:literal to $high:literal => $($place:ident).+;)* }
    ) => {
        /// The section as it stands in the file. An absent key keeps its default.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct ClusterFile {
            $($(#[doc = $said])* $word: Option<$type>,)*
            $($(#[doc = $doc])* $key: Option<u64>,)*
        }

        /// The keys of the section, in the order of the documents.
        #[must_use]
        pub fn cluster_settings() -> Vec<ClusterSetting> {
            let defaults = ClusterSettings::default();
            vec![
                $(ClusterSetting {
                    key: stringify!($word),
                    default: $none.to_owned(),
                    values: $values.to_owned(),
                    help: concat!($($said),*).trim_ascii(),
                },)*
                $(ClusterSetting {
                    key: stringify!($key),
                    default: Setting::number(&defaults.$($place).+).to_string(),
                    values: format!("{} to {}", $low, $high),
                    help: concat!($($doc),*).trim_ascii(),
                },)*
            ]
        }

        impl ClusterFile {
            fn apply_numbers(&self, path: &Path, settings: &mut ClusterSettings) -> Result<(), ConfigError> {
                $(if let Some(value) = self.$key {
                    let (key, low, high) = (stringify!($key), $low, $high);
                    if !(low..=high).contains(&value) {
                        return Err(ConfigError::OutOfRange { path: path.to_owned(), key, value, low, high });
                    }
                    settings.$($place).+ = Setting::from_number(value);
                })*
                Ok(())
            }
        }
    };
}

cluster_settings! {
    words {
        /// Where links of other nodes come in. Without it the node is a cluster of its own.
        listen: Address, "none", "IP:PORT";
        /// Where other nodes reach that.
        advertise: String, "`listen`", "HOST:PORT";
        /// Where clients reach this node, for those that another node sends away. It must be set if the node listens
        /// for clients on all addresses.
        advertise_clients: String, "where it listens for clients", "HOST:PORT";
        /// What the node is called, whatever disk it has. Another name needs an empty data directory; a node that
        /// had none keeps the id that it has.
        name: String, "`advertise`, when the data directory is new", "a text";
        /// Links of the nodes that vote first, this one's among them if it is one; the same on all of them. An
        /// odd number, 7 at most; with `join` at most 32.
        initial_voters: Vec<String>, "none", "a list of HOST:PORT";
        /// Links of nodes that know the cluster, for a node that joins later.
        join: Vec<String>, "none", "a list of HOST:PORT";
        /// Certificates of links, see below. Without it all addresses must be of this machine.
        tls: TlsFile, "plain links", "`ca`, `certificate`, `key`";
    }
    numbers {
        /// This node's share of the partitions, beside those of others.
        weight: 1 to 8 => weight;
        /// Voters to have, an odd number; other members can take a vote that is free.
        voters: 1 to 7 => times.voters;
        /// Copies of a partition, the leader's included.
        copies: 1 to 7 => times.copies;
        /// Each link says something this often.
        heartbeat_ms: 10 to 10_000 => times.heartbeat;
        /// How long a node may lead after a majority last let it; three heartbeats at least.
        lease_ms: 30 to 60_000 => times.lease;
        /// A node that was silent for so long is taken out of the view; three heartbeats at least.
        silent_after_ms: 30 to 60_000 => times.silent_after;
        /// A node without a lease for so long is isolated, and not ready.
        isolated_after_ms: 100 to 600_000 => times.isolated_after;
        /// A voter that was silent for so long loses its vote to another member, if one can take it.
        voter_patience_ms: 1_000 to 604_800_000 => times.voter_patience;
        /// How often the leader of the consensus says something; also how long an entry may take to a voter, onto
        /// its disk, and back.
        consensus_heartbeat_ms: 10 to 10_000 => consensus.heartbeat;
        /// A voter that heard no leader asks for votes after `election_max_ms` and a time between both; three
        /// heartbeats of the consensus at least.
        election_min_ms: 30 to 59_999 => consensus.election_min;
        /// See `election_min_ms`, which must be shorter.
        election_max_ms: 31 to 60_000 => consensus.election_max;
    }
}

// What the table says is what the checks take.
const _: () = assert!(WEIGHT_MAX == 8 && VOTERS_MAX == 7 && SEEDS_MAX == 32);

impl ClusterFile {
    pub(super) fn apply(self, path: &Path, settings: &mut ClusterSettings) -> Result<(), ConfigError> {
        self.apply_numbers(path, settings)?;
        let (initial_voters, join) = (self.initial_voters.unwrap_or_default(), self.join.unwrap_or_default());
        for address in
            initial_voters.iter().chain(&join).chain(&self.advertise).chain(&self.advertise_clients)
        {
            host_and_port(path, address)?;
        }
        settings.listen = self.listen.map(|Address(listen)| listen).or(settings.listen);
        settings.advertise = self.advertise.or_else(|| settings.listen.map(|listen| listen.to_string()));
        settings.advertise_clients = self.advertise_clients;
        settings.name = self.name;
        settings.initial_voters = initial_voters;
        settings.join = join;
        settings.tls = self.tls.map(|TlsFile { ca, certificate, key }| LinkTlsFiles { ca, certificate, key });
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

#[cfg(test)]
mod tests {
    use super::super::file::tests::parse;
    use super::*;

    #[test]
    fn a_plain_link_leads_to_this_machine() {
        let mut settings =
            ClusterSettings { listen: Some("127.0.0.1:1".parse().unwrap()), ..ClusterSettings::default() };
        let dials = |settings: &ClusterSettings| {
            ["127.0.0.9:1", "[::1]:1", "localhost:1", "10.0.0.1:1", "[2001:db8::1]:1", "node-2:1", "127.x:1"]
                .map(|address| settings.may_dial(address))
        };
        assert_eq!(dials(&settings), [true, true, true, false, false, false, false]);
        let path = PathBuf::new;
        settings.tls = Some(LinkTlsFiles { ca: path(), certificate: path(), key: path() });
        assert_eq!(dials(&settings), [true; 7]);
        // The simulator's nodes, which are on a network of their own.
        settings = ClusterSettings { listen: Some("0.0.0.0:1".parse().unwrap()), ..settings };
        settings.tls = None;
        assert_eq!(dials(&settings), [true; 7]);
    }

    #[test]
    fn an_odd_number_of_at_most_seven_votes_first() {
        for (voters, good) in
            [(0, true), (1, true), (2, false), (3, true), (6, false), (7, true), (8, false), (9, false)]
        {
            let addresses: Vec<String> = (0..voters).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
            let addresses = addresses.join(", ");
            let file = format!("[cluster]\nlisten = \"127.0.0.1:1\"\ninitial_voters = [{addresses}]\n");
            let checked = parse(&file).unwrap().check();
            assert_eq!(checked.is_ok(), good, "{voters}: {checked:?}");
            if let Err(error) = checked {
                let error = error.to_string();
                assert!(
                    error.contains(&format!("initial_voters in [cluster] has {voters} addresses")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn each_number_reaches_its_place_and_has_a_range() {
        let default = ClusterSettings::default();
        for setting in cluster_settings() {
            let Some((low, high)) = setting.values.split_once(" to ") else { continue };
            let parsed = |value: u64| parse(&format!("[cluster]\n{} = {value}\n", setting.key));
            let (low, high): (u64, u64) = (low.parse().unwrap(), high.parse().unwrap());
            let inside: u64 = setting.default.parse().unwrap();
            assert!((low..=high).contains(&inside) && low > 0, "{setting:?}");
            assert_eq!(format!("{:?}", parsed(inside).unwrap().cluster), format!("{default:?}"));
            for value in [low, high].into_iter().filter(|value| *value != inside) {
                assert_ne!(
                    format!("{:?}", parsed(value).unwrap().cluster),
                    format!("{default:?}"),
                    "{setting:?}"
                );
            }
            for value in [low - 1, high + 1] {
                let error = parsed(value).unwrap_err();
                let range = format!("{} = {value} is out of range: choose {low} to {high}", setting.key);
                assert!(error.contains(&range), "{error}");
            }
        }
    }
}
