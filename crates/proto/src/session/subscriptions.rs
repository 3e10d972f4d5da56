//! What a session follows: a place in a feed each, and those with something to send, in turn.
//!
//! A filter is as many of them as it reaches partitions, under one name. Places keep their number while
//! they are taken, since feeds name their members by it.

use multibeam_wire::{ChannelId, Position, Seq, SubscriptionId};
use smallvec::SmallVec;

const NONE: u32 = u32::MAX;

/// A place in a feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sub {
    /// What the client calls it.
    pub(crate) id: SubscriptionId,
    /// Slot of its feed, or none where nobody is.
    pub(crate) feed: u32,
    /// Place in the feed's list of members.
    pub(crate) member: u32,
    /// The one behind it in the queue of those with something to send.
    next: u32,
    /// The SUBSCRIBE that waits for its answer, if `asked`.
    request: Seq,
    /// Whether somebody asked for it.
    asked: bool,
    pub(crate) state: SubState,
    /// Stands in that queue.
    pending: bool,
    /// Its feed's own channel belongs to another one of this session.
    second: bool,
    /// The last position that the client was told of; while waiting, where it wants to begin.
    pub(crate) cursor: Position,
    /// The next message's index in the feed.
    pub(crate) index: u64,
}

// Each session has two of them.
const _: () = assert!(size_of::<Sub>() == 48);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubState {
    /// The feed's home shard has not answered.
    Waiting(StartKind),
    /// Delivering behind the cursor; nothing was delivered yet.
    Fresh,
    /// Delivering behind the cursor.
    Live,
}

/// Where a waiting one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartKind {
    New,
    Last,
    First,
    After,
}

impl Sub {
    pub(crate) fn new(id: SubscriptionId, request: Option<Seq>, start: StartKind, cursor: Position) -> Self {
        let state = SubState::Waiting(start);
        Self {
            id,
            feed: NONE,
            member: 0,
            next: NONE,
            request: request.unwrap_or_default(),
            asked: request.is_some(),
            state,
            pending: false,
            second: false,
            cursor,
            index: 0,
        }
    }

    /// The SUBSCRIBE that waits for its answer; none for the subscription that nobody asked for.
    pub(crate) fn request(&self) -> Option<Seq> {
        self.asked.then_some(self.request)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, SubState::Waiting(_))
    }

    /// Whether the bytes of its feed are its own deliveries.
    pub(crate) fn shares_channel(&self) -> bool {
        !self.second
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    fn is_free(&self) -> bool {
        self.feed == NONE
    }
}

/// All of a session.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    places: SmallVec<[Sub; 2]>,
    /// The queue of those with something to send.
    first: u32,
    last: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self { places: SmallVec::new(), first: NONE, last: NONE }
    }
}

