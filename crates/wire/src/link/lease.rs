//! LINK_HEARTBEAT and LEASE: signs of life, and permission to lead.

use super::greeting::{Epoch, Incarnation, StoreId};
use crate::codec::{Reader, Sink, Unreadable};
use crate::limits::VOTERS_MAX;
use std::fmt;

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
    /// The newest voter configuration in the voter's log.
    pub voters: Voters,
    /// The view that the voter has applied; a lease counts once its holder has it too.
    pub epoch: Epoch,
    /// How long a lease is by the voter's settings, in milliseconds: the shorter of both counts.
    pub lease_ms: u32,
}

impl Lease {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(self.number);
        sink.varint(if self.granted { LEASE_GRANTED } else { 0 });
        sink.varint(self.incarnation.0);
        sink.varint(self.voters.index);
        sink.varint(self.epoch.0);
        sink.varint(self.lease_ms.into());
        self.voters.present.put(sink);
        self.voters.before.put(sink);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let number = reader.varint()?;
        let granted = reader.varint()? & LEASE_GRANTED != 0;
        let incarnation = Incarnation(reader.varint()?);
        let index = reader.varint()?;
        let (epoch, lease_ms) = (Epoch(reader.varint()?), reader.varint_u32()?);
        let (present, before) = (VoterSet::decode(reader)?, VoterSet::decode(reader)?);
        Ok(Self { number, granted, incarnation, voters: Voters { index, present, before }, epoch, lease_ms })
    }
}

/// Disks that vote, in ascending order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct VoterSet {
    stores: [StoreId; VOTERS_MAX],
    len: u8,
}

impl VoterSet {
    /// A set of at most [`VOTERS_MAX`]; `None` if there are more.
    #[must_use]
    pub fn new(stores: impl IntoIterator<Item = StoreId>) -> Option<Self> {
        let mut set = Self::default();
        for store in stores {
            if set.contains(store) {
                continue;
            }
            *set.stores.get_mut(usize::from(set.len))? = store;
            set.len += 1;
        }
        let len = usize::from(set.len);
        set.stores[..len].sort_unstable();
        Some(set)
    }

    /// Who.
    #[must_use]
    pub fn stores(&self) -> &[StoreId] {
        &self.stores[..usize::from(self.len)]
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, store: StoreId) -> bool {
        self.stores().contains(&store)
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether more than half of them are such; never of an empty set.
    pub fn majority(&self, mut such: impl FnMut(StoreId) -> bool) -> bool {
        self.stores().iter().filter(|store| such(**store)).count() * 2 > self.stores().len()
    }

    fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.len));
        for store in self.stores() {
            sink.raw(&store.0.to_be_bytes());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let len =
            usize::try_from(reader.varint()?).ok().filter(|len| *len <= VOTERS_MAX).ok_or(Unreadable)?;
        let mut set = Self::default();
        for at in 0..len {
            let store = StoreId(u64::from_be_bytes(reader.array()?));
            // One way to write a set.
            if at > 0 && set.stores[at - 1] >= store {
                return Err(Unreadable);
            }
            set.stores[at] = store;
            set.len += 1;
        }
        Ok(set)
    }
}

impl fmt::Debug for VoterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.stores()).finish()
    }
}

/// A configuration of the consensus: who votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Its place in the log: of two, the greater is the newer.
    pub index: u64,
    /// Who votes.
    pub present: VoterSet,
    /// Who voted before, while the change is under way (both majorities count then); else nobody.
    pub before: VoterSet,
}

impl Voters {
    /// Whether `such` holds for a majority of those who vote, and while they change of both.
    pub fn majority(&self, mut such: impl FnMut(StoreId) -> bool) -> bool {
        self.present.majority(&mut such) && (self.before.is_empty() || self.before.majority(&mut such))
    }

    /// Whether it votes.
    #[must_use]
    pub fn contains(&self, store: StoreId) -> bool {
        self.present.contains(store) || self.before.contains(store)
    }

    /// All who vote, each once.
    pub fn all(&self) -> impl Iterator<Item = StoreId> + '_ {
        let before = self.before.stores().iter().filter(|store| !self.present.contains(**store));
        self.present.stores().iter().chain(before).copied()
    }
}
