//! Sequenced frames of the client, which of them are done, and what they are answered.
//!
//! One number acknowledges all that are done up to a point. A session without an open request, an answer
//! or a receipt owns nothing here but that number; one that publishes keeps its tables until it is found
//! idle.

use crate::class::PartitionId;
use crate::command::{PublishRefusal, Stored};
use crate::config::ShardConfig;
use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::limits::RECEIPT_RANGES_MAX;
use multibeam_wire::{ErrorCode, Offset, Outcome, Position, Receipt, Seq, SubscriptionId};
use std::collections::VecDeque;

/// An answer that waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Welcome,
    /// The subscription has begun; `None` for the one that nobody asked for.
    Subscribed {
        request: Option<Seq>,
        subscription: SubscriptionId,
    },
    Refused {
        request: Seq,
        code: ErrorCode,
        outcome: Outcome,
    },
}

impl Answer {
    /// Whether it promises nothing, so that a node may give it that does not lead.
    pub(crate) fn is_free(self) -> bool {
        match self {
            Self::Welcome | Self::Refused { outcome: Outcome::Unknown, .. } => true,
            Self::Subscribed { .. } | Self::Refused { outcome: Outcome::Definite, .. } => false,
        }
    }
}

/// The client's sequenced frames behind the last acknowledged one.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Everything up to here is done.
    done: Seq,
    /// Whether it has published: then its tables are worth keeping.
    publishes: bool,
    /// Some have ended and only a leader may say how: see [`Requests::leave_unsaid`].
    unsaid: bool,
    busy: Option<Box<Busy>>,
}

#[derive(Debug, Default)]
struct Busy {
    /// `done + 1`, `done + 2`, … The first is never done.
    open: VecDeque<Request>,
    /// Payload bytes of DATA among them.
    bytes: u64,
    answers: VecDeque<Answer>,
    receipts: VecDeque<Receipt>,
}

impl Busy {
    fn is_idle(&self) -> bool {
        self.open.is_empty() && self.answers.is_empty() && self.receipts.is_empty()
    }
}

/// Bytes of the tables of a session that publishes, without what is in them.
pub(crate) const TABLES_BYTES: usize = size_of::<Busy>();

/// Bytes of one request that waits.
pub(crate) const REQUEST_BYTES: usize = size_of::<Request>();

#[derive(Clone, Copy, Debug)]
struct Request {
    state: State,
    bytes: u32,
    /// Home shards that have not said how their part of it ended.
    parts: u16,
    /// Messages of it that were stored.
    stored: u16,
    /// Why one of its messages was not stored.
    refused: Option<PublishRefusal>,
}

impl Request {
    /// A publish whose every part has ended, and which waits for the word of a leader.
    fn is_unsaid(&self) -> bool {
        matches!(self.state, State::Waiting(Some(_))) && self.parts == 0
    }

