//! A whole node within this process, used by real clients.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam::config::NodeConfig;
use multibeam::os::{OsPlatform, StopHandle};
use multibeam::{Ready, RunError, run};
use multibeam_client::{
    Client, Config, ConnectionError, Event, GapReason, Position, Start, State, Subscription, TcpConnector,
};
use multibeam_wire::{CloseCode, Generation};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Each wait of these tests ends far earlier.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    ready: Ready,
    stop: StopHandle,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Node {
    fn start(data_dir: &Path, shards: usize) -> Self {
        let mut config = NodeConfig::with_data_dir(data_dir.to_owned());
        config.listen.set_port(0);
        config.admin.set_port(0);
        config.shards = shards;
        let (started_in, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let platform = OsPlatform::open(&config.data_dir).unwrap();
                let stop = platform.stop_handle();
                run(platform, config, |ready, _| started_in.send((ready.clone(), stop)).unwrap()).await
            })
        });
        let (ready, stop) = started.recv_timeout(PATIENCE).unwrap();
        Self { ready, stop, thread: Some(thread) }
    }

    fn client(&self, seed: u64) -> Client {
        Client::connect(Config::new(self.ready.listening.to_string(), seed), TcpConnector)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.ready.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A number of each shard.
    fn metric(&self, name: &str) -> Vec<u64> {
        let (_, text) = self.get("/metrics");
        let series = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        series.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    }

    fn stop(mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("multibeam-service-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(PATIENCE, future).await };
    runtime.block_on(bounded).expect("a test ends in time")
}

async fn subscribed(client: &Client, topic: &str, start: Start) -> Subscription {
    let mut subscription = client.subscribe(topic, start).unwrap();
    let first = subscription.next().await.unwrap();
    assert!(matches!(first, Event::Subscribed { .. }), "{first:?}");
    subscription
}

#[track_caller]
fn message(event: Option<Event>) -> (Position, Vec<u8>) {
    match event {
        Some(Event::Message(message)) => (message.position, message.body.to_vec()),
        other => panic!("no message but {other:?}"),
    }
}

#[test]
fn messages_cross_shards_in_order() {
    const CLIENTS: u64 = 32;
    const MESSAGES: u64 = 50;
    let dir = scratch("shards");
    let node = Node::start(&dir, 4);
    block_on(async {
        let clients: Vec<Client> = (1..=CLIENTS).map(|seed| node.client(seed)).collect();
        let mut all = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let own = subscribed(client, &format!("own.{index}"), Start::New).await;
            all.push((own, subscribed(client, "alarm.all", Start::New).await));
        }
        // Thirty-two connections on one of four shards: once in 10^18 runs.
        let busy = node.metric("multibeam_sessions").iter().filter(|&&sessions| sessions > 0).count();
        assert!(busy > 1, "{busy} shards are used");
        for number in 0..MESSAGES {
            // Each to a topic of another client, whose home may be anywhere.
            let to = number % CLIENTS;
            let from = &clients[(number * 7 % CLIENTS) as usize];
            from.publish(format!("own.{to}"), number.to_string()).await.unwrap();
            clients[0].publish("alarm.all", number.to_string()).await.unwrap();
        }
        for (index, (own, shared)) in all.iter_mut().enumerate() {
            for number in (0..MESSAGES).filter(|number| number % CLIENTS == index as u64) {
                assert_eq!(message(own.next().await).1, number.to_string().into_bytes());
            }
            for number in 0..MESSAGES {
                assert_eq!(message(shared.next().await).1, number.to_string().into_bytes());
            }
        }
    });
    node.stop();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_restart_is_a_new_generation_and_a_resume_says_so() {
    let dir = scratch("restart");
    for generation in 1..=3 {
        let node = Node::start(&dir, 2);
        assert_eq!(node.ready.generation, Generation(generation));
        block_on(async {
            let client = node.client(generation);
            let cursor = Position::new(generation - 1, 1);
            let start = if generation == 1 { Start::New } else { Start::from(cursor) };
            let mut news = subscribed(&client, "some.news", start).await;
            if generation > 1 {
                match news.next().await {
                    Some(Event::Gap { from, reason: GapReason::Told(reason), .. }) => {
                        assert_eq!((from, reason), (cursor, multibeam_wire::GapReason::Generation));
                    }
                    other => panic!("no gap but {other:?}"),
                }
            }
            client.publish("some.news", "x").await.unwrap();
            assert_eq!(message(news.next().await).0, Position::new(generation, 1));
        });
        node.stop();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_stop_is_told_to_all_clients() {
    let dir = scratch("stop");
    let node = Node::start(&dir, 2);
    block_on(async {
        let clients: Vec<Client> = (1..=8).map(|seed| node.client(seed)).collect();
        for client in &clients {
            client.wait_connected().await.unwrap();
        }
        let stopped = tokio::task::spawn_blocking(move || node.stop());
        for client in &clients {
            let mut status = client.status();
            while status.state == State::Connected {
                status = client.status_after(status.version).await;
            }
            match status.last_error {
                Some(ConnectionError::Bye { number, .. }) => assert_eq!(number, CloseCode::Shutdown as u16),
                other => panic!("no BYE but {other:?}"),
            }
        }
        stopped.await.unwrap();
    });
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn one_message_reaches_a_thousand_connections() {
    const CONNECTIONS: u64 = 1000;
    let dir = scratch("thousand");
    let node = Node::start(&dir, 2);
    block_on(async {
        let clients: Vec<Client> = (1..=CONNECTIONS).map(|seed| node.client(seed)).collect();
        let mut news = Vec::new();
        for client in &clients {
            news.push(subscribed(client, "alarm.news", Start::New).await);
        }
        assert_eq!(node.metric("multibeam_sessions").iter().sum::<u64>(), CONNECTIONS);
        clients[0].publish("alarm.news", "hello").await.unwrap();
        for subscription in &mut news {
            assert_eq!(message(subscription.next().await), (Position::new(1, 1), b"hello".to_vec()));
        }
    });
    node.stop();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn the_admin_server_answers() {
    let dir = scratch("admin");
    let node = Node::start(&dir, 3);
    let (status, body) = node.get("/healthz");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["status"], &body["shards"]), (200, &"ok".into(), &3.into()));
    // Many at once share a round of probes.
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..20).map(|_| scope.spawn(|| node.get("/healthz").0)).collect();
        assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 200));
    });
    assert_eq!(node.metric("multibeam_turns_total").len(), 3);
    assert!(node.get("/").1.contains("/healthz"));
    assert_eq!(node.get("/nothing").0, 404);
    // A connection that asks nothing does not hold up the end.
    let _idle = TcpStream::connect(node.ready.admin).unwrap();
    node.stop();
    std::fs::remove_dir_all(&dir).unwrap();
}
