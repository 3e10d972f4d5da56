//! How other threads reach the cluster, which lives on the node's runtime thread alone.
//!
//! ```text
//!  admin server ─► ClusterControl ─► serve ─► Cluster
//!        ▲                             │
//!        └────────── answers ──────────┘
//! ```
//!
//! Questions are answered at once; of bootstraps and removals there is one at a time. Each wait has a bound.

use super::{BootstrapError, Cluster, ClusterReadings, ClusterStatus, RemoveError, Standing};
use crate::platform::Platform;
use multibeam_wire::link::ClusterId;
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait to be taken up: more than the admin server has connections.
const REQUESTS_MAX: usize = 64;

/// How long a bootstrap or a removal may take before whoever asked is told that it is not done: some writes to
/// disks and two rounds between voters take far less than a second.
const CHANGE_MAX: Duration = Duration::from_secs(10);

/// Why there is no answer. Each is one sentence for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody takes it up.
    #[error("the node answers nothing about its cluster: too many ask at once, or it is ending; ask again")]
    Overloaded,
    /// Another change is under way.
    #[error("another bootstrap or removal is under way on this node: ask again when it has ended")]
    Busy,
    /// It takes too long.
    #[error(
        "not done within {} s, and it may still be: see 'multibeam cluster status' before asking again",
        .0.as_secs()
    )]
    Late(Duration),
}

/// What became of a change.
pub type Changed<T, E> = Result<Result<T, E>, Unanswered>;

#[derive(Debug)]
enum Request {
    Standing(oneshot::Sender<Standing>),
    Status(oneshot::Sender<ClusterStatus>),
    Readings(oneshot::Sender<ClusterReadings>),
    Bootstrap(oneshot::Sender<Changed<ClusterId, BootstrapError>>),
    Remove(String, oneshot::Sender<Changed<(), RemoveError>>),
}

/// Asks the cluster of this process, from any thread.
#[derive(Clone, Debug)]
pub struct ClusterControl {
    requests: mpsc::Sender<Request>,
}

/// The other side of [`ClusterControl`].
#[derive(Debug)]
pub struct ClusterRequests(mpsc::Receiver<Request>);

/// A pair.
#[must_use]
pub fn cluster_control() -> (ClusterControl, ClusterRequests) {
    let (requests, requests_out) = mpsc::channel(REQUESTS_MAX);
    (ClusterControl { requests }, ClusterRequests(requests_out))
}

impl ClusterControl {
    /// Whether the node may lead.
    ///
    /// # Errors
    /// [`Unanswered::Overloaded`].
    pub async fn standing(&self) -> Result<Standing, Unanswered> {
        self.ask(Request::Standing).await
    }

    /// The cluster as this node knows it.
    ///
    /// # Errors
    /// [`Unanswered::Overloaded`].
    pub async fn status(&self) -> Result<ClusterStatus, Unanswered> {
        self.ask(Request::Status).await
    }

    /// The same as numbers.
    ///
    /// # Errors
    /// [`Unanswered::Overloaded`].
    pub async fn readings(&self) -> Result<ClusterReadings, Unanswered> {
        self.ask(Request::Readings).await
    }

    /// See [`Cluster::bootstrap`].
    ///
    /// # Errors
    /// See [`Unanswered`]; the inner ones are those of the bootstrap.
    pub async fn bootstrap(&self) -> Changed<ClusterId, BootstrapError> {
        self.ask(Request::Bootstrap).await?
    }

    /// See [`Cluster::remove`].
    ///
    /// # Errors
    /// See [`Unanswered`]; the inner ones are those of the removal.
    pub async fn remove(&self, node: String) -> Changed<(), RemoveError> {
        self.ask(|answer| Request::Remove(node, answer)).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|_| Unanswered::Overloaded)?;
        answered.await.map_err(|_| Unanswered::Overloaded)
    }
}

/// Answers until every [`ClusterControl`] is gone.
pub async fn serve_cluster<P: Platform>(cluster: Cluster<P>, requests: ClusterRequests) {
    let mut requests = requests.0;
    let changes = Changes { cluster: cluster.clone(), busy: Rc::default() };
    while let Some(request) = requests.recv().await {
        // Whoever asked may have gone.
        match request {
            Request::Standing(answer) => drop(answer.send(cluster.standing())),
            Request::Status(answer) => drop(answer.send(cluster.status())),
            Request::Readings(answer) => drop(answer.send(cluster.readings())),
            Request::Bootstrap(answer) => {
                let cluster = cluster.clone();
                changes.begin(async move { cluster.bootstrap().await }, answer);
            }
            Request::Remove(node, answer) => {
                let cluster = cluster.clone();
                changes.begin(async move { cluster.remove(&node).await }, answer);
            }
        }
    }
}

/// What an operator changes: one thing at a time.
struct Changes<P: Platform> {
    cluster: Cluster<P>,
    busy: Rc<Cell<bool>>,
}

impl<P: Platform> Changes<P> {
    /// Begins a change and answers when it is done, or late. Once begun it goes on to its end: half of it would be
    /// neither done nor undone.
    fn begin<T: 'static, E: 'static>(
        &self,
        change: impl Future<Output = Result<T, E>> + 'static,
        answer: oneshot::Sender<Changed<T, E>>,
    ) {
        if self.busy.replace(true) {
            let _ = answer.send(Err(Unanswered::Busy));
            return;
        }
        let (platform, busy) = (self.cluster.inner.platform.clone(), Rc::clone(&self.busy));
        self.cluster.inner.platform.spawn(async move {
            let mut change = pin!(change);
            tokio::select! {
                biased;
                done = &mut change => drop(answer.send(Ok(done))),
                () = platform.sleep(CHANGE_MAX) => {
                    let _ = answer.send(Err(Unanswered::Late(CHANGE_MAX)));
                    let _ = change.await;
                }
            }
            busy.set(false);
        });
    }
}
