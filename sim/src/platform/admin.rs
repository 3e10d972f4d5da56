//! The admin server's listener on the simulated network.

use std::io;
use std::net::SocketAddr;
use turmoil::net::{TcpListener, TcpStream};

/// Accepts connections of the simulated network for the admin server.
pub struct SimAdminListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl SimAdminListener {
    pub(super) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }
}

impl axum::serve::Listener for SimAdminListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Ok(accepted) = self.listener.accept().await {
                return accepted;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
