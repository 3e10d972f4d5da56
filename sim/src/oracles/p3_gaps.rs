//! P3, no silent gap: what a subscription did not get, it was told, at the place where the
//! messages would have been. Messages known to exist are those that any subscription got, and
//! those that were acknowledged; what the node says about predecessors is not looked at.

use crate::history::{End, Entry, Failure, PublishId, What};
use multibeam_wire::Position;
use std::collections::{BTreeMap, BTreeSet};

const ORACLE: &str = "P3";

/// Judges a history that ended with all subscriptions at the end of their topics.
#[must_use]
pub fn judge(history: &[Entry]) -> Vec<Failure> {
    let known = Known::of(history);
    let mut failures = Vec::new();
    for (subscription, follower) in followers(history) {
        let found = follower.walk(&known).and_then(|()| follower.acked(&known));
        failures.extend(
            found.err().map(|detail| Failure::new(ORACLE, format!("subscription {subscription} {detail}"))),
        );
    }
    failures.truncate(1);
    failures
}

/// What exists.
#[derive(Default)]
struct Known {
    stands: BTreeMap<(usize, Position), PublishId>,
    place: BTreeMap<PublishId, Position>,
    /// Acknowledged, with the place of the call in the history.
    acked: Vec<(PublishId, usize, usize)>,
}

impl Known {
    fn of(history: &[Entry]) -> Self {
        let mut known = Self::default();
        let mut topic_of = BTreeMap::new();
        let mut invoked = BTreeMap::new();
        for (at, entry) in history.iter().enumerate() {
            match &entry.what {
                What::Subscribe { subscription, topic, .. } => {
                    topic_of.insert(*subscription, *topic);
                }
                What::Delivered { subscription, position, publish: Some(publish) } => {
                    let topic = topic_of.get(subscription).copied().unwrap_or_default();
                    known.stands.insert((topic, *position), *publish);
                    known.place.insert(*publish, *position);
                }
                What::Invoke { publish, topic } => {
                    invoked.insert(*publish, (*topic, at));
                }
                What::Ended { publish, end: End::Stored } => {
                    if let Some((topic, at)) = invoked.get(publish) {
                        known.acked.push((*publish, *topic, *at));
                    }
                }
                What::Ended { .. }
                | What::Delivered { .. }
                | What::Subscribed { .. }
                | What::Gap { .. }
                | What::Refused { .. }
                | What::Blamed { .. }
                | What::Killed { .. }
                | What::HostileEnd(_)
                | What::Healed => {}
            }
        }
        known
    }
}

/// One subscription's story.
#[derive(Default)]
struct Follower {
    topic: usize,
    /// Where in the history it was served first.
    served: Option<usize>,
    steps: Vec<(usize, Step)>,
    got: BTreeSet<PublishId>,
}

enum Step {
    Begin(Position),
    Message(Position),
    Gap { to: Position, silent: bool },
}

