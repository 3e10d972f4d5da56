//! A client that speaks the protocol by hand over a blocking socket, to see what a node says and when.

#[path = "../../examples/harness/wire_client.rs"]
mod wire_client;

use multibeam_wire::{Direction, FrameType, Inbound, Payload, Publish, Seq};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Units of its window, of 1 KiB: it never closes for what tests send.
const WINDOW: u16 = 1000;

/// Each wait of a test ends far earlier.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session that follows one topic.
pub(crate) struct RawClient {
    stream: TcpStream,
    inbound: Inbound,
    /// The last sequenced frame that it sent, and that the node has acknowledged.
    sent: Seq,
    acknowledged: Seq,
    heard: Vec<FrameType>,
}

impl RawClient {
    /// Returns once it follows `topic`.
    pub(crate) fn start(server: SocketAddr, topic: &str) -> Self {
        let mut stream = TcpStream::connect(server).unwrap();
        let mut out = Vec::new();
        wire_client::hello(WINDOW, u128::from(std::process::id()), &mut out);
        wire_client::subscribe(topic, WINDOW, &mut out);
        stream.write_all(&out).unwrap();
        let inbound = Inbound::new(Direction::ToClient);
        let (sent, acknowledged) = (Seq(1), Seq(0));
        let mut client = Self { stream, inbound, sent, acknowledged, heard: Vec::new() };
        client.wait_for(FrameType::Subscribed);
        client
    }

    /// Puts a message into the socket, whether or not anybody reads it.
    pub(crate) fn publish(&mut self, number: u64, topic: &str) {
        self.sent = self.sent.next();
        let mut out = Vec::new();
        Payload::Publish(Publish::new(number, topic, b"raw")).encode(self.sent, Seq(0), WINDOW, &mut out);
        self.stream.write_all(&out).unwrap();
    }

    /// Frames that are there already, since the last time it was asked.
    pub(crate) fn there(&mut self) -> Vec<FrameType> {
        self.stream.set_nonblocking(true).unwrap();
        while self.read() {}
        self.stream.set_nonblocking(false).unwrap();
        std::mem::take(&mut self.heard)
    }

    /// Waits for a frame of that type; those before it are forgotten.
    pub(crate) fn wait_for(&mut self, frame_type: FrameType) {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        while !self.heard.contains(&frame_type) {
            assert!(self.read(), "waited in vain for {frame_type:?}, heard {:?}", self.heard);
        }
        self.heard.clear();
    }

    /// Reads what is there; whether all that it sent is acknowledged.
    pub(crate) fn hears_all(&mut self) -> bool {
        self.there();
        self.is_acknowledged()
    }

    /// Whether all that it sent is acknowledged, as far as it has read.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged == self.sent
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the node closed the connection after {:?}", self.heard),
            Ok(count) => self.inbound.push(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(error) => panic!("{error}"),
        }
        while let Some(frame) = self.inbound.next_frame().unwrap() {
            self.acknowledged = frame.header.ack_seq;
            self.heard.push(frame.payload.frame_type());
        }
        true
    }
}
