//! Classes of topics: where a topic lives, who gets it, how much of it is kept.
//!
//! A [`ClassSet`] is an ordered list of patterns; the first that matches a topic is its class, and the
//! last one matches everything. All nodes of a cluster have the same list: it decides, with the key's
//! stable hash, which partition a topic lives in.

mod hash;
mod pattern;

pub(crate) use hash::stable_hash;
pub use pattern::{Pattern, PatternError};

use crate::ids::ShardId;
use std::time::Duration;

/// A class's place in its [`ClassSet`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ClassId(pub u16);

/// An ordered log of this cluster.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct PartitionId {
    /// The class it belongs to.
    pub class: ClassId,
    /// Its number within the class.
    pub index: u16,
}

impl PartitionId {
    /// The number that clients know it by.
    #[must_use]
    pub const fn number(self) -> u32 {
        (self.class.0 as u32) << 16 | self.index as u32
    }
}

/// Who gets a topic's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whoever subscribes to the topic, or to a filter that matches it.
    Broadcast,
    /// Whoever subscribes to the topic: the connections of one user or device.
    Unicast,
}

/// What becomes of a subscriber that is slower than its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is told which messages it missed, and goes on with the oldest one kept.
    Gap,
    /// It gets the newest message, with a flag that others were left out.
    Conflate,
    /// Its connection is closed with a number; it resumes and is told then.
    Disconnect,
}

/// How much of a topic is kept; the last message always is, unless it is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Messages of a topic.
    pub messages: u32,
    /// Bytes of a topic's messages, as they are stored.
    pub bytes: u32,
    /// Age of a message; `None` for no limit.
    pub age: Option<Duration>,
}

/// One policy for all topics that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Which topics.
    pub pattern: Pattern,
    /// Partitions that its topics are spread over, at most [`PARTITIONS_MAX`].
    pub partitions: u16,
    /// Who gets its messages.
    pub route: Route,
    /// What becomes of slow subscribers.
    pub overflow: Overflow,
    /// How much is kept.
    pub retain: Retention,
    /// Whether each session is subscribed to the whole class when it connects. One class at most, and it
    /// has one partition.
    pub on_connect: bool,
}

/// Partitions of one class. Each costs its home shard a table of producers.
pub const PARTITIONS_MAX: u16 = 1024;

/// Classes of a node: each publish to a new topic is compared with all of them.
pub const CLASSES_MAX: usize = 64;

/// Messages that a topic keeps, at the most: a place in its index costs 32 bytes.
pub const RETAIN_MESSAGES_MAX: u32 = 65_536;

/// Bytes that a topic keeps, at the most: moved as a whole now and then, which takes 0.1 ms a MiB.
pub const RETAIN_BYTES_MAX: u32 = 64 << 20;

/// Why classes make no set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// More than [`CLASSES_MAX`].
    #[error("a node has at most {CLASSES_MAX} classes of topics")]
    TooMany,
    /// Two classes of the same pattern.
    #[error("two classes have the pattern {0}")]
    Twice(String),
    /// A number outside its range.
    #[error("{pattern}: {what} must be {range}")]
    Range {
        /// Of the class.
        pattern: String,
        /// The setting.
        what: &'static str,
        /// What is allowed.
        range: String,
    },
    /// More than one class is subscribed on connect, or one of many partitions or of unicast topics.
    #[error("{0}: one broadcast class of one partition may be subscribed on connect")]
    OnConnect(String),
}

/// The classes of a node, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSet {
    classes: Vec<Class>,
}

impl Default for ClassSet {
    /// The built-in classes.
    fn default() -> Self {
        Self::new(Vec::new()).unwrap_or_else(|error| unreachable!("built-in classes: {error}"))
    }
}

