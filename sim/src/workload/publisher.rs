//! A client that publishes in bursts, each message once and never twice the same.

use crate::history::{PublishId, What};
use crate::plan::{OverflowPlan, PublisherPlan, matches};
use crate::random::Random;
use crate::world::{Phase, World};
use multibeam_client::{Client, Publish, Publishing};
use std::rc::Rc;
use std::time::Duration;

/// Names that one publish can reach at once.
const TEMPLATES: &[&str] = &["user.*.msg", "device.*.telem", "alarm.*", "chat.room.*", "sys.*"];

/// Pause between two messages of a topic that must not overrun anybody: an acknowledgement may take half a
/// second, and a node may wait for one after two messages.
const CALM_US: u64 = 600_000;

/// How often a publisher at rest looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(20);

/// Pause of a publisher that does not pause.
const FLOOD_PAUSE_MS: u64 = 1;

/// Publishes without an end at which it pauses all the same: a run is not to be about one flood.
const FLOOD_OPEN_MAX: usize = 400;

struct Publisher {
    world: Rc<World>,
    client: Client,
    index: usize,
    process: usize,
    number: u64,
    random: Random,
}

/// Runs one process's publisher until it is killed.
pub(super) async fn run(world: Rc<World>, client: Client, index: usize, process: usize) {
    let random = Random::new(world.plan.seed, &format!("publisher {index} {process}"));
    let mut publisher = Publisher { world, client, index, process, number: 0, random };
    let plan = publisher.world.plan.workload.publishers[index].clone();
    let mut last_said = false;
    loop {
        match publisher.world.phase.get() {
            Phase::Faults | Phase::Healing => {
                for _ in 0..publisher.random.range(1..=plan.burst) {
                    publisher.publish(&plan);
                }
                let pause_ms = publisher.random.range(1..=2 * plan.pause_ms);
                let pause_ms = if publisher.floods() { FLOOD_PAUSE_MS } else { pause_ms };
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Phase::Settling if index == 0 && !last_said => {
                publisher.say_last().await;
                last_said = true;
            }
            Phase::Draining | Phase::Settling | Phase::Over => tokio::time::sleep(LOOK).await,
        }
    }
}

impl Publisher {
    /// Whether it is to outrun the node, and has not done so by far.
    fn floods(&self) -> bool {
        let own = |publish: &&PublishId| publish.publisher == self.index;
        self.world.time_us() < self.world.flood_until_us.borrow()[self.index]
            && self.world.open.borrow().iter().filter(own).count() < FLOOD_OPEN_MAX
    }

    fn publish(&mut self, plan: &PublisherPlan) {
        let topic = self.random.pick(&plan.topics);
        if self.overruns(topic) {
            return;
        }
        let many = self.random.chance(plan.many_percent).then(|| self.siblings(topic)).flatten();
        // What is to show that everything has come back may not be over before it comes.
        let mortal = self.random.chance(plan.ttl_percent) && self.world.phase.get() == Phase::Faults;
        let ttl_ms = mortal.then(|| self.random.range(1..=plan.ttl_ms));
        let (topics, template) = many.map_or((vec![topic], None), |(topics, it)| (topics, Some(it)));
        let (publish, publishing) = self.invoke(topics, template, ttl_ms, plan.body_bytes);
        let world = Rc::clone(&self.world);
        tokio::task::spawn_local(async move {
            let result = publishing.await;
            world.publish_ended(publish, result);
        });
    }

    /// Whether another message of this topic would keep who follows it away: a class that disconnects does
    /// so to everybody who is slower than the plan's publishers, and those are not to come back.
    fn overruns(&self, topic: usize) -> bool {
        let now_us = self.world.time_us();
        let mut calm = self.world.calm_until_us.borrow_mut();
        let healing = self.world.phase.get() != Phase::Faults;
        if !healing || self.world.plan.class(topic).overflow != OverflowPlan::Disconnect {
            return false;
        }
        let again = now_us < calm[topic];
        if !again {
            calm[topic] = now_us + CALM_US;
        }
        again
    }

    /// The topics that one publish can reach together with `topic`, and the template that names them.
    fn siblings(&self, topic: usize) -> Option<(Vec<usize>, &'static str)> {
        let topics = &self.world.plan.workload.topics;
        let template = *TEMPLATES.iter().find(|template| matches(template, &topics[topic]))?;
        let all: Vec<usize> = (0..topics.len()).filter(|at| matches(template, &topics[*at])).collect();
        Some((all, template))
    }

    fn invoke(
        &mut self,
        topics: Vec<usize>,
        template: Option<&str>,
        ttl_ms: Option<u64>,
        body_bytes: usize,
    ) -> (PublishId, Publishing) {
        self.number += 1;
        let publish = PublishId { publisher: self.index, process: self.process, number: self.number };
        let body = body(publish, self.random.length(0..=body_bytes));
        let names = &self.world.plan.workload.topics;
        let message = match template {
            None => Publish::to(&names[topics[0]], body.clone()),
            Some(template) => {
                let keys = topics.iter().map(|topic| key(template, &names[*topic]));
                Publish::to_each(template, keys, body.clone())
            }
        };
        let message = match ttl_ms {
            Some(ttl_ms) => message.ttl(Duration::from_millis(ttl_ms)),
            None => message,
        };
        self.world.record(What::Invoke { publish, topics, ttl_ms, bytes: body.len() });
        (publish, self.client.publish_with(message))
    }

    /// The last message of each topic, until it is stored.
    async fn say_last(&mut self) {
        for topic in 0..self.world.plan.workload.topics.len() {
            loop {
                let (publish, publishing) = self.invoke(vec![topic], None, None, 16);
                self.world.last_is(topic, publish);
                let result = publishing.await;
                let stored = result.is_ok();
                self.world.publish_ended(publish, result);
                if stored {
                    break;
                }
            }
        }
        self.world.all_said.set(true);
    }
}

/// What stands in a topic where its template has a `*`.
fn key<'t>(template: &str, topic: &'t str) -> &'t str {
    let at = template.split('.').position(|segment| segment == "*");
    at.and_then(|at| topic.split('.').nth(at)).unwrap_or_default()
}

/// The body of a publish: its name, then padding.
fn body(publish: PublishId, pad: usize) -> Vec<u8> {
    let PublishId { publisher, process, number } = publish;
    let mut body = format!("{publisher}.{process}.{number}|").into_bytes();
    body.extend((0..pad).map(|at| b'a' + (at % 26) as u8));
    body
}

/// The publish that a body is of, if it is whole.
pub(crate) fn publish_of(body: &[u8]) -> Option<PublishId> {
    let end = body.iter().position(|byte| *byte == b'|')?;
    let padded = body[end + 1..].iter().enumerate().all(|(at, byte)| *byte == b'a' + (at % 26) as u8);
    let mut parts = std::str::from_utf8(&body[..end]).ok()?.split('.').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let (publisher, process, number) = (next()? as usize, next()? as usize, next()?);
    padded.then_some(PublishId { publisher, process, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_which_publish_it_is() {
        let publish = PublishId { publisher: 3, process: 1, number: 77 };
        assert_eq!(publish_of(&body(publish, 40)), Some(publish));
        assert_eq!(publish_of(&body(publish, 0)), Some(publish));
        assert_eq!(publish_of(b"3.1.77|abd"), None);
        assert_eq!(publish_of(b"3.1.|"), None);
    }
}
