//! A publish that is under way.

use crate::error::PublishError;
use crate::publish::Published;
use crate::session::Ticket;
use crate::shared::Shared;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The end of one publish, as a future. The publish is in line from the call of
/// [`crate::Client::publish`] on, polled or not.
///
/// Dropping it forgets the outcome. A publish that was [accepted](Self::accepted) goes on all
/// the same; one that still waits for a place is taken back and not sent.
#[derive(Debug)]
#[must_use = "a publish can fail, and one that was not yet accepted is taken back when this is dropped"]
pub struct Publishing {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Refused(PublishError),
    Waiting(Arc<Shared>, Ticket),
}

impl Publishing {
    pub(crate) const fn refused(error: PublishError) -> Self {
        Self { inner: Inner::Refused(error) }
    }

    pub(crate) const fn waiting(shared: Arc<Shared>, ticket: Ticket) -> Self {
        Self { inner: Inner::Waiting(shared, ticket) }
    }

    /// Waits until the client has a place for the publish, which is back-pressure for an
    /// application that sends many without waiting for each one's end. Returns also when the
    /// publish has ended.
    pub async fn accepted(&mut self) {
        std::future::poll_fn(|context| match &self.inner {
            Inner::Refused(_) => Poll::Ready(()),
            Inner::Waiting(shared, ticket) => {
                shared.with(|locked, _| match locked.publishes.get_mut(ticket) {
                    Some(waiter) if !waiter.accepted && waiter.outcome.is_none() => {
                        waiter.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                    Some(_) | None => Poll::Ready(()),
                })
            }
        })
        .await;
    }
}

impl Future for Publishing {
    type Output = Result<Published, PublishError>;

    /// # Panics
    /// When polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.inner {
            Inner::Refused(error) => Poll::Ready(Err(error.clone())),
            Inner::Waiting(shared, ticket) => shared.with(|locked, _| {
                let waiter = locked.publishes.get_mut(ticket);
                assert!(waiter.is_some(), "a publish was polled after its end");
                match waiter.map(|waiter| (waiter.outcome.take(), waiter)) {
                    Some((None, waiter)) => {
                        waiter.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                    Some((Some(outcome), _)) => {
                        locked.publishes.remove(ticket);
                        Poll::Ready(outcome)
                    }
                    None => Poll::Pending,
                }
            }),
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        if let Inner::Waiting(shared, ticket) = &self.inner {
            shared.with(|locked, _| {
                if locked.publishes.remove(ticket).is_some() {
                    locked.session.take_back(*ticket);
                }
            });
        }
    }
}
