//! Publishes from the call to their end, over all connections.
//!
//! ```text
//!   line ──room──► queue ──first sent──► sent ──acked, refused, too late──► outcome
//!   (held by the   (accepted)            (numbered; on a new connection
//!    caller)                              first, in order of number)
//! ```
//!
//! A number is given when a publish is first sent, so that numbers have no holes.

use super::{Notice, Ticket};
use crate::error::PublishError;
use multibeam_wire::limits::DEDUP_WINDOW;
use multibeam_wire::{Generation, Publish, TopicName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
struct Message {
    topic: TopicName,
    body: Vec<u8>,
    deadline_ms: u64,
}

#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    message: Message,
    first_sent_in: Generation,
}

/// All publishes of a client that have not ended.
#[derive(Debug)]
pub(super) struct Publishes {
    accepted_max: usize,
    deadline_ms: u64,
    next_ticket: u64,
    next_number: u64,
    line: BTreeMap<Ticket, Message>,
    queue: BTreeMap<Ticket, Message>,
    sent: BTreeMap<u64, Sent>,
    /// Numbers of `sent` that the present connection has not carried.
    again: BTreeSet<u64>,
}

impl Publishes {
    pub(super) const fn new(accepted_max: usize, deadline_ms: u64) -> Self {
        Self {
            accepted_max,
            deadline_ms,
            next_ticket: 1,
            next_number: 1,
            line: BTreeMap::new(),
            queue: BTreeMap::new(),
            sent: BTreeMap::new(),
            again: BTreeSet::new(),
        }
    }

    pub(super) fn push(
        &mut self,
        topic: TopicName,
        body: Vec<u8>,
        now_ms: u64,
        notices: &mut VecDeque<Notice>,
    ) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.line.insert(ticket, Message { topic, body, deadline_ms: now_ms + self.deadline_ms });
        self.admit(notices);
        ticket
    }

    /// Forgets a publish that still waits for a place; later it can't be taken back.
    pub(super) fn take_back(&mut self, ticket: Ticket) {
        self.line.remove(&ticket);
    }

    /// A connection has opened: all that was sent before is to be sent again.
    pub(super) fn connected(&mut self) {
        self.again = self.sent.keys().copied().collect();
        self.invariants();
    }

    /// The next publish to be sent on the present connection.
    pub(super) fn front(&self) -> Option<(Ticket, Publish<'_>)> {
        if let Some(number) = self.again.first() {
            let sent = self.sent.get(number)?;
            return Some((sent.ticket, sent.message.publish(*number, Some(sent.first_sent_in))));
        }
        let oldest = self.sent.first_key_value().map_or(self.next_number, |(&number, _)| number);
        if self.next_number - oldest >= DEDUP_WINDOW as u64 {
            // Sent now, it would push the oldest out of what the cluster can recognise.
            return None;
        }
        let (&ticket, message) = self.queue.first_key_value()?;
        Some((ticket, message.publish(self.next_number, None)))
    }

    /// The front was sent on a connection to a node of this generation. Returns its number,
    /// and whether it had been sent before.
    pub(super) fn front_sent(&mut self, generation: Generation) -> Option<(u64, bool)> {
        if let Some(number) = self.again.pop_first() {
            return Some((number, true));
        }
        let (ticket, message) = self.queue.pop_first()?;
        let number = self.next_number;
        self.next_number += 1;
        self.sent.insert(number, Sent { ticket, message, first_sent_in: generation });
        self.invariants();
        Some((number, false))
    }

    /// The node has answered the publish `number`. Nothing happens if it has ended before.
    pub(super) fn end(
        &mut self,
        number: u64,
        outcome: Result<(), PublishError>,
        notices: &mut VecDeque<Notice>,
    ) -> bool {
        self.again.remove(&number);
        let Some(sent) = self.sent.remove(&number) else { return false };
        notices.push_back(Notice::PublishEnded(sent.ticket, outcome));
        self.admit(notices);
        true
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        // Tickets, numbers and deadlines grow together: the first of each is the earliest.
        let sent = self.sent.first_key_value().map(|(_, sent)| sent.message.deadline_ms);
        let queued = self.queue.first_key_value().map(|(_, message)| message.deadline_ms);
        let lined = self.line.first_key_value().map(|(_, message)| message.deadline_ms);
        sent.or(queued).or(lined)
    }

    /// Ends what is past its deadline.
    pub(super) fn expire(&mut self, now_ms: u64, notices: &mut VecDeque<Notice>) {
        while let Some(entry) =
            self.sent.first_entry().filter(|entry| entry.get().message.deadline_ms <= now_ms)
        {
            let (number, sent) = entry.remove_entry();
            self.again.remove(&number);
            notices.push_back(Notice::PublishEnded(sent.ticket, Err(PublishError::Unknown)));
        }
        for waiting in [&mut self.queue, &mut self.line] {
            while let Some(entry) = waiting.first_entry().filter(|entry| entry.get().deadline_ms <= now_ms) {
                notices.push_back(Notice::PublishEnded(*entry.key(), Err(PublishError::TimedOut)));
                entry.remove();
            }
        }
        self.admit(notices);
    }

    /// Ends everything: the client is closed.
    pub(super) fn close(&mut self, notices: &mut VecDeque<Notice>) {
        self.again.clear();
        for sent in std::mem::take(&mut self.sent).into_values() {
            notices.push_back(Notice::PublishEnded(sent.ticket, Err(PublishError::Unknown)));
        }
        for waiting in [&mut self.queue, &mut self.line] {
            for ticket in std::mem::take(waiting).into_keys() {
                notices.push_back(Notice::PublishEnded(ticket, Err(PublishError::Closed)));
            }
        }
    }

    fn admit(&mut self, notices: &mut VecDeque<Notice>) {
        while self.sent.len() + self.queue.len() < self.accepted_max {
            let Some((ticket, message)) = self.line.pop_first() else { break };
            self.queue.insert(ticket, message);
            notices.push_back(Notice::PublishAccepted(ticket));
        }
        self.invariants();
    }

    pub(super) fn invariants(&self) {
        assert!(self.sent.len() + self.queue.len() <= self.accepted_max);
        debug_assert!(self.again.iter().all(|number| self.sent.contains_key(number)));
        if let (Some((last_queued, _)), Some((first_lined, _))) =
            (self.queue.last_key_value(), self.line.first_key_value())
        {
            assert!(last_queued < first_lined);
        }
    }
}

impl Message {
    fn publish(&self, number: u64, retry_of: Option<Generation>) -> Publish<'_> {
        Publish { number, topic: self.topic.as_str(), retry_of, body: &self.body }
    }
}
