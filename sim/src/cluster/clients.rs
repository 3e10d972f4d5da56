//! Clients of a simulated cluster, on the real client: each publishes to a topic of its own and follows it, and
//! goes where the nodes send it.
//!
//! A message is stored on the node that its publisher is connected to, so a client is judged by what the nodes that
//! it was connected to owed it: [`super::promises`] does.

use super::nodes::Nodes;
use super::plan::ClientPlan;
use crate::random::Random;
use crate::workload::connector::{Kill, SimConnector, Streams, Watch, host_of};
use crate::workload::{CONNECTS_MAX, DropStreams};
use crate::world::Phase;
use multibeam_client::{Client, Config, Event, Start, State, Status};
use multibeam_wire::ErrorCode;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// The host of all clients.
pub const HOST: &str = "clients";

/// Publishes without an end at which a client publishes no more.
const OPEN_MAX: usize = 20;

/// How long a client may take to connect, and to be answered.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);

/// How often a client at rest looks whether it is to go on.
const LOOK: Duration = Duration::from_millis(20);

/// One client.
#[derive(Default)]
pub struct ClusterClient {
    client: RefCell<Option<Client>>,
    /// Publishes without an end, and when they were invoked, in milliseconds.
    open: RefCell<BTreeMap<u64, u64>>,
    /// Something has ended.
    ended: Notify,
    /// The first message that was published behind the last fault.
    fresh_from: Cell<Option<u64>>,
    /// Such a message was stored, and one has come.
    fresh_stored: Cell<bool>,
    fresh_came: Cell<bool>,
    /// Messages that came.
    deliveries: Cell<u64>,
}

impl ClusterClient {
    /// How it is doing; `None` before it has begun.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.client.borrow().as_ref().map(Client::status)
    }

    /// Messages that came.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries.get()
    }

    /// Connections that it left for another one.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.client.borrow().as_ref().map_or(0, |client| client.stats().moves)
    }

    /// Since when the oldest publish without an end has had none, and its number.
    #[must_use]
    pub fn waits_since_ms(&self) -> Option<(u64, u64)> {
        self.open.borrow().first_key_value().map(|(number, since_ms)| (*since_ms, *number))
    }

    /// What is missing until this client is served again.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let state = self.status().map_or(State::Connecting, |status| status.state);
        if state != State::Connected {
            return Some(format!("is {state:?}"));
        }
        if let (Some((_, number)), None) = (self.waits_since_ms(), self.fresh_from.get()) {
            return Some(format!("waits for the end of publish {number}"));
        }
        if !self.fresh_stored.get() {
            return Some("could not publish".to_owned());
        }
        (!self.fresh_came.get()).then(|| "got nothing new".to_owned())
    }
}

/// Runs all clients of a plan.
pub async fn run_host(nodes: Rc<Nodes>) -> turmoil::Result {
    let streams = Streams::default();
    let _last = DropStreams(streams.clone());
    let permits = Arc::new(Semaphore::new(CONNECTS_MAX));
    for (index, plan) in nodes.plan.clients.iter().enumerate() {
        let run = Run {
            nodes: Rc::clone(&nodes),
            index,
            plan: plan.clone(),
            client: connect(&nodes, index, plan, &streams, &permits),
            random: Random::new(nodes.seed, &format!("publishes {index}")),
        };
        *nodes.clients[index].client.borrow_mut() = Some(run.client.clone());
        tokio::task::spawn_local(watch(Rc::clone(&nodes), run.client.clone(), index));
        tokio::task::spawn_local(follow(Rc::clone(&nodes), run.client.clone(), index));
        tokio::task::spawn_local(run.publish());
    }
    std::future::pending().await
}

fn connect(
    nodes: &Rc<Nodes>,
    index: usize,
    plan: &ClientPlan,
    streams: &Streams,
    permits: &Arc<Semaphore>,
) -> Client {
    let mut random = Random::new(nodes.seed, &format!("client {index}"));
    let mut config = Config::new("", random.number());
    let count = nodes.plan.nodes;
    config.servers = (0..count).map(|at| nodes.name((plan.first + at) % count).to_owned()).collect();
    config.backoff_min = Duration::from_millis(20);
    config.backoff_max = Duration::from_millis(plan.backoff_ms_max);
    config.connect_timeout = CONNECT_MAX;
    config.handshake_timeout = CONNECT_MAX;
    // An end that is lost must not be found by a deadline.
    config.publish_deadline = None;
    let who = format!("client {index}");
    let watch = Watch { lines: nodes.lines.clone(), who, handshake_ms: CONNECT_MAX.as_millis() as u64 };
    let kill = Kill::default();
    let plan = &nodes.all[0].world.plan;
    Client::connect(
        config,
        SimConnector::new(plan, kill, streams.clone(), watch, Arc::clone(permits), random),
    )
}

