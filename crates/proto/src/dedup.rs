//! What a partition remembers of its producers, to store a message once that is sent twice.
//!
//! A producer numbers its messages upwards. The last [`DEDUP_WINDOW`] numbers that were
//! stored are remembered with their offsets. A number above all of them is fresh; one among
//! them is a duplicate; any other may have been stored once and is refused.

use multibeam_wire::limits::DEDUP_WINDOW;
use multibeam_wire::{Offset, ProducerId};
use std::collections::{BTreeMap, VecDeque};

/// What a number turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Never stored: store it.
    Fresh,
    /// Stored before, here.
    Duplicate(Offset),
    /// Nobody can tell any more.
    Expired,
}

/// Recent numbers of the producers of one partition, at most `producers_max` of them.
#[derive(Debug)]
pub(crate) struct Producers {
    by_id: BTreeMap<ProducerId, usize>,
    recent: Vec<Recent>,
    /// The one that stored longest ago, and the one that stored last.
    oldest: usize,
    newest: usize,
    producers_max: usize,
    /// Whether a producer was ever forgotten: then an unknown one may have stored before.
    forgot: bool,
}

/// One producer, in a list by when they stored last.
#[derive(Debug)]
struct Recent {
    id: ProducerId,
    /// The highest number that was stored, if any was. Most publishes need nothing else, and the numbers
    /// below it lie far from here.
    last: u64,
    /// (number, offset), both growing.
    stored: VecDeque<(u64, Offset)>,
    older: usize,
    newer: usize,
}

/// Bytes of a producer without its numbers: its record, and its place in the index.
pub(crate) const PRODUCER_BYTES: usize = size_of::<Recent>() + size_of::<(ProducerId, usize)>();

/// Bytes of one number that is remembered.
pub(crate) const NUMBER_BYTES: usize = size_of::<(u64, Offset)>();

const NOBODY: usize = usize::MAX;

impl Producers {
    pub(crate) fn new(producers_max: usize) -> Self {
        assert!(producers_max > 0, "a partition must remember at least one producer");
        let (by_id, recent) = (BTreeMap::new(), Vec::new());
        Self { by_id, recent, oldest: NOBODY, newest: NOBODY, producers_max, forgot: false }
    }

