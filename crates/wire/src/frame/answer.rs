//! What became of requests: ERROR, and the receipts in an ACK.

use super::{position, put_position};
use crate::codec::{Reader, Sink, Unreadable};
use crate::error_code::{ErrorCode, Outcome};
use crate::ids::{Position, Seq};
use crate::limits::{DETAIL_BYTES_MAX, RECEIPT_RANGES_MAX};
use crate::list::{Item, List};

/// ERROR: a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Number of the request's frame.
    pub ref_seq: Seq,
    /// Number of an [`ErrorCode`], which a newer node may have and we may not.
    pub code: u16,
    /// Whether the request may have had its effect.
    pub outcome: Outcome,
    /// A sentence for a person.
    pub detail: &'a str,
}

impl Refusal<'static> {
    /// A refusal with the code's own sentence.
    #[must_use]
    pub const fn new(ref_seq: Seq, code: ErrorCode, outcome: Outcome) -> Self {
        Self { ref_seq, code: code as u16, outcome, detail: code.sentence() }
    }
}

impl<'a> Refusal<'a> {
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        sink.varint(u64::from(self.ref_seq.0));
        sink.varint(u64::from(self.code));
        sink.varint(match self.outcome {
            Outcome::Definite => 0,
            Outcome::Unknown => 1,
        });
        sink.str(self.detail, DETAIL_BYTES_MAX);
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        Ok(Self {
            ref_seq: Seq(reader.varint_u32()?),
            code: reader.varint_u16()?,
            outcome: match reader.varint()? {
                0 => Outcome::Definite,
                1 => Outcome::Unknown,
                _ => return Err(Unreadable),
            },
            detail: reader.str(DETAIL_BYTES_MAX)?,
        })
    }
}

/// Where a run of publishes was stored: frames `seq`, `seq + 1`, … of this session, at `position`
/// and the offsets behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Frame of the first publish.
    pub seq: Seq,
    /// How many publishes, at least one.
    pub count: u32,
    /// The partition, by the number that SUBSCRIBED has for it.
    pub partition: u32,
    /// Where the first was stored.
    pub position: Position,
    /// How many in-sync replicas hold them, the leader included.
    pub copies: u32,
}

impl Item<'_> for Receipt {
    fn put<S: Sink>(&self, sink: &mut S) {
        assert!(self.count > 0, "a receipt for nothing");
        sink.varint(u64::from(self.seq.0));
        sink.varint(u64::from(self.count));
        sink.varint(u64::from(self.partition));
        put_position(sink, self.position);
        sink.varint(u64::from(self.copies));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let receipt = Self {
            seq: Seq(reader.varint_u32()?),
            count: reader.varint_u32()?,
            partition: reader.varint_u32()?,
            position: position(reader)?,
            copies: reader.varint_u32()?,
        };
        if receipt.count > 0 { Ok(receipt) } else { Err(Unreadable) }
    }
}

/// The receipts of an ACK; none unless the client asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipts<'a>(List<'a, Receipt>);

impl<'a> Receipts<'a> {
    /// No receipts.
    pub const NONE: Receipts<'static> = Receipts(List::Listed(&[]));

    /// These, at most [`RECEIPT_RANGES_MAX`].
    #[must_use]
    pub const fn new(receipts: &'a [Receipt]) -> Self {
        Self(List::Listed(receipts))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Receipt> + Clone + 'a {
        self.0.iter()
    }

    /// An ACK without receipts has no payload.
    pub(super) fn put<S: Sink>(&self, sink: &mut S) {
        if self.0.len() > 0 {
            self.0.put(sink, RECEIPT_RANGES_MAX);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        if reader.is_empty() { Ok(Receipts::NONE) } else { List::read(reader, RECEIPT_RANGES_MAX).map(Self) }
    }
}
