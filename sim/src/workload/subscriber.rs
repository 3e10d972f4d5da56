//! A client that subscribes, at its own pace, and goes on where its last process stood.

use super::publisher::publish_of;
use crate::history::{Places, What};
use crate::plan::{FollowPlan, StartPlan, Target};
use crate::random::Random;
use crate::world::{Follower, World};
use multibeam_client::{
    Client, Cursor, CursorStore, Event, GapReason, Message, PartitionId, Start, StoredSubscription,
    Subscription,
};
use multibeam_wire::Position;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long an application with acks of its own waits for more before it handles what it holds, and keeps
/// its cursor.
const HOLD_MAX: Duration = Duration::from_millis(50);

/// Prefixes of topics that only hostile clients publish to.
const FOREIGN: &[&str] = &["hostile.", "churn."];

/// Times that a message is handed out before it is not given back any more.
const ATTEMPTS_MAX: u32 = 3;

/// Starts one process's subscriber: a task for each of its subscriptions.
pub(super) fn run(world: &Rc<World>, client: &Client, subscriber: usize) -> Vec<JoinHandle<()>> {
    let own: Vec<usize> = {
        let followers = world.followers.borrow();
        let live = |at: &usize| followers[*at].subscriber == subscriber && !followers[*at].over;
        (0..followers.len()).filter(live).collect()
    };
    let start = |subscription| {
        let follow = Follow::new(world, client, subscriber, subscription);
        tokio::task::spawn_local(follow.run())
    };
    own.into_iter().map(start).collect()
}

struct Follow {
    world: Rc<World>,
    client: Client,
    subscriber: usize,
    subscription: usize,
    plan: FollowPlan,
    stored: bool,
    random: Random,
    /// Messages that wait for their acknowledgement, and those that have it.
    held: Vec<Message>,
    acked: BTreeSet<(PartitionId, Position)>,
}

enum Stream {
    Plain(Subscription),
    Stored(StoredSubscription),
}

impl Follow {
    fn new(world: &Rc<World>, client: &Client, subscriber: usize, subscription: usize) -> Self {
        let own = &world.plan.workload.subscribers[subscriber];
        let plan = own.follows[world.followers.borrow()[subscription].index].clone();
        let stored = own.stored && plan.target != Target::System;
        let random = Random::new(world.plan.seed, &format!("handling {subscription}"));
        let (world, client) = (Rc::clone(world), client.clone());
        let (held, acked) = (Vec::new(), BTreeSet::new());
        Self { world, client, subscriber, subscription, plan, stored, random, held, acked }
    }

