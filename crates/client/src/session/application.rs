//! The application's side of a session: what its handles call.

use super::{HandoutId, Link, Next, Session, Ticket};
use crate::cursor::{Cursor, Start};
use crate::error::{ConnectionError, PublishError, SubscribeError};
use crate::publish::{Publish, QueueFull};
use crate::session::target::Target;
use crate::status::{ClientStats, Status};
use multibeam_wire::{CloseCode, SubscriptionId};
use std::time::Duration;

impl Session {
    /// Takes over a message for the cluster. Its end comes as [`super::Notice::PublishEnded`].
    ///
    /// # Errors
    /// Where no node could take it; nothing is queued.
    pub fn publish(&mut self, publish: Publish, now_ms: u64) -> Result<Ticket, PublishError> {
        publish.check()?;
        let ticket = self.ledger.publishes.push(publish, now_ms, &mut self.ledger.notices);
        if self.closed {
            self.ledger.publishes.close(&mut self.ledger.notices);
        }
        self.wake = true;
        self.invariants();
        Ok(ticket)
    }

    /// Hands a publish back that would not be accepted at once.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn reserve(&self, publish: Publish) -> Result<Publish, QueueFull> {
        if self.ledger.publishes.has_room(publish.bytes()) {
            return Ok(publish);
        }
        let (messages, bytes) = self.ledger.publishes.held();
        Err(QueueFull { publish, messages, bytes })
    }

    /// Forgets a publish that was not yet accepted.
    pub fn take_back(&mut self, ticket: Ticket) {
        self.ledger.publishes.take_back(ticket, &mut self.ledger.notices);
        self.wake = true;
    }

    /// Adds a subscription to a topic or a filter; it lives until [`Self::unsubscribe`].
    ///
    /// # Errors
    /// See [`SubscribeError`].
    pub fn subscribe(&mut self, topic: &str, start: Start) -> Result<SubscriptionId, SubscribeError> {
        let id = self.ledger.subscriptions.add(Target::new(topic)?, start)?;
        self.wake = true;
        Ok(id)
    }

    /// Makes the node's system messages a subscription, from here on, until [`Self::unsubscribe`].
    ///
    /// # Errors
    /// [`SubscribeError::SystemTaken`], [`SubscribeError::Closed`].
    pub fn subscribe_system(&mut self) -> Result<SubscriptionId, SubscribeError> {
        self.ledger.subscriptions.add_system()
    }

    /// Messages that the subscription hands out from here on owe an [`Self::ack`].
    pub fn manual_acks(&mut self, id: SubscriptionId) {
        self.ledger.subscriptions.manual_acks(id);
    }

    /// Forgets a subscription, what waits in its queue and what is in hand.
    pub fn unsubscribe(&mut self, id: SubscriptionId, now_ms: u64) {
        self.ledger.subscriptions.remove(id);
        self.handled(now_ms);
        self.wake = true;
    }

    /// The next event of a subscription. The call says that those before it were handled, but for
    /// messages that owe an ack.
    pub fn next_event(&mut self, id: SubscriptionId, now_ms: u64) -> Next {
        let next = self.ledger.subscriptions.next(id, &mut self.ledger.stats);
        self.handled(now_ms);
        next
    }

    /// Says the same as [`Self::next_event`] and takes nothing.
    pub fn come_back(&mut self, id: SubscriptionId, now_ms: u64) {
        self.ledger.subscriptions.come_back(id);
        self.handled(now_ms);
    }

    /// A message that owed an ack is handled. Once is enough, and in any order.
    pub fn ack(&mut self, id: SubscriptionId, handout: HandoutId, now_ms: u64) {
        self.ledger.subscriptions.ack(id, handout);
        self.handled(now_ms);
    }

    /// A message that owed an ack is not handled: it will be handed out again, before anything newer.
    pub fn give_back(&mut self, id: SubscriptionId, handout: HandoutId) {
        self.ledger.subscriptions.give_back(id, handout, &mut self.ledger.notices);
        self.invariants();
    }

    /// Behind everything that the application took, to be kept together with what it made of it.
    #[must_use]
    pub fn cursor(&self, id: SubscriptionId) -> Option<&Cursor> {
        self.ledger.subscriptions.taken(id)
    }

    /// Behind everything that is handled without a hole.
    #[must_use]
    pub fn cursor_handled(&self, id: SubscriptionId) -> Option<&Cursor> {
        self.ledger.subscriptions.handled(id)
    }

    /// Ends the connection with BYE and everything that waits. Queues can still be emptied.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.ledger.publishes.close(&mut self.ledger.notices);
        self.ledger.subscriptions.close(&mut self.ledger.notices);
        match &mut self.link {
            Link::Open(connection) => connection.end(Some(CloseCode::Normal), ConnectionError::Closed),
            Link::Waiting { .. } | Link::Dialing { .. } | Link::Closed => self.link = Link::Closed,
        }
        self.wake = true;
        self.invariants();
    }

    /// Whether [`Self::close`] was called.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// How the client is doing.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Shortest time between two saves of one stored cursor.
    pub(crate) const fn cursor_save_interval(&self) -> Duration {
        self.config.cursor_save_interval
    }

    /// Servers to try.
    #[must_use]
    pub const fn servers(&self) -> usize {
        self.config.servers.len()
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> ClientStats {
        self.ledger.stats
    }
}