    /// How a publish ended whose every part has.
    fn result(&self) -> Result<(), PublishRefusal> {
        match self.refused {
            None => Ok(()),
            // What is stored in part is not certainly stored in no part.
            Some(refusal) if self.stored > 0 => Err(PublishRefusal { outcome: Outcome::Unknown, ..refusal }),
            Some(refusal) => Err(refusal),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Another thread is on it; ends as unknown at this time, if there is one.
    Waiting(Option<Time>),
    /// Its answer is queued: it is done when the answer is on its way.
    Answered,
    Done,
}

impl Requests {
    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Number of the last sequenced frame received.
    pub(crate) fn last(&self) -> Seq {
        self.done.plus(self.len() as u32)
    }

    /// Everything up to here is done.
    pub(crate) fn done(&self) -> Seq {
        self.done
    }

    /// Requests behind that.
    pub(crate) fn len(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.open.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no further request is read before one of these is answered.
    pub(crate) fn are_full(&self, config: &ShardConfig) -> bool {
        let receipts = self.busy.as_ref().map_or(0, |busy| busy.receipts.len());
        self.len() >= config.requests_in_flight_max || receipts >= RECEIPT_RANGES_MAX
    }

    /// Payload bytes of DATA that are not done.
    pub(crate) fn bytes(&self) -> u64 {
        self.busy.as_ref().map_or(0, |busy| busy.bytes)
    }

    /// Takes the next sequenced frame and returns its number. `parts` home shards will say how it ended.
    pub(crate) fn open(&mut self, bytes: u32, deadline: Option<Time>, parts: u16) -> Seq {
        self.publishes |= bytes > 0;
        let request = Request { state: State::Waiting(deadline), bytes, parts, stored: 0, refused: None };
        let busy = self.busy();
        busy.open.push_back(request);
        busy.bytes += u64::from(bytes);
        self.last()
    }

    fn find(&mut self, seq: Seq) -> Option<&mut Request> {
        let at = self.done.next().distance(seq);
        let busy = self.busy.as_mut()?;
        usize::try_from(at).ok().and_then(|at| busy.open.get_mut(at))
    }

    /// Whether somebody still waits for the answer to `seq`.
    pub(crate) fn waits(&mut self, seq: Seq) -> bool {
        matches!(self.find(seq), Some(Request { state: State::Waiting(_), .. }))
    }

    /// A home shard has said how its part of a publish ended. Once all have, says how the whole did.
    pub(crate) fn part_ended(
        &mut self,
        seq: Seq,
        results: &[Result<Stored, PublishRefusal>],
    ) -> Option<Result<(), PublishRefusal>> {
        let request = self.find(seq)?;
        for result in results {
            match result {
                Ok(_) => request.stored += 1,
                Err(refusal) => {
                    let unknown = |refusal: &PublishRefusal| refusal.outcome == Outcome::Unknown;
                    if request.refused.as_ref().is_none_or(|before| !unknown(before) && unknown(refusal)) {
                        request.refused = Some(*refusal);
                    }
                }
            }
        }
        request.parts = request.parts.saturating_sub(1);
        (request.parts == 0).then(|| request.result())
    }

    /// A publish ended, and nobody may say so who does not lead: it stays open with its deadline, until
    /// [`Requests::say`] or until it ends as unknown.
    pub(crate) fn leave_unsaid(&mut self) {
        self.unsaid = true;
    }

    /// Whether a publish ended and nothing was said.
    pub(crate) fn has_unsaid(&self) -> bool {
        self.unsaid
    }

    /// Ends what was left unsaid.
    pub(crate) fn say(&mut self) {
        if !std::mem::take(&mut self.unsaid) {
            return;
        }
        for at in 0..self.len() {
            let Some(busy) = &mut self.busy else { return };
            let request = &mut busy.open[at];
            if !request.is_unsaid() {
                continue;
            }
            match request.result() {
                Ok(()) => request.state = State::Done,
                Err(PublishRefusal { code, outcome }) => {
                    request.state = State::Answered;
                    let request = self.done.plus(at as u32 + 1);
                    busy.answers.push_back(Answer::Refused { request, code, outcome });
                }
            }
        }
        self.pop_done();
    }

    /// It is done. True if there is more to acknowledge than before.
    pub(crate) fn finish(&mut self, seq: Seq) -> bool {
        if let Some(request) = self.find(seq) {
            request.state = State::Done;
        }
        let before = self.done;
        self.pop_done();
        self.done != before
    }

    fn pop_done(&mut self) {
        let Some(busy) = &mut self.busy else { return };
        while let Some(Request { state: State::Done, bytes, .. }) = busy.open.front().copied() {
            busy.open.pop_front();
            busy.bytes -= u64::from(bytes);
            self.done = self.done.next();
        }
    }

    /// The earliest deadline of any.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        // Deadlines grow with the numbers; those without one are answered without delay.
        self.busy.as_ref()?.open.iter().find_map(|request| match request.state {
            State::Waiting(deadline) => deadline,
            State::Answered | State::Done => None,
        })
    }

    /// A request whose deadline has passed.
    pub(crate) fn overdue(&self, now: Time) -> Option<Seq> {
        let open = &self.busy.as_ref()?.open;
        let at = open
            .iter()
            .position(|request| matches!(request.state, State::Waiting(Some(deadline)) if deadline <= now))?;
        Some(self.done.plus(at as u32 + 1))
    }

    /// Queues an answer.
    pub(crate) fn answer(&mut self, answer: Answer) {
        if let Answer::Subscribed { request: Some(request), .. } | Answer::Refused { request, .. } = answer {
            let known = self.find(request);
            debug_assert!(known.is_some(), "an answer to {request:?}, which is done");
            if let Some(request) = known {
                request.state = State::Answered;
            }
        }
        self.busy().answers.push_back(answer);
    }

    /// A subscription, or each one, ends before it was said that it begins: nothing is said, and its
    /// request is done.
    pub(crate) fn withdraw(&mut self, ended: Option<SubscriptionId>) {
        let begun = |answer: &Answer| match answer {
            Answer::Subscribed { subscription, .. } => ended.is_none_or(|ended| ended == *subscription),
            Answer::Welcome | Answer::Refused { .. } => false,
        };
        while let Some(busy) = &mut self.busy
            && let Some(at) = busy.answers.iter().position(begun)
        {
            if let Some(Answer::Subscribed { request: Some(request), .. }) = busy.answers.remove(at) {
                self.finish(request);
            }
        }
    }

    /// Answers that wait, first to last.
    pub(crate) fn answers(&self) -> impl Iterator<Item = Answer> + '_ {
        self.busy.iter().flat_map(|busy| busy.answers.iter().copied())
    }

    pub(crate) fn has_answers(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| !busy.answers.is_empty() || !busy.receipts.is_empty())
    }

    /// Whether one of them promises nothing.
    pub(crate) fn has_free_answers(&self) -> bool {
        self.answers().any(Answer::is_free)
    }

