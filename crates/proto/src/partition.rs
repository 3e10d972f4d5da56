//! One partition that lives on this shard: the next offset, and who published what.

use crate::command::{PublishRefusal, PublishRequest};
use crate::dedup::{Producers, Verdict};
use crate::planted::{self, Bug};
use multibeam_wire::{ErrorCode, Generation, Offset, Outcome, Position};

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

/// State of one partition.
#[derive(Debug)]
pub(crate) struct Partition {
    generation: Generation,
    /// Offset of the last message stored.
    last: Offset,
    /// Highest head of any topic that was forgotten: below it nobody can tell what there was.
    forgotten: Offset,
    producers: Producers,
}

impl Partition {
    pub(crate) fn new(generation: Generation, producers_max: usize) -> Self {
        Self { generation, last: Offset(0), forgotten: Offset(0), producers: Producers::new(producers_max) }
    }

    pub(crate) fn forgotten(&self) -> Offset {
        self.forgotten
    }

    /// Decides about a publish; a message that is to be stored has its offset from here on.
    pub(crate) fn admit(&mut self, request: &PublishRequest) -> Admission {
        let expired =
            Admission::Refuse(PublishRefusal { code: ErrorCode::DedupExpired, outcome: Outcome::Unknown });
        if request.retry_of.is_some_and(|generation| generation != self.generation) {
            return expired;
        }
        let mut verdict = self.producers.judge(request.producer, request.number, request.retry_of.is_some());
        if matches!(verdict, Verdict::Duplicate(_)) && planted::on(Bug::RetryStoredTwice) {
            verdict = Verdict::Fresh;
        }
        match verdict {
            Verdict::Expired => expired,
            Verdict::Duplicate(offset) => Admission::Stored(Position { generation: self.generation, offset }),
            Verdict::Fresh => {
                self.last = Offset(self.last.0 + 1);
                self.producers.stored(request.producer, request.number, self.last);
                Admission::Store(self.last)
            }
        }
    }

    /// A topic of this partition whose last message stands at `head` is forgotten.
    pub(crate) fn forget(&mut self, head: Offset) {
        assert!(head <= self.last, "forgot {head:?}, which was never stored");
        self.forgotten = self.forgotten.max(head);
    }
}