/// Tells the story of a client's connections.
async fn watch(nodes: Rc<Nodes>, client: Client, index: usize) {
    let mut status = client.status();
    let mut told = (State::Connecting, String::new());
    loop {
        status = client.status_after(status.version).await;
        let Status { state, server, .. } = &status;
        let at = host_of(server.as_deref().unwrap_or_default()).to_owned();
        if matches!(state, State::Connected | State::Stale) && told != (*state, at.clone()) {
            let how = if *state == State::Stale { "is stale at" } else { "is connected to" };
            nodes.tell(now_ms(), format!("client {index} {how} {at}"));
            told = (*state, at);
        }
    }
}

async fn follow(nodes: Rc<Nodes>, client: Client, index: usize) {
    let own = &nodes.clients[index];
    let subscribe = || client.subscribe(&topic(index), Start::New);
    let mut messages = match subscribe() {
        Ok(messages) => messages,
        Err(error) => return nodes.fail("P10", format!("client {index} can't subscribe: {error}")),
    };
    while let Some(event) = messages.next().await {
        match event {
            Event::Message(message) => {
                own.deliveries.set(own.deliveries.get() + 1);
                let number =
                    std::str::from_utf8(&message.body).ok().and_then(|body| body.parse::<u64>().ok());
                let Some(number) = number else {
                    return nodes.fail("P9", format!("client {index} got {:?}", message.body));
                };
                nodes.note(now_ms(), format_args!("client {index} got {number} at {}", message.position));
                own.fresh_came
                    .set(own.fresh_came.get() || own.fresh_from.get().is_some_and(|from| number >= from));
            }
            Event::Subscribed { .. } => {}
            Event::Gap { from, to, .. } => {
                nodes.note(now_ms(), format_args!("client {index} has a gap from {from} to {to}"));
            }
            // It came to a node that started before the last one.
            Event::Ended(error) if error.code == Some(ErrorCode::CursorAhead) => {
                nodes.note(now_ms(), format_args!("client {index} begins anew"));
                match subscribe() {
                    Ok(again) => messages = again,
                    Err(error) => {
                        return nodes.fail("P10", format!("client {index} can't subscribe: {error}"));
                    }
                }
            }
            Event::Ended(error) => {
                return nodes.fail("P10", format!("the subscription of client {index} ended: {error}"));
            }
            other => return nodes.fail("P10", format!("client {index} got {other:?}")),
        }
    }
}

struct Run {
    nodes: Rc<Nodes>,
    index: usize,
    plan: ClientPlan,
    client: Client,
    random: Random,
}

impl Run {
    async fn publish(mut self) {
        let nodes = Rc::clone(&self.nodes);
        let own = &nodes.clients[self.index];
        let mut number = 0;
        loop {
            // What is lost must stay lost for a while: the next answer would tell of it as well.
            let rest = self.random.chance(self.plan.rest_percent);
            let pause_ms = if rest { 3_000 } else { self.random.range(1..=self.plan.pause_ms) };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let most = if self.plan.one_at_a_time { 0 } else { OPEN_MAX };
            while own.open.borrow().len() > most {
                own.ended.notified().await;
            }
            if nodes.all[0].world.phase.get() != Phase::Faults && own.fresh_from.get().is_none() {
                // First everything must end that began while there were faults.
                if !own.open.borrow().is_empty() {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                own.fresh_from.set(Some(number + 1));
            }
            number += 1;
            self.invoke(number);
        }
    }

    fn invoke(&self, number: u64) {
        let (nodes, index) = (Rc::clone(&self.nodes), self.index);
        nodes.clients[index].open.borrow_mut().insert(number, now_ms());
        let publishing = self.client.publish(topic(index), number.to_string());
        tokio::task::spawn_local(async move {
            let end = publishing.await;
            let own = &nodes.clients[index];
            own.open.borrow_mut().remove(&number);
            let fresh = end.is_ok() && own.fresh_from.get().is_some_and(|from| number >= from);
            own.fresh_stored.set(own.fresh_stored.get() || fresh);
            let end = end.map_or_else(|error| error.to_string(), |_| "stored".to_owned());
            nodes.note(now_ms(), format_args!("publish {number} of client {index}: {end}"));
            own.ended.notify_one();
        });
    }
}

fn topic(index: usize) -> String {
    format!("cluster.of.{index}")
}

fn now_ms() -> u64 {
    turmoil::sim_elapsed().map_or(0, |elapsed| elapsed.as_millis() as u64)
}
