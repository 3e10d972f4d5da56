//! Lists inside a payload, read where they lie.

use crate::codec::{Reader, Sink, Unreadable};
use crate::limits::LISTED_TEXT_BYTES_MAX;
use std::fmt;

/// What can stand in a [`List`].
pub(crate) trait Item<'a>: Copy + PartialEq + fmt::Debug {
    fn put<S: Sink>(&self, sink: &mut S);
    fn read(reader: &mut Reader<'a>) -> Result<Self, Unreadable>;
}

impl<'a> Item<'a> for &'a str {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.str(self, LISTED_TEXT_BYTES_MAX);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Unreadable> {
        reader.str(LISTED_TEXT_BYTES_MAX)
    }
}

/// Items of one frame: those that a caller lists, or those that were read. Reading allocates
/// nothing: items are decoded anew each time they are looked at.
#[derive(Clone, Copy)]
pub(crate) enum List<'a, T> {
    Listed(&'a [T]),
    /// Checked to hold `count` readable items.
    Read {
        count: usize,
        bytes: &'a [u8],
    },
}

impl<'a, T: Item<'a>> List<'a, T> {
    /// Reads the count and checks all items.
    pub(crate) fn read(reader: &mut Reader<'a>, count_max: usize) -> Result<Self, Unreadable> {
        let count = usize::try_from(reader.varint()?).map_err(|_| Unreadable)?;
        if count > count_max {
            return Err(Unreadable);
        }
        let bytes = reader.rest();
        for _ in 0..count {
            T::read(reader)?;
        }
        Ok(Self::Read { count, bytes })
    }

    pub(crate) fn put<S: Sink>(&self, sink: &mut S, count_max: usize) {
        assert!(self.len() <= count_max, "{} items where {count_max} fit", self.len());
        sink.varint(self.len() as u64);
        for item in self.iter() {
            item.put(sink);
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Listed(items) => items.len(),
            Self::Read { count, .. } => *count,
        }
    }

    pub(crate) fn iter(self) -> Items<'a, T> {
        match self {
            Self::Listed(items) => Items::Listed(items.iter()),
            Self::Read { count, bytes } => Items::Read { count, reader: Reader::new(bytes) },
        }
    }
}

impl<'a, T: Item<'a>> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Item<'a>> Eq for List<'a, T> {}

impl<'a, T: Item<'a>> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Walks through a [`List`].
#[derive(Clone, Debug)]
pub(crate) enum Items<'a, T> {
    Listed(std::slice::Iter<'a, T>),
    Read { count: usize, reader: Reader<'a> },
}

impl<'a, T: Item<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::Listed(items) => items.next().copied(),
            Self::Read { count, reader } => {
                *count = count.checked_sub(1)?;
                // All were read once when the list was.
                T::read(reader).ok()
            }
        }
    }
}
