//! Judges of a history: one file a promise. None of them knows how the node works.

pub mod p10_comes_back;
pub mod p2_order;
pub mod p3_gaps;
pub mod p4_duplicates;
pub mod p7_credit;
pub mod p8_dead_peers;
pub mod p9_bad_bytes;
pub mod r7_lease;

use crate::history::{Entry, Failure};
use crate::plan::Plan;

/// Everything that is wrong with a history, most telling first.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let mut failures = p2_order::judge(plan, history);
    failures.extend(p3_gaps::judge(plan, history));
    failures.extend(p4_duplicates::judge(plan, history));
    failures.extend(p9_bad_bytes::judge(plan, history));
    failures.extend(p10_comes_back::judge(plan, history));
    failures
}

#[cfg(test)]
mod fixture {
    use crate::history::{End, Entry, Places, PublishId, What};
    use crate::plan::{ClassPlan, OverflowPlan, Plan, Target};
    use multibeam_wire::{GapReason, Position};

    /// The partition of all topics.
    pub(crate) const PARTITION: u32 = 0;

    /// Two topics of one class, which keeps one message.
    pub(crate) fn plan() -> Plan {
        let mut plan = Plan::of(1);
        plan.workload.topics = vec!["a".to_owned(), "b".to_owned()];
        plan.node.classes = vec![ClassPlan {
            pattern: ">".to_owned(),
            partitions: 1,
            broadcast: true,
            overflow: OverflowPlan::Gap,
            messages: 1,
            bytes: 1 << 20,
            age_ms: None,
            on_connect: false,
        }];
        plan.node.topics_max = 1 << 20;
        plan
    }

    pub(crate) fn id(number: u64) -> PublishId {
        PublishId { publisher: 0, process: 1, number }
    }

    pub(crate) fn at(offset: u64) -> Position {
        Position::new(1, offset)
    }

    pub(crate) fn history(what: impl IntoIterator<Item = What>) -> Vec<Entry> {
        what.into_iter().enumerate().map(|(at, what)| Entry { time_us: at as u64, what }).collect()
    }

    pub(crate) fn subscribe(subscription: usize) -> [What; 2] {
        [
            What::Subscribe { subscription, target: Target::Topic(0), after: None, first: false },
            What::Subscribed { subscription, from: Places::from([(PARTITION, at(0))]) },
        ]
    }

    /// Publishes 1 to `last`, each acknowledged.
    pub(crate) fn publishes(last: u64) -> Vec<What> {
        (1..=last)
            .flat_map(|number| {
                [
                    What::Invoke { publish: id(number), topics: vec![0], ttl_ms: None, bytes: 1 },
                    What::Ended { publish: id(number), end: End::Stored, receipts: Vec::new() },
                ]
            })
            .collect()
    }

    pub(crate) fn delivered(subscription: usize, offset: u64, number: u64) -> What {
        let (topic, publish) = (Some(0), Some(id(number)));
        What::Delivered { subscription, topic, partition: PARTITION, position: at(offset), publish }
    }

    pub(crate) fn gap(subscription: usize, from: u64, to: u64) -> What {
        let reason = Some(GapReason::Overflow);
        What::Gap { subscription, partition: PARTITION, from: at(from), to: at(to), reason }
    }
}
