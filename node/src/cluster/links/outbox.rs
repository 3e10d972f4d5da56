//! What waits to be sent on one connection, and the questions on it that wait for an answer.
//!
//! Signs of life pass everything else, one frame at a time. The view is a latest value: what is replaced
//! before it was begun is never sent.

use multibeam_consensus::{ASK_BYTES_MAX, Unreachable};
use multibeam_proto::Time;
use multibeam_wire::Seq;
use multibeam_wire::limits::LINK_PART_BYTES_MAX;
use multibeam_wire::link::{Epoch, LinkPayload, Part, Request, Response, State};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tokio::sync::{Notify, oneshot};

/// Signs of life and answers to them that wait. More are of a peer that takes nothing, and will be closed.
const URGENT_MAX: usize = 32;

/// Questions that wait to be sent. Their answers have a room of their own, or a node that asks much would lose what
/// it is asked.
const QUESTIONS_MAX: usize = 64;

/// Answers that wait to be sent; a connection takes no more questions than it has room for answers.
const ANSWERS_MAX: usize = super::connection::ANSWERING_MAX;

/// Bytes of questions that wait to be sent, and of answers: two of the longest, which is what the other side puts
/// together at a time (`parts.rs`).
const BULK_BYTES_MAX: usize = 2 * ASK_BYTES_MAX;

/// Questions without an answer.
const OPEN_MAX: usize = 64;

/// What the field `window` says on links. Nobody counts by it: of STATE one part goes at a time, and questions and
/// answers have the bounds above.
pub(super) const WINDOW: u16 = 64;

const _: () =
    assert!(QUESTIONS_MAX <= super::parts::MESSAGES_MAX && ANSWERS_MAX <= super::parts::MESSAGES_MAX);
const _: () = assert!(BULK_BYTES_MAX <= super::parts::BYTES_MAX);

/// The newest view, as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct StateToSend {
    pub(crate) epoch: Epoch,
    pub(crate) bytes: Rc<Vec<u8>>,
}

/// A message that goes in parts.
#[derive(Debug)]
enum Bulk {
    Request { number: u64, kind: u16 },
    Response { number: u64 },
}

/// Who waits for the answer to a question.
type Asker = oneshot::Sender<Result<Vec<u8>, Unreachable>>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    changed: Notify,
    closed: Cell<bool>,
    /// When something last came.
    pub(crate) heard: Cell<Time>,
    urgent: RefCell<VecDeque<Vec<u8>>>,
    bulk: RefCell<VecDeque<(Bulk, Vec<u8>, usize)>>,
    questions: Cell<u64>,
    open: RefCell<BTreeMap<u64, Asker>>,
    state: RefCell<Option<StateToSend>>,
    /// The one under way, how far it is, and the number of its last frame until that is acknowledged.
    sending: RefCell<Option<(StateToSend, usize)>>,
    seq: Cell<Seq>,
    acked: Cell<Seq>,
    /// The last sequenced frame that came.
    taken: Cell<Seq>,
}