impl ClassSet {
    /// `configured` classes in their order, then those of the built-in ones whose pattern is not among
    /// them.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn new(configured: Vec<Class>) -> Result<Self, ClassError> {
        let mut classes = configured;
        for (at, class) in classes.iter().enumerate() {
            if classes[..at].iter().any(|other| other.pattern == class.pattern) {
                return Err(ClassError::Twice(class.pattern.to_string()));
            }
        }
        // "Anything else" is asked last, wherever it was written.
        if let Some(at) = classes.iter().position(|class| class.pattern.is_everything()) {
            let everything = classes.remove(at);
            add_missing(&mut classes);
            classes.retain(|class| !class.pattern.is_everything());
            classes.push(everything);
        } else {
            add_missing(&mut classes);
        }
        let set = Self { classes };
        set.check()?;
        Ok(set)
    }

    fn check(&self) -> Result<(), ClassError> {
        if self.classes.len() > CLASSES_MAX {
            return Err(ClassError::TooMany);
        }
        let mut on_connect = 0;
        for class in &self.classes {
            let range = |what, value: u64, max: u64| {
                if (1..=max).contains(&value) {
                    return Ok(());
                }
                let pattern = class.pattern.to_string();
                Err(ClassError::Range { pattern, what, range: format!("from 1 to {max}") })
            };
            range("partitions", class.partitions.into(), PARTITIONS_MAX.into())?;
            range("retain_messages", class.retain.messages.into(), RETAIN_MESSAGES_MAX.into())?;
            range("retain_bytes", class.retain.bytes.into(), RETAIN_BYTES_MAX.into())?;
            if class.on_connect {
                on_connect += 1;
                if on_connect > 1 || class.partitions != 1 || class.route != Route::Broadcast {
                    return Err(ClassError::OnConnect(class.pattern.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Each class, in the order in which a topic is compared with them.
    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        self.classes.iter().enumerate().map(|(at, class)| (ClassId(at as u16), class))
    }

    /// The class of this number.
    #[must_use]
    pub fn class(&self, id: ClassId) -> &Class {
        &self.classes[usize::from(id.0)]
    }

    /// The class of `topic`, and the part of its name that chooses the partition.
    #[must_use]
    pub fn class_of<'t>(&self, topic: &'t str) -> (ClassId, &'t str) {
        for (id, class) in self.iter() {
            if let Some(key) = class.pattern.key(topic) {
                return (id, key);
            }
        }
        unreachable!("the last class matches everything, but not {topic}")
    }

    /// The one partition that `topic` lives in.
    #[must_use]
    pub fn partition_of(&self, topic: &str) -> PartitionId {
        let (class, key) = self.class_of(topic);
        let partitions = u64::from(self.class(class).partitions);
        PartitionId { class, index: (stable_hash(key.as_bytes()) % partitions) as u16 }
    }

    /// The shard that owns a partition on a node of `shards` shards.
    #[must_use]
    pub fn home(&self, partition: PartitionId, shards: u16) -> ShardId {
        let pattern = stable_hash(self.class(partition.class).pattern.as_str().as_bytes());
        let mut name = [0; 10];
        name[..8].copy_from_slice(&pattern.to_be_bytes());
        name[8..].copy_from_slice(&partition.index.to_be_bytes());
        ShardId((stable_hash(&name) % u64::from(shards)) as u16)
    }

    /// The partitions that topics of `filter`, a valid filter, may live in: those of all broadcast classes
    /// with a topic that it matches.
    pub fn partitions_of_filter(&self, filter: &str) -> impl Iterator<Item = PartitionId> {
        let covering = self.classes.iter().position(|class| class.pattern.covers(filter));
        // No topic of the filter gets past a class that has them all.
        self.iter()
            .take(covering.map_or(self.classes.len(), |at| at + 1))
            .filter(move |(_, class)| class.route == Route::Broadcast && class.pattern.meets(filter))
            .flat_map(|(id, class)| (0..class.partitions).map(move |index| PartitionId { class: id, index }))
    }

    /// The class that each session is subscribed to when it connects.
    #[must_use]
    pub fn on_connect(&self) -> Option<ClassId> {
        self.iter().find(|(_, class)| class.on_connect).map(|(id, _)| id)
    }
}

fn add_missing(classes: &mut Vec<Class>) {
    for class in built_in() {
        let known = classes.iter().any(|other| other.pattern == class.pattern);
        // A second class that is subscribed on connect would not be allowed.
        let second = class.on_connect && classes.iter().any(|other| other.on_connect);
        if !(known || second) {
            classes.push(class);
        }
    }
}

/// The classes that a node has without configuration.
#[must_use]
pub fn built_in() -> Vec<Class> {
    const MINUTE: Duration = Duration::from_secs(60);
    let class = |pattern, partitions, route, overflow, messages, age: Option<Duration>| Class {
        pattern: Pattern::new(pattern).unwrap_or_else(|error| unreachable!("{pattern}: {error}")),
        partitions,
        route,
        overflow,
        retain: Retention { messages, bytes: 4 << 20, age },
        on_connect: false,
    };
    let (broadcast, unicast) = (Route::Broadcast, Route::Unicast);
    vec![
        class("alarm.*", 1, broadcast, Overflow::Gap, 1024, Some(10 * MINUTE)),
        class("user.{id}.msg", 128, unicast, Overflow::Gap, 256, Some(24 * 60 * MINUTE)),
        class("device.{sn}.telem", 64, unicast, Overflow::Conflate, 1, None),
        Class { on_connect: true, ..class("sys.*", 1, broadcast, Overflow::Gap, 64, None) },
        class(">", 16, broadcast, Overflow::Gap, 256, Some(10 * MINUTE)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fall_into_their_classes() {
        let classes = ClassSet::default();
        for (topic, pattern, key) in [
            ("alarm.fire", "alarm.*", "alarm.fire"),
            ("alarm.fire.north", ">", "alarm.fire.north"),
            ("alarm", ">", "alarm"),
            ("user.42.msg", "user.{id}.msg", "42"),
            ("user.42.msg.x", ">", "user.42.msg.x"),
            ("device.a7.telem", "device.{sn}.telem", "a7"),
            ("sys.news", "sys.*", "sys.news"),
            ("chat.room", ">", "chat.room"),
        ] {
            let (id, found) = classes.class_of(topic);
            assert_eq!((classes.class(id).pattern.as_str(), found), (pattern, key), "{topic}");
        }
    }

    /// A topic that moves to another partition loses its history: these may never change.
    #[test]
    fn places_are_golden() {
        let classes = ClassSet::default();
        let places = ["chat.room", "user.42.msg", "device.a7.telem", "news", "alarm.fire", "größe.x"]
            .map(|topic| classes.partition_of(topic))
            .map(|partition| (partition.index, classes.home(partition, 8).0));
        assert_eq!(places, [(0, 6), (108, 5), (47, 3), (15, 3), (0, 5), (0, 6)]);
        assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(b"42"), 0x810b_196a_56ee_3cec);
    }

    #[test]
    fn configured_classes_come_first_and_replace_built_in_ones() {
        let everything = Class { partitions: 2, ..built_in().pop().unwrap() };
        let chat = Class { pattern: Pattern::new("chat.{room}.>").unwrap(), ..everything.clone() };
        let classes = ClassSet::new(vec![everything, chat]).unwrap();
        let patterns: Vec<_> = classes.iter().map(|(_, class)| class.pattern.as_str().to_owned()).collect();
        assert_eq!(
            patterns,
            ["chat.{room}.>", "alarm.*", "user.{id}.msg", "device.{sn}.telem", "sys.*", ">"]
        );
        assert_eq!(classes.class_of("chat.7.x.y").1, "7");
        assert_eq!(classes.class(classes.class_of("anything").0).partitions, 2);
    }

    #[test]
    fn classes_that_make_no_sense_are_refused() {
        let alarm = built_in().remove(0);
        let range =
            |what| move |error: ClassError| matches!(error, ClassError::Range { what: w, .. } if w == what);
        let refused = |class: Class| ClassSet::new(vec![class]).unwrap_err();
        assert!(range("partitions")(refused(Class { partitions: 0, ..alarm.clone() })));
        let retain = Retention { messages: 0, ..alarm.retain };
        assert!(range("retain_messages")(refused(Class { retain, ..alarm.clone() })));
        let retain = Retention { bytes: RETAIN_BYTES_MAX + 1, ..alarm.retain };
        assert!(range("retain_bytes")(refused(Class { retain, ..alarm.clone() })));
        let spread = Class { on_connect: true, partitions: 2, ..alarm.clone() };
        assert!(matches!(refused(spread), ClassError::OnConnect(_)));
        assert!(matches!(ClassSet::new(vec![alarm.clone(), alarm]), Err(ClassError::Twice(_))));
    }

    #[test]
    fn a_filter_reaches_the_broadcast_classes_that_it_meets() {
        let classes = ClassSet::default();
        let count = |filter: &str| classes.partitions_of_filter(filter).count();
        assert_eq!(count("alarm.*"), 1);
        assert_eq!(count("sys.a"), 1);
        assert_eq!(count("user.*.msg"), 0);
        // `alarm.a.b` is not of the class alarm.*, but of the last one.
        assert_eq!(count("alarm.>"), 1 + 16);
        assert_eq!(count(">"), 1 + 1 + 16);
    }
}