    async fn run(mut self) {
        let Some(mut stream) = self.open().await else { return };
        let handle_ms = self.world.plan.workload.subscribers[self.subscriber].handle_ms;
        loop {
            self.rest().await;
            let next = if !self.plan.manual_acks {
                stream.next().await
            } else {
                match tokio::time::timeout(HOLD_MAX, stream.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        self.handle(0);
                        self.keep_cursor(&stream);
                        continue;
                    }
                }
            };
            let Some(event) = next else { return };
            let checks = matches!(event, Event::Message(_) | Event::Gap { .. });
            self.take(event);
            let keep = self.random.length(0..=3);
            self.handle(keep);
            self.keep_cursor(&stream);
            if checks {
                self.check_client(&stream);
            }
            if handle_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.random.range(0..=handle_ms))).await;
            }
        }
    }

    /// Asks for the subscription, behind what is known to be done with.
    async fn open(&mut self) -> Option<Stream> {
        let name = format!("{}", self.subscription);
        let after = if self.plan.target == Target::System {
            self.anew();
            None
        } else if self.stored {
            let saved = self.world.store.load(&name).await.ok().flatten();
            saved.map(|saved| self.places(&saved.cursor))
        } else {
            self.world.followers.borrow()[self.subscription].cursor.clone()
        };
        let first = self.plan.start == StartPlan::First && self.plan.target != Target::System;
        let (subscription, target) = (self.subscription, self.plan.target.clone());
        self.world.record(What::Subscribe { subscription, target, after: after.clone(), first });
        let start =
            after.as_ref().and_then(|after| self.start_after(after)).unwrap_or(match self.plan.start {
                StartPlan::New => Start::New,
                StartPlan::Last => Start::Last,
                StartPlan::First => Start::First,
            });
        let text = match &self.plan.target {
            Target::Topic(topic) => self.world.plan.workload.topics[*topic].clone(),
            Target::Filter(filter) => filter.clone(),
            Target::System => String::new(),
        };
        let opened = if self.plan.target == Target::System {
            self.client.system().map(Stream::Plain)
        } else if self.stored {
            let store = self.world.store.clone();
            self.client.subscribe_stored(&name, &text, start, store).await.map(Stream::Stored)
        } else {
            self.client.subscribe(&text, start).map(Stream::Plain)
        };
        match opened {
            Ok(stream) if self.plan.manual_acks => Some(stream.with_manual_acks()),
            Ok(stream) => Some(stream),
            Err(error) => {
                self.world.fail("P10", format!("subscription {}: {error}", self.subscription));
                None
            }
        }
    }

    /// Nobody keeps a cursor of the system's messages: a new process has a subscription of its own.
    fn anew(&mut self) {
        let old = self.world.followers.borrow()[self.subscription].clone();
        if old.seen.is_empty() {
            return;
        }
        self.world.record(What::Over { subscription: self.subscription });
        let Follower { subscriber, index, wants, .. } = old;
        let mut followers = self.world.followers.borrow_mut();
        self.subscription = followers.len();
        followers.push(Follower { subscriber, index, wants, ..Follower::default() });
    }

    fn start_after(&self, after: &Places) -> Option<Start> {
        match &self.plan.target {
            Target::Topic(_) => after.values().next().map(|position| Start::from(*position)),
            Target::Filter(_) | Target::System => {
                let parts = after.iter().map(|(partition, position)| (PartitionId(*partition), *position));
                Cursor::of_filter(parts).ok().map(Start::After)
            }
        }
    }

    fn places(&self, cursor: &Cursor) -> Places {
        let own = self.world.followers.borrow()[self.subscription].seen.keys().next().copied();
        match cursor.position() {
            Some(position) => Places::from([(own.unwrap_or_default(), position)]),
            None => cursor.parts().map(|(partition, position)| (partition.0, position)).collect(),
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

    fn take(&mut self, event: Event) {
        let subscription = self.subscription;
        let what = match event {
            Event::Subscribed { parts } => {
                let from = parts.iter().map(|part| (part.partition.0, part.from)).collect();
                What::Subscribed { subscription, from }
            }
            Event::Message(message) => {
                let (place, again) = ((message.partition, message.position), message.attempt > 1);
                let topics = &self.world.plan.workload.topics;
                let topic = topics.iter().position(|topic| topic == message.topic.as_str());
                let publish = publish_of(&message.body);
                let foreign = |prefix: &&str| message.topic.as_str().starts_with(*prefix);
                if topic.is_none() && !FOREIGN.iter().any(foreign) {
                    let name = message.topic.as_str();
                    self.world.fail("P2", format!("subscription {subscription} got a message of {name}"));
                }
                if self.plan.manual_acks {
                    self.held.push(message);
                }
                if again {
                    if self.acked.contains(&place) {
                        self.world.fail("P4", format!("{place:?} was handed out after its ack"));
                    }
                    return;
                }
                What::Delivered { subscription, topic, partition: place.0.0, position: place.1, publish }
            }
            Event::Gap { partition, from, to, reason } => {
                let reason = match reason {
                    GapReason::Told(reason) => Some(reason),
                    GapReason::Silent => None,
                };
                What::Gap { subscription, partition: partition.0, from, to, reason }
            }
            Event::Ended(error) => What::Refused { subscription, error: error.to_string() },
            other => {
                self.world.fail("P10", format!("subscription {subscription} got {other:?}"));
                return;
            }
        };
        self.world.record(what);
    }

    /// Handles messages that are held, in any order, until `keep` are left; gives some of them back.
    fn handle(&mut self, keep: usize) {
        while self.held.len() > keep {
            let at = self.random.length(0..=self.held.len() - 1);
            let message = self.held.swap_remove(at);
            if message.attempt < ATTEMPTS_MAX && self.random.chance(10) {
                continue;
            }
            self.acked.insert((message.partition, message.position));
            message.ack();
        }
    }

    /// What another process would go on behind.
    fn keep_cursor(&self, stream: &Stream) {
        let cursor = match stream {
            Stream::Plain(stream) if self.plan.manual_acks => stream.cursor_handled(),
            Stream::Plain(stream) => stream.cursor(),
            Stream::Stored(_) => None,
        };
        if let Some(cursor) = cursor {
            let places = self.places(&cursor);
            let unhandled = self.held.iter().find(|message| {
                places.get(&message.partition.0).is_some_and(|place| *place >= message.position)
            });
            if let Some(message) = unhandled {
                let (who, place) = (self.subscription, message.position);
                self.world.fail("P3", format!("the cursor of subscription {who} passed {place}, held"));
            }
            self.world.followers.borrow_mut()[self.subscription].cursor = Some(places);
        }
    }

    /// The client drops what it has seen and notices what it was not told. That it had to is
    /// a broken promise of the node.
    fn check_client(&self, stream: &Stream) {
        let stats = self.client.stats();
        let who = self.subscription;
        if stats.silent_gaps > 0 {
            self.world.fail("P3", format!("the client of subscription {who} found a silent gap"));
        }
        if stats.duplicates_dropped > 0 {
            self.world.fail("P4", format!("the client of subscription {who} dropped a duplicate"));
        }
        if let (Stream::Plain(stream), false) = (stream, self.plan.manual_acks) {
            let seen = &self.world.followers.borrow()[who].seen;
            let cursor = stream.cursor().map(|cursor| self.places(&cursor));
            if cursor.as_ref() != Some(seen) {
                self.world.fail("P4", format!("subscription {who} saw {seen:?}, its cursor is {cursor:?}"));
            }
        }
    }
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Plain(stream) => stream.next().await,
            Self::Stored(stream) => stream.next().await.ok().flatten(),
        }
    }

    fn with_manual_acks(self) -> Self {
        match self {
            Self::Plain(stream) => Self::Plain(stream.with_manual_acks()),
            Self::Stored(stream) => Self::Stored(stream.with_manual_acks()),
        }
    }
}
