//! Classes of topics: which partition a topic lives in, and how much of it is kept.

use crate::config::ShardConfig;
use crate::ids::ShardId;

/// A policy for all topics that match a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TopicClass {
    /// `alarm.*`: one partition, a long history.
    Alarm = 0,
    /// `user.{id}.msg`: keyed by the user.
    UserMessage = 1,
    /// `device.{sn}.telem`: keyed by the device.
    DeviceTelemetry = 2,
    /// `sys.*`: one partition.
    System = 3,
    /// Everything else, keyed by the whole name.
    Other = 4,
}

/// An ordered log of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The class it belongs to.
    pub class: TopicClass,
    /// Its number within the class.
    pub index: u16,
}

impl TopicClass {
    /// The class of `topic` and the part of its name that chooses the partition.
    #[must_use]
    pub fn of(topic: &str) -> (Self, &str) {
        let mut segments = topic.splitn(4, '.');
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("alarm"), Some(_), None, None) => (Self::Alarm, topic),
            (Some("sys"), Some(_), None, None) => (Self::System, topic),
            (Some("user"), Some(id), Some("msg"), None) => (Self::UserMessage, id),
            (Some("device"), Some(sn), Some("telem"), None) => (Self::DeviceTelemetry, sn),
            _ => (Self::Other, topic),
        }
    }

    /// Partitions of the class.
    #[must_use]
    pub const fn partitions(self) -> u16 {
        match self {
            Self::Alarm | Self::System => 1,
            Self::UserMessage => 128,
            Self::DeviceTelemetry => 64,
            Self::Other => 16,
        }
    }

    /// Messages that a topic of this class keeps.
    #[must_use]
    pub(crate) fn retain_messages(self, config: &ShardConfig) -> usize {
        match self {
            Self::Alarm => config.retain_messages_alarm,
            Self::UserMessage | Self::DeviceTelemetry | Self::System | Self::Other => {
                config.retain_messages_default
            }
        }
    }
}

impl PartitionId {
    /// The one partition that `topic` lives in.
    #[must_use]
    pub fn of(topic: &str) -> Self {
        let (class, key) = TopicClass::of(topic);
        let index = stable_hash(key.as_bytes()) % u64::from(class.partitions());
        Self { class, index: index as u16 }
    }

    /// The shard that owns this partition on a node of `shards` shards.
    #[must_use]
    pub fn home(self, shards: u16) -> ShardId {
        let name = [self.class as u8, (self.index >> 8) as u8, self.index as u8];
        ShardId((stable_hash(&name) % u64::from(shards)) as u16)
    }
}

/// A hash that is the same on every machine and for ever: FNV-1a with the finalizer of
/// MurmurHash3, which FNV lacks in its low bits.
fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fall_into_their_classes() {
        for (topic, class, key) in [
            ("alarm.fire", TopicClass::Alarm, "alarm.fire"),
            ("alarm.fire.north", TopicClass::Other, "alarm.fire.north"),
            ("alarm", TopicClass::Other, "alarm"),
            ("user.42.msg", TopicClass::UserMessage, "42"),
            ("user.42.msg.x", TopicClass::Other, "user.42.msg.x"),
            ("device.a7.telem", TopicClass::DeviceTelemetry, "a7"),
            ("sys.news", TopicClass::System, "sys.news"),
            ("chat.room", TopicClass::Other, "chat.room"),
        ] {
            assert_eq!(TopicClass::of(topic), (class, key), "{topic}");
        }
    }

    /// A topic that moves to another partition loses its history: these may never change.
    #[test]
    fn places_are_golden() {
        let places: Vec<_> = ["chat.room", "user.42.msg", "device.a7.telem", "news"]
            .map(|topic| (PartitionId::of(topic).index, PartitionId::of(topic).home(8).0))
            .to_vec();
        assert_eq!(places, [(0, 5), (108, 6), (47, 3), (15, 1)]);
    }
}
