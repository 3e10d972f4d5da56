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
    recent: BTreeMap<ProducerId, Recent>,
    /// Producers by when they stored last.
    by_use: BTreeMap<u64, ProducerId>,
    clock: u64,
    producers_max: usize,
    /// Whether a producer was ever forgotten: then an unknown one may have stored before.
    forgot: bool,
}

#[derive(Debug, Default)]
struct Recent {
    /// (number, offset), both growing.
    stored: VecDeque<(u64, Offset)>,
    used: u64,
}

impl Producers {
    pub(crate) fn new(producers_max: usize) -> Self {
        assert!(producers_max > 0, "a partition must remember at least one producer");
        Self { recent: BTreeMap::new(), by_use: BTreeMap::new(), clock: 0, producers_max, forgot: false }
    }

    /// Judges `number`; `retry` says that it may have been sent before.
    pub(crate) fn judge(&self, producer: ProducerId, number: u64, retry: bool) -> Verdict {
        let Some(recent) = self.recent.get(&producer) else {
            return if retry && self.forgot { Verdict::Expired } else { Verdict::Fresh };
        };
        match recent.stored.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => Verdict::Duplicate(recent.stored[at].1),
            Err(at) if at == recent.stored.len() => Verdict::Fresh,
            Err(_) => Verdict::Expired,
        }
    }

    /// Remembers a fresh number.
    pub(crate) fn stored(&mut self, producer: ProducerId, number: u64, offset: Offset) {
        self.clock += 1;
        let recent = self.recent.entry(producer).or_default();
        self.by_use.remove(&recent.used);
        self.by_use.insert(self.clock, producer);
        recent.used = self.clock;
        assert!(
            recent.stored.back().is_none_or(|(last, at)| *last < number && *at < offset)
                || crate::planted::on(crate::planted::Bug::RetryStoredTwice),
            "number {number} stored out of order"
        );
        recent.stored.push_back((number, offset));
        if recent.stored.len() > DEDUP_WINDOW {
            recent.stored.pop_front();
        }
        if self.recent.len() > self.producers_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.recent.remove(&oldest);
            self.forgot = true;
        }
        self.invariants();
    }

    fn invariants(&self) {
        debug_assert_eq!(self.recent.len(), self.by_use.len());
        debug_assert!(self.recent.len() <= self.producers_max);
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
    fn a_forgotten_producer_may_go_on_but_not_retry() {
        let mut producers = Producers::new(1);
        producers.stored(P, 7, Offset(1));
        producers.stored(ProducerId(2), 1, Offset(2));
        assert_eq!(producers.judge(P, 7, true), Verdict::Expired);
        assert_eq!(producers.judge(P, 8, false), Verdict::Fresh);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(numbers in proptest::collection::vec(1u64..600, 1..900)) {
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
