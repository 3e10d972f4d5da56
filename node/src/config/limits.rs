//! The `[limits]` section: one table for the file, the checks and the documents.

use super::{ConfigError, NodeConfig};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// A setting of `[limits]`: where it lives in [`NodeConfig`] and what it may be.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The key, with its unit.
    pub key: &'static str,
    /// What it limits, as sentences.
    pub help: &'static str,
    /// Smallest value.
    pub low: u64,
    /// Largest value.
    pub high: u64,
    read: fn(&NodeConfig) -> u64,
    write: fn(&mut NodeConfig, u64),
}

impl Limit {
    /// The value in force.
    #[must_use]
    pub fn value(&self, config: &NodeConfig) -> u64 {
        (self.read)(config)
    }
}

/// A number in the file and the type that the setting has.
pub(super) trait Setting {
    /// The largest value for what the type can't hold.
    fn from_number(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Setting for Duration {
    fn from_number(number: u64) -> Self {
        Self::from_millis(number)
    }

    fn number(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Setting for usize {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn number(&self) -> u64 {
        *self as u64
    }
}

impl Setting for u16 {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

impl Setting for u32 {
    fn from_number(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn number(&self) -> u64 {
        u64::from(*self)
    }
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $key:ident: $low:literal to $high:literal => $($place:ident).+;)*) => {
        /// The section as it stands in the file. An absent key keeps its default.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitsFile { $($(#[doc = $doc])* pub $key: Option<u64>,)* }

        impl LimitsFile {
            /// All settings, in the order of the documents.
            pub const ALL: &[Limit] = &[$(Limit {
                key: stringify!($key),
                help: concat!($($doc),*).trim_ascii(),
                low: $low,
                high: $high,
                read: |config| Setting::number(&config.$($place).+),
                write: |config, number| config.$($place).+ = Setting::from_number(number),
            },)*];

            fn values(&self) -> impl Iterator<Item = Option<u64>> {
                [$(self.$key,)*].into_iter()
            }
        }
    };
}

limits! {
    /// Each side of a connection sends some frame at least this often; after three times
    /// this without one, the connection is closed.
    heartbeat_interval_ms: 1_000 to 600_000 => shard.heartbeat_interval;
    /// A client must say HELLO this soon after its connection was accepted.
    hello_timeout_ms: 100 to 60_000 => shard.hello_timeout;
    /// A client must acknowledge a message this soon after it was sent. Clients wait up to
    /// half a second with it, to acknowledge several at once.
    ack_timeout_ms: 1_000 to 3_600_000 => shard.ack_timeout;
    /// A publish is answered this soon, if need be with an error.
    publish_deadline_ms: 1_000 to 60_000 => shard.publish_deadline;
    /// A node that is cut off from the majority of its cluster asks its clients to look for another
    /// one, each in a slot of its own within this time.
    goaway_spread_ms: 1 to 600_000 => shard.goaway_spread;
    /// Bytes of publishes that one client may have unanswered.
    publish_window_bytes: 1_024 to 16_777_216 => shard.publish_window_bytes;
    /// Publishes and subscribes that one client may have unanswered.
    requests_in_flight_max: 1 to 256 => shard.requests_in_flight_max;
    /// Messages that one client may have unacknowledged.
    deliveries_in_flight_max: 2 to 1_048_576 => shard.deliveries_in_flight_max;
    /// Subscriptions of one client: one for a topic, one for each partition of a filter, and one for
    /// the class that it has on connect.
    subscriptions_max: 2 to 1_048_576 => shard.subscriptions_max;
    /// Topics that one shard holds; idle ones are forgotten first.
    topics_per_shard_max: 16 to 16_777_216 => shard.topics_max;
    /// Publishers that one partition remembers, to recognise what they send again.
    producers_per_partition_max: 16 to 1_048_576 => shard.producers_max;
    /// Bytes of stored messages that the node holds, their indexes included; beyond them the oldest
    /// go first. Each shard has an equal part, of 1048576 at least.
    messages_bytes_max: 1_048_576 to 1_099_511_627_776 => messages_bytes_max;
    /// Commands that one thread may have waiting at another.
    ring_commands: 1 to 65_536 => ring_commands;
    /// Answers that one thread may owe another.
    ring_replies: 1 to 65_536 => shard.ring_replies;
    /// Connections of one shard.
    connections_per_shard_max: 1 to 16_777_216 => limits.connections_max;
    /// Bytes that one shard reserves for half-received frames. Each counts less than twice its
    /// length, and 68 bytes at least.
    parked_bytes_per_shard_max: 131_072 to 68_719_476_736 => limits.parked_bytes_max;
    /// Bytes discarded of a connection that was told why it is closed, before it is cut.
    linger_bytes_max: 1 to 16_777_216 => limits.linger_bytes_max;
    /// Time given to a connection that was told why it is closed, before it is cut.
    linger_ms: 1 to 60_000 => limits.linger;
    /// Time given to all connections when the node stops.
    stop_deadline_ms: 1 to 600_000 => limits.stop_deadline;
}

impl LimitsFile {
    pub(super) fn apply(&self, path: &Path, config: &mut NodeConfig) -> Result<(), ConfigError> {
        for (limit, value) in Self::ALL.iter().zip(self.values()) {
            let Some(value) = value else { continue };
            let Limit { key, low, high, write, .. } = *limit;
            if !(low..=high).contains(&value) {
                return Err(ConfigError::OutOfRange { path: path.to_owned(), key, value, low, high });
            }
            write(config, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_reaches_its_own_place_and_no_other() {
        let default = NodeConfig::with_data_dir("x".into());
        for (changed, limit) in LimitsFile::ALL.iter().enumerate() {
            let before = limit.value(&default);
            assert!((limit.low..=limit.high).contains(&before), "{}: default {before}", limit.key);
            assert!(limit.low > 0, "{}", limit.key);
            for value in [limit.low, limit.high] {
                let mut config = default.clone();
                (limit.write)(&mut config, value);
                for (index, other) in LimitsFile::ALL.iter().enumerate() {
                    let expected = if index == changed { value } else { other.value(&default) };
                    assert_eq!(other.value(&config), expected, "{} after {}", other.key, limit.key);
                }
            }
        }
    }
}
