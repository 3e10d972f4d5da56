//! One partition that lives on this shard: the next offset, and who published what.

use crate::command::PublishRefusal;
use crate::dedup::{Producers, Verdict};
use crate::planted::{self, Bug};
use multibeam_wire::{ErrorCode, Generation, Offset, Outcome, Position, ProducerId};

/// Whether a publish is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// At this offset.
    Store(Offset),
    /// It stands here already.
    Stored(Position),
    /// No.
    Refuse(PublishRefusal),
}

/// Who publishes, and under which number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) producer: ProducerId,
    pub(crate) number: u64,
    /// Set on a retry: the generation of the first attempt.
    pub(crate) retry_of: Option<Generation>,
}

/// State of one partition.
#[derive(Debug)]
pub(crate) struct Partition {
    generation: Generation,
    /// Offset of the last message stored.
    last: Offset,
    /// Highest head of any topic that was forgotten: below it nobody can tell what there was.
    forgotten: Offset,
    /// Highest offset that any topic has evicted.
    evicted: Offset,
    producers: Producers,
    /// Slots of the feeds of filters that reach it.
    pub(crate) filters: Vec<u32>,
}

impl Partition {
    pub(crate) fn new(generation: Generation, producers_max: usize) -> Self {
        Self {
            generation,
            last: Offset(0),
            forgotten: Offset(0),
            evicted: Offset(0),
            producers: Producers::new(producers_max),
            filters: Vec::new(),
        }
    }

    /// Whether it is as when it began.
    pub(crate) fn is_blank(&self) -> bool {
        self.last == Offset(0) && self.producers.is_empty() && self.filters.is_empty()
    }

    pub(crate) fn forgotten(&self) -> Offset {
        self.forgotten
    }

    /// Decides about a publish; a message that is to be stored has its offset from here on.
    pub(crate) fn admit(&mut self, attempt: &Attempt) -> Admission {
        let Attempt { producer, number, retry_of } = *attempt;
        let expired =
            Admission::Refuse(PublishRefusal { code: ErrorCode::DedupExpired, outcome: Outcome::Unknown });
        if retry_of.is_some_and(|generation| generation != self.generation) {
            return expired;
        }
        let mut verdict = self.producers.judge(producer, number, retry_of.is_some());
        if matches!(verdict, Verdict::Duplicate(_)) && planted::on(Bug::RetryStoredTwice) {
            verdict = Verdict::Fresh;
        }
        match verdict {
            Verdict::Expired => expired,
            Verdict::Duplicate(offset) => Admission::Stored(Position { generation: self.generation, offset }),
            Verdict::Fresh => {
                self.last = Offset(self.last.0 + 1);
                self.producers.stored(producer, number, self.last);
                Admission::Store(self.last)
            }
        }
    }

    /// A topic of this partition has evicted everything up to `offset`.
    pub(crate) fn evict(&mut self, offset: Offset) {
        debug_assert!(offset <= self.last, "evicted {offset:?}, which was never stored");
        self.evicted = self.evicted.max(offset);
    }

    pub(crate) fn evicted(&self) -> Offset {
        self.evicted
    }

    /// A topic of this partition whose last message stands at `head` is forgotten.
    pub(crate) fn forget(&mut self, head: Offset) {
        assert!(head <= self.last, "forgot {head:?}, which was never stored");
        self.forgotten = self.forgotten.max(head);
    }
}