impl Subscriptions {
    /// Each, with its place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Sub)> {
        self.places.iter().enumerate().filter(|(_, sub)| !sub.is_free()).map(|(at, sub)| (at as u32, sub))
    }

    /// Those under one name.
    pub(crate) fn named(&self, id: SubscriptionId) -> impl Iterator<Item = (u32, &Sub)> {
        self.iter().filter(move |(_, sub)| sub.id == id)
    }

    /// Place of the first of them.
    pub(crate) fn first_named(&self, id: SubscriptionId) -> Option<u32> {
        self.named(id).next().map(|(place, _)| place)
    }

    /// One of all, with its place.
    pub(crate) fn any(&self) -> Option<(u32, Sub)> {
        self.iter().next().map(|(place, sub)| (place, *sub))
    }

    pub(crate) fn at(&self, place: u32) -> Option<&Sub> {
        self.places.get(place as usize).filter(|sub| !sub.is_free())
    }

    pub(crate) fn at_mut(&mut self, place: u32) -> Option<&mut Sub> {
        self.places.get_mut(place as usize).filter(|sub| !sub.is_free())
    }

    /// What the client calls its messages: its feed's channel, or where another one has that, a number
    /// that no feed has.
    pub(crate) fn channel(&self, place: u32) -> ChannelId {
        match self.at(place) {
            Some(sub) if sub.second => ChannelId(u32::MAX - place),
            Some(sub) => ChannelId(sub.feed),
            None => ChannelId(u32::MAX),
        }
    }

    /// Adds one that follows `feed`, and returns its place.
    pub(crate) fn add(&mut self, sub: Sub, feed: u32, member: u32) -> u32 {
        let second = self.iter().any(|(_, other)| other.feed == feed && !other.second);
        let sub = Sub { feed, member, second, ..sub };
        match self.places.iter().position(Sub::is_free) {
            Some(at) => {
                self.places[at] = sub;
                at as u32
            }
            None => {
                self.places.push(sub);
                (self.places.len() - 1) as u32
            }
        }
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, place: u32) -> Option<Sub> {
        let sub = *self.at(place)?;
        if sub.pending {
            self.unlink(place);
        }
        self.places[place as usize].feed = NONE;
        while self.places.last().is_some_and(Sub::is_free) {
            self.places.pop();
        }
        if self.places.is_empty() {
            self.places = SmallVec::new();
        }
        Some(sub)
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.first != NONE
    }

    /// The first of those with something to send.
    pub(crate) fn first_pending(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The one behind `place` among them.
    pub(crate) fn pending_after(&self, place: u32) -> Option<u32> {
        self.at(place).map(|sub| sub.next).filter(|next| *next != NONE)
    }

    /// Puts one at the end of those with something to send. False: it stands there already.
    pub(crate) fn push_pending(&mut self, place: u32) -> bool {
        let Some(sub) = self.at_mut(place) else { return false };
        if sub.pending {
            return false;
        }
        (sub.pending, sub.next) = (true, NONE);
        match self.last {
            NONE => self.first = place,
            last => self.places[last as usize].next = place,
        }
        self.last = place;
        true
    }

    /// Takes one out of that queue.
    pub(crate) fn unlink(&mut self, place: u32) {
        let Some(sub) = self.at(place).copied().filter(|sub| sub.pending) else { return };
        if self.first == place {
            self.first = sub.next;
            if self.last == place {
                self.last = NONE;
            }
        } else {
            let mut before = self.first;
            while self.places[before as usize].next != place {
                before = self.places[before as usize].next;
            }
            self.places[before as usize].next = sub.next;
            if self.last == place {
                self.last = before;
            }
        }
        if let Some(sub) = self.at_mut(place) {
            (sub.pending, sub.next) = (false, NONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};

    proptest! {
        #[test]
        fn the_queue_agrees_with_a_list(steps in proptest::collection::vec((0u8..4, 0u32..8), 0..200)) {
            let mut subs = Subscriptions::default();
            let mut taken = BTreeSet::new();
            let mut queue = VecDeque::new();
            for (kind, place) in steps {
                match kind {
                    0 if taken.len() < 8 => {
                        let sub = Sub::new(SubscriptionId(1), None, StartKind::New, Position::default());
                        let at = subs.add(sub, place, 0);
                        prop_assert_eq!(Some(at), (0..).find(|at| !taken.contains(at)));
                        taken.insert(at);
                    }
                    1 => {
                        prop_assert_eq!(subs.remove(place).is_some(), taken.remove(&place));
                        queue.retain(|other| *other != place);
                    }
                    2 => {
                        let fresh = taken.contains(&place) && !queue.contains(&place);
                        prop_assert_eq!(subs.push_pending(place), fresh);
                        if fresh {
                            queue.push_back(place);
                        }
                    }
                    _ => {
                        subs.unlink(place);
                        queue.retain(|other| *other != place);
                    }
                }
                let mut walked = VecDeque::new();
                let mut at = subs.first_pending();
                while let Some(place) = at {
                    walked.push_back(place);
                    at = subs.pending_after(place);
                }
                prop_assert_eq!(&walked, &queue);
                prop_assert_eq!(subs.iter().count(), taken.len());
                let channels: BTreeSet<_> = taken.iter().map(|place| subs.channel(*place)).collect();
                prop_assert_eq!(channels.len(), taken.len(), "a channel of two");
            }
        }
    }
}