    /// The answer behind `behind` others is on its way; those stay.
    pub(crate) fn answer_taken(&mut self, behind: u32) -> Option<Answer> {
        self.busy.as_mut()?.answers.remove(behind as usize)
    }

    /// Remembers where the message of request `seq` was stored, for a client that wants to know.
    pub(crate) fn stored(&mut self, seq: Seq, stored: Stored) {
        let Stored { partition, position } = stored;
        let partition = PartitionId::number(partition);
        let later = u64::from(planted::on(Bug::ReceiptOffByOne));
        let position = Position { offset: Offset(position.offset.0 + later), ..position };
        let receipts = &mut self.busy().receipts;
        if let Some(last) = receipts.back_mut() {
            let next = Offset(last.position.offset.0 + u64::from(last.count));
            let follows = last.seq.plus(last.count) == seq
                && last.partition == partition
                && position == Position { offset: next, ..last.position };
            if follows {
                last.count += 1;
                return;
            }
        }
        receipts.push_back(Receipt { seq, count: 1, partition, position, copies: 1 });
    }

    /// Receipts for requests up to the one that is acknowledged, as one slice.
    pub(crate) fn receipts(&mut self) -> &[Receipt] {
        match &mut self.busy {
            Some(busy) => busy.receipts.make_contiguous(),
            None => &[],
        }
    }

    /// The first `count` receipts are on their way.
    pub(crate) fn receipts_taken(&mut self, count: usize) {
        if let Some(busy) = &mut self.busy {
            busy.receipts.drain(..count);
        }
    }

    /// Gives back what an idle session does not need. `found_idle`: also what one that publishes keeps.
    pub(crate) fn rest(&mut self, found_idle: bool) {
        if (found_idle || !self.publishes) && self.busy.as_ref().is_some_and(|busy| busy.is_idle()) {
            self.busy = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn done_is_the_longest_finished_prefix(count in 1usize..40, order in proptest::collection::vec(0usize..40, 1..80)) {
            let mut requests = Requests::default();
            let seqs: Vec<Seq> = (0..count).map(|n| requests.open(n as u32, None, 1)).collect();
            let mut finished = vec![false; count];
            for n in order {
                let n = n % count;
                finished[n] = true;
                requests.finish(seqs[n]);
                let prefix = finished.iter().take_while(|done| **done).count();
                prop_assert_eq!(requests.done(), Seq(prefix as u32));
                prop_assert_eq!(requests.last(), Seq(count as u32));
                let bytes: usize = (prefix..count).sum();
                prop_assert_eq!(requests.bytes(), bytes as u64);
            }
        }
    }

    #[test]
    fn deadlines_are_those_of_the_waiting() {
        let mut requests = Requests::default();
        let a = requests.open(1, Some(Time(10)), 1);
        let b = requests.open(1, Some(Time(20)), 1);
        assert_eq!(requests.next_deadline(), Some(Time(10)));
        assert_eq!(requests.overdue(Time(9)), None);
        assert_eq!(requests.overdue(Time(25)), Some(a));
        requests.answer(Answer::Refused { request: a, code: ErrorCode::Deadline, outcome: Outcome::Unknown });
        assert!(!requests.waits(a) && requests.waits(b));
        assert_eq!(requests.overdue(Time(25)), Some(b));
        requests.finish(b);
        assert_eq!(requests.done(), Seq(0));
        requests.finish(a);
        assert_eq!(requests.done(), Seq(2));
    }

    #[test]
    fn a_publish_to_many_is_definite_only_if_nothing_was_stored() {
        let refusal = |outcome| PublishRefusal { code: ErrorCode::TopicsMax, outcome };
        let (definite, unknown) = (refusal(Outcome::Definite), refusal(Outcome::Unknown));
        let stored = Stored { partition: PartitionId::default(), position: Position::new(1, 1) };
        let cases: [(&[_], &[_], _); 4] = [
            (&[Ok(stored)], &[Ok(stored)], Ok(())),
            (&[Ok(stored)], &[Err(definite)], Err(unknown)),
            (&[Err(definite)], &[Err(definite)], Err(definite)),
            (&[Err(definite), Err(unknown)], &[Err(definite)], Err(unknown)),
        ];
        for (first, second, whole) in cases {
            let mut requests = Requests::default();
            let seq = requests.open(9, None, 2);
            assert_eq!(requests.part_ended(seq, first), None);
            assert_eq!(requests.part_ended(seq, second), Some(whole));
        }
    }

    #[test]
    fn receipts_of_a_row_are_one() {
        let mut requests = Requests::default();
        let stored =
            |offset| Stored { partition: PartitionId::default(), position: Position::new(1, offset) };
        for (seq, offset) in [(1, 10), (2, 11), (3, 13), (5, 14)] {
            requests.stored(Seq(seq), stored(offset));
        }
        let ranges: Vec<_> =
            requests.receipts().iter().map(|r| (r.seq.0, r.count, r.position.offset.0)).collect();
        assert_eq!(ranges, [(1, 2, 10), (3, 1, 13), (5, 1, 14)]);
    }
}
