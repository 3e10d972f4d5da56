//! P4, no duplicate: a subscription gets a message once, over all its connections and
//! processes, unless a new process begins before it; and a message stands at one place only,
//! however often it was sent.

use crate::history::{Entry, Failure, PublishId, What};
use crate::plan::Plan;
use multibeam_wire::Position;
use std::collections::BTreeMap;

const ORACLE: &str = "P4";

/// A message: of a publish to many keys each topic has one.
type MessageId = (PublishId, usize);

/// Judges a history.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let mut judge = Judge::default();
    for entry in history {
        if let Err(detail) = judge.entry(plan, entry) {
            return vec![Failure::new(ORACLE, format!("at {} us: {detail}", entry.time_us))];
        }
    }
    Vec::new()
}

#[derive(Default)]
struct Judge {
    topics: BTreeMap<PublishId, Vec<usize>>,
    place: BTreeMap<MessageId, (u32, Position)>,
    got: BTreeMap<usize, BTreeMap<MessageId, (u32, Position)>>,
}

impl Judge {
    fn entry(&mut self, plan: &Plan, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Invoke { publish, topics, .. } => {
                self.topics.insert(*publish, topics.clone());
            }
            What::Ended { publish, receipts, .. } => {
                let topics = self.topics.get(publish).cloned().unwrap_or_default();
                // Which receipt is which key's is not said.
                if let ([topic], [(partition, position)]) = (topics.as_slice(), receipts.as_slice()) {
                    let partition = (plan.class_of(*topic) as u32) << 16 | partition;
                    self.stands((*publish, *topic), (partition, *position))?;
                }
            }
            What::Subscribe { subscription, after, .. } => {
                // What lies behind the cursor of a new process is its to get.
                let got = self.got.entry(*subscription).or_default();
                got.retain(|_, (partition, position)| {
                    let after = after.as_ref().and_then(|after| after.get(partition));
                    after.is_some_and(|after| *position <= *after)
                });
            }
            What::Delivered {
                subscription,
                topic: Some(topic),
                partition,
                position,
                publish: Some(publish),
            } => {
                let (message, place) = ((*publish, *topic), (*partition, *position));
                self.stands(message, place)?;
                if self.got.entry(*subscription).or_default().insert(message, place).is_some() {
                    return Err(format!("subscription {subscription} got {message:?} twice, at {position}"));
                }
            }
            What::Delivered { .. }
            | What::Subscribed { .. }
            | What::Gap { .. }
            | What::Over { .. }
            | What::Sent { .. }
            | What::Refused { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
        Ok(())
    }

    fn stands(&mut self, message: MessageId, place: (u32, Position)) -> Result<(), String> {
        let first = *self.place.entry(message).or_insert(place);
        if first == place { Ok(()) } else { Err(format!("{message:?} stands at {first:?} and at {place:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Places;
    use crate::oracles::fixture::{self, at, delivered, history, subscribe};
    use crate::plan::Target;

    fn fails(what: impl IntoIterator<Item = What>) -> bool {
        let before = subscribe(0).into_iter().chain(subscribe(1));
        !judge(&fixture::plan(), &history(before.chain(what))).is_empty()
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
    fn a_new_process_gets_what_lies_behind_its_cursor() {
        let resume = |offset| What::Subscribe {
            subscription: 0,
            target: Target::Topic(0),
            after: Some(Places::from([(fixture::PARTITION, at(offset))])),
            first: false,
        };
        assert!(!fails([delivered(0, 1, 1), resume(0), delivered(0, 1, 1)]));
        assert!(fails([delivered(0, 1, 1), resume(1), delivered(0, 1, 1)]));
    }

    #[test]
    fn two_places_are_not() {
        assert!(fails([delivered(0, 1, 1), delivered(1, 2, 1)]));
        assert!(fails([delivered(0, 1, 1), delivered(0, 2, 1)]));
    }
}
