//! Sequenced frames of the client: which are done, so that one number can acknowledge them.

use crate::time::Time;
use multibeam_wire::Seq;
use std::collections::VecDeque;

/// The client's sequenced frames behind the last acknowledged one.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Everything up to here is done.
    done: Seq,
    /// `done + 1`, `done + 2`, … The first is never done.
    open: VecDeque<Request>,
    /// Payload bytes of DATA among them.
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    state: State,
    bytes: u32,
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
    /// Number of the last sequenced frame received.
    pub(crate) fn last(&self) -> Seq {
        self.done.plus(self.open.len() as u32)
    }

    /// Everything up to here is done.
    pub(crate) fn done(&self) -> Seq {
        self.done
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Payload bytes of DATA that are not done.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next sequenced frame and returns its number.
    pub(crate) fn open(&mut self, bytes: u32, deadline: Option<Time>) -> Seq {
        self.open.push_back(Request { state: State::Waiting(deadline), bytes });
        self.bytes += u64::from(bytes);
        self.last()
    }

    fn find(&mut self, seq: Seq) -> Option<&mut Request> {
        let at = self.done.next().distance(seq);
        usize::try_from(at).ok().and_then(|at| self.open.get_mut(at))
    }

    /// Whether somebody still waits for the answer to `seq`.
    pub(crate) fn waits(&mut self, seq: Seq) -> bool {
        matches!(self.find(seq), Some(Request { state: State::Waiting(_), .. }))
    }

    /// Its answer is queued.
    pub(crate) fn answered(&mut self, seq: Seq) {
        let request = self.find(seq);
        debug_assert!(request.is_some(), "an answer to {seq:?}, which is done");
        if let Some(request) = request {
            request.state = State::Answered;
        }
    }

    /// It is done. True if there is more to acknowledge than before.
    pub(crate) fn finish(&mut self, seq: Seq) -> bool {
        if let Some(request) = self.find(seq) {
            request.state = State::Done;
        }
        let before = self.done;
        while let Some(Request { state: State::Done, bytes }) = self.open.front().copied() {
            self.open.pop_front();
            self.bytes -= u64::from(bytes);
            self.done = self.done.next();
        }
        self.done != before
    }

    /// The earliest deadline of any.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.open.iter().find_map(|request| match request.state {
            State::Waiting(deadline) => deadline,
            State::Answered | State::Done => None,
        })
    }

    /// The first whose deadline has passed.
    pub(crate) fn overdue(&self, now: Time) -> Option<Seq> {
        let at = self
            .open
            .iter()
            .position(|request| matches!(request.state, State::Waiting(Some(deadline)) if deadline <= now))?;
        Some(self.done.plus(at as u32 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the order of completion, the acknowledged number covers exactly the
        /// longest finished prefix.
        #[test]
        fn acknowledges_the_finished_prefix(count in 1usize..40, order in proptest::collection::vec(any::<u16>(), 40)) {
            let mut requests = Requests::default();
            let seqs: Vec<Seq> = (0..count).map(|n| requests.open(n as u32, None)).collect();
            let mut left: Vec<usize> = (0..count).collect();
            let mut finished = vec![false; count];
            for pick in order {
                if left.is_empty() { break; }
                let n = left.remove(usize::from(pick) % left.len());
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
        let a = requests.open(1, Some(Time(10)));
        let b = requests.open(1, Some(Time(20)));
        assert_eq!(requests.next_deadline(), Some(Time(10)));
        assert_eq!(requests.overdue(Time(9)), None);
        assert_eq!(requests.overdue(Time(25)), Some(a));
        requests.answered(a);
        assert!(!requests.waits(a) && requests.waits(b));
        assert_eq!(requests.overdue(Time(25)), Some(b));
        requests.finish(b);
        assert_eq!(requests.done(), Seq(0));
        requests.finish(a);
        assert_eq!(requests.done(), Seq(2));
    }
}
