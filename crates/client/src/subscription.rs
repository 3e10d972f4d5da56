//! A subscription in the hands of the application.

use crate::ack::AckHandle;
use crate::cursor::Cursor;
use crate::event::Event;
use crate::session::Next;
use crate::shared::Shared;
use futures_core::Stream;
use multibeam_wire::SubscriptionId;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The events of a topic or filter, in order. Dropping it unsubscribes.
///
/// An event counts as handled, and is acknowledged to the node, when the application comes back for the
/// next one; with [manual acks](Self::with_manual_acks) a message does when it says so. What is not handled
/// holds up the node once the window is full, for all subscriptions of the client.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: SubscriptionId,
    topic: Arc<str>,
}

impl Subscription {
    pub(crate) fn new(shared: Arc<Shared>, id: SubscriptionId, topic: &str) -> Self {
        Self { shared, id, topic: Arc::from(topic) }
    }

    /// The same subscription, whose messages count as handled when they are
    /// [acknowledged](crate::Message::ack): in any order, by any task. A message that is dropped without an
    /// ack comes again. How many can be held is bounded by the client's window; a node closes the
    /// connection of a client that holds one for too long, which loses nothing.
    ///
    /// Gaps and the like are handled when the application comes back, as without manual acks.
    #[must_use]
    pub fn with_manual_acks(self) -> Self {
        self.shared.with(|locked, _| locked.session.manual_acks(self.id));
        self
    }

    /// The next event; `None` after [`Event::Ended`], and when the client is closed and the
    /// queue is empty. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Behind the last event that [`Self::next`] returned: stored together with what the application made
    /// of that event, it lets another process go on exactly there, with [`crate::Start::After`]. `None` as
    /// long as there is none.
    ///
    /// With manual acks it says nothing of the messages before it: see [`Self::cursor_handled`].
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.shared.with(|locked, _| locked.session.cursor(self.id).cloned())
    }

    /// Behind everything that is handled without a hole: whoever begins there misses nothing, and gets
    /// again what was in hand.
    #[must_use]
    pub fn cursor_handled(&self) -> Option<Cursor> {
        self.shared.with(|locked, _| locked.session.cursor_handled(self.id).cloned())
    }

    /// The topic or filter that this follows; empty for [`crate::Client::system`].
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn poll_event(&self, context: &Context<'_>) -> Poll<Option<Event>> {
        let next = self.shared.with(|locked, now_ms| {
            let next = locked.session.next_event(self.id, now_ms);
            locked.cursor_moved(self.id);
            if next == Next::Wait {
                locked.readers.insert(self.id, context.waker().clone());
            }
            next
        });
        match next {
            Next::Event(Event::Message(mut message), Some(owed)) => {
                message.ack = Some(AckHandle::new(Arc::clone(&self.shared), self.id, owed));
                Poll::Ready(Some(Event::Message(message)))
            }
            Next::Event(event, _) => Poll::Ready(Some(event)),
            Next::End => Poll::Ready(None),
            Next::Wait => Poll::Pending,
        }
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.with(|locked, now_ms| {
            locked.readers.remove(&self.id);
            locked.savers.remove(&self.id);
            locked.session.unsubscribe(self.id, now_ms);
        });
    }
}
