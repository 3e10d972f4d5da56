//! Stands in until mutual TLS is merged.
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
/// No TLS.
#[derive(Clone, Debug)]
pub enum LinkTls {}
impl LinkTls {
    /// Dials.
    /// # Errors
    /// None.
    pub async fn dial<S: AsyncRead + AsyncWrite + Unpin>(&self, _stream: S, _host: &str) -> io::Result<S> {
        match *self {}
    }
    /// Accepts.
    /// # Errors
    /// None.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, _stream: S) -> io::Result<S> {
        match *self {}
    }
}
