//! What the application has taken of one subscription and not handled, oldest first.
//!
//! ```text
//!   … handled │ first …………… last │ taken …
//!             │ held, given back, or done behind one that is not
//! ```
//!
//! `taken` is the cursor behind everything handed out, `handled` the one behind everything before the
//! first that is not done: another process that begins behind `handled` misses nothing.

use super::subscriptions::{Frame, Mark};
use crate::cursor::{Cursor, PartitionId};
use crate::event::{Event, Message};
use std::collections::{BTreeSet, VecDeque};

/// Name of one event that was handed out, within its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandoutId(u64);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// With the application, which says nothing more than to come for the next.
    Plain,
    /// With the application, which owes an ack. The copy is for when it gives the message back.
    AckOwed(Message),
    /// To be handed out again.
    GivenBack(Message),
    Done,
}

#[derive(Debug)]
struct Open {
    state: State,
    frame: Frame,
    mark: Mark,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hand {
    manual: bool,
    /// Number of the front of `open`.
    first: u64,
    open: VecDeque<Open>,
    /// Numbers of those that are handled when the application comes back.
    plain: Vec<u64>,
    given_back: BTreeSet<u64>,
    taken: Option<Cursor>,
    handled: Option<Cursor>,
}

impl Hand {
    /// Nothing in hand, behind `cursor`.
    pub(super) const fn new(taken: Option<Cursor>, handled: Option<Cursor>) -> Self {
        Self {
            manual: false,
            first: 0,
            open: VecDeque::new(),
            plain: Vec::new(),
            given_back: BTreeSet::new(),
            taken,
            handled,
        }
    }

    /// Messages taken from here on owe an ack, or no longer do.
    pub(super) const fn manual(&mut self, manual: bool) {
        self.manual = manual;
    }

    pub(super) const fn taken(&self) -> Option<&Cursor> {
        self.taken.as_ref()
    }

    pub(super) const fn handled(&self) -> Option<&Cursor> {
        self.handled.as_ref()
    }

    /// The application takes an event that was never handed out. Returns the name of a message that owes
    /// an ack.
    pub(super) fn take(&mut self, event: &Event, frame: Frame, mark: Mark) -> Option<HandoutId> {
        mark.clone().apply(&mut self.taken);
        let state = match event {
            Event::Message(message) if self.manual => State::AckOwed(message.clone()),
            Event::Message(_) | Event::Subscribed { .. } | Event::Gap { .. } | Event::Ended(_) => {
                State::Plain
            }
        };
        let number = self.first + self.open.len() as u64;
        let owed = matches!(state, State::AckOwed(_)).then_some(HandoutId(number));
        if owed.is_none() {
            self.plain.push(number);
        }
        self.open.push_back(Open { state, frame, mark });
        self.invariants();
        owed
    }

    /// The application takes the oldest message that was given back.
    pub(super) fn take_again(&mut self) -> Option<(Message, HandoutId)> {
        let number = self.given_back.pop_first()?;
        let open = self.at(HandoutId(number))?;
        let State::GivenBack(message) = &mut open.state else { return None };
        message.attempt = message.attempt.saturating_add(1);
        let message = message.clone();
        open.state = State::AckOwed(message.clone());
        self.invariants();
        Some((message, HandoutId(number)))
    }

    /// The application has come back: what owes no ack is handled. Frames that are done thereby are
    /// appended to `released`.
    pub(super) fn come_back(&mut self, released: &mut Vec<Frame>) {
        let Self { first, open, plain, .. } = self;
        for number in plain.drain(..) {
            let open = usize::try_from(number - *first).ok().and_then(|index| open.get_mut(index));
            let Some(open) = open else { continue };
            open.state = State::Done;
            released.push(open.frame);
        }
        self.settle();
    }

    /// The message is handled. Nothing happens where it was before, or is not in hand.
    pub(super) fn ack(&mut self, id: HandoutId, released: &mut Vec<Frame>) {
        let Some(open) = self.at(id).filter(|open| matches!(open.state, State::AckOwed(_))) else { return };
        open.state = State::Done;
        released.push(open.frame);
        self.settle();
    }

    /// The message is not handled and comes again. Returns false where it is not in hand.
    pub(super) fn give_back(&mut self, id: HandoutId) -> bool {
        let Some(open) = self.at(id) else { return false };
        open.state = match std::mem::replace(&mut open.state, State::Done) {
            State::AckOwed(message) => State::GivenBack(message),
            other @ (State::Plain | State::GivenBack(_) | State::Done) => {
                open.state = other;
                return false;
            }
        };
        self.given_back.insert(id.0);
        self.invariants();
        true
    }

    /// Forgets everything in hand; what was handed out does not count any more.
    pub(super) fn clear(&mut self, released: &mut Vec<Frame>) {
        released.extend(self.unhandled());
        self.first += self.open.len() as u64;
        self.open.clear();
        self.plain.clear();
        self.given_back.clear();
    }

    /// Frames of what is not handled.
    pub(super) fn unhandled(&self) -> impl Iterator<Item = Frame> + '_ {
        self.open.iter().filter(|open| open.state != State::Done).map(|open| open.frame)
    }

    /// A subscription that begins anew with what is received from here on.
    pub(super) fn begin(&mut self, cursor: Option<&Cursor>) {
        assert!(self.open.is_empty());
        self.taken = cursor.cloned();
        self.handled = cursor.cloned();
    }

    /// Partitions that are gone: no cursor names them any more.
    pub(super) fn retain(&mut self, keep: impl Fn(PartitionId) -> bool) {
        for open in &mut self.open {
            open.mark.retain(&keep);
        }
        for cursor in [&mut self.taken, &mut self.handled].into_iter().flatten() {
            cursor.retain(&keep);
        }
    }

    fn at(&mut self, id: HandoutId) -> Option<&mut Open> {
        let index = usize::try_from(id.0.checked_sub(self.first)?).ok()?;
        self.open.get_mut(index)
    }

    fn settle(&mut self) {
        while self.open.front().is_some_and(|open| open.state == State::Done) {
            let Some(open) = self.open.pop_front() else { break };
            open.mark.apply(&mut self.handled);
            self.first += 1;
        }
        self.invariants();
    }

    pub(super) fn invariants(&self) {
        debug_assert_eq!(
            self.plain.len(),
            self.open.iter().filter(|open| open.state == State::Plain).count()
        );
        debug_assert!(self.open.front().is_none_or(|open| open.state != State::Done));
        debug_assert!(self.given_back.iter().all(|number| {
            let index = usize::try_from(number.wrapping_sub(self.first)).unwrap_or(usize::MAX);
            self.open.get(index).is_some_and(|open| matches!(open.state, State::GivenBack(_)))
        }));
        debug_assert!(match (&self.handled, &self.taken) {
            (Some(handled), Some(taken)) => handled.is_within(taken),
            (Some(_), None) => false,
            (None, _) => true,
        });
    }
}
