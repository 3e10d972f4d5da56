//! Well-behaved clients: publishers and subscribers on the real client.

mod blame;
pub mod connector;
mod publisher;
pub mod restart;
mod subscriber;

pub(crate) use publisher::publish_of;

use crate::plan::ClientKnobs;
use crate::random::Random;
use crate::world::{Phase, World};
use connector::{SimConnector, Streams, Watch};
use multibeam_client::{Client, Config};
use multibeam_wire::WindowUnit;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

/// Attempts to connect that one host makes at a time: more could overrun the simulated
/// network's queue of attempts.
pub(crate) const CONNECTS_MAX: usize = 32;

/// What the clients of one process of a host share.
#[derive(Clone)]
struct Network {
    streams: Streams,
    permits: Arc<Semaphore>,
}

/// Ends the streams of a host that is killed, after its clients.
pub(crate) struct DropStreams(pub(crate) Streams);

impl Drop for DropStreams {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

/// One process run of client host `host`, until it is killed.
pub async fn run_host(world: Rc<World>, host: usize) {
    let process = {
        let mut processes = world.processes.borrow_mut();
        processes[host] += 1;
        processes[host]
    };
    let network = Network { streams: Streams::default(), permits: Arc::new(Semaphore::new(CONNECTS_MAX)) };
    world.streams_of.borrow_mut()[host] = network.streams.clone();
    let _last = DropStreams(network.streams.clone());
    let publishers = world.plan.workload.publishers.len();
    for (index, plan) in world.plan.workload.publishers.iter().enumerate() {
        if plan.host == host {
            let client = connect(&world, &plan.client, index, process, &network);
            tokio::task::spawn_local(publisher::run(Rc::clone(&world), client, index, process));
        }
    }
    for (index, plan) in world.plan.workload.subscribers.iter().enumerate() {
        if plan.host == host {
            let late = if process == 1 { plan.start_ms } else { 0 };
            let (world, network, plan) = (Rc::clone(&world), network.clone(), plan.clone());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(late)).await;
                loop {
                    let client = connect(&world, &plan.client, publishers + index, process, &network);
                    let tasks = subscriber::run(&world, &client, index);
                    world.restarts[index].asked().await;
                    tasks.iter().for_each(tokio::task::JoinHandle::abort);
                    world.restarts[index].leave(&client, &world.kills[publishers + index]).await;
                }
            });
        }
    }
    if host == 0 {
        tokio::task::spawn_local(ask_admin(Rc::clone(&world)));
    }
    std::future::pending().await
}

fn connect(
    world: &Rc<World>,
    knobs: &ClientKnobs,
    index: usize,
    process: usize,
    network: &Network,
) -> Client {
    let mut random = Random::new(world.plan.seed, &format!("client {index} {process}"));
    let mut config = Config::new("node", random.number());
    config.window_bytes = knobs.window_bytes;
    config.window_unit = WindowUnit::from_log2(knobs.window_unit_log2).unwrap_or(WindowUnit::DEFAULT);
    config.compact = knobs.compact;
    config.backoff_min = Duration::from_millis(knobs.backoff_ms_min);
    config.backoff_max = Duration::from_millis(knobs.backoff_ms_max);
    config.connect_timeout = Duration::from_millis(knobs.connect_timeout_ms);
    config.handshake_timeout = Duration::from_millis(knobs.connect_timeout_ms);
    config.publish_deadline = Some(Duration::from_millis(knobs.publish_deadline_ms));
    config.publish_in_flight_max = knobs.publish_in_flight_max;
    config.publish_queue_messages_max = knobs.publish_queue_messages_max;
    config.receipts = knobs.receipts;
    let Network { streams, permits } = network.clone();
    let watch = Watch {
        lines: world.lines.clone(),
        who: format!("client {index}"),
        handshake_ms: knobs.connect_timeout_ms,
    };
    let kill = world.kills[index].clone();
    let connector = SimConnector::new(&world.plan, kill, streams, watch, permits, random);
    let client = Client::connect(config, connector);
    tokio::task::spawn_local(blame::watch(Rc::clone(world), client.clone(), index));
    client
}

/// Once faults are over, the node's health and numbers must be there for who asks.
async fn ask_admin(world: Rc<World>) {
    while world.phase.get() < Phase::Healing {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        let health = get("/healthz").await;
        let metrics = get("/metrics").await;
        let healthy = health.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
        let numbers = metrics.is_some_and(|answer| {
            answer.starts_with("HTTP/1.1 200") && answer.contains("multibeam_") && answer.contains("# EOF")
        });
        if healthy && numbers {
            world.admin_answered.set(true);
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn get(path: &str) -> Option<String> {
    let ask = async {
        let mut stream = turmoil::net::TcpStream::connect(("node", crate::plan::ADMIN_PORT)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        String::from_utf8(answer).ok()
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.ok().flatten()
}
