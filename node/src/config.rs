//! Settings of a node: defaults, then the file, then the command line.
//!
//! Every setting has a default, a range and a unit in its name; zero never means "without
//! limit". What is wrong is refused with one sentence that names the place and the key.

mod classes;
mod cluster;
mod file;
mod limits;

pub use classes::{ClassSetting, class_settings, overflow_word, route_word};
pub use cluster::{ClusterSetting, ClusterSettings, PARTITIONS_MAX, SEEDS_MAX, can_vote, cluster_settings};
pub use limits::{Limit, LimitsFile};

use crate::event_loop::LoopLimits;
use multibeam_proto::ShardConfig;
use multibeam_rings::mpsc::CAPACITY_MAX;
use multibeam_rings::pool::Pages;
use multibeam_wire::limits::BODY_BYTES_MAX;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Where clients connect when nothing else is said.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);
/// Where the admin server is when nothing else is said.
pub const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);
/// Event loops of a node. Each has rings to all others, so memory grows with the square.
pub const SHARDS: RangeInclusive<usize> = 1..=256;
/// Bytes of stored messages of a node when nothing else is said: a quarter of the memory of a small
/// machine.
pub const MESSAGES_BYTES_DEFAULT: usize = 1 << 30;
/// Bytes of stored messages that a shard has at the least: the last message of 16 topics, however long.
/// With less, topics would push out each other's only message.
pub const MESSAGES_BYTES_PER_SHARD_MIN: usize = 16 * 64 * 1024;

const _: () = assert!(MESSAGES_BYTES_PER_SHARD_MIN > 16 * BODY_BYTES_MAX);
const _: () = assert!(MESSAGES_BYTES_DEFAULT / *SHARDS.end() >= MESSAGES_BYTES_PER_SHARD_MIN);

/// The settings in force.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where clients connect. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the admin server listens; a loopback address.
    pub admin: SocketAddr,
    /// Event loops, in [`SHARDS`].
    pub shards: usize,
    /// Directory of the durable files.
    pub data_dir: PathBuf,
    /// Commands that one thread may have unpopped in the ring of another.
    pub ring_commands: usize,
    /// Bytes of stored messages that the node holds. [`NodeConfig::load`] gives each shard its part.
    pub messages_bytes_max: usize,
    /// Settings of sessions and topics.
    pub shard: ShardConfig,
    /// Limits of the event loops.
    pub limits: LoopLimits,
    /// The cluster.
    pub cluster: ClusterSettings,
}

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// See [`NodeConfig::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`NodeConfig::admin`].
    pub admin: Option<SocketAddr>,
    /// See [`NodeConfig::shards`].
    pub shards: Option<usize>,
    /// See [`NodeConfig::data_dir`].
    pub data_dir: Option<PathBuf>,
}

/// Why there are no settings. Each text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML, has an unknown key or a value of another kind.
    #[error("{}, line {line}: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line of the file, from 1.
        line: usize,
        /// What is wrong there, with the key.
        detail: String,
    },
    /// A number is outside its range.
    #[error("{}: {key} = {value} is out of range: choose {low} to {high}", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// The setting.
        key: &'static str,
        /// What it was set to.
        value: u64,
        /// Smallest value.
        low: u64,
        /// Largest value.
        high: u64,
    },
    /// The rings between the threads would be larger than they can be.
    #[error(
        "{shards} shards with ring_commands = {commands} and ring_replies = {replies} need rings of {slots} places, \
         and a ring has at most {CAPACITY_MAX}: choose fewer"
    )]
    RingsTooLarge {
        /// Event loops.
        shards: usize,
        /// Commands of each thread in a ring.
        commands: usize,
        /// Replies of each thread in a ring.
        replies: usize,
        /// Places of a ring.
        slots: usize,
    },
    /// A shard's part of the memory for messages would be too small to be of use.
    #[error(
        "messages_bytes_max = {bytes} is too little for {shards} shards, each of which needs \
         {MESSAGES_BYTES_PER_SHARD_MIN}: choose at least {}, or fewer shards",
        shards * MESSAGES_BYTES_PER_SHARD_MIN
    )]
    MessagesTooFew {
        /// Event loops.
        shards: usize,
        /// Bytes of all of them.
        bytes: usize,
    },
    /// The section `[cluster]` contradicts itself.
    #[error("{0}")]
    Cluster(String),
    /// The admin server would be reachable from other machines.
    #[error(
        "the admin address {0} is not a loopback address: the admin server has no authentication, so choose an \
         address such as {ADMIN_DEFAULT} (--admin, or the key admin)"
    )]
    AdminNotLoopback(SocketAddr),
}

