//! Connections that other nodes dial.

use super::{ACCEPTED_MAX, connection, handshake};
use crate::cluster::Cluster;
use crate::platform::Platform;
use axum::serve::Listener;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Time for a dialler to say who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);

/// Accepts as long as the node lives.
pub(in crate::cluster) fn spawn<P: Platform>(cluster: &Cluster<P>, mut listener: P::LinkListener) {
    let cluster = cluster.clone();
    let platform = cluster.inner.platform.clone();
    platform.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await;
            // Beyond, nobody is told: these are no nodes of ours.
            if cluster.inner.links.borrow().accepted >= ACCEPTED_MAX {
                continue;
            }
            cluster.inner.links.borrow_mut().accepted += 1;
            let accepted = cluster.clone();
            cluster.inner.platform.spawn(async move {
                serve(&accepted, stream).await;
                accepted.inner.links.borrow_mut().accepted -= 1;
            });
        }
    });
}

async fn serve<P: Platform>(cluster: &Cluster<P>, stream: P::LinkStream) {
    let tls = cluster.inner.tls.clone();
    match tls {
        None => exchange(cluster, stream).await,
        Some(tls) => {
            let secured = tokio::select! {
                biased;
                secured = tls.accept(stream) => secured.ok(),
                () = cluster.inner.platform.sleep(HANDSHAKE_MAX) => None,
            };
            if let Some(stream) = secured {
                exchange(cluster, stream).await;
            }
        }
    }
}

async fn exchange<P: Platform, S: AsyncRead + AsyncWrite + Unpin>(cluster: &Cluster<P>, mut stream: S) {
    let established = tokio::select! {
        biased;
        established = handshake::accept(cluster, &mut stream) => established.ok(),
        () = cluster.inner.platform.sleep(HANDSHAKE_MAX) => None,
    };
    if let Some(established) = established {
        connection::run(cluster, stream, established).await;
    }
}
