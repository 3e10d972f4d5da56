//! P10, it comes back: after faults stop, within a stated time, every live subscriber gets a fresh
//! message of each of its topics, the node's admin server answers, every publish ends, and
//! everybody gets the last message.

use crate::history::{Entry, Failure, PublishId, What};
use crate::plan::Plan;
use crate::run::DELIVERIES_MIN;
use crate::world::{Phase, World};
use std::collections::BTreeMap;

const ORACLE: &str = "P10";

/// Until every subscriber has something fresh: three heartbeats to notice a dead connection
/// (2.7 s), the longest pause of a client and its time-outs (5 s), and the acknowledgement
/// time-out of a reader that just was slow (5 s), with room for a second try of each.
pub const FRESH_MAX_MS: u64 = 30_000;

/// Until every publish has ended: the longest deadline of a client, and a second.
pub const DRAIN_MAX_MS: u64 = 5_000;

/// Until everybody has the last message: a full history through the smallest window.
pub const SETTLE_MAX_MS: u64 = 60_000;

/// How much later than its deadline a publish may end: a client that says goodbye on one connection looks
/// at nothing else for a second.
const END_SLACK_US: u64 = 1_020_000;

/// Judges a history: each publish ends, and in time, unless its process is killed first.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let mut open: BTreeMap<PublishId, u64> = BTreeMap::new();
    let mut late = None;
    for entry in history {
        match &entry.what {
            What::Invoke { publish, .. } => {
                open.insert(*publish, entry.time_us);
            }
            What::Ended { publish, end, .. } => {
                let Some(began_us) = open.remove(publish) else { continue };
                let took_us = entry.time_us - began_us;
                let deadline_ms = plan.workload.publishers[publish.publisher].client.publish_deadline_ms;
                if took_us > deadline_ms * 1000 + END_SLACK_US {
                    late.get_or_insert(format!("{publish:?} ended as {end:?} after {took_us} us"));
                }
            }
            What::Killed { host } => {
                open.retain(|publish, _| plan.workload.publishers[publish.publisher].host != *host);
            }
            What::Subscribe { .. }
            | What::Subscribed { .. }
            | What::Delivered { .. }
            | What::Gap { .. }
            | What::Over { .. }
            | What::Sent { .. }
            | What::Refused { .. }
            | What::Blamed { .. }
            | What::HostileEnd(_)
            | What::Healed => {}
        }
    }
    let left = open.keys().next().map(|publish| format!("{publish:?} never ended"));
    late.or(left).map(|detail| Failure::new(ORACLE, detail)).into_iter().collect()
}

/// Moves the phase on as far as the world has come; `since_ms` is the time in this phase.
pub fn advance(world: &World, since_ms: u64) -> Option<Phase> {
    let (next, missing, most) = match world.phase.get() {
        Phase::Healing => (Phase::Draining, not_fresh(world), FRESH_MAX_MS),
        Phase::Draining => (Phase::Settling, not_ended(world), DRAIN_MAX_MS),
        Phase::Settling => (Phase::Over, not_settled(world), SETTLE_MAX_MS),
        Phase::Faults | Phase::Over => return None,
    };
    match missing {
        None => Some(next),
        Some(missing) => {
            if since_ms > most {
                world.fail(ORACLE, format!("{missing} within {most} ms of simulated time"));
            }
            None
        }
    }
}

fn not_fresh(world: &World) -> Option<String> {
    if !world.admin_answered.get() {
        return Some("the admin server did not answer".to_owned());
    }
    let followers = world.followers.borrow();
    let fresh = |at: &usize| followers[*at].fresh || followers[*at].over;
    let missing: Vec<usize> = (0..followers.len()).filter(|at| !fresh(at)).collect();
    if !missing.is_empty() {
        return Some(format!("subscriptions {missing:?} got nothing fresh"));
    }
    // A run that says too little goes on for a while.
    let deliveries = world.deliveries.get();
    (deliveries < DELIVERIES_MIN).then(|| format!("only {deliveries} messages were delivered"))
}

fn not_ended(world: &World) -> Option<String> {
    let open = world.open.borrow();
    open.first().map(|first| format!("{} publishes, the first {first:?}, did not end", open.len()))
}

fn not_settled(world: &World) -> Option<String> {
    if !world.all_said.get() {
        return Some("the last message of a topic was not stored".to_owned());
    }
    let count = world.followers.borrow().len();
    let missing: Vec<usize> = (0..count).filter(|at| !world.settled(*at)).collect();
    (!missing.is_empty()).then(|| format!("subscriptions {missing:?} did not get the last message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::End;
    use crate::oracles::fixture;

    #[test]
    fn a_publish_ends_in_time() {
        let mut plan = Plan::of(1);
        plan.workload.publishers[0].client.publish_deadline_ms = 800;
        let publish = fixture::id(1);
        let began =
            Entry { time_us: 0, what: What::Invoke { publish, topics: vec![0], ttl_ms: None, bytes: 1 } };
        let ended = |time_us| Entry {
            time_us,
            what: What::Ended { publish, end: End::Unknown, receipts: Vec::new() },
        };
        assert_eq!(judge(&plan, &[began.clone(), ended(810_000)]), []);
        assert_eq!(judge(&plan, &[began.clone(), ended(1_900_000)]).len(), 1);
        assert_eq!(judge(&plan, std::slice::from_ref(&began)).len(), 1);
        let host = plan.workload.publishers[0].host;
        let killed = Entry { time_us: 1, what: What::Killed { host } };
        assert_eq!(judge(&plan, &[began, killed]), []);
    }

    #[test]
    fn a_phase_that_takes_too_long_is_a_failure() {
        let world = World::new(Plan::of(1), false);
        world.phase.set(Phase::Healing);
        assert_eq!(advance(&world, FRESH_MAX_MS), None);
        assert!(world.failures.borrow().is_empty());
        assert_eq!(advance(&world, FRESH_MAX_MS + 1), None);
        assert_eq!(world.failures.borrow().len(), 1);
    }

    #[test]
    fn a_phase_ends_when_nothing_is_missing() {
        let world = World::new(Plan::of(1), false);
        world.phase.set(Phase::Healing);
        world.admin_answered.set(true);
        world.deliveries.set(DELIVERIES_MIN);
        world.followers.borrow_mut().iter_mut().for_each(|follower| follower.fresh = true);
        assert_eq!(advance(&world, 0), Some(Phase::Draining));
    }
}
