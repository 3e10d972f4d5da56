//! Whether a gap's reason is true of each message that is known to lie in it, and what a class promises
//! to keep.

use super::known::{Asked, MessageId};
use super::{Follower, Known};
use crate::history::{End, PublishId};
use crate::plan::{OverflowPlan, Target};
use multibeam_wire::{GapReason, Position};

/// A budget that no plan's messages come near: only with it are messages kept for sure.
const BUDGET_WIDE: usize = 1 << 30;

/// Topics at which none is forgotten.
const TOPICS_WIDE: usize = 1 << 20;

/// Bytes that a stored message may take beside its body and its topic.
const OVERHEAD: usize = 64;

/// How far the clocks of the two clients may seem apart, the one that published and the one that was told:
/// each may be a step of the network, of 5 ms at the most, off the node's, and in the unlucky direction.
const COARSE_US: u64 = 2 * 5_000;

impl Follower {
    pub(super) fn gap(
        &self,
        known: &Known<'_>,
        partition: u32,
        from: Position,
        to: Position,
        reason: Option<GapReason>,
        now_us: u64,
    ) -> Result<(), String> {
        let Some(reason) = reason else {
            return Err(format!("found by itself that it misses up to {to}"));
        };
        if reason == GapReason::Generation && from.generation == to.generation {
            return Err(format!("was told of a new generation from {from} to {to}"));
        }
        for (position, message) in self.between(known, partition, from, to) {
            if position.generation != to.generation {
                continue;
            }
            let wrong = match reason {
                GapReason::Conflated => self.not_conflated(known, message, position, partition),
                GapReason::Expired => not_expired(known, message, now_us),
                GapReason::Overflow | GapReason::Uncertain | GapReason::Generation => {
                    self.must_be_kept(known, message, now_us).then_some("the class still keeps it")
                }
            };
            if let Some(wrong) = wrong {
                return Err(format!(
                    "was told at {now_us} us that {message:?} at {position} is {reason:?}, but {wrong}"
                ));
            }
        }
        Ok(())
    }

    /// A message may be conflated only in a class that says so, with a later one in the same log.
    fn not_conflated(
        &self,
        known: &Known<'_>,
        message: MessageId,
        position: Position,
        partition: u32,
    ) -> Option<&'static str> {
        if known.plan.class(message.1).overflow != OverflowPlan::Conflate {
            return Some("its class does not conflate");
        }
        let later = known.stands.range((partition, position)..).skip(1);
        let mut later = later.take_while(|((other, _), _)| *other == partition);
        // A filter's log is conflated as a whole.
        let replaced = later.any(|(_, (_, topic))| known.plan.wants(&self.target, *topic));
        (!replaced).then_some("it is the newest")
    }

    /// A subscription from the first message on misses none that is kept.
    pub(super) fn begins_first(
        &self,
        known: &Known<'_>,
        partition: u32,
        from: Position,
        now_us: u64,
    ) -> Result<(), String> {
        let start = Position::new(from.generation.0, 0);
        for (position, message) in self.between(known, partition, start, from) {
            let stored = known.asked.get(&message.0).and_then(|asked| asked.ended);
            if stored.is_some_and(|(at_us, end)| at_us + COARSE_US < now_us && end == End::Stored)
                && self.must_be_kept(known, message, now_us)
            {
                return Err(format!("began first behind {from}, but {message:?} at {position} is kept"));
            }
        }
        Ok(())
    }

    /// Whether its class keeps a message, whatever became of those publishes whose end nobody knows. For a
    /// filter nobody can tell: all that it matches counts together, and what others evict from the partition
    /// may be all that it knows of its past.
    fn must_be_kept(&self, known: &Known<'_>, message: MessageId, now_us: u64) -> bool {
        let knobs = &known.plan.node;
        let budgets = knobs.messages_bytes_max < BUDGET_WIDE || knobs.topics_max < TOPICS_WIDE;
        if budgets || !matches!(self.target, Target::Topic(_)) {
            return false;
        }
        let Some(own) = known.asked.get(&message.0) else { return false };
        let class = known.plan.class(message.1);
        let old = class.age_ms.is_some_and(|age_ms| own.invoked_us + age_ms * 1000 <= now_us + COARSE_US);
        if old || own.ttl_ms.is_some() {
            return false;
        }
        let topic = message.1;
        let (mut count, mut bytes) = (1, size(known, topic, own));
        for publish in known.of_topic.get(&topic).into_iter().flatten() {
            let Some(asked) = known.asked.get(publish) else { continue };
            if asked.invoked_us > now_us + COARSE_US || *publish == message.0 {
                continue;
            }
            if !lies_before(known, (*publish, topic), asked, message, own) {
                count += 1;
                bytes += size(known, topic, asked);
            }
        }
        count <= class.messages && bytes <= class.bytes as usize
    }
}

fn size(known: &Known<'_>, topic: usize, asked: &Asked) -> usize {
    asked.bytes + known.plan.workload.topics[topic].len() + OVERHEAD
}

/// Whether `other` certainly does not stand behind `message`.
fn lies_before(
    known: &Known<'_>,
    other: (PublishId, usize),
    asked: &Asked,
    message: MessageId,
    own: &Asked,
) -> bool {
    if let (Some(place), Some(own)) = (known.place.get(&other), known.place.get(&message)) {
        return place < own;
    }
    match asked.ended {
        Some((_, End::NotStored)) => true,
        Some((at_us, End::Stored)) => at_us < own.invoked_us,
        Some((_, End::Unknown)) | None => false,
    }
}

/// A message may be expired only when its time to live is over.
fn not_expired(known: &Known<'_>, message: MessageId, now_us: u64) -> Option<&'static str> {
    let Some(asked) = known.asked.get(&message.0) else { return Some("nobody published it") };
    let Some(ttl_ms) = asked.ttl_ms else { return Some("it has no time to live") };
    let over = now_us + COARSE_US >= asked.invoked_us + ttl_ms * 1000;
    (!over).then_some("its time to live is not over")
}
