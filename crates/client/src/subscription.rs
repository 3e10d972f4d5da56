//! A subscription in the hands of the application.

use crate::event::Event;
use crate::session::Next;
use crate::shared::Shared;
use futures_core::Stream;
use multibeam_wire::{Position, SubscriptionId, TopicName};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One topic's events, in order. Dropping it unsubscribes.
///
/// An event counts as handled, and is acknowledged to the node, when the application comes
/// back for the next one. What is not handled holds up the node once the window is full, for
/// all subscriptions of the client.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    id: SubscriptionId,
    topic: TopicName,
}

impl Subscription {
    pub(crate) const fn new(shared: Arc<Shared>, id: SubscriptionId, topic: TopicName) -> Self {
        Self { shared, id, topic }
    }

    /// The next event; `None` after [`Event::Ended`], and when the client is closed and the
    /// queue is empty. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Position of the last event that [`Self::next`] returned: another client that starts
    /// with [`crate::Start::After`] it goes on where this one stood. `None` as long as there is
    /// none.
    #[must_use]
    pub fn cursor(&self) -> Option<Position> {
        self.shared.with(|locked, _| locked.session.cursor(self.id))
    }

    /// The topic that this follows.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    fn poll_event(&self, context: &Context<'_>) -> Poll<Option<Event>> {
        self.shared.with(|locked, now_ms| match locked.session.next_event(self.id, now_ms) {
            Next::Event(event) => Poll::Ready(Some(event)),
            Next::End => Poll::Ready(None),
            Next::Wait => {
                locked.readers.insert(self.id, context.waker().clone());
                Poll::Pending
            }
        })
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
            locked.session.unsubscribe(self.id, now_ms);
        });
    }
}
