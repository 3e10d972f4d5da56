//! A feed's messages as encoded frames, one behind the other.
//!
//! ```text
//!  entries      │ 17 │ 18 │ 21 │              offset, previous offset, arrival, place
//!  bytes  ░░░░░░│ frame 17 │ frame 18 │ frame 21 │
//!        evicted ▲start                          ▲end
//! ```
//!
//! Each frame is a delivery with a compact header that says nothing but its length: a steady delivery,
//! the same for every subscriber. Several of them are one slice. Evicted bytes are moved away when they
//! are half as many as the rest and the room is needed, so that appending allocates nothing once a log has its size.

use crate::time::Time;
use multibeam_wire::{Delivery, Encoder, Offset, Payload, Position, Seq};
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// One message's place in a log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) offset: Offset,
    /// Offset of the message before it, or the floor it began at.
    pub(crate) prev: Offset,
    /// When the turn began that took it from its publisher's socket.
    pub(crate) ingress: Time,
    /// Time to live from then on; 0 for no end.
    ttl_ms: u32,
    /// Where its frame begins, counted on from the first frame ever, with wrap-around.
    at: u32,
}

impl Entry {
    /// Time to live from its arrival on; 0 for no end.
    pub(crate) fn ttl_ms(&self) -> u32 {
        self.ttl_ms
    }

    /// Whether its time to live is over.
    pub(crate) fn expired(&self, now: Time) -> bool {
        self.ttl_ms > 0 && now >= self.ingress + Duration::from_millis(self.ttl_ms.into())
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// What `at` would be for the first byte of `bytes`.
    base: u32,
    /// `at` of the first entry, or of the next one where there is none.
    start: u32,
    /// The last entry once more, as long as there is one: who is up to date needs no other, and the entries
    /// lie far from here.
    last: Entry,
    /// Whether any message that is here has a time to live.
    mortal: bool,
}

/// Bytes of one entry in the index.
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>();

/// A log of this many bytes is not worth giving back.
const SHRINK_BYTES: usize = 1024;

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether any of its messages has a time to live.
    pub(crate) fn mortal(&self) -> bool {
        self.mortal
    }

    pub(crate) fn entry(&self, at: usize) -> Option<&Entry> {
        if at + 1 == self.entries.len() { Some(&self.last) } else { self.entries.get(at) }
    }

    pub(crate) fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Offset of the last message.
    pub(crate) fn last(&self) -> Option<Offset> {
        if self.is_empty() { None } else { Some(self.last.offset) }
    }

    /// How many of its messages stand at or below `offset`.
    pub(crate) fn passed(&self, offset: Offset) -> usize {
        self.entries.partition_point(|entry| entry.offset <= offset)
    }

