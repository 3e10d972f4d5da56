//! P3, no silent gap: what a subscription did not get, it was told, at the place where the
//! messages would have been, and for a reason that is true. Messages known to exist are those that any
//! subscription got, and those whose receipts say where they stand; what the node says about
//! predecessors is not looked at.

mod expiry;
mod known;
mod reasons;

use crate::history::{Entry, Failure, Places, What};
use crate::plan::{Plan, Target};
use known::{Known, MessageId};
use multibeam_wire::{GapReason, Position};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

const ORACLE: &str = "P3";

/// Judges a history that ended with all subscriptions at the end of their topics.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let known = Known::of(plan, history);
    let mut failures = Vec::new();
    for (subscription, follower) in followers(history) {
        let found = follower.walk(&known).and_then(|last| follower.acked(&known, &last));
        failures.extend(
            found.err().map(|detail| Failure::new(ORACLE, format!("subscription {subscription} {detail}"))),
        );
    }
    failures.extend(expiry::judge(&known, history).map(|detail| Failure::new(ORACLE, detail)));
    failures.truncate(1);
    failures
}

/// One subscription's story.
struct Follower {
    target: Target,
    /// Where in the history it was served first.
    served: Option<usize>,
    /// It ended before the history did.
    over: bool,
    steps: Vec<Told>,
    got: BTreeSet<MessageId>,
}

struct Told {
    /// Its place in the history.
    at: usize,
    time_us: u64,
    step: Step,
}

enum Step {
    /// A process asks for what lies behind these; one without begins anew, and nobody promised it
    /// anything before.
    Resume(Option<Places>),
    /// It is served from there on.
    Begin {
        from: Places,
        first: bool,
    },
    Message {
        partition: u32,
        position: Position,
    },
    Gap {
        partition: u32,
        from: Position,
        to: Position,
        reason: Option<GapReason>,
    },
}

fn followers(history: &[Entry]) -> BTreeMap<usize, Follower> {
    let mut followers: BTreeMap<usize, Follower> = BTreeMap::new();
    let mut first_of = BTreeMap::new();
    for (at, entry) in history.iter().enumerate() {
        let (subscription, step) = match &entry.what {
            What::Subscribe { subscription, target, after, first } => {
                followers.entry(*subscription).or_insert_with(|| Follower {
                    target: target.clone(),
                    served: None,
                    over: false,
                    steps: Vec::new(),
                    got: BTreeSet::new(),
                });
                first_of.insert(*subscription, *first && after.is_none());
                (subscription, Step::Resume(after.clone()))
            }
            What::Subscribed { subscription, from } => {
                let first = first_of.get(subscription).copied().unwrap_or_default();
                (subscription, Step::Begin { from: from.clone(), first })
            }
            What::Delivered { subscription, topic, partition, position, publish } => {
                if let (Some(follower), Some(publish), Some(topic)) =
                    (followers.get_mut(subscription), publish, topic)
                {
                    follower.got.insert((*publish, *topic));
                }
                (subscription, Step::Message { partition: *partition, position: *position })
            }
            What::Gap { subscription, partition, from, to, reason } => {
                let (partition, from, to, reason) = (*partition, *from, *to, *reason);
                (subscription, Step::Gap { partition, from, to, reason })
            }
            What::Over { subscription } => {
                if let Some(follower) = followers.get_mut(subscription) {
                    follower.over = true;
                }
                continue;
            }
            What::Invoke { .. }
            | What::Ended { .. }
            | What::Sent { .. }
            | What::Refused { .. }
            | What::Blamed { .. }
            | What::Killed { .. }
            | What::HostileEnd(_)
            | What::Healed => continue,
        };
        let Some(follower) = followers.get_mut(subscription) else { continue };
        match &step {
            Step::Resume(None) => follower.served = None,
            Step::Begin { .. } => {
                follower.served.get_or_insert(at);
            }
            Step::Resume(Some(_)) | Step::Message { .. } | Step::Gap { .. } => {}
        }
        follower.steps.push(Told { at, time_us: entry.time_us, step });
    }
    followers
}

