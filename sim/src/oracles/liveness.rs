//! It comes back: after faults stop, within a stated time, every live subscriber gets a fresh
//! message of each of its topics, the node's admin server answers, every publish ends, and
//! everybody gets the last message.

use crate::run::DELIVERIES_MIN;
use crate::world::{Phase, World};

/// Until every subscriber has something fresh: three heartbeats to notice a dead connection
/// (2.7 s), the longest pause of a client and its time-outs (5 s), and the acknowledgement
/// time-out of a reader that just was slow (5 s), with room for a second try of each.
pub const FRESH_MAX_MS: u64 = 30_000;

/// Until every publish has ended: the longest deadline of a client, and a second.
pub const DRAIN_MAX_MS: u64 = 5_000;

/// Until everybody has the last message: a full history through the smallest window.
pub const SETTLE_MAX_MS: u64 = 60_000;

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
                world.fail("liveness", format!("{missing} within {most} ms of simulated time"));
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
    let missing: Vec<usize> = (0..followers.len()).filter(|at| !followers[*at].fresh).collect();
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
    let followers = world.followers.borrow();
    let missing: Vec<usize> = (0..followers.len()).filter(|at| !followers[*at].settled).collect();
    (!missing.is_empty()).then(|| format!("subscriptions {missing:?} did not get the last message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

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
