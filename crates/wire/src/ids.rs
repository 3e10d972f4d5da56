//! Identifiers on the wire, one newtype each.

use std::fmt;

/// Number that changes when a partition's history could not be kept. Starts at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Generation(pub u64);

/// Place of a message in its partition's log. Starts at 1; 0 stands for "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// A place in a partition's whole history, ordered by generation, then offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The generation in which `offset` counts.
    pub generation: Generation,
    /// The place within that generation.
    pub offset: Offset,
}

impl Position {
    /// The position `offset` of `generation`, both as plain numbers.
    #[must_use]
    pub const fn new(generation: u64, offset: u64) -> Self {
        Self { generation: Generation(generation), offset: Offset(offset) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation.0, self.offset.0)
    }
}

/// Identity of a publisher for deduplication: random, drawn once by the client, kept over
/// reconnects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub u128);

/// Name that a client gives one of its subscriptions; unique within the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u32);

impl SubscriptionId {
    /// The subscription to the node's own topics (`sys.*`) that every session has without asking. No
    /// SUBSCRIBE may use it.
    pub const SYSTEM: Self = Self(u32::MAX);
}

/// Number that a node gives a subscription of a session, told in SUBSCRIBED. Deliveries and gaps
/// name it, not the [`SubscriptionId`]: so the bytes of a delivery may be the same for all
/// subscribers of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// What a side can do beyond the fixed frames of version 1; a bit each. HELLO offers, WELCOME says
/// what is in force: never more than was offered. Unknown bits are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u64);

impl Features {
    /// Nothing but the fixed frames.
    pub const NONE: Self = Self(0);
    /// ACK to the client carries receipts.
    pub const RECEIPTS: Self = Self(1);
    /// Both sides may send compact headers once WELCOME was sent or received.
    pub const COMPACT: Self = Self(2);

    /// Those that have a name, with the names that documents and logs use.
    pub const ALL: &[(Self, &str)] = &[(Self::RECEIPTS, "receipts"), (Self::COMPACT, "compact")];

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that both have.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// All that either has.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Number of a sequenced frame within a session, in serial arithmetic (RFC 1982, 32 bits).
///
/// The first sequenced frame has number 1. Comparison is only by [`Seq::distance`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// This number moved forward by `n`.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// How far `self` lies behind `later`; negative where it lies ahead.
    #[must_use]
    pub const fn distance(self, later: Self) -> i32 {
        later.0.wrapping_sub(self.0).cast_signed()
    }
}

/// Unit of the header's window field: a power of two from 16 B to 32 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowUnit(u8);

impl WindowUnit {
    /// 16 bytes, the finest.
    pub const SMALLEST: Self = Self(4);
    /// 1 KiB: windows up to 64 MiB. What a client gets that has no wish of its own.
    pub const DEFAULT: Self = Self(10);

    /// The unit of `2^log2` bytes, or `None` outside 4..=15.
    #[must_use]
    pub const fn from_log2(log2: u8) -> Option<Self> {
        if log2 >= 4 && log2 <= 15 { Some(Self(log2)) } else { None }
    }

    /// The unit whose logarithm stands in a HELLO or WELCOME.
    #[must_use]
    pub const fn from_number(log2: u64) -> Option<Self> {
        if log2 <= 15 { Self::from_log2(log2 as u8) } else { None }
    }

    /// Base-two logarithm of the unit.
    #[must_use]
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// Bytes that a window field of `window` stands for.
    #[must_use]
    pub const fn bytes(self, window: u16) -> u32 {
        (window as u32) << self.0
    }

    /// The largest window field that stands for no more than `bytes`.
    #[must_use]
    pub const fn window(self, bytes: u32) -> u16 {
        let units = bytes >> self.0;
        if units > u16::MAX as u32 { u16::MAX } else { units as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_wrap() {
        assert_eq!(Seq(u32::MAX).next(), Seq(0));
        assert_eq!(Seq(u32::MAX).distance(Seq(1)), 2);
        assert_eq!(Seq(1).distance(Seq(u32::MAX)), -2);
    }

    #[test]
    fn a_window_never_promises_more_bytes_than_asked() {
        for log2 in 4..=15 {
            let unit = WindowUnit::from_log2(log2).unwrap();
            for bytes in [0, 1, 15, 16, 1000, 65_535, 1 << 20, u32::MAX] {
                assert!(unit.bytes(unit.window(bytes)) <= bytes);
            }
        }
        assert_eq!(WindowUnit::from_log2(3), None);
        assert_eq!(WindowUnit::from_log2(16), None);
    }
}
