//! The stored messages of one class in the order in which they came: which is the oldest.
//!
//! Eviction by age and by the memory budget go from its front, and a filter finds what is kept of its
//! topics here. A message that its topic evicted earlier leaves a dead place behind, which is skipped, and
//! swept when most places are dead.

use crate::ids::FeedId;
use crate::time::Time;
use std::collections::VecDeque;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) feed: FeedId,
    pub(crate) index: u64,
    pub(crate) arrival: Time,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Order {
    places: VecDeque<Place>,
    live: usize,
}

/// Dead places that are not worth a sweep.
const DEAD_MIN: usize = 32;

/// Bytes of one place.
pub(crate) const PLACE_BYTES: usize = size_of::<Place>();

impl Order {
    pub(crate) fn push(&mut self, place: Place) {
        // A filter's feed is filled with messages that came before: their age is judged by the front.
        let arrival = self.places.back().map_or(place.arrival, |last| last.arrival.max(place.arrival));
        self.places.push_back(Place { arrival, ..place });
        self.live += 1;
    }

    /// So many messages are gone from their feeds.
    pub(crate) fn evicted(&mut self, messages: usize) {
        assert!(messages <= self.live, "{messages} evicted of {}", self.live);
        self.live -= messages;
    }

    pub(crate) fn front(&self) -> Option<&Place> {
        self.places.front()
    }

    pub(crate) fn pop_front(&mut self) -> Option<Place> {
        self.places.pop_front()
    }

    /// Places, dead ones included, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter()
    }

    /// Messages that are there.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Bytes that it reserves.
    pub(crate) fn memory(&self) -> usize {
        self.places.capacity() * PLACE_BYTES
    }

    /// Gives back what a class without messages does not need.
    pub(crate) fn rest(&mut self) {
        if self.places.is_empty() {
            self.places = VecDeque::new();
        }
    }

    /// Whether a sweep is worth its time.
    pub(crate) fn wants_sweep(&self) -> bool {
        self.places.len() > 2 * self.live + DEAD_MIN
    }

    /// Drops the places of which `is_live` says no.
    pub(crate) fn sweep(&mut self, is_live: impl Fn(&Place) -> bool) {
        self.places.retain(is_live);
        assert_eq!(self.places.len(), self.live, "messages are miscounted");
        // Room for the dead that come until the next sweep stays, or each sweep would be paid for by
        // growing again.
        if self.live + DEAD_MIN < self.places.capacity() / 4 {
            self.places.shrink_to(2 * (self.live + DEAD_MIN));
        }
    }
}
