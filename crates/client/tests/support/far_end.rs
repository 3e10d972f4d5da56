//! A client over in-memory streams, whose far ends a test holds.

use super::{Got, Node};
use multibeam_client::{Client, Config, Connector};
use multibeam_wire::Header;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

/// Hands the far end of each connection to the test; refuses where the test is gone.
pub struct Scripted {
    far_ends: mpsc::UnboundedSender<DuplexStream>,
}

impl Connector for Scripted {
    type Stream = DuplexStream;

    async fn connect(&self, _server: &str) -> io::Result<DuplexStream> {
        // Small, so that writes are cut.
        let (near, far) = duplex(1000);
        self.far_ends.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }
}

/// The far end of one connection with its node.
pub struct FarEnd {
    stream: DuplexStream,
    pub node: Node,
    got: Vec<(Header, Got)>,
}

impl FarEnd {
    pub async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Got> {
        while self.got.is_empty() {
            let mut bytes = [0; 700];
            let read = timeout(60 * SECOND, self.stream.read(&mut bytes)).await.expect("a frame").unwrap();
            if read == 0 {
                return None;
            }
            self.got = self.node.receive(&bytes[..read]);
        }
        Some(self.got.remove(0).1)
    }

    pub async fn next_publish(&mut self) -> (u64, Option<u64>) {
        loop {
            match self.next().await {
                Some(Got::Publish { number, retry_of, .. }) => return (number, retry_of),
                Some(_) => {}
                None => panic!("the connection ended"),
            }
        }
    }
}

pub fn client(config: Config) -> (Client, mpsc::UnboundedReceiver<DuplexStream>) {
    let (far_ends, accepted) = mpsc::unbounded_channel();
    (Client::connect(config, Scripted { far_ends }), accepted)
}

pub async fn accept(accepted: &mut mpsc::UnboundedReceiver<DuplexStream>) -> FarEnd {
    let mut far = FarEnd { stream: accepted.recv().await.unwrap(), node: Node::new(), got: Vec::new() };
    assert!(matches!(far.next().await, Some(Got::Hello { .. })));
    let bytes = far.node.welcome();
    far.say(&bytes).await;
    far
}