impl NodeConfig {
    /// Reads the file, if one is given, and applies the command line to it. `environment`
    /// looks up a variable.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        path: Option<&Path>,
        overrides: Overrides,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::with_data_dir(data_dir_default(environment));
        config.limits.pages = Pages::Huge;
        if let Some(path) = path {
            file::apply(path, &mut config)?;
        }
        config.listen = overrides.listen.unwrap_or(config.listen);
        config.admin = overrides.admin.unwrap_or(config.admin);
        config.shards = overrides.shards.unwrap_or(config.shards);
        config.data_dir = overrides.data_dir.unwrap_or(config.data_dir);
        config.check()?;
        config.shard.messages_bytes_max = config.messages_bytes_max / config.shards;
        Ok(config)
    }

    /// What depends on several settings, or on one that both file and command line have.
    fn check(&self) -> Result<(), ConfigError> {
        if !self.admin.ip().is_loopback() {
            return Err(ConfigError::AdminNotLoopback(self.admin));
        }
        let (shards, commands, replies) = (self.shards, self.ring_commands, self.shard.ring_replies);
        // Each shard and the runtime may post to each.
        let slots = (shards + 1) * (commands + replies);
        if slots > CAPACITY_MAX {
            return Err(ConfigError::RingsTooLarge { shards, commands, replies, slots });
        }
        let bytes = self.messages_bytes_max;
        if bytes / shards < MESSAGES_BYTES_PER_SHARD_MIN {
            return Err(ConfigError::MessagesTooFew { shards, bytes });
        }
        if self.cluster.is_configured()
            && self.cluster.advertise_clients.is_none()
            && self.listen.ip().is_unspecified()
        {
            // The host of `advertise` may be one of a network that clients are not in.
            return Err(ConfigError::Cluster(format!(
                "other nodes would send clients to {}: set advertise_clients in [cluster] to the host and port where \
                 clients reach this node, such as \"node-1.example.org:{}\"",
                self.listen,
                self.listen.port()
            )));
        }
        self.cluster.check(&self.shard.classes)
    }

    /// The defaults, with files in `data_dir`.
    #[must_use]
    pub fn with_data_dir(data_dir: PathBuf) -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            admin: ADMIN_DEFAULT,
            shards: shards_default(),
            data_dir,
            ring_commands: 256,
            messages_bytes_max: MESSAGES_BYTES_DEFAULT,
            shard: ShardConfig::default(),
            limits: LoopLimits::default(),
            cluster: ClusterSettings::default(),
        }
    }
}

/// One a core, and at least two, so that every node is made of several.
fn shards_default() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    cores.clamp(2, *SHARDS.end())
}

/// `$XDG_DATA_HOME/multibeam`, else `$HOME/.local/share/multibeam`, else a directory beside
/// the process. The XDG base directory specification says to ignore relative paths.
fn data_dir_default(environment: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let absolute = |name| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(data) = absolute("XDG_DATA_HOME") {
        data.join("multibeam")
    } else if let Some(home) = absolute("HOME") {
        home.join(".local/share/multibeam")
    } else {
        PathBuf::from("multibeam-data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    }

    #[test]
    fn the_data_directory_follows_the_environment() {
        for (variables, path) in [
            (&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")][..], "/x/multibeam"),
            (&[("XDG_DATA_HOME", ""), ("HOME", "/h")], "/h/.local/share/multibeam"),
            (&[("XDG_DATA_HOME", "x"), ("HOME", "/h")], "/h/.local/share/multibeam"),
            (&[], "multibeam-data"),
        ] {
            assert_eq!(data_dir_default(with(variables)), PathBuf::from(path), "{variables:?}");
        }
    }

    #[test]
    fn the_admin_server_stays_on_this_machine() {
        for (admin, good) in
            [("127.0.0.2:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("[::]:1", false)]
        {
            let overrides = Overrides { admin: Some(admin.parse().unwrap()), ..Overrides::default() };
            let result = NodeConfig::load(None, overrides, with(&[]));
            assert_eq!(result.is_ok(), good, "{admin}: {result:?}");
        }
    }

    #[test]
    fn a_node_of_a_cluster_knows_where_clients_reach_it() {
        let mut config = NodeConfig::with_data_dir("x".into());
        config.listen = "0.0.0.0:7400".parse().unwrap();
        assert!(config.check().is_ok(), "a node alone sends nobody anywhere");
        config.cluster.listen = Some("127.0.0.1:7401".parse().unwrap());
        let error = config.check().unwrap_err().to_string();
        for part in ["0.0.0.0:7400", "advertise_clients in [cluster]", "\"node-1.example.org:7400\""] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        config.cluster.advertise_clients = Some("10.0.0.1:7400".to_owned());
        assert!(config.check().is_ok());
    }

    #[test]
    fn rings_have_a_bound_for_any_number_of_shards() {
        let mut config = NodeConfig::with_data_dir("x".into());
        config.shards = *SHARDS.end();
        assert!(config.check().is_ok());
        config.ring_commands = 65_536;
        assert!(matches!(config.check(), Err(ConfigError::RingsTooLarge { .. })));
    }

    #[test]
    fn the_memory_for_messages_is_divided_among_the_shards() {
        let load = |shards| {
            let overrides = Overrides { shards: Some(shards), ..Overrides::default() };
            NodeConfig::load(None, overrides, with(&[])).unwrap().shard.messages_bytes_max
        };
        assert_eq!((load(1), load(3), load(256)), (1 << 30, (1 << 30) / 3, 4 << 20));
        let mut config = NodeConfig::with_data_dir("x".into());
        config.shards = 3;
        config.messages_bytes_max = 3 * MESSAGES_BYTES_PER_SHARD_MIN;
        assert!(config.check().is_ok());
        config.messages_bytes_max -= 1;
        let error = config.check().unwrap_err().to_string();
        for part in ["messages_bytes_max = 3145727", "3 shards", "at least 3145728"] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    #[test]
    fn there_are_at_least_two_shards_by_default() {
        assert!(NodeConfig::load(None, Overrides::default(), with(&[])).unwrap().shards >= 2);
    }
}
