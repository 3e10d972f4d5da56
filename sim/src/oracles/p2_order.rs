//! P2, order: each subscription sees positions strictly increase, a partition at a time; a position holds
//! one message for ever; a producer's messages of a topic are stored in the order of their numbers, and
//! where receipts say. Nothing is delivered that nobody published, that was certainly not stored, or that
//! the subscription does not want.

use crate::history::{End, Entry, Failure, Places, PublishId, What};
use crate::plan::{Plan, Target};
use multibeam_wire::Position;
use std::collections::{BTreeMap, BTreeSet};

const ORACLE: &str = "P2";

/// Judges a history.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let mut judge = Judge::new(plan);
    for entry in history {
        if let Err(detail) = judge.entry(entry) {
            return vec![Failure::new(ORACLE, format!("at {} us: {detail}", entry.time_us))];
        }
    }
    judge.orders().err().map(|detail| Failure::new(ORACLE, detail)).into_iter().collect()
}

struct Judge<'a> {
    plan: &'a Plan,
    target_of: BTreeMap<usize, Target>,
    last: BTreeMap<usize, Places>,
    invoked: BTreeMap<PublishId, Vec<usize>>,
    not_stored: BTreeSet<PublishId>,
    partition_of: BTreeMap<usize, u32>,
    holds: BTreeMap<(u32, Position), (PublishId, usize)>,
    /// Of publishes to many keys.
    receipts: BTreeMap<PublishId, Vec<(u32, Position)>>,
}

impl<'a> Judge<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            target_of: BTreeMap::new(),
            last: BTreeMap::new(),
            invoked: BTreeMap::new(),
            not_stored: BTreeSet::new(),
            partition_of: BTreeMap::new(),
            holds: BTreeMap::new(),
            receipts: BTreeMap::new(),
        }
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Invoke { publish, topics, .. } => {
                self.invoked.insert(*publish, topics.clone());
            }
            What::Ended { publish, end: End::NotStored, .. } => {
                self.not_stored.insert(*publish);
            }
            What::Ended { publish, receipts, .. } => self.receipts(*publish, receipts)?,
            What::Subscribe { subscription, target, after, .. } => {
                self.target_of.insert(*subscription, target.clone());
                self.last.insert(*subscription, after.clone().unwrap_or_default());
            }
            What::Subscribed { subscription, from } => {
                let last = self.last.entry(*subscription).or_default();
                for (partition, position) in from {
                    last.entry(*partition).or_insert(*position);
                }
            }
            What::Gap { subscription, partition, to, .. } => {
                self.advance(*subscription, *partition, *to, "a gap up to")?;
            }
            What::Delivered { subscription, topic, partition, position, publish } => {
                self.advance(*subscription, *partition, *position, "a message at")?;
                match (publish, topic) {
                    (Some(publish), Some(topic)) => {
                        self.wanted(*subscription, *topic)?;
                        self.holds(*partition, *position, *publish, *topic)?;
                    }
                    // Who publishes there does not keep to the rules.
                    (_, None) if matches!(self.target_of.get(subscription), Some(Target::Filter(_))) => {}
                    (_, _) => {
                        let who = format!("subscription {subscription} got at {position}");
                        return Err(format!("{who} what nobody published there"));
                    }
                }
            }
            What::Refused { .. }
            | What::Over { .. }
            | What::Sent { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
        Ok(())
    }

    fn advance(
        &mut self,
        subscription: usize,
        partition: u32,
        position: Position,
        what: &str,
    ) -> Result<(), String> {
        match self.last.entry(subscription).or_default().insert(partition, position) {
            Some(last) if last >= position => Err(format!(
                "subscription {subscription} got {what} {position} of partition {partition} behind {last}"
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn wanted(&self, subscription: usize, topic: usize) -> Result<(), String> {
        match self.target_of.get(&subscription) {
            Some(target) if self.plan.wants(target, topic) => Ok(()),
            target => {
                Err(format!("subscription {subscription} to {target:?} got a message of topic {topic}"))
            }
        }
    }

    fn receipts(&mut self, publish: PublishId, receipts: &[(u32, Position)]) -> Result<(), String> {
        let topics = self.invoked.get(&publish).cloned().unwrap_or_default();
        if !receipts.is_empty() && receipts.len() != topics.len() {
            return Err(format!("{publish:?} to {} topics has {} receipts", topics.len(), receipts.len()));
        }
        // Which receipt is which key's is not said.
        if let ([topic], [(partition, position)]) = (topics.as_slice(), receipts) {
            let class = self.plan.class_of(*topic) as u32;
            return self.holds(class << 16 | partition, *position, publish, *topic);
        }
        self.receipts.insert(publish, receipts.to_vec());
        Ok(())
    }

    fn holds(
        &mut self,
        partition: u32,
        position: Position,
        publish: PublishId,
        topic: usize,
    ) -> Result<(), String> {
        if !self.invoked.get(&publish).is_some_and(|topics| topics.contains(&topic)) {
            return Err(format!("{publish:?} came on topic {topic}, where it was not published"));
        }
        let class = self.plan.class(topic);
        if partition >> 16 != self.plan.class_of(topic) as u32
            || partition & 0xffff >= u32::from(class.partitions)
            || *self.partition_of.entry(topic).or_insert(partition) != partition
        {
            return Err(format!("topic {topic}, a {}, is in partition {partition:#x}", class.pattern));
        }
        match self.holds.insert((partition, position), (publish, topic)) {
            Some(other) if other != (publish, topic) => {
                Err(format!("{position} of partition {partition} holds {other:?} and {:?}", (publish, topic)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn orders(&self) -> Result<(), String> {
        let mut last: BTreeMap<(usize, usize, usize), (u64, Position)> = BTreeMap::new();
        for ((_, position), (publish, topic)) in &self.holds {
            let told = self.receipts.get(publish).filter(|receipts| !receipts.is_empty());
            if told.is_some_and(|receipts| !receipts.iter().any(|(_, told)| told == position)) {
                return Err(format!("{publish:?} stands at {position}, where none of its receipts is"));
            }
            if self.not_stored.contains(publish) {
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
    use crate::oracles::fixture::{self, at, delivered, gap, history, id, publishes, subscribe};

    fn fails(what: impl IntoIterator<Item = What>) -> bool {
        let before = publishes(9).into_iter().chain(subscribe(0)).chain(subscribe(1));
        !judge(&fixture::plan(), &history(before.chain(what))).is_empty()
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
    fn nothing_comes_that_nobody_published_or_wants() {
        assert!(fails([delivered(0, 1, 77)]));
        let [subscribe, subscribed] = subscribe(2);
        let What::Subscribe { subscription, after, first, .. } = subscribe else { unreachable!() };
        let other = What::Subscribe { subscription, target: Target::Topic(1), after, first };
        assert!(fails([other, subscribed, delivered(2, 1, 1)]));
    }

    #[test]
    fn what_is_certainly_not_stored_is_not() {
        let refused = What::Ended { publish: id(3), end: End::NotStored, receipts: Vec::new() };
        assert!(fails([refused, delivered(0, 1, 3)]));
    }

    #[test]
    fn receipts_say_where_messages_stand() {
        let stored = |offset| What::Ended {
            publish: id(3),
            end: End::Stored,
            receipts: vec![(fixture::PARTITION & 0xffff, at(offset))],
        };
        assert!(!fails([stored(4), delivered(0, 4, 3)]));
        assert!(fails([stored(4), delivered(0, 4, 5)]));
    }
}
