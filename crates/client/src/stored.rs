//! A subscription whose cursor is kept in a store, and the task that saves it.
//!
//! ```text
//!   next, ack ──moved──► task: save, then pause for the interval, then save what moved meanwhile …
//!   close, drop ──ended──► … and a last time at once
//! ```
//!
//! One task a subscription, so that a save never overtakes another. It holds the session, not the client.

use crate::cursor::Cursor;
use crate::error::CursorStoreError;
use crate::event::Event;
use crate::shared::Shared;
use crate::store::{CursorStore, SavedCursor};
use crate::subscription::Subscription;
use futures_core::Stream;
use multibeam_wire::SubscriptionId;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// A [`Subscription`] whose cursor is saved: that of what is handled, at most once an interval
/// ([`crate::Config::cursor_save_interval`]), and when it ends.
///
/// At least once: what was handled and not yet saved before a crash comes again. [`Self::close`] waits for
/// the last save; dropping it starts one, and can't tell whether it succeeds.
#[derive(Debug)]
pub struct StoredSubscription {
    /// `None` once it has ended.
    subscription: Option<Subscription>,
    saving: Arc<Saving>,
    task: JoinHandle<Result<(), CursorStoreError>>,
}

impl StoredSubscription {
    pub(crate) fn new(
        subscription: Subscription,
        name: &str,
        store: impl CursorStore,
        interval: Duration,
    ) -> Self {
        let (shared, id) = (Arc::clone(&subscription.shared), subscription.id);
        let loaded = subscription.cursor_handled();
        let saving = Arc::new(Saving::default());
        shared.with(|locked, _| locked.savers.insert(id, Arc::clone(&saving.rung)));
        let saver = Saver {
            shared,
            id,
            name: name.to_owned(),
            topic: subscription.topic().to_owned(),
            store,
            interval,
            saving: Arc::clone(&saving),
            saved: loaded,
        };
        Self { subscription: Some(subscription), saving, task: tokio::spawn(saver.run()) }
    }

    /// As [`Subscription::with_manual_acks`].
    #[must_use]
    pub fn with_manual_acks(mut self) -> Self {
        self.subscription = self.subscription.take().map(Subscription::with_manual_acks);
        self
    }

    /// As [`Subscription::next`].
    ///
    /// # Errors
    /// The cursor could not be saved. No event is lost: the next call goes on, and the save is tried
    /// again. Until it succeeds, a restart repeats what came since the last one that did.
    pub async fn next(&mut self) -> Result<Option<Event>, CursorStoreError> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// As [`Subscription::cursor_handled`]: what was saved or will be next.
    #[must_use]
    pub fn cursor_handled(&self) -> Option<Cursor> {
        self.subscription.as_ref().and_then(Subscription::cursor_handled)
    }

    /// Ends the subscription and waits until its cursor is saved. With automatic acks this says that the
    /// last event is handled.
    ///
    /// # Errors
    /// The last save failed: what was handled since the one before comes again.
    pub async fn close(mut self) -> Result<(), CursorStoreError> {
        if let Some(subscription) = &self.subscription {
            let id = subscription.id;
            subscription.shared.with(|locked, now_ms| locked.session.come_back(id, now_ms));
        }
        self.end();
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(CursorStoreError::Unavailable { detail: error.to_string() }),
        }
    }

    fn poll_event(&self, context: &Context<'_>) -> Poll<Result<Option<Event>, CursorStoreError>> {
        let Some(subscription) = &self.subscription else { return Poll::Ready(Ok(None)) };
        if let Some(error) = self.saving.take_error() {
            return Poll::Ready(Err(error));
        }
        match subscription.poll_event(context) {
            Poll::Ready(event) => Poll::Ready(Ok(event)),
            // An error that came before the waker was there has woken nobody.
            Poll::Pending => self.saving.take_error().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }

    /// The last words to the task: where the subscription stood when it ended.
    fn end(&mut self) {
        if let Some(subscription) = self.subscription.take() {
            let last = subscription.cursor_handled();
            self.saving.with(|state| state.last = Some(last));
            self.saving.ended.notify_one();
        }
    }
}

impl Stream for StoredSubscription {
    type Item = Result<Event, CursorStoreError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context).map(Result::transpose)
    }
}

impl Drop for StoredSubscription {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the handle and the task tell each other.
#[derive(Debug, Default)]
struct Saving {
    state: Mutex<State>,
    /// The handled cursor may have moved.
    rung: Arc<Notify>,
    /// `last` is set.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    error: Option<CursorStoreError>,
    /// The last cursor of a subscription that has ended.
    last: Option<Option<Cursor>>,
}

impl Saving {
    fn with<R>(&self, call: impl FnOnce(&mut State) -> R) -> R {
        call(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_error(&self) -> Option<CursorStoreError> {
        self.with(|state| state.error.take())
    }
}

/// The task.
struct Saver<S> {
    shared: Arc<Shared>,
    id: SubscriptionId,
    name: String,
    topic: String,
    store: S,
    interval: Duration,
    saving: Arc<Saving>,
    saved: Option<Cursor>,
}

impl<S: CursorStore> Saver<S> {
    async fn run(mut self) -> Result<(), CursorStoreError> {
        loop {
            tokio::select! {
                biased;
                () = self.saving.ended.notified() => return self.save().await,
                () = self.saving.rung.notified() => {}
            }
            if let Err(error) = self.save().await {
                self.tell(error);
                // There is something to save whether or not more is handled meanwhile.
                self.saving.rung.notify_one();
            }
            let next = Instant::now() + self.interval;
            if timeout_at(next, self.saving.ended.notified()).await.is_ok() {
                return self.save().await;
            }
        }
    }

    /// Saves where the subscription stands, unless that is saved already.
    async fn save(&mut self) -> Result<(), CursorStoreError> {
        let last = self.saving.with(|state| state.last.clone());
        let present = || self.shared.with(|locked, _| locked.session.cursor_handled(self.id).cloned());
        let Some(cursor) = last.unwrap_or_else(present) else { return Ok(()) };
        if self.saved.as_ref() == Some(&cursor) {
            return Ok(());
        }
        let saved = SavedCursor { topic: self.topic.clone(), cursor };
        self.store.save(&self.name, &saved).await?;
        self.saved = Some(saved.cursor);
        Ok(())
    }

    fn tell(&self, error: CursorStoreError) {
        self.saving.with(|state| state.error = Some(error));
        if let Some(waker) = self.shared.with(|locked, _| locked.readers.remove(&self.id)) {
            waker.wake();
        }
    }
}
