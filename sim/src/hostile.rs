//! Clients that do not keep to the rules, or only just. Each connection's end goes into the
//! history, where P9 is judged.

mod acts;
mod churn;
mod lifeless;
mod raw;
mod window;

use crate::history::What;
use crate::plan::{HOSTILE_HOST, HostilePlan};
use crate::random::Random;
use crate::world::World;
use raw::Raw;
use std::rc::Rc;
use std::time::Duration;

/// One process run of the host of hostile clients, until it is killed.
pub async fn run_host(world: Rc<World>) {
    world.processes.borrow_mut()[HOSTILE_HOST] += 1;
    for (index, plan) in world.plan.hostile.iter().enumerate() {
        let now_ms = world.time_us() / 1000;
        if let Some(wait) = plan.start_ms.checked_sub(now_ms) {
            let (world, plan) = (Rc::clone(&world), plan.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                attack(world, index, plan).await;
            });
        }
    }
    std::future::pending().await
}

async fn attack(world: Rc<World>, index: usize, plan: HostilePlan) {
    let disturbed_before = world.disturbed.get() > 0;
    let disturbances = world.disturbances.get();
    let Some(mut raw) = Raw::connect(&world, format!("{index} {:?}", plan.kind)).await else { return };
    let mut random = Random::new(plan.seed, "attack");
    acts::act(&mut raw, plan.kind, &mut random).await;
    let mut end = raw.into_end();
    end.disturbed |= disturbed_before || disturbances != world.disturbances.get();
    world.record(What::HostileEnd(end));
}