    /// Whether none is remembered, nor forgotten.
    pub(crate) fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }

    /// Judges `number`; `retry` says that it may have been sent before.
    pub(crate) fn judge(&self, producer: ProducerId, number: u64, retry: bool) -> Verdict {
        let Some(at) = self.by_id.get(&producer) else {
            return if retry && self.forgot { Verdict::Expired } else { Verdict::Fresh };
        };
        let Recent { last, stored, .. } = &self.recent[*at];
        // Most numbers are new.
        if stored.is_empty() || *last < number {
            return Verdict::Fresh;
        }
        match stored.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => Verdict::Duplicate(stored[at].1),
            Err(_) => Verdict::Expired,
        }
    }

    /// Remembers a fresh number.
    pub(crate) fn stored(&mut self, producer: ProducerId, number: u64, offset: Offset) {
        let at = match self.by_id.get(&producer) {
            Some(at) => *at,
            None => self.admit(producer),
        };
        self.use_now(at);
        let Recent { last, stored, .. } = &mut self.recent[at];
        assert!(
            stored.is_empty() || *last < number || crate::planted::on(crate::planted::Bug::RetryStoredTwice),
            "number {number} stored out of order"
        );
        *last = number;
        if stored.len() == DEDUP_WINDOW {
            stored.pop_front();
        }
        stored.push_back((number, offset));
        self.invariants();
    }

    /// A place for a producer that is not known, in the end that of the one which stored longest ago.
    fn admit(&mut self, id: ProducerId) -> usize {
        let at = if self.recent.len() < self.producers_max {
            self.recent.push(Recent { id, last: 0, stored: VecDeque::new(), older: NOBODY, newer: NOBODY });
            self.recent.len() - 1
        } else {
            let at = self.oldest;
            self.unlink(at);
            self.by_id.remove(&self.recent[at].id);
            self.recent[at].id = id;
            self.recent[at].stored.clear();
            self.forgot = true;
            at
        };
        self.by_id.insert(id, at);
        self.link_newest(at);
        at
    }

    fn use_now(&mut self, at: usize) {
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
    }

    fn unlink(&mut self, at: usize) {
        let Recent { older, newer, .. } = self.recent[at];
        match self.recent.get_mut(older) {
            Some(before) => before.newer = newer,
            None => self.oldest = newer,
        }
        match self.recent.get_mut(newer) {
            Some(behind) => behind.older = older,
            None => self.newest = older,
        }
    }

    fn link_newest(&mut self, at: usize) {
        let older = std::mem::replace(&mut self.newest, at);
        match self.recent.get_mut(older) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        (self.recent[at].older, self.recent[at].newer) = (older, NOBODY);
    }

    fn invariants(&self) {
        debug_assert_eq!(self.by_id.len(), self.recent.len());
        debug_assert!(self.recent.len() <= self.producers_max);
        debug_assert!(self.oldest != NOBODY && self.recent[self.newest].newer == NOBODY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: ProducerId = ProducerId(1);

    #[test]
    fn a_number_below_the_window_is_refused() {
        let mut producers = Producers::new(2);
        let last = DEDUP_WINDOW as u64 + 1;
        for number in 1..=last {
            assert_eq!(producers.judge(P, number, false), Verdict::Fresh);
            producers.stored(P, number, Offset(number * 10));
        }
        assert_eq!(producers.judge(P, 1, true), Verdict::Expired);
        assert_eq!(producers.judge(P, 2, true), Verdict::Duplicate(Offset(20)));
        assert_eq!(producers.judge(P, last, true), Verdict::Duplicate(Offset(last * 10)));
    }

    #[test]
    fn the_first_number_may_be_the_lowest_or_the_highest() {
        for number in [0, u64::MAX] {
            let mut producers = Producers::new(1);
            assert_eq!(producers.judge(P, number, false), Verdict::Fresh);
            producers.stored(P, number, Offset(5));
            assert_eq!(producers.judge(P, number, true), Verdict::Duplicate(Offset(5)));
            // Somebody else takes the place.
            producers.stored(ProducerId(2), number, Offset(6));
            assert_eq!(producers.judge(ProducerId(2), number, false), Verdict::Duplicate(Offset(6)));
        }
    }

    #[test]
    fn the_one_that_stored_longest_ago_is_forgotten() {
        let mut producers = Producers::new(2);
        let id = |n| ProducerId(n);
        for (at, producer) in (1..).zip([1, 2, 1, 3]) {
            producers.stored(id(producer), at, Offset(at));
        }
        assert_eq!(producers.judge(id(1), 3, true), Verdict::Duplicate(Offset(3)));
        assert_eq!(producers.judge(id(3), 4, true), Verdict::Duplicate(Offset(4)));
        assert_eq!(producers.judge(id(2), 2, true), Verdict::Expired);
        producers.stored(id(2), 5, Offset(5));
        assert_eq!(producers.judge(id(1), 3, true), Verdict::Expired);
    }

    #[test]
    fn a_forgotten_producer_may_go_on_but_not_retry() {
        let mut producers = Producers::new(1);
        producers.stored(P, 7, Offset(1));
        producers.stored(ProducerId(2), 1, Offset(2));
        assert_eq!(producers.judge(P, 7, true), Verdict::Expired);
        assert_eq!(producers.judge(P, 8, false), Verdict::Fresh);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(numbers in proptest::collection::vec(0u64..600, 1..900)) {
            let mut producers = Producers::new(4);
            let mut stored: Vec<u64> = Vec::new();
            for number in numbers {
                let window = &stored[stored.len().saturating_sub(DEDUP_WINDOW)..];
                let expected = if let Some(at) = window.iter().position(|n| *n == number) {
                    Verdict::Duplicate(Offset((stored.len() - window.len() + at) as u64 + 1))
                } else if stored.last().is_none_or(|last| *last < number) {
                    Verdict::Fresh
                } else {
                    Verdict::Expired
                };
                prop_assert_eq!(producers.judge(P, number, true), expected);
                if expected == Verdict::Fresh {
                    stored.push(number);
                    producers.stored(P, number, Offset(stored.len() as u64));
                }
            }
        }
    }
}
