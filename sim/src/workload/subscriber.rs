//! A client that subscribes, at its own pace, and goes on where its last process stood.

use super::publisher::publish_of;
use crate::history::What;
use crate::random::Random;
use crate::world::World;
use multibeam_client::{Client, Event, GapReason, Subscription};
use multibeam_wire::Start;
use std::rc::Rc;
use std::time::Duration;

/// Runs one process's subscriber until it is killed.
pub(super) async fn run(world: Rc<World>, client: Client, subscriber: usize) {
    let own: Vec<usize> = {
        let followers = world.followers.borrow();
        (0..followers.len()).filter(|at| followers[*at].subscriber == subscriber).collect()
    };
    for subscription in own {
        let (topic, after) = {
            let follower = &world.followers.borrow()[subscription];
            (follower.topic, follower.cursor)
        };
        let fresh =
            if world.plan.workload.subscribers[subscriber].from_last { Start::Last } else { Start::New };
        let start = after.map_or(fresh, Start::After);
        world.record(What::Subscribe { subscription, topic, after });
        match client.subscribe(&world.plan.workload.topics[topic], start) {
            Ok(stream) => {
                let follow =
                    Follow { world: Rc::clone(&world), client: client.clone(), subscriber, subscription };
                tokio::task::spawn_local(follow.run(stream));
            }
            Err(error) => world.fail("liveness", format!("subscription {subscription}: {error}")),
        }
    }
}

struct Follow {
    world: Rc<World>,
    client: Client,
    subscriber: usize,
    subscription: usize,
}

impl Follow {
    async fn run(self, mut stream: Subscription) {
        let purpose = format!("handling {}", self.subscription);
        let mut random = Random::new(self.world.plan.seed, &purpose);
        let handle_ms = self.world.plan.workload.subscribers[self.subscriber].handle_ms;
        loop {
            self.rest().await;
            let Some(event) = stream.next().await else { return };
            self.take(event);
            self.check_client();
            if handle_ms > 0 {
                tokio::time::sleep(Duration::from_millis(random.range(0..=handle_ms))).await;
            }
        }
    }

    /// Does not come for messages while the plan says so.
    async fn rest(&self) {
        loop {
            let until = self.world.slow_until_us.borrow()[self.subscriber];
            let now = self.world.time_us();
            if now >= until {
                return;
            }
            tokio::time::sleep(Duration::from_micros(until - now)).await;
        }
    }

    fn take(&self, event: Event) {
        let subscription = self.subscription;
        let what = match event {
            Event::Subscribed { from, .. } => What::Subscribed { subscription, from },
            Event::Message { position, body, .. } => {
                What::Delivered { subscription, position, publish: publish_of(&body) }
            }
            Event::Gap { from, to, reason } => {
                What::Gap { subscription, from, to, silent: reason == GapReason::Silent }
            }
            Event::Ended(error) => What::Refused { subscription, error: error.to_string() },
            other => {
                self.world.fail("liveness", format!("subscription {subscription} got {other:?}"));
                return;
            }
        };
        self.world.record(what);
    }

    /// The client drops what it has seen and notices what it was not told. That it had to is
    /// a broken promise of the node.
    fn check_client(&self) {
        let stats = self.client.stats();
        if stats.silent_gaps > 0 {
            let detail = format!("the client of subscription {} found a silent gap", self.subscription);
            self.world.fail("P3", detail);
        }
        if stats.duplicates_dropped > 0 {
            let detail = format!("the client of subscription {} dropped a duplicate", self.subscription);
            self.world.fail("P4", detail);
        }
    }
}
