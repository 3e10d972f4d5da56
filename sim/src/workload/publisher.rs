//! A client that publishes in bursts, each message once and never twice the same.

use crate::history::{PublishId, What};
use crate::random::Random;
use crate::world::{Phase, World};
use multibeam_client::{Client, Publishing};
use std::rc::Rc;
use std::time::Duration;

/// How often a publisher at rest looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(20);

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
                    let topic = publisher.random.pick(&plan.topics);
                    publisher.publish(topic, plan.body_bytes);
                }
                let pause = publisher.random.range(1..=2 * plan.pause_ms);
                tokio::time::sleep(Duration::from_millis(pause)).await;
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
    fn publish(&mut self, topic: usize, body_bytes: usize) {
        let (publish, publishing) = self.invoke(topic, body_bytes);
        let world = Rc::clone(&self.world);
        tokio::task::spawn_local(async move {
            let result = publishing.await;
            world.publish_ended(publish, result);
        });
    }

    fn invoke(&mut self, topic: usize, body_bytes: usize) -> (PublishId, Publishing) {
        self.number += 1;
        let publish = PublishId { publisher: self.index, process: self.process, number: self.number };
        let pad = self.random.length(0..=body_bytes);
        self.world.record(What::Invoke { publish, topic });
        let name = &self.world.plan.workload.topics[topic];
        (publish, self.client.publish(name, body(publish, pad)))
    }

    /// The last message of each topic, until it is stored.
    async fn say_last(&mut self) {
        for topic in 0..self.world.plan.workload.topics.len() {
            loop {
                let (publish, publishing) = self.invoke(topic, 16);
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

/// The body of a publish: its name, then padding.
fn body(publish: PublishId, pad: usize) -> Vec<u8> {
    let PublishId { publisher, process, number } = publish;
    let mut body = format!("{publisher}.{process}.{number}|").into_bytes();
    body.extend((0..pad).map(|at| b'a' + (at % 26) as u8));
    body
}

/// The publish that a body is of, if it is whole.
pub(super) fn publish_of(body: &[u8]) -> Option<PublishId> {
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
