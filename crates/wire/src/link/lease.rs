//! LINK_HEARTBEAT and LEASE: signs of life, and permission to lead.

use super::greeting::{Epoch, Incarnation};
use crate::codec::{Reader, Sink, Unreadable};

const LEASE_GRANTED: u64 = 1;

/// LINK_HEARTBEAT: the sender is alive, and wants a lease from when it sent this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeartbeat {
    /// Number of this heartbeat on this connection; the answer repeats it.
    pub number: u64,
    /// The newest view that the sender has.
    pub epoch: Epoch,
}

impl LinkHeartbeat {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.number);
        sink.varint(self.epoch.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self { number: reader.varint()?, epoch: Epoch(reader.varint()?) })
    }
}

/// LEASE: a voter's answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The heartbeat that is answered.
    pub number: u64,
    /// Whether the voter lets this incarnation lead.
    pub granted: bool,
    /// Whom.
    pub incarnation: Incarnation,
    /// Log index of the newest voter configuration in the voter's log.
    pub voters: u64,
    /// The view that the voter has applied; a lease counts once its holder has it too.
    pub epoch: Epoch,
}

impl Lease {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.number);
        sink.varint(if self.granted { LEASE_GRANTED } else { 0 });
        sink.varint(self.incarnation.0);
        sink.varint(self.voters);
        sink.varint(self.epoch.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            number: reader.varint()?,
            granted: reader.varint()? & LEASE_GRANTED != 0,
            incarnation: Incarnation(reader.varint()?),
            voters: reader.varint()?,
            epoch: Epoch(reader.varint()?),
        })
    }
}