fn followers(history: &[Entry]) -> BTreeMap<usize, Follower> {
    let mut followers: BTreeMap<usize, Follower> = BTreeMap::new();
    for (at, entry) in history.iter().enumerate() {
        match &entry.what {
            What::Subscribe { subscription, topic, .. } => {
                followers.entry(*subscription).or_default().topic = *topic;
            }
            What::Subscribed { subscription, from } => {
                let follower = followers.entry(*subscription).or_default();
                if follower.served.is_none() {
                    follower.served = Some(at);
                    follower.steps.push((at, Step::Begin(*from)));
                }
            }
            What::Delivered { subscription, position, publish } => {
                let follower = followers.entry(*subscription).or_default();
                follower.steps.push((at, Step::Message(*position)));
                follower.got.extend(publish);
            }
            What::Gap { subscription, to, silent, .. } => {
                let step = Step::Gap { to: *to, silent: *silent };
                followers.entry(*subscription).or_default().steps.push((at, step));
            }
            What::Invoke { .. }
            | What::Ended { .. }
            | What::Refused { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
    }
    followers
}

impl Follower {
    /// Nothing known lies between two messages without a gap between them.
    fn walk(&self, known: &Known) -> Result<(), String> {
        let mut last: Option<Position> = None;
        for (_, step) in &self.steps {
            match step {
                Step::Begin(position) => last = Some(*position),
                Step::Gap { silent: true, to } => {
                    return Err(format!("found by itself that it misses up to {to}"));
                }
                Step::Gap { to, .. } => last = Some(*to),
                Step::Message(position) => {
                    if let Some(last) = last {
                        self.step(known, last, *position)?;
                    }
                    last = Some(*position);
                }
            }
        }
        Ok(())
    }

    fn step(&self, known: &Known, last: Position, position: Position) -> Result<(), String> {
        if last.generation != position.generation {
            return Err(format!("went from {last} to {position} without being told of the new generation"));
        }
        if last >= position {
            // Order is another oracle's.
            return Ok(());
        }
        let after = (
            std::ops::Bound::Excluded((self.topic, last)),
            std::ops::Bound::Excluded((self.topic, position)),
        );
        match known.stands.range(after).next() {
            Some(((_, missing), publish)) => Err(format!(
                "went from {last} to {position} and was not told that it misses {publish:?} at {missing}"
            )),
            None => Ok(()),
        }
    }

    /// What was published while it listened, and acknowledged, came or lies in a gap.
    fn acked(&self, known: &Known) -> Result<(), String> {
        let Some(served) = self.served else { return Ok(()) };
        for (publish, topic, invoked) in &known.acked {
            if *topic != self.topic || *invoked < served || self.got.contains(publish) {
                continue;
            }
            let place = known.place.get(publish);
            let told = self.steps.iter().any(|(at, step)| match step {
                Step::Gap { to, .. } => at > invoked && place.is_none_or(|place| place <= to),
                Step::Begin(_) | Step::Message(_) => false,
            });
            if !told {
                return Err(format!(
                    "never got {publish:?} (at {place:?}), which was acknowledged, and was not told"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::fixture::{at, delivered, gap, history, publishes, subscribe};

    fn fails(what: impl IntoIterator<Item = What>) -> bool {
        let what = subscribe(0).into_iter().chain(subscribe(1)).chain(publishes(3)).chain(what);
        !judge(&history(what)).is_empty()
    }

    fn all(subscription: usize) -> [What; 3] {
        [1, 2, 3].map(|number| delivered(subscription, number, number))
    }

    #[test]
    fn all_or_told_is_fine() {
        assert!(!fails(all(0).into_iter().chain(all(1))));
        assert!(!fails(all(0).into_iter().chain([delivered(1, 1, 1), gap(1, 1, 2), delivered(1, 3, 3)])));
    }

    #[test]
    fn what_another_got_may_not_be_missing() {
        assert!(fails(all(0).into_iter().chain([delivered(1, 1, 1), delivered(1, 3, 3)])));
        assert!(fails(all(0).into_iter().chain([delivered(1, 2, 2), delivered(1, 3, 3)])));
    }

    #[test]
    fn what_was_acknowledged_and_nobody_got_is_missing() {
        let two = |subscription| [delivered(subscription, 1, 1), delivered(subscription, 3, 3)];
        assert!(fails(two(0).into_iter().chain(two(1))));
    }

    #[test]
    fn a_gap_before_the_message_does_not_excuse() {
        assert!(fails(all(0).into_iter().chain([gap(1, 0, 1), delivered(1, 2, 2)])));
    }

    #[test]
    fn a_silent_gap_is_none() {
        let silent = What::Gap { subscription: 1, from: at(0), to: at(3), silent: true };
        assert!(fails(all(0).into_iter().chain([silent])));
    }

    #[test]
    fn a_new_generation_is_told() {
        let later = multibeam_wire::Position::new(2, 1);
        let fresh = What::Delivered { subscription: 1, position: later, publish: None };
        assert!(fails(all(0).into_iter().chain(all(1)).chain([fresh])));
    }
}
