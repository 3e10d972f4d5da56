//! Classes of topics as a plan has them, with a matcher of its own: oracles must not ask the code that
//! they judge where a topic belongs.

use multibeam_model::core::{Class, ClassSet, Overflow, Pattern, Retention, Route};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A class. A plan has one for each pattern that a node knows without being told, so that its list is
/// the node's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassPlan {
    /// Which topics.
    pub pattern: String,
    /// Partitions.
    pub partitions: u16,
    /// Filters reach it.
    pub broadcast: bool,
    /// What becomes of slow subscribers.
    pub overflow: OverflowPlan,
    /// Messages that a topic keeps.
    pub messages: u32,
    /// Bytes that a topic keeps.
    pub bytes: u32,
    /// How old a message may become.
    pub age_ms: Option<u64>,
    /// Every session follows it.
    pub on_connect: bool,
}

/// What becomes of slow subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each stands for the setting of the same name")]
pub enum OverflowPlan {
    Gap,
    Conflate,
    Disconnect,
}

impl ClassPlan {
    fn class(&self) -> Class {
        let Self { pattern, partitions, broadcast, overflow, messages, bytes, age_ms, on_connect } = self;
        Class {
            pattern: Pattern::new(pattern).unwrap_or_else(|error| unreachable!("{pattern}: {error}")),
            partitions: *partitions,
            route: if *broadcast { Route::Broadcast } else { Route::Unicast },
            overflow: match overflow {
                OverflowPlan::Gap => Overflow::Gap,
                OverflowPlan::Conflate => Overflow::Conflate,
                OverflowPlan::Disconnect => Overflow::Disconnect,
            },
            retain: Retention { messages: *messages, bytes: *bytes, age: age_ms.map(Duration::from_millis) },
            on_connect: *on_connect,
        }
    }
}

/// The node's form of a plan's classes.
#[must_use]
pub(super) fn class_set(classes: &[ClassPlan]) -> Arc<ClassSet> {
    let set = ClassSet::new(classes.iter().map(ClassPlan::class).collect());
    Arc::new(set.unwrap_or_else(|error| unreachable!("a plan's classes: {error}")))
}

/// The place of a topic's class in the list.
///
/// # Panics
/// When no class has it: the last one has all.
#[must_use]
pub fn class_of(classes: &[ClassPlan], topic: &str) -> usize {
    let found = classes.iter().position(|class| matches(&class.pattern, topic));
    found.unwrap_or_else(|| panic!("{topic} has no class"))
}

/// Whether a topic matches a filter or pattern: `*` and `{name}` stand for one segment, `>` for one or
/// more at the end.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut segments = topic.split('.');
    for wanted in filter.split('.') {
        let Some(segment) = segments.next() else { return false };
        match wanted {
            ">" => return true,
            "*" => {}
            _ if wanted.starts_with('{') => {}
            _ if wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_match_as_the_protocol_says() {
        for (filter, topic, expected) in [
            ("alarm.*", "alarm.fire", true),
            ("alarm.*", "alarm.fire.north", false),
            ("alarm.>", "alarm.fire.north", true),
            ("alarm.>", "alarm", false),
            (">", "a", true),
            ("user.{id}.msg", "user.7.msg", true),
            ("user.{id}.msg", "user.7.x", false),
            ("*.fire", "alarm.fire", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_plans_list_is_the_nodes() {
        for seed in 0..50 {
            let plan = crate::plan::Plan::of(seed);
            let classes = &plan.node.classes;
            let set = class_set(classes);
            assert_eq!(set.iter().count(), classes.len());
            for topic in &plan.workload.topics {
                assert_eq!(usize::from(set.class_of(topic).0.0), class_of(classes, topic), "{topic}");
            }
        }
    }
}
