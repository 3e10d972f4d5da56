//! LINK_HELLO and LINK_WELCOME: which node of which cluster speaks, from which disk and run.

use crate::codec::{Reader, Sink, Unreadable};
use crate::ids::Features;
use crate::limits::ADDRESS_BYTES_MAX;

/// Random name of a cluster, drawn when it was bootstrapped. 0: a virgin node, of no cluster yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClusterId(pub u128);

/// A member's name, which outlives its disk. 0: not given yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeId(pub u64);

/// Random name of a disk's content: a wiped disk is another one. It is also the name of that disk's vote in
/// the consensus. Never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StoreId(pub u64);

/// Which run of a node's process; grows with each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Incarnation(pub u64);

/// Number of a view; grows with each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch(pub u64);

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the node can do; in LINK_WELCOME, what is in force.
    pub features: Features,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its name there.
    pub node: NodeId,
    /// Its disk.
    pub store: StoreId,
    /// Its run.
    pub incarnation: Incarnation,
    /// The newest view it has.
    pub epoch: Epoch,
}

impl Identity {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.features.0);
        sink.raw(&self.cluster.0.to_be_bytes());
        sink.varint(self.node.0);
        sink.raw(&self.store.0.to_be_bytes());
        sink.varint(self.incarnation.0);
        sink.varint(self.epoch.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            features: Features(reader.varint()?),
            cluster: ClusterId(u128::from_be_bytes(reader.array()?)),
            node: NodeId(reader.varint()?),
            store: StoreId(u64::from_be_bytes(reader.array()?)),
            incarnation: Incarnation(reader.varint()?),
            epoch: Epoch(reader.varint()?),
        })
    }
}

/// What a connection between two nodes is for. Each pair has one of each kind and direction, so
/// that bulk never delays a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkPurpose {
    /// Heartbeats, leases, consensus.
    Control,
    /// Messages of topics.
    Data,
}

/// LINK_HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHello<'a> {
    /// Who dials.
    pub identity: Identity,
    /// What for.
    pub purpose: LinkPurpose,
    /// Where the dialler can be dialled, `host:port`.
    pub address: &'a str,
    /// Where clients reach the dialler, `host:port`.
    pub clients: &'a str,
    /// The dialler's share of the partitions; not yet checked.
    pub weight: u16,
}

impl<'a> LinkHello<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        self.identity.put(sink);
        sink.varint(match self.purpose {
            LinkPurpose::Control => 0,
            LinkPurpose::Data => 1,
        });
        sink.str(self.address, ADDRESS_BYTES_MAX);
        sink.str(self.clients, ADDRESS_BYTES_MAX);
        sink.varint(u64::from(self.weight));
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self {
            identity: Identity::decode(reader)?,
            purpose: match reader.varint()? {
                0 => LinkPurpose::Control,
                1 => LinkPurpose::Data,
                _ => return Err(Unreadable),
            },
            address: reader.str(ADDRESS_BYTES_MAX)?,
            clients: reader.str(ADDRESS_BYTES_MAX)?,
            weight: reader.varint_u16()?,
        })
    }
}
