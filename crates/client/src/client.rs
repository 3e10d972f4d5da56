//! The handle of a client.

use crate::config::Config;
use crate::connector::Connector;
use crate::cursor::Start;
use crate::driver;
use crate::error::{ConnectionError, CursorStoreError, SubscribeError};
use crate::publish::{Publish, QueueFull};
use crate::publishing::Publishing;
use crate::session::Session;
use crate::shared::{Locked, PublishWaiter, Shared};
use crate::status::{ClientStats, State, Status};
use crate::store::{CursorStore, SavedCursor};
use crate::stored::StoredSubscription;
use crate::subscription::Subscription;
use std::sync::Arc;

/// A client of a cluster. Cheap to clone; when the last clone is dropped, the connection ends
/// with BYE, and so do subscriptions once their queues are empty.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(|locked, _| locked.session.close());
    }
}

impl Client {
    /// Makes a client, which connects in the background. Values of `config` outside their
    /// range are moved to its nearest end.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    #[must_use]
    pub fn connect(config: Config, connector: impl Connector) -> Self {
        let shared = Arc::new(Shared::new(Session::new(config)));
        tokio::spawn(driver::run(Arc::clone(&shared), connector));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Publishes `body` to `topic`: [`Self::publish_with`] without options.
    pub fn publish(&self, topic: impl Into<String>, body: impl Into<Vec<u8>>) -> Publishing {
        self.publish_with(Publish::to(topic, body))
    }

    /// Publishes. The message is in line when this returns, before the future is polled; it
    /// resolves when the cluster has stored the message. Messages are sent, and stored per topic, in
    /// the order of the calls.
    ///
    /// While the queue is full, the message waits with its future for a place in it. Who sends many
    /// without waiting for each one's end is held back by [`Publishing::accepted`].
    ///
    /// # Errors
    /// The future's: see [`PublishError`](crate::PublishError), and its `is_definite` for whether the
    /// message is certainly not stored. Every publish ends: by its
    /// [deadline](crate::Config::publish_deadline), its time to live, or with the client.
    pub fn publish_with(&self, publish: Publish) -> Publishing {
        let shared = &self.handle.shared;
        shared.with(|locked, now_ms| enter(shared, locked, publish, now_ms))
    }

    /// Publishes if the queue has a place at once, and nobody waits for one.
    ///
    /// # Errors
    /// [`QueueFull`], with the message; nothing was sent.
    pub fn try_publish(&self, publish: Publish) -> Result<Publishing, QueueFull> {
        let shared = &self.handle.shared;
        shared.with(|locked, now_ms| {
            let publish = locked.session.reserve(publish)?;
            Ok(enter(shared, locked, publish, now_ms))
        })
    }

    /// Follows a topic, or the topics that a filter matches (`alarm.*`, `alarm.>`), from `start` on, over
    /// reconnects.
    ///
    /// # Errors
    /// See [`SubscribeError`]. What the node has against it comes as
    /// [`crate::Event::Ended`].
    pub fn subscribe(&self, topic: &str, start: impl Into<Start>) -> Result<Subscription, SubscribeError> {
        let shared = &self.handle.shared;
        let id = shared.with(|locked, _| locked.session.subscribe(topic, start.into()))?;
        Ok(Subscription::new(Arc::clone(shared), id, topic))
    }

    /// Follows a topic or filter from the cursor that `store` holds under `name`, or from `start_if_none`
    /// where it holds none, and saves the cursor of what is handled there.
    ///
    /// A crash between the handling of a message and the save of its cursor repeats the message: at
    /// least once. Who stores [`Subscription::cursor`] in one transaction with what a message changed has
    /// exactly once, and needs no store here. A name belongs to one running subscription.
    ///
    /// # Errors
    /// See [`SubscribeError`]. A cursor that can't be read, or belongs to another topic, is an
    /// error and never a start from somewhere else.
    pub async fn subscribe_stored(
        &self,
        name: &str,
        topic: &str,
        start_if_none: impl Into<Start>,
        store: impl CursorStore,
    ) -> Result<StoredSubscription, SubscribeError> {
        let loaded = store.load(name).await?;
        let start = match loaded {
            None => start_if_none.into(),
            Some(SavedCursor { topic: stored, cursor }) if stored == topic => Start::After(cursor),
            Some(SavedCursor { topic: stored, .. }) => {
                let (name, asked) = (name.to_owned(), topic.to_owned());
                return Err(CursorStoreError::OtherTopic { name, stored, asked }.into());
            }
        };
        let subscription = self.subscribe(topic, start)?;
        let interval = self.handle.shared.with(|locked, _| locked.session.cursor_save_interval());
        Ok(StoredSubscription::new(subscription, name, store, interval))
    }

    /// Follows what the node itself says (`sys.*`), from here on. Until somebody asks, and once that is
    /// dropped, the client acknowledges and drops these messages and counts them
    /// ([`ClientStats::system_dropped`]). Silent on a node without such topics.
    ///
    /// # Errors
    /// [`SubscribeError::SystemTaken`], [`SubscribeError::Closed`].
    pub fn system(&self) -> Result<Subscription, SubscribeError> {
        let shared = &self.handle.shared;
        let id = shared.with(|locked, _| locked.session.subscribe_system())?;
        Ok(Subscription::new(Arc::clone(shared), id, ""))
    }

    /// Waits until the client is connected, be it to a node that serves nobody at present
    /// ([`State::Stale`]).
    ///
    /// # Errors
    /// The last error, once every server was tried in vain since the last connection, or
    /// when the client is closed. The client itself goes on trying until it is closed.
    pub async fn wait_connected(&self) -> Result<(), ConnectionError> {
        let servers = self.handle.shared.with(|locked, _| locked.session.servers().max(1));
        let servers = u32::try_from(servers).unwrap_or(u32::MAX);
        let mut status = self.status();
        loop {
            match status.state {
                State::Connected | State::Stale => return Ok(()),
                State::Closed => return Err(status.last_error.unwrap_or(ConnectionError::Closed)),
                State::Connecting | State::Waiting if status.failures_in_row >= servers => {
                    return Err(status.last_error.unwrap_or(ConnectionError::Closed));
                }
                State::Connecting | State::Waiting => status = self.status_after(status.version).await,
            }
        }
    }

    /// What the client is about.
    #[must_use]
    pub fn state(&self) -> State {
        self.status().state
    }

    /// How the client is doing, with the last error.
    #[must_use]
    pub fn status(&self) -> Status {
        self.handle.shared.with(|locked, _| locked.session.status().clone())
    }

    /// Waits until the status differs from the one with this version; changes in between are
    /// not kept. Does not return after [`State::Closed`].
    pub async fn status_after(&self, version: u64) -> Status {
        loop {
            let mut changed = std::pin::pin!(self.handle.shared.status.notified());
            changed.as_mut().enable();
            let status = self.status();
            if status.version != version {
                return status;
            }
            changed.await;
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.handle.shared.with(|locked, _| locked.session.stats())
    }

    /// Ends the connection with BYE and waits until that is written, a second at most.
    /// Publishes that have not ended, end as [`Unknown`](crate::PublishError::Unknown) if they were sent and as
    /// [`Closed`](crate::PublishError::Closed) if not; wait for them first. Also for all clones.
    pub async fn close(&self) {
        self.handle.shared.with(|locked, _| locked.session.close());
        let mut status = self.status();
        while status.state != State::Closed {
            status = self.status_after(status.version).await;
        }
    }
}

/// Puts a publish in line.
fn enter(shared: &Arc<Shared>, locked: &mut Locked, publish: Publish, now_ms: u64) -> Publishing {
    match locked.session.publish(publish, now_ms) {
        Ok(ticket) => {
            locked.publishes.insert(ticket, PublishWaiter::default());
            Publishing::waiting(Arc::clone(shared), ticket)
        }
        Err(error) => Publishing::refused(error),
    }
}
