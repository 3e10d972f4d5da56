//! The configuration file: TOML.

use super::classes::{ClassTable, class_set};
use super::cluster::ClusterFile;
use super::limits::LimitsFile;
use super::{ConfigError, NodeConfig, SHARDS};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file. An absent key keeps its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    /// Where clients connect, such as `"0.0.0.0:7400"`. Port 0 lets the system choose.
    #[serde(deserialize_with = "some_address")]
    listen: Option<SocketAddr>,
    /// Where the admin server listens; a loopback address.
    #[serde(deserialize_with = "some_address")]
    admin: Option<SocketAddr>,
    /// Event loops; one a core, and at least 2, by default.
    shards: Option<usize>,
    /// Directory of the durable files.
    data_dir: Option<PathBuf>,
    /// Limits, each with a default.
    limits: LimitsFile,
    /// The cluster.
    cluster: ClusterFile,
    /// Classes of topics, asked before the built-in ones.
    class: Vec<ClassTable>,
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || {
        serde::de::Error::custom(format!("{text:?} is no address: expected IP:PORT, such as 127.0.0.1:7400"))
    };
    text.parse().map_err(|_| wrong())
}

fn some_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

/// The text of a file, to say where in it something is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Line of the byte `at`, from 1.
    pub(super) fn line(self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// What is wrong at the byte `at`.
    pub(super) fn error(self, at: usize, detail: String) -> ConfigError {
        ConfigError::Malformed { path: self.path.to_owned(), line: self.line(at), detail }
    }

    fn parse(self) -> Result<ConfigFile, ConfigError> {
        toml::from_str(self.text).map_err(|error| self.malformed(&error))
    }

    fn malformed(self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let line = self.text.lines().nth(self.line(at) - 1).unwrap_or_default();
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let detail = match line.split_once('=').map(|(key, _)| key.trim()) {
            None if line.trim() == "[class]" => "each class is a table [[class]], in two brackets".to_owned(),
            Some(key) if !key.is_empty() && !message.contains(key) => format!("{key}: {message}"),
            _ => message,
        };
        self.error(at, detail)
    }
}

/// Reads the file and puts what it says into `config`.
pub(super) fn apply(path: &Path, config: &mut NodeConfig) -> Result<(), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    let source = Source { path, text: &text };
    source.parse()?.apply(source, config)
}

impl ConfigFile {
    fn apply(self, source: Source<'_>, config: &mut NodeConfig) -> Result<(), ConfigError> {
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin = self.admin.unwrap_or(config.admin);
        if let Some(shards) = self.shards {
            if !SHARDS.contains(&shards) {
                return Err(ConfigError::OutOfRange {
                    path: source.path.to_owned(),
                    key: "shards",
                    value: shards as u64,
                    low: *SHARDS.start() as u64,
                    high: *SHARDS.end() as u64,
                });
            }
            config.shards = shards;
        }
        config.data_dir = self.data_dir.unwrap_or_else(|| config.data_dir.clone());
        if !self.class.is_empty() {
            config.shard.classes = Arc::new(class_set(&self.class, source)?);
        }
        self.cluster.apply(source.path, &mut config.cluster)?;
        self.limits.apply(source.path, config)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn parse(text: &str) -> Result<NodeConfig, String> {
        let source = Source { path: Path::new("node.toml"), text };
        let mut config = NodeConfig::with_data_dir("x".into());
        let file = source.parse();
        file.and_then(|file| file.apply(source, &mut config)).map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_whole_file_is_understood() {
        let text = "listen = '0.0.0.0:1'\nadmin = '[::1]:2'\nshards = 3\ndata_dir = '/d'\n\
                    [limits]\nack_timeout_ms = 1000\n";
        let config = parse(text).unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:1");
        assert_eq!(config.admin.to_string(), "[::1]:2");
        assert_eq!((config.shards, config.data_dir), (3, "/d".into()));
        assert_eq!(config.shard.ack_timeout.as_millis(), 1000);
        assert!(parse("").is_ok());
    }

    #[test]
    fn an_error_is_one_line_with_line_and_key() {
        for (text, parts) in [
            ("\nlissten = 'x'", &["node.toml, line 2", "`lissten`"][..]),
            ("shards = 'two'", &["line 1", "shards: ", "string"]),
            ("shards = 0", &["node.toml", "shards = 0", "1 to 256"]),
            ("listen = 'localhost:7400'", &["line 1", "listen: ", "IP:PORT"]),
            ("[limits]\n\nack_timeout_ms = 0", &["ack_timeout_ms = 0", "1000 to 3600000"]),
            ("[limits]\nack_timeout = 5", &["line 2", "`ack_timeout`"]),
            ("[limits]\nlinger_ms = -5", &["line 2", "linger_ms"]),
            ("shards 3", &["line 1"]),
            ("a = 1\nb = [", &["line "]),
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
            for part in parts {
                assert!(error.contains(part), "{part:?} is not in {error:?}");
            }
        }
    }
}
