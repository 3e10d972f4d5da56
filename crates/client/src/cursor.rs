//! Where a subscription stands, and where one begins, in forms that outlive the process.
//!
//! ```text
//!  1:42                    a topic: behind offset 42 of generation 1
//!  0/3=1:42,0/4=1:7        a filter: the same for each partition, class/number before it
//! ```

use multibeam_wire::limits::PARTS_MAX;
use multibeam_wire::{self as wire, Offset, Position};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A partition of the cluster, as the node names it to a subscriber: a class of topics, and a number
/// within that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0 >> 16, self.0 & 0xFFFF)
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message stored from now on.
    New,
    /// With the last message stored, if there is one.
    Last,
    /// With the oldest message that is kept.
    First,
    /// Behind a cursor of the same topic or filter.
    After(Cursor),
}

impl From<Cursor> for Start {
    fn from(cursor: Cursor) -> Self {
        Self::After(cursor)
    }
}

impl From<Position> for Start {
    fn from(position: Position) -> Self {
        Self::After(Cursor::of_topic(position))
    }
}

impl Start {
    /// The form that SUBSCRIBE has; `parts` holds what that borrows.
    pub(crate) fn on_wire<'a>(&self, parts: &'a mut Vec<wire::Cursor>) -> wire::Start<'a> {
        match self {
            Self::New => wire::Start::New,
            Self::Last => wire::Start::Last,
            Self::First => wire::Start::First,
            Self::After(Cursor(Places::Topic(position))) => wire::Start::After(*position),
            Self::After(Cursor(Places::Filter(places))) => {
                let part = |(partition, position): (&PartitionId, &Position)| wire::Cursor {
                    partition: partition.0,
                    position: *position,
                };
                parts.extend(places.iter().map(part));
                wire::Start::AfterEach(wire::Cursors::new(parts))
            }
        }
    }
}

/// How far a subscription has come: one position for a topic, one a partition for a filter.
///
/// Its text (`Display`, `FromStr`) has no white space and at most 16 KiB; what it says is all there
/// is, so that an application may keep it wherever it keeps its own data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Places);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Places {
    Topic(Position),
    /// At least one, at most [`PARTS_MAX`].
    Filter(BTreeMap<PartitionId, Position>),
}

/// Why a text or a list of positions is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// The text is neither `1:42` nor `0/3=1:42,0/4=1:7`.
    #[error("a cursor looks like 1:42 for a topic, and like 0/3=1:42,0/4=1:7 for a filter")]
    Malformed,
    /// No partition at all.
    #[error("a filter's cursor names at least one partition")]
    Empty,
    /// More partitions than one filter may cover.
    #[error("a filter's cursor names at most {PARTS_MAX} partitions")]
    TooManyParts,
    /// A partition is named twice.
    #[error("partition {0} is named twice")]
    Repeated(PartitionId),
}

impl Cursor {
    /// The cursor of a topic.
    #[must_use]
    pub const fn of_topic(position: Position) -> Self {
        Self(Places::Topic(position))
    }

    /// The cursor of a filter.
    ///
    /// # Errors
    /// [`CursorError::Empty`], [`CursorError::TooManyParts`], [`CursorError::Repeated`].
    pub fn of_filter(parts: impl IntoIterator<Item = (PartitionId, Position)>) -> Result<Self, CursorError> {
        let mut places = BTreeMap::new();
        for (partition, position) in parts {
            if places.insert(partition, position).is_some() {
                return Err(CursorError::Repeated(partition));
            }
            if places.len() > PARTS_MAX {
                return Err(CursorError::TooManyParts);
            }
        }
        if places.is_empty() { Err(CursorError::Empty) } else { Ok(Self(Places::Filter(places))) }
    }

    /// Of a topic: its position. `None` for a filter.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        match &self.0 {
            Places::Topic(position) => Some(*position),
            Places::Filter(_) => None,
        }
    }

    /// Of a filter: its positions, by partition. Nothing for a topic.
    pub fn parts(&self) -> impl Iterator<Item = (PartitionId, Position)> + '_ {
        let places = match &self.0 {
            Places::Topic(_) => None,
            Places::Filter(places) => Some(places),
        };
        places.into_iter().flatten().map(|(&partition, &position)| (partition, position))
    }

    /// The position that counts for `partition`: a topic lies in one partition only.
    pub(crate) fn position_in(&self, partition: PartitionId) -> Option<Position> {
        match &self.0 {
            Places::Topic(position) => Some(*position),
            Places::Filter(places) => places.get(&partition).copied(),
        }
    }

    /// Moves forward in one partition.
    pub(crate) fn advance(&mut self, partition: PartitionId, to: Position) {
        let place = match &mut self.0 {
            Places::Topic(position) => position,
            Places::Filter(places) => places.entry(partition).or_insert(to),
        };
        assert!(*place <= to, "back from {place} to {to}");
        *place = to;
    }

    /// Forgets the partitions of a filter that `keep` does not want, unless none would be left.
    pub(crate) fn retain(&mut self, keep: impl Fn(PartitionId) -> bool) {
        if let Places::Filter(places) = &mut self.0
            && places.keys().any(|&partition| keep(partition))
        {
            places.retain(|&partition, _| keep(partition));
        }
    }

    /// Whether it is nowhere ahead of `other` in what both name.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Places::Topic(own), Places::Topic(other)) => own <= other,
            (Places::Filter(own), Places::Filter(other)) => own
                .iter()
                .all(|(partition, position)| other.get(partition).is_none_or(|other| position <= other)),
            (Places::Topic(_), Places::Filter(_)) | (Places::Filter(_), Places::Topic(_)) => false,
        }
    }
}

impl From<Position> for Cursor {
    fn from(position: Position) -> Self {
        Self::of_topic(position)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Places::Topic(position) => position.fmt(f),
            Places::Filter(places) => {
                places.iter().enumerate().try_for_each(|(at, (partition, position))| {
                    let comma = if at > 0 { "," } else { "" };
                    write!(f, "{comma}{partition}={position}")
                })
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        if !text.contains('=') {
            return position(text).map(Self::of_topic).ok_or(CursorError::Malformed);
        }
        let part = |part: &str| {
            let (partition_text, position_text) = part.split_once('=')?;
            Some((partition(partition_text)?, position(position_text)?))
        };
        let parts: Option<Vec<_>> = text.split(',').map(part).collect();
        Self::of_filter(parts.ok_or(CursorError::Malformed)?)
    }
}

fn position(text: &str) -> Option<Position> {
    let (generation, offset) = text.split_once(':')?;
    Some(Position { generation: wire::Generation(number(generation)?), offset: Offset(number(offset)?) })
}

fn partition(text: &str) -> Option<PartitionId> {
    let (class, index) = text.split_once('/')?;
    let (class, index) = (u16::try_from(number(class)?).ok()?, u16::try_from(number(index)?).ok()?);
    Some(PartitionId(u32::from(class) << 16 | u32::from(index)))
}

/// Digits alone: no sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}