    /// Bytes of the frames that are here.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.bytes.len() - self.place(self.start)
    }

    /// Bytes that it reserves.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * ENTRY_BYTES
    }

    fn place(&self, at: u32) -> usize {
        at.wrapping_sub(self.base) as usize
    }

    fn end(&self, at: usize) -> usize {
        self.entry(at + 1).map_or(self.bytes.len(), |next| self.place(next.at))
    }

    /// Bytes of the frame at `at`.
    pub(crate) fn frame_len(&self, at: usize) -> usize {
        self.entry(at).map_or(0, |entry| self.end(at) - self.place(entry.at))
    }

    /// The frames of that range of entries, as one slice.
    pub(crate) fn frames(&self, range: Range<usize>) -> &[u8] {
        match self.entry(range.start) {
            Some(first) if !range.is_empty() => &self.bytes[self.place(first.at)..self.end(range.end - 1)],
            Some(_) | None => &[],
        }
    }

    /// Adds a message.
    pub(crate) fn push(&mut self, delivery: &Delivery<'_>, ingress: Time, ttl_ms: u32) {
        let Position { offset, .. } = delivery.position;
        assert!(self.last().is_none_or(|last| last < offset), "{offset:?} out of order");
        // Header: type and length, of three bytes at the most.
        let frame_bytes_max = 4 + delivery.payload_bytes();
        let dead = self.place(self.start);
        let live = self.bytes.len() - dead;
        if self.bytes.len() + frame_bytes_max > self.bytes.capacity() && dead > 0 && dead >= live / 2 {
            self.bytes.copy_within(dead.., 0);
            self.bytes.truncate(live);
            self.base = self.base.wrapping_add(dead as u32);
        }
        let at = self.base.wrapping_add(self.bytes.len() as u32);
        // The frame behind the one of the same number: next number, nothing acknowledged.
        let mut encoder = Encoder::resume(Seq(0), Seq(0), 0);
        encoder.encode(&Payload::Delivery(*delivery), Seq(1), Seq(0), 0, &mut self.bytes);
        self.last = Entry { offset, prev: delivery.prev, ingress, ttl_ms, at };
        self.entries.push_back(self.last);
        self.mortal |= ttl_ms > 0;
    }

    /// Drops the oldest message.
    pub(crate) fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front();
        if self.entries.is_empty() {
            self.base = self.base.wrapping_add(self.bytes.len() as u32);
            self.bytes.clear();
            self.mortal = false;
        }
        self.start = self.entries.front().map_or(self.base, |first| first.at);
        entry
    }

    /// Gives back what it does not use, if that is most of it.
    pub(crate) fn shrink(&mut self) {
        let live = self.frame_bytes();
        if self.bytes.capacity() > SHRINK_BYTES && live < self.bytes.capacity() / 4 {
            let dead = self.bytes.len() - live;
            self.bytes.copy_within(dead.., 0);
            self.bytes.truncate(live);
            self.base = self.base.wrapping_add(dead as u32);
            self.bytes.shrink_to(2 * live);
        }
        if self.entries.capacity() * ENTRY_BYTES > SHRINK_BYTES
            && self.entries.len() < self.entries.capacity() / 4
        {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

/// A delivery's parts in its stored frame: header, channel, and the rest, which begins with the flags.
pub(crate) struct StoredFrame<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> StoredFrame<'a> {
    /// Takes a frame apart that [`Log::push`] made.
    pub(crate) fn of(frame: &'a [u8]) -> Self {
        let header = 1 + varint_len(&frame[1..]);
        let channel = varint_len(&frame[header..]);
        Self { rest: &frame[header + channel..] }
    }
}

fn varint_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1
}

/// Bytes of payload in a stored frame of `frame_bytes`.
pub(crate) const fn payload_bytes(frame_bytes: usize) -> usize {
    // One byte of type, and the length in one to three.
    if frame_bytes <= 0x7f + 2 {
        frame_bytes - 2
    } else if frame_bytes <= 0x3fff + 3 {
        frame_bytes - 3
    } else {
        frame_bytes - 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::{ChannelId, Decoder, Direction, Step};
    use proptest::prelude::*;

    proptest! {
        /// What is in the log is what was pushed, wherever bytes were moved meanwhile.
        #[test]
        fn it_agrees_with_a_queue(steps in proptest::collection::vec((0usize..400, 0usize..3), 1..200)) {
            let mut log = Log { base: u32::MAX - 3000, start: u32::MAX - 3000, ..Log::default() };
            let mut queue = VecDeque::new();
            for (offset, (len, pops)) in (1u64..).zip(steps) {
                let body = vec![offset as u8; len * len / 7];
                let (position, prev) = (Position::new(3, offset), Offset(offset - 1));
                let delivery =
                    Delivery { channel: ChannelId(300), position, prev, skipped: false, topic: None, body: &body };
                log.push(&delivery, Time(offset), 0);
                queue.push_back((offset, body.clone()));
                for _ in 0..pops {
                    prop_assert_eq!(log.pop_front().map(|entry| entry.offset.0), queue.pop_front().map(|m| m.0));
                }
                if len % 5 == 0 {
                    log.shrink();
                }
                prop_assert_eq!(log.len(), queue.len());
                let mut bytes = log.frames(0..log.len());
                prop_assert_eq!(bytes.len(), log.frame_bytes());
                let mut decoder = Decoder::new(Direction::ToClient);
                decoder.established();
                decoder.agree_compact();
                for (at, (offset, body)) in queue.iter().enumerate() {
                    let Ok(Step::Frame(frame, used)) = decoder.step(bytes) else { panic!("no frame") };
                    let Payload::Delivery(delivery) = frame.payload else { panic!("no delivery") };
                    prop_assert_eq!(delivery.position.offset.0, *offset);
                    prop_assert_eq!(delivery.body, &body[..]);
                    prop_assert_eq!(used, log.frame_len(at));
                    prop_assert_eq!(payload_bytes(used), usize::from(frame.header.len));
                    let stored = StoredFrame::of(&bytes[..used]);
                    prop_assert_eq!(stored.rest.len(), delivery.payload_bytes() - 2);
                    bytes = &bytes[used..];
                }
            }
        }
    }
}
