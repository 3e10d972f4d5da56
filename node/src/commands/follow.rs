//! What `sub` and `history` share: several subscriptions as one stream, and lines for those who read.

use super::Failure;
use multibeam_client::{Client, CursorStoreError, Event, State, StoredSubscription, Subscription};
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, Write};
use std::pin::pin;
use std::task::Poll;

/// A subscription and what it follows.
#[derive(Debug)]
pub(super) struct Followed {
    /// The topic or filter.
    pub(super) name: String,
    pub(super) stream: Stream,
}

/// Where events come from.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Subscription),
    /// Its cursor is kept in a file.
    Stored(StoredSubscription),
}

impl Followed {
    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        match &mut self.stream {
            Stream::Plain(subscription) => Ok(subscription.next().await),
            Stream::Stored(stored) => stored.next().await.map_err(unsaved),
        }
    }

    /// Ends it; what was taken is handled.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Stored(stored) => stored.close().await.map_err(unsaved),
        }
    }
}

fn unsaved(error: CursorStoreError) -> Failure {
    Failure::Failed(format!("can't save the cursor: {error}"))
}

/// The next event of any, and of which; each has its turn. Dropping the future loses nothing.
pub(super) async fn next(all: &mut [Followed], turn: &mut usize) -> (usize, Result<Option<Event>, Failure>) {
    std::future::poll_fn(|context| {
        for step in 0..all.len() {
            let at = (*turn + step) % all.len();
            if let Poll::Ready(event) = pin!(all[at].next()).poll(context) {
                *turn = at + 1;
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Prints a line at once, also into a pipe. False: whoever read this has seen enough.
pub(super) fn print(line: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Failed(format!("can't write to the standard output: {error}"))),
    }
}

/// Says when the connection is lost; the client comes back by itself.
pub(super) async fn tell_losses(client: &Client) -> Infallible {
    let mut status = client.status();
    let (mut was_connected, mut lost) = (false, false);
    loop {
        match status.state {
            State::Connected | State::Stale if lost => {
                lost = false;
                eprintln!("multibeam: connected again");
            }
            State::Waiting | State::Connecting if was_connected && !lost => {
                lost = true;
                let why = status.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
                eprintln!("multibeam: {why}; connecting again");
            }
            State::Connected | State::Stale | State::Waiting | State::Connecting | State::Closed => {}
        }
        was_connected |= status.state == State::Connected;
        status = client.status_after(status.version).await;
    }
}
