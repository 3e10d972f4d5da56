//! Judges of a history: one file a promise. None of them knows how the node works.

pub mod liveness;
pub mod p2_order;
pub mod p3_gaps;
pub mod p4_duplicates;
pub mod p9_bad_bytes;

use crate::history::{Entry, Failure};
use crate::plan::Plan;

/// Everything that is wrong with a history, most telling first.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let mut failures = p2_order::judge(history);
    failures.extend(p3_gaps::judge(history));
    failures.extend(p4_duplicates::judge(history));
    failures.extend(p9_bad_bytes::judge(plan, history));
    failures
}

#[cfg(test)]
mod fixture {
    use crate::history::{End, Entry, PublishId, What};
    use multibeam_wire::Position;

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
            What::Subscribe { subscription, topic: 0, after: None },
            What::Subscribed { subscription, from: at(0) },
        ]
    }

    /// Publishes 1 to `last`, each acknowledged.
    pub(crate) fn publishes(last: u64) -> Vec<What> {
        (1..=last)
            .flat_map(|number| {
                [
                    What::Invoke { publish: id(number), topic: 0 },
                    What::Ended { publish: id(number), end: End::Stored },
                ]
            })
            .collect()
    }

    pub(crate) fn delivered(subscription: usize, offset: u64, number: u64) -> What {
        What::Delivered { subscription, position: at(offset), publish: Some(id(number)) }
    }

    pub(crate) fn gap(subscription: usize, from: u64, to: u64) -> What {
        What::Gap { subscription, from: at(from), to: at(to), silent: false }
    }
}
