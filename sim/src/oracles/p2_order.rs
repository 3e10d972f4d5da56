//! P2, order: each subscription sees positions strictly increase; a position of a topic holds
//! one message for ever; a producer's messages are stored in the order of their numbers. And
//! nothing is delivered that nobody published, or that was certainly not stored.

use crate::history::{End, Entry, Failure, PublishId, What};
use multibeam_wire::Position;
use std::collections::BTreeMap;

const ORACLE: &str = "P2";

/// Judges a history.
#[must_use]
pub fn judge(history: &[Entry]) -> Vec<Failure> {
    let mut judge = Judge::default();
    for entry in history {
        if let Err(detail) = judge.entry(entry) {
            return vec![Failure::new(ORACLE, format!("at {} us: {detail}", entry.time_us))];
        }
    }
    judge.orders().err().map(|detail| Failure::new(ORACLE, detail)).into_iter().collect()
}

#[derive(Default)]
struct Judge {
    topic_of: BTreeMap<usize, usize>,
    last: BTreeMap<usize, Position>,
    invoked: BTreeMap<PublishId, usize>,
    not_stored: BTreeMap<PublishId, ()>,
    holds: BTreeMap<(usize, Position), PublishId>,
}

impl Judge {
    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Invoke { publish, topic } => {
                self.invoked.insert(*publish, *topic);
            }
            What::Ended { publish, end: End::NotStored } => {
                self.not_stored.insert(*publish, ());
            }
            What::Subscribe { subscription, topic, .. } => {
                self.topic_of.insert(*subscription, *topic);
            }
            What::Subscribed { subscription, from } => {
                self.last.entry(*subscription).or_insert(*from);
            }
            What::Gap { subscription, to, .. } => self.advance(*subscription, *to, "a gap up to")?,
            What::Delivered { subscription, position, publish } => {
                self.advance(*subscription, *position, "a message at")?;
                self.holds(*subscription, *position, *publish)?;
            }
            What::Ended { .. }
            | What::Refused { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
        Ok(())
    }

    fn advance(&mut self, subscription: usize, position: Position, what: &str) -> Result<(), String> {
        match self.last.insert(subscription, position) {
            Some(last) if last >= position => {
                Err(format!("subscription {subscription} got {what} {position} behind {last}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn holds(
        &mut self,
        subscription: usize,
        position: Position,
        publish: Option<PublishId>,
    ) -> Result<(), String> {
        let topic = self.topic_of.get(&subscription).copied().unwrap_or_default();
        let Some(publish) = publish else {
            return Err(format!("subscription {subscription} got at {position} what nobody published"));
        };
        if self.invoked.get(&publish) != Some(&topic) {
            return Err(format!("{publish:?} came on topic {topic}, where it was not published"));
        }
        if let Some(other) = self.holds.insert((topic, position), publish)
            && other != publish
        {
            return Err(format!("{position} of topic {topic} holds {other:?} and {publish:?}"));
        }
        Ok(())
    }

    fn orders(&self) -> Result<(), String> {
        let mut last: BTreeMap<(usize, usize, usize), (u64, Position)> = BTreeMap::new();
        for ((topic, position), publish) in &self.holds {
            if self.not_stored.contains_key(publish) {
                return Err(format!("{publish:?} stands at {position}, though it was certainly not stored"));
            }
            let key = (*topic, publish.publisher, publish.process);
            if let Some((number, before)) = last.insert(key, (publish.number, *position))
                && number > publish.number
            {
                return Err(format!(
                    "{publish:?} is stored at {position}, behind number {number} at {before}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::fixture::{delivered, gap, history, id, publishes, subscribe};

    fn fails(what: impl IntoIterator<Item = What>) -> bool {
        !judge(&history(publishes(9).into_iter().chain(subscribe(0)).chain(subscribe(1)).chain(what)))
            .is_empty()
    }

    #[test]
    fn order_and_gaps_are_fine() {
        assert!(!fails([delivered(0, 1, 1), gap(0, 1, 4), delivered(0, 5, 2), delivered(1, 5, 2)]));
    }

    #[test]
    fn positions_never_go_back_or_repeat() {
        assert!(fails([delivered(0, 2, 2), delivered(0, 1, 1)]));
        assert!(fails([delivered(0, 2, 2), delivered(0, 2, 2)]));
        assert!(fails([gap(0, 0, 4), delivered(0, 3, 3)]));
    }

    #[test]
    fn a_position_holds_one_message() {
        assert!(fails([delivered(0, 2, 2), delivered(1, 2, 3)]));
    }

    #[test]
    fn a_producer_is_stored_in_order() {
        assert!(fails([delivered(0, 1, 5), delivered(0, 2, 4)]));
    }

    #[test]
    fn nothing_comes_that_nobody_published() {
        assert!(fails([delivered(0, 1, 77)]));
        assert!(fails([What::Delivered {
            subscription: 0,
            position: crate::oracles::fixture::at(1),
            publish: None
        }]));
    }

    #[test]
    fn what_is_certainly_not_stored_is_not() {
        let refused = What::Ended { publish: id(3), end: End::NotStored };
        assert!(fails([refused, delivered(0, 1, 3)]));
    }
}
