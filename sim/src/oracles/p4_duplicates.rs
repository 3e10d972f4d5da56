//! P4, no duplicate: a subscription gets a message once, over all its connections and
//! processes; and a message stands at one place only, however often it was sent.

use crate::history::{Entry, Failure, PublishId, What};
use multibeam_wire::Position;
use std::collections::{BTreeMap, BTreeSet};

const ORACLE: &str = "P4";

/// Judges a history.
#[must_use]
pub fn judge(history: &[Entry]) -> Vec<Failure> {
    let mut got: BTreeSet<(usize, PublishId)> = BTreeSet::new();
    let mut place: BTreeMap<PublishId, Position> = BTreeMap::new();
    for entry in history {
        let What::Delivered { subscription, position, publish: Some(publish) } = &entry.what else {
            continue;
        };
        let first = *place.entry(*publish).or_insert(*position);
        let detail = if first != *position {
            format!("{publish:?} stands at {first} and at {position}")
        } else if !got.insert((*subscription, *publish)) {
            format!("subscription {subscription} got {publish:?} twice, at {position}")
        } else {
            continue;
        };
        return vec![Failure::new(ORACLE, format!("at {} us: {detail}", entry.time_us))];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::fixture::{delivered, history, subscribe};

    fn fails(what: impl IntoIterator<Item = What>) -> bool {
        !judge(&history(subscribe(0).into_iter().chain(subscribe(1)).chain(what))).is_empty()
    }

    #[test]
    fn once_each_is_fine() {
        assert!(!fails([delivered(0, 1, 1), delivered(1, 1, 1), delivered(0, 2, 2)]));
    }

    #[test]
    fn twice_is_not() {
        assert!(fails([delivered(0, 1, 1), delivered(0, 1, 1)]));
    }

    #[test]
    fn two_places_are_not() {
        assert!(fails([delivered(0, 1, 1), delivered(1, 2, 1)]));
        assert!(fails([delivered(0, 1, 1), delivered(0, 2, 1)]));
    }
}
