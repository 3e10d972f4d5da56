//! Connections that other nodes dial.

use super::{TurnedAway, connection, handshake};
use crate::cluster::Cluster;
use crate::platform::Platform;
use axum::serve::Listener;
use handshake::Failed;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

/// Time for a dialler to say who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);

/// Accepts as long as the node lives.
pub(in crate::cluster) fn spawn<P: Platform>(cluster: &Cluster<P>, mut listener: P::LinkListener) {
    let cluster = cluster.clone();
    let platform = cluster.inner.platform.clone();
    platform.spawn(async move {
        loop {
            let (stream, from): (_, SocketAddr) = listener.accept().await;
            let over = cluster.inner.links.borrow_mut().greets();
            let accept = Accept { cluster: cluster.clone(), from: from.ip(), over };
            cluster.inner.platform.spawn(accept.serve(stream));
        }
    });
}

/// One that dialled.
struct Accept<P: Platform> {
    cluster: Cluster<P>,
    from: IpAddr,
    /// The handshake has to give way.
    over: Rc<Notify>,
}

impl<P: Platform> Accept<P> {
    async fn serve(self, stream: P::LinkStream) {
        match self.cluster.inner.tls.clone() {
            None => self.exchange(stream).await,
            Some(tls) => match self.in_time(tls.accept(stream)).await {
                Some(Ok(stream)) => {
                    self.cluster.inner.numbers.secured(&stream);
                    self.exchange(stream).await;
                }
                Some(Err(error)) => self.turn_away(&error.into()),
                None => self.greeted(),
            },
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let cluster = &self.cluster;
        match self.in_time(handshake::accept(cluster, &mut stream)).await {
            Some(Ok(established)) => {
                self.greeted();
                cluster.inner.links.borrow_mut().accepted += 1;
                connection::run(cluster, stream, established).await;
                cluster.inner.links.borrow_mut().accepted -= 1;
            }
            Some(Err(error)) => self.turn_away(&error),
            None => self.greeted(),
        }
    }

    fn greeted(&self) {
        self.cluster.inner.links.borrow_mut().greeted(&self.over);
    }

    fn turn_away(&self, Failed { peer, error }: &Failed) {
        self.greeted();
        if error.is_lasting() && !error.is_itself() {
            let (from, peer, why, at) = (self.from, *peer, error.to_string(), self.cluster.now());
            self.cluster.inner.links.borrow_mut().turned_away = Some(TurnedAway { from, peer, why, at });
        }
    }

    /// `None`: it takes too long, or has to give way to another.
    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.over.notified() => None,
            () = self.cluster.inner.platform.sleep(HANDSHAKE_MAX) => None,
        }
    }
}