impl Outbox {
    pub(super) fn new(now: Time) -> Rc<Self> {
        let outbox = Self::default();
        outbox.heard.set(now);
        Rc::new(outbox)
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Has the connection look again.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A whole frame that passes all others.
    pub(crate) fn urgent(&self, frame: Vec<u8>) {
        let mut urgent = self.urgent.borrow_mut();
        if urgent.len() < URGENT_MAX {
            urgent.push_back(frame);
            self.changed.notify_one();
        }
    }

    /// A payload as a frame, with what this side acknowledges.
    pub(crate) fn frame(&self, payload: &LinkPayload<'_>) -> Vec<u8> {
        let mut frame = Vec::new();
        payload.encode(self.seq.get(), self.taken.get(), WINDOW, &mut frame);
        frame
    }

    pub(super) fn ask(&self, kind: u16, bytes: Vec<u8>, answer: Asker) {
        let mut open = self.open.borrow_mut();
        // Whoever waits no more takes no room.
        open.retain(|_, waiting| !waiting.is_closed());
        self.bulk.borrow_mut().retain(|(message, _, at)| match message {
            Bulk::Request { number, .. } => *at > 0 || open.contains_key(number),
            Bulk::Response { .. } => true,
        });
        let full = !self.has_room(false, bytes.len());
        if open.len() >= OPEN_MAX || full || self.is_closed() {
            let _ = answer.send(Err(Unreachable));
            return;
        }
        let number = self.questions.get() + 1;
        self.questions.set(number);
        open.insert(number, answer);
        self.bulk.borrow_mut().push_back((Bulk::Request { number, kind }, bytes, 0));
        self.changed.notify_one();
    }

    /// Whether it goes: an answer for which there is no room is dropped, and the asker gives up by itself.
    pub(super) fn answer(&self, number: u64, bytes: Vec<u8>) -> bool {
        let room = self.has_room(true, bytes.len());
        if room {
            self.bulk.borrow_mut().push_back((Bulk::Response { number }, bytes, 0));
            self.changed.notify_one();
        }
        room
    }

    /// Answers that wait to be sent.
    pub(super) fn answers(&self) -> usize {
        self.waiting(true).0
    }

    fn has_room(&self, answers: bool, more: usize) -> bool {
        let (count, bytes) = self.waiting(answers);
        count < if answers { ANSWERS_MAX } else { QUESTIONS_MAX } && bytes + more <= BULK_BYTES_MAX
    }

    /// Answers or questions that are not all sent, and their bytes.
    fn waiting(&self, answers: bool) -> (usize, usize) {
        let bulk = self.bulk.borrow();
        let such = bulk.iter().filter(|(message, _, _)| matches!(message, Bulk::Response { .. }) == answers);
        such.fold((0, 0), |(count, sum), (_, bytes, _)| (count + 1, sum + bytes.len()))
    }

    /// An answer came; nobody may wait for it any more.
    pub(super) fn answered(&self, number: u64, bytes: Vec<u8>) {
        if let Some(answer) = self.open.borrow_mut().remove(&number) {
            let _ = answer.send(Ok(bytes));
        }
    }

    pub(super) fn state(&self, state: StateToSend) {
        *self.state.borrow_mut() = Some(state);
        self.changed.notify_one();
    }

    /// The peer has taken everything up to `seq`.
    pub(super) fn acked(&self, seq: Seq) {
        if self.acked.replace(seq) != seq {
            self.changed.notify_one();
        }
    }

    /// A sequenced frame came. Whether it is the next one.
    pub(super) fn sequenced(&self, seq: Seq) -> bool {
        let next = self.taken.get().next();
        self.taken.set(next);
        seq == next
    }

    /// The last sequenced frame that was sent.
    pub(super) fn sent(&self) -> Seq {
        self.seq.get()
    }

    /// Appends what goes next: all signs of life, or one other frame.
    pub(super) fn fill(&self, out: &mut Vec<u8>) {
        for frame in self.urgent.borrow_mut().drain(..) {
            out.extend_from_slice(&frame);
        }
        if out.is_empty() {
            self.fill_state(out);
        }
        if out.is_empty() {
            self.fill_bulk(out);
        }
    }

    /// One part at a time: the next one when that is acknowledged.
    fn fill_state(&self, out: &mut Vec<u8>) {
        if self.acked.get() != self.seq.get() {
            return;
        }
        let mut sending = self.sending.borrow_mut();
        if sending.is_none() {
            *sending = self.state.borrow_mut().take().map(|state| (state, 0));
        }
        let Some((state, at)) = &mut *sending else { return };
        let end = (*at + LINK_PART_BYTES_MAX).min(state.bytes.len());
        let more = end < state.bytes.len();
        let part = Part { more, bytes: &state.bytes[*at..end] };
        self.seq.set(self.seq.get().next());
        let payload = State { from: Epoch(0), to: state.epoch, snapshot: true, part };
        LinkPayload::State(payload).encode(self.seq.get(), self.taken.get(), WINDOW, out);
        *at = end;
        if !more {
            *sending = None;
        }
    }

    fn fill_bulk(&self, out: &mut Vec<u8>) {
        let mut bulk = self.bulk.borrow_mut();
        let Some((message, bytes, at)) = bulk.pop_front() else { return };
        let end = (at + LINK_PART_BYTES_MAX).min(bytes.len());
        let part = Part { more: end < bytes.len(), bytes: &bytes[at..end] };
        let payload = match message {
            // Whoever asked has given up.
            Bulk::Request { number, .. } if at == 0 && !self.is_awaited(number) => return,
            Bulk::Request { number, kind } => LinkPayload::Request(Request { number, kind, part }),
            Bulk::Response { number } => LinkPayload::Response(Response { number, part }),
        };
        payload.encode(self.seq.get(), self.taken.get(), WINDOW, out);
        if end < bytes.len() {
            // Behind the others, so that none waits for a long one.
            bulk.push_back((message, bytes, end));
        }
    }

    fn is_awaited(&self, number: u64) -> bool {
        self.open.borrow().get(&number).is_some_and(|answer| !answer.is_closed())
    }

    /// Whether anything could be sent at once.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.acked.get() == self.seq.get()
            && (self.state.borrow().is_some() || self.sending.borrow().is_some());
        self.urgent.borrow().is_empty() && self.bulk.borrow().is_empty() && !state
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        for (_, answer) in std::mem::take(&mut *self.open.borrow_mut()) {
            let _ = answer.send(Err(Unreachable));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(outbox: &Outbox, bytes: usize) -> oneshot::Receiver<Result<Vec<u8>, Unreachable>> {
        let (answer, answered) = oneshot::channel();
        outbox.ask(1, vec![0; bytes], answer);
        answered
    }

    #[test]
    fn questions_that_wait_take_no_room_from_answers() {
        let outbox = Outbox::new(Time(0));
        let mut asked: Vec<_> = (0..QUESTIONS_MAX).map(|_| ask(&outbox, 10)).collect();
        assert!(asked.iter_mut().all(|answer| answer.try_recv().is_err()), "all wait");
        assert_eq!(ask(&outbox, 10).try_recv(), Ok(Err(Unreachable)));
        assert!((0..ANSWERS_MAX as u64).all(|number| outbox.answer(number, vec![0; 10])));
        assert!(!outbox.answer(99, vec![0; 10]) && outbox.answers() == ANSWERS_MAX);
        // Who gave up makes room.
        asked.pop();
        assert!(ask(&outbox, 10).try_recv().is_err());
    }

    #[test]
    fn what_waits_has_a_bound_in_bytes() {
        let outbox = Outbox::new(Time(0));
        let waits = [ask(&outbox, ASK_BYTES_MAX), ask(&outbox, ASK_BYTES_MAX)];
        assert_eq!(ask(&outbox, 1).try_recv(), Ok(Err(Unreachable)));
        assert!(outbox.answer(1, vec![0; ASK_BYTES_MAX]) && !outbox.answer(2, vec![0; ASK_BYTES_MAX + 1]));
        drop(waits);
        assert!(ask(&outbox, 1).try_recv().is_err());
    }
}
