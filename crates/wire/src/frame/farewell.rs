//! GOAWAY, REJECT and BYE: how a connection ends in order, or does not begin.

use crate::close::CloseCode;
use crate::codec::{Reader, Sink, Unreadable};
use crate::limits::{ADDRESSES_MAX, DETAIL_BYTES_MAX};
use crate::list::List;

/// BYE: why the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    /// Number of a [`CloseCode`], which a newer peer may have and we may not.
    pub code: u16,
    /// A sentence for a person.
    pub detail: &'a str,
}

impl Bye<'static> {
    /// A BYE with the code's own sentence.
    #[must_use]
    pub const fn new(code: CloseCode) -> Self {
        Self { code: code as u16, detail: code.sentence() }
    }
}

impl<'a> Bye<'a> {
    pub(crate) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.code));
        sink.str(self.detail, DETAIL_BYTES_MAX);
    }

    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self { code: reader.varint_u16()?, detail: reader.str(DETAIL_BYTES_MAX)? })
    }
}

/// REJECT: the node does not take this client, and says when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// Number of a [`CloseCode`].
    pub code: u16,
    /// The client's slot: it comes back no earlier than after so many milliseconds.
    pub retry_after_ms: u32,
    /// A sentence for a person.
    pub detail: &'a str,
}

impl<'a> Reject<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.code));
        sink.varint(u64::from(self.retry_after_ms));
        sink.str(self.detail, DETAIL_BYTES_MAX);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self {
            code: reader.varint_u16()?,
            retry_after_ms: reader.varint_u32()?,
            detail: reader.str(DETAIL_BYTES_MAX)?,
        })
    }
}

/// Why a node sends its clients away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum GoAwayReason {
    /// The node leaves the cluster or restarts.
    Drain = 1,
    /// The node is cut off from the majority of its cluster.
    Isolated = 2,
    /// The node has more clients than its share.
    Balance = 3,
    /// What was said before is void: who is still here stays.
    Withdrawn = 4,
}

impl GoAwayReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: &[Self] = &[Self::Drain, Self::Isolated, Self::Balance, Self::Withdrawn];

    /// The reason with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| *reason as u16 == number)
    }

    /// Name in documents, logs, metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Isolated => "isolated",
            Self::Balance => "balance",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// GOAWAY: the client is to move by the deadline; until then the session goes on. From an isolated node it is
/// no more than advice: it closes nobody, and a client stays that finds no node with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway<'a> {
    /// Number of a [`GoAwayReason`], which a newer node may have and we may not.
    pub reason: u16,
    /// When the node closes the connection, in milliseconds from now; from an isolated node, when the last
    /// of its clients has its turn.
    pub deadline_ms: u32,
    /// The client's slot: it connects elsewhere no earlier than after so many milliseconds.
    pub retry_after_ms: u32,
    /// Nodes to try first, in this order.
    pub addresses: Addresses<'a>,
}

impl<'a> GoAway<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.reason));
        sink.varint(u64::from(self.deadline_ms));
        sink.varint(u64::from(self.retry_after_ms));
        self.addresses.0.put(sink, ADDRESSES_MAX);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self {
            reason: reader.varint_u16()?,
            deadline_ms: reader.varint_u32()?,
            retry_after_ms: reader.varint_u32()?,
            addresses: Addresses(List::read(reader, ADDRESSES_MAX)?),
        })
    }
}

/// Addresses of nodes, `host:port` each, at most [`ADDRESSES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses<'a>(List<'a, &'a str>);

impl<'a> Addresses<'a> {
    /// These.
    #[must_use]
    pub const fn new(addresses: &'a [&'a str]) -> Self {
        Self(List::Listed(addresses))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.0.iter()
    }
}