impl Follower {
    /// Nothing known lies between two steps without a gap between them. Returns where it ended.
    fn walk(&self, known: &Known<'_>) -> Result<Places, String> {
        let mut last = Places::new();
        for Told { time_us, step, .. } in &self.steps {
            match step {
                Step::Resume(None) => last.clear(),
                Step::Resume(Some(after)) => {
                    for (partition, position) in after {
                        if let Some(last) = last.get(partition).filter(|last| *last < position) {
                            self.nothing_between(known, *partition, *last, *position)?;
                        }
                    }
                    last = after.clone();
                }
                Step::Begin { from, first } => {
                    for (partition, from) in from {
                        if *first && !last.contains_key(partition) {
                            self.begins_first(known, *partition, *from, *time_us)?;
                        }
                        last.entry(*partition).or_insert(*from);
                    }
                }
                Step::Gap { partition, from, to, reason } => {
                    let before = *last.entry(*partition).or_insert(*from);
                    if before < *from {
                        self.nothing_between(known, *partition, before, *from)?;
                    }
                    self.gap(known, *partition, before.max(*from), *to, *reason, *time_us)?;
                    last.insert(*partition, *to);
                }
                Step::Message { partition, position } => {
                    if let Some(last) = last.get(partition) {
                        self.step(known, *partition, *last, *position)?;
                    }
                    last.insert(*partition, *position);
                }
            }
        }
        Ok(last)
    }

    fn step(&self, known: &Known<'_>, partition: u32, last: Position, next: Position) -> Result<(), String> {
        if last.generation != next.generation {
            return Err(format!("went from {last} to {next} without being told of the new generation"));
        }
        if last >= next {
            // Order is another oracle's.
            return Ok(());
        }
        let before = Position::new(next.generation.0, next.offset.0 - 1);
        if last < before { self.nothing_between(known, partition, last, before) } else { Ok(()) }
    }

    /// No known message that it wants lies behind `last` up to `to`.
    fn nothing_between(
        &self,
        known: &Known<'_>,
        partition: u32,
        last: Position,
        to: Position,
    ) -> Result<(), String> {
        match self.between(known, partition, last, to).next() {
            Some((position, message)) => Err(format!(
                "went from {last} past {to} and was not told that it misses {message:?} at {position}"
            )),
            None => Ok(()),
        }
    }

    /// Known messages of a partition that it wants, behind `last` up to `to`.
    fn between<'k>(
        &'k self,
        known: &'k Known<'_>,
        partition: u32,
        last: Position,
        to: Position,
    ) -> impl Iterator<Item = (Position, MessageId)> + 'k {
        let range = (Excluded((partition, last)), Included((partition, to)));
        let stands = if last < to { Some(known.stands.range(range)) } else { None };
        let messages = stands.into_iter().flatten().map(|((_, position), message)| (*position, *message));
        messages.filter(|(_, (_, topic))| known.plan.wants(&self.target, *topic))
    }

    /// What was published while it listened, and acknowledged, came or lies in a gap.
    fn acked(&self, known: &Known<'_>, last: &Places) -> Result<(), String> {
        let Some(served) = self.served.filter(|_| !self.over) else { return Ok(()) };
        for (message, invoked) in &known.acked {
            let wanted = known.plan.wants(&self.target, message.1);
            if !wanted || *invoked < served || self.got.contains(message) {
                continue;
            }
            let told = match known.place.get(message) {
                // Whatever lies behind is accounted for by the walk.
                Some((partition, position)) => last.get(partition).is_some_and(|last| last >= position),
                None => {
                    self.steps.iter().any(|told| told.at > *invoked && matches!(told.step, Step::Gap { .. }))
                }
            };
            if !told {
                return Err(format!("never got {message:?}, which was acknowledged, and was not told"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
