//! The handle of a client.

use crate::config::Config;
use crate::connector::Connector;
use crate::driver;
use crate::error::{ConnectionError, PublishError, SubscribeError};
use crate::publishing::Publishing;
use crate::session::Session;
use crate::shared::{PublishWaiter, Shared};
use crate::status::{ClientStats, State, Status};
use crate::subscription::Subscription;
use multibeam_wire::limits::BODY_BYTES_MAX;
use multibeam_wire::{Start, TopicName};
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

    /// Publishes `body` to `topic`. The message is in line when this returns, before the
    /// future is polled; it resolves when the cluster has stored the message. Messages are
    /// sent, and stored per topic, in the order of the calls.
    ///
    /// # Errors
    /// The future's: see [`PublishError`], and [`PublishError::is_definite`] for whether the
    /// message is certainly not stored.
    pub fn publish(&self, topic: &str, body: impl Into<Vec<u8>>) -> Publishing {
        let topic = match TopicName::new(topic) {
            Ok(topic) => topic,
            Err(error) => return Publishing::refused(error.into()),
        };
        let body = body.into();
        if body.len() > BODY_BYTES_MAX {
            return Publishing::refused(PublishError::BodyTooLong { len: body.len() });
        }
        let shared = &self.handle.shared;
        let ticket = shared.with(|locked, now_ms| {
            let ticket = locked.session.publish(topic, body, now_ms);
            locked.publishes.insert(ticket, PublishWaiter::default());
            ticket
        });
        Publishing::waiting(Arc::clone(shared), ticket)
    }

    /// Follows `topic` from `start` on, over reconnects.
    ///
    /// # Errors
    /// See [`SubscribeError`]. What the node has against it comes as
    /// [`crate::Event::Ended`].
    pub fn subscribe(&self, topic: &str, start: Start) -> Result<Subscription, SubscribeError> {
        let topic = TopicName::new(topic)?;
        let shared = &self.handle.shared;
        let id = shared.with(|locked, _| locked.session.subscribe(topic.clone(), start))?;
        Ok(Subscription::new(Arc::clone(shared), id, topic))
    }

    /// Waits until the client is connected.
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
                State::Connected => return Ok(()),
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
    /// Publishes that have not ended, end as [`PublishError::Unknown`] if they were sent and as
    /// [`PublishError::Closed`] if not; wait for them first. Also for all clones.
    pub async fn close(&self) {
        self.handle.shared.with(|locked, _| locked.session.close());
        let mut status = self.status();
        while status.state != State::Closed {
            status = self.status_after(status.version).await;
        }
    }
}
