//! How a connection is opened: TCP here, anything else (TLS, a simulated network) elsewhere.

use std::future::Future;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Opens connections for a client.
pub trait Connector: Send + Sync + 'static {
    /// What a connection is read from and written to.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens a connection to `server`, one of [`crate::Config::servers`]. The client drops the
    /// future when its connect timeout is over.
    ///
    /// # Errors
    /// Whatever stands in the way; the client reports it and tries again later.
    fn connect(&self, server: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Plain TCP without Nagle's delay; `server` is `host:port`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn connect(&self, server: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
