//! An application of the project's client, step by step: who waits for ever fails.

#![allow(dead_code, reason = "each test uses a part of it")]

use multibeam_client::{
    Client, ClientStats, Config, Event, PublishError, Published, Publishing, Start, State, Status,
    Subscription, TcpConnector,
};
use std::sync::Mutex;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Each wait ends far earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is not there after this is not on its way any more, if nobody is about to send it.
const MOMENT: Duration = Duration::from_millis(1);

/// One client, with its own thread, that follows one topic and publishes to it.
pub(crate) struct User {
    runtime: Runtime,
    client: Client,
    topic: String,
    news: Mutex<Subscription>,
}

impl User {
    /// Returns once it follows its topic. Its connections are made where this was called.
    pub(crate) fn start(server: &str, topic: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let seed =
            server.bytes().chain(topic.bytes()).fold(1, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte));
        let client = {
            let _entered = runtime.enter();
            Client::connect(Config::new(server, seed), TcpConnector)
        };
        let news = Mutex::new(client.subscribe(topic, Start::New).unwrap());
        let user = Self { runtime, client, topic: topic.to_owned(), news };
        let first = user.next("it follows");
        assert!(matches!(first, Event::Subscribed { .. }), "{first:?}");
        user
    }

    fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let bounded = async { tokio::time::timeout(PATIENCE, future).await };
        self.runtime.block_on(bounded).unwrap_or_else(|_| panic!("waited in vain: {what}"))
    }

    fn next(&self, what: &str) -> Event {
        self.wait(what, self.news.lock().unwrap().next()).unwrap()
    }

    /// Publishes, which succeeds.
    pub(crate) fn publish(&self, body: &str) {
        let publishing = self.begin_publish(body);
        self.finish(publishing);
    }

    pub(crate) fn begin_publish(&self, body: &str) -> Publishing {
        self.client.publish(self.topic.clone(), body)
    }

    /// Waits for a publish to succeed.
    pub(crate) fn finish(&self, publishing: Publishing) {
        self.end(publishing).unwrap();
    }

    /// Waits for a publish to end.
    pub(crate) fn end(&self, publishing: Publishing) -> Result<Published, PublishError> {
        self.wait("a publish ends", publishing)
    }

    pub(crate) fn is_pending(&self, publishing: &mut Publishing) -> bool {
        self.runtime.block_on(async { tokio::time::timeout(MOMENT, publishing).await }).is_err()
    }

    /// The body of the next message, which it waits for; nothing else comes before.
    pub(crate) fn message(&self) -> Vec<u8> {
        let event = self.next("a message");
        let Event::Message(message) = &event else { panic!("no message but {event:?}") };
        message.body.to_vec()
    }

    /// Whether nothing has come that was not taken.
    pub(crate) fn has_no_news(&self) -> bool {
        let mut news = self.news.lock().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(MOMENT, news.next()).await }).is_err()
    }

    /// Waits for the client to be in some state.
    pub(crate) fn wait_for(&self, what: &str, mut is_so: impl FnMut(&Status) -> bool) {
        self.wait(what, async {
            let mut status = self.client.status();
            while !is_so(&status) {
                status = self.client.status_after(status.version).await;
            }
        });
    }

    pub(crate) fn state(&self) -> State {
        self.client.state()
    }

    pub(crate) fn stats(&self) -> ClientStats {
        self.client.stats()
    }
}
