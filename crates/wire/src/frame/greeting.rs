//! HELLO and WELCOME: what is agreed on before anything else.

use super::{position, put_position};
use crate::codec::{Reader, Sink, Unreadable};
use crate::ids::{Features, Generation, Position, ProducerId, WindowUnit};
use crate::limits::AGENT_BYTES_MAX;

const HELLO_SYSTEM_AFTER: u64 = 1;

const WELCOME_LEADS: u64 = 1;

/// HELLO. The header's window is the client's first grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// What the client can do.
    pub features: Features,
    /// Base-two logarithm of the window unit for both directions; not yet checked.
    pub window_unit_log2: u64,
    /// Who publishes, for deduplication.
    pub producer: ProducerId,
    /// Name and version of the client, for logs.
    pub agent: &'a str,
    /// Where the system subscription goes on, for a client that was here before; else it begins with the
    /// first message stored from now on.
    pub system_after: Option<Position>,
}

impl<'a> Hello<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.features.0);
        sink.varint(self.window_unit_log2);
        sink.raw(&self.producer.0.to_be_bytes());
        sink.str(self.agent, AGENT_BYTES_MAX);
        if let Some(position) = self.system_after {
            sink.varint(HELLO_SYSTEM_AFTER);
            put_position(sink, position);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self {
            features: Features(reader.varint()?),
            window_unit_log2: reader.varint()?,
            producer: ProducerId(u128::from_be_bytes(reader.array()?)),
            agent: reader.str(AGENT_BYTES_MAX)?,
            system_after: if !reader.is_empty() && reader.varint()? & HELLO_SYSTEM_AFTER != 0 {
                Some(position(reader)?)
            } else {
                None
            },
        })
    }
}

/// WELCOME. The header's window is the node's first grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// What is in force: offered by the client and had by the node.
    pub features: Features,
    /// The unit in force.
    pub window_unit: WindowUnit,
    /// Each side sends some frame at least this often, in milliseconds.
    pub heartbeat_interval_ms: u32,
    /// The generation that publishes of this session are stored in.
    pub generation: Generation,
    /// Number of this session on this node, for logs of both sides.
    pub session: u64,
    /// Requests without an answer that the node holds for this session; it reads no further
    /// while there are as many.
    pub requests_in_flight_max: u32,
    /// The node holds a lease: it acks, delivers and answers. Else it only keeps its clients, and whoever
    /// has another node stays there.
    pub leads: bool,
}

impl Welcome {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.features.0);
        sink.varint(u64::from(self.window_unit.log2()));
        sink.varint(u64::from(self.heartbeat_interval_ms));
        sink.varint(self.generation.0);
        sink.varint(self.session);
        sink.varint(u64::from(self.requests_in_flight_max));
        if self.leads {
            sink.varint(WELCOME_LEADS);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            features: Features(reader.varint()?),
            window_unit: WindowUnit::from_number(reader.varint()?).ok_or(Unreadable)?,
            heartbeat_interval_ms: reader.varint_u32()?,
            generation: Generation(reader.varint()?),
            session: reader.varint()?,
            requests_in_flight_max: reader.varint_u32()?,
            leads: !reader.is_empty() && reader.varint()? & WELCOME_LEADS != 0,
        })
    }
}
