//! Publishes from the call to their end, over all connections.
//!
//! ```text
//!   line ──room──► queue ──first sent──► sent ──acked, refused, too late──► outcome
//!   (held by the   (accepted)            (numbered; on a new connection
//!    caller)                              first, in order of number)
//! ```
//!
//! Numbers are given when a publish is first sent, so that they have no holes; one a key. So tickets and
//! numbers grow together. The queue is bounded by messages and bytes, `sent` by numbers.

use super::{Notice, Ticket};
use crate::config::{Config, millis};
use crate::error::PublishError;
use crate::publish::{Publish, Published, Receipt};
use multibeam_wire::limits::DEDUP_WINDOW;
use multibeam_wire::{self as wire, Generation, Keys};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
struct Message {
    publish: Publish,
    /// `None`: never.
    deadline_ms: Option<u64>,
    /// When its time to live is over.
    expires_ms: Option<u64>,
}

impl Message {
    /// When it ends by itself as long as it was not sent.
    fn unsent_until_ms(&self) -> Option<u64> {
        self.deadline_ms.into_iter().chain(self.expires_ms).min()
    }
}

#[derive(Debug)]
struct Sent {
    message: Message,
    number: u64,
    first_sent_in: Generation,
    /// What the present connection has told; at most one a number.
    receipts: Vec<Receipt>,
}

/// The publish to be sent next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front<'a> {
    pub(super) ticket: Ticket,
    message: &'a Message,
    number: u64,
    retry_of: Option<Generation>,
}

impl<'a> Front<'a> {
    /// Its keys, for [`Self::frame`].
    pub(super) fn keys(&self) -> Vec<&'a str> {
        self.message.publish.keys().iter().map(String::as_str).collect()
    }

    /// What is sent of it. What is left of its time to live is at least 1 ms: one that was sent before
    /// is sent again all the same, since only the answer tells whether it is stored.
    pub(super) fn frame(&self, keys: &'a [&'a str], now_ms: u64) -> wire::Publish<'a> {
        let left_ms =
            |expires_ms: u64| u32::try_from(expires_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX).max(1);
        wire::Publish {
            number: self.number,
            topic: self.message.publish.topic(),
            keys: Keys::new(keys),
            retry_of: self.retry_of,
            ttl_ms: self.message.expires_ms.map(left_ms),
            body: self.message.publish.body(),
        }
    }
}

/// All publishes of a client that have not ended.
#[derive(Debug)]
pub(super) struct Publishes {
    messages_max: usize,
    bytes_max: usize,
    numbers_max: u64,
    deadline_ms: Option<u64>,
    next_ticket: u64,
    next_number: u64,
    line: BTreeMap<Ticket, Message>,
    queue: BTreeMap<Ticket, Message>,
    sent: BTreeMap<Ticket, Sent>,
    /// Those of `sent` that the present connection has not carried.
    again: BTreeSet<Ticket>,
    /// Ended by their deadline, but not answered on the present connection, with their numbers: the node
    /// still holds them.
    late: BTreeMap<Ticket, u64>,
    /// When each that can end by itself does so.
    timers: BTreeSet<(u64, Ticket)>,
    /// Of `queue` and `sent`.
    bytes: usize,
    /// Of `sent` and `late`.
    numbers: u64,
}

impl Publishes {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            messages_max: config.publish_queue_messages_max,
            bytes_max: config.publish_queue_bytes_max,
            numbers_max: config.publish_in_flight_max as u64,
            deadline_ms: config.publish_deadline.map(millis),
            next_ticket: 1,
            next_number: 1,
            line: BTreeMap::new(),
            queue: BTreeMap::new(),
            sent: BTreeMap::new(),
            again: BTreeSet::new(),
            late: BTreeMap::new(),
            timers: BTreeSet::new(),
            bytes: 0,
            numbers: 0,
        }
    }

    /// Puts a checked publish in line.
    pub(super) fn push(&mut self, publish: Publish, now_ms: u64, notices: &mut VecDeque<Notice>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let deadline_ms = publish.deadline_asked().map(millis).or(self.deadline_ms);
        let message = Message {
            deadline_ms: deadline_ms.map(|deadline_ms| now_ms + deadline_ms),
            expires_ms: publish.ttl_asked().map(|ttl| now_ms + millis(ttl)),
            publish,
        };
        self.timers.extend(message.unsent_until_ms().map(|due_ms| (due_ms, ticket)));
        self.line.insert(ticket, message);
        self.expire(now_ms, notices);
        ticket
    }

    /// Whether a publish of so many bytes would be accepted at once.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.line.is_empty() && self.fits(bytes)
    }

    /// Messages that are accepted and have not ended, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.queue.len() + self.sent.len(), self.bytes)
    }

    /// Forgets a publish that still waits for a place; later it can't be taken back.
    pub(super) fn take_back(&mut self, ticket: Ticket, notices: &mut VecDeque<Notice>) {
        if let Some(message) = self.line.remove(&ticket) {
            self.forget_timer(message.unsent_until_ms(), ticket);
            self.admit(notices);
        }
    }

    /// A connection has opened: all that was sent before is to be sent again.
    pub(super) fn connected(&mut self) {
        self.again = self.sent.keys().copied().collect();
        self.numbers -= std::mem::take(&mut self.late).values().sum::<u64>();
        self.sent.values_mut().for_each(|sent| sent.receipts.clear());
        self.invariants();
    }

    /// The next publish to be sent on the present connection.
    pub(super) fn front(&self) -> Option<Front<'_>> {
        if let Some(&ticket) = self.again.first() {
            let Sent { message, number, first_sent_in, .. } = self.sent.get(&ticket)?;
            return Some(Front { ticket, message, number: *number, retry_of: Some(*first_sent_in) });
        }
        let (&ticket, message) = self.queue.first_key_value()?;
        let numbers = message.publish.numbers();
        let oldest = self.sent.first_key_value().map_or(self.next_number, |(_, sent)| sent.number);
        if self.next_number + numbers - oldest > DEDUP_WINDOW as u64 {
            // Sent now, it would push the oldest out of what the cluster can recognise.
            return None;
        }
        if self.numbers > 0 && self.numbers + numbers > self.numbers_max {
            return None;
        }
        Some(Front { ticket, message, number: self.next_number, retry_of: None })
    }

    /// The front was sent on a connection to a node of this generation. Returns its ticket,
    /// and whether it had been sent before.
    pub(super) fn front_sent(&mut self, generation: Generation) -> Option<(Ticket, bool)> {
        if let Some(ticket) = self.again.pop_first() {
            return Some((ticket, true));
        }
        let (ticket, message) = self.queue.pop_first()?;
        self.forget_timer(message.unsent_until_ms(), ticket);
        self.timers.extend(message.deadline_ms.map(|due_ms| (due_ms, ticket)));
        let (number, numbers) = (self.next_number, message.publish.numbers());
        self.next_number += numbers;
        self.numbers += numbers;
        let sent = Sent { message, number, first_sent_in: generation, receipts: Vec::new() };
        self.sent.insert(ticket, sent);
        self.invariants();
        Some((ticket, false))
    }

    /// The node says where one of the publish's messages is stored. More receipts than messages are
    /// ignored.
    pub(super) fn receipt(&mut self, ticket: Ticket, receipt: Receipt) {
        if let Some(sent) = self.sent.get_mut(&ticket)
            && (sent.receipts.len() as u64) < sent.message.publish.numbers()
        {
            sent.receipts.push(receipt);
        }
    }

    /// The node has stored the publish. Returns false if it has ended before.
    pub(super) fn stored(&mut self, ticket: Ticket, notices: &mut VecDeque<Notice>) -> bool {
        let Some(sent) = self.remove_sent(ticket) else {
            self.answered_late(ticket);
            return false;
        };
        notices.push_back(Notice::PublishEnded(ticket, Ok(Published { receipts: sent.receipts })));
        self.admit(notices);
        true
    }

    /// The node has refused the publish. Nothing happens if it has ended before.
    pub(super) fn refused(&mut self, ticket: Ticket, error: PublishError, notices: &mut VecDeque<Notice>) {
        if self.remove_sent(ticket).is_some() {
            notices.push_back(Notice::PublishEnded(ticket, Err(error)));
            self.admit(notices);
        } else {
            self.answered_late(ticket);
        }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.timers.first().map(|&(due_ms, _)| due_ms)
    }

    /// Ends what is past its deadline or its time to live.
    pub(super) fn expire(&mut self, now_ms: u64, notices: &mut VecDeque<Notice>) {
        while let Some(&(_, ticket)) = self.timers.first().filter(|(due_ms, _)| *due_ms <= now_ms) {
            let carried = !self.again.contains(&ticket);
            let error = if let Some(sent) = self.remove_sent(ticket) {
                if carried {
                    let numbers = sent.message.publish.numbers();
                    self.late.insert(ticket, numbers);
                    self.numbers += numbers;
                }
                PublishError::Unknown
            } else if let Some(message) = self.remove_unsent(ticket) {
                let expired = message.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms);
                if expired { PublishError::Expired } else { PublishError::TimedOut }
            } else {
                unreachable!("a timer of nothing")
            };
            notices.push_back(Notice::PublishEnded(ticket, Err(error)));
        }
        self.admit(notices);
    }

    /// Ends everything: the client is closed.
    pub(super) fn close(&mut self, notices: &mut VecDeque<Notice>) {
        self.again.clear();
        self.late.clear();
        self.timers.clear();
        (self.bytes, self.numbers) = (0, 0);
        for ticket in std::mem::take(&mut self.sent).into_keys() {
            notices.push_back(Notice::PublishEnded(ticket, Err(PublishError::Unknown)));
        }
        for waiting in [&mut self.queue, &mut self.line] {
            for ticket in std::mem::take(waiting).into_keys() {
                notices.push_back(Notice::PublishEnded(ticket, Err(PublishError::Closed)));
            }
        }
    }

    fn fits(&self, bytes: usize) -> bool {
        let (messages, held_bytes) = self.held();
        messages < self.messages_max && held_bytes + bytes <= self.bytes_max
    }

    fn remove_sent(&mut self, ticket: Ticket) -> Option<Sent> {
        let sent = self.sent.remove(&ticket)?;
        self.again.remove(&ticket);
        self.forget_timer(sent.message.deadline_ms, ticket);
        self.bytes -= sent.message.publish.bytes();
        self.numbers -= sent.message.publish.numbers();
        Some(sent)
    }

    fn answered_late(&mut self, ticket: Ticket) {
        self.numbers -= self.late.remove(&ticket).unwrap_or(0);
        self.invariants();
    }

    fn remove_unsent(&mut self, ticket: Ticket) -> Option<Message> {
        let queued = self.queue.remove(&ticket);
        self.bytes -= queued.as_ref().map_or(0, |message| message.publish.bytes());
        let message = queued.or_else(|| self.line.remove(&ticket))?;
        self.forget_timer(message.unsent_until_ms(), ticket);
        Some(message)
    }

    fn forget_timer(&mut self, due_ms: Option<u64>, ticket: Ticket) {
        let known = due_ms.is_none_or(|due_ms| self.timers.remove(&(due_ms, ticket)));
        assert!(known, "{ticket:?} had no timer");
    }

    fn admit(&mut self, notices: &mut VecDeque<Notice>) {
        while let Some((_, first)) = self.line.first_key_value() {
            let bytes = first.publish.bytes();
            if !self.fits(bytes) {
                break;
            }
            let Some((ticket, message)) = self.line.pop_first() else { break };
            self.bytes += bytes;
            self.queue.insert(ticket, message);
            notices.push_back(Notice::PublishAccepted(ticket));
        }
        self.invariants();
    }

    pub(super) fn invariants(&self) {
        let (messages, bytes) = self.held();
        assert!(messages <= self.messages_max && bytes <= self.bytes_max);
        assert!(self.numbers <= DEDUP_WINDOW as u64);
        debug_assert!(self.again.iter().all(|ticket| self.sent.contains_key(ticket)));
        if cfg!(debug_assertions) {
            let publishes = || self.sent.values().map(|sent| &sent.message.publish);
            let queued = self.queue.values().map(|message| message.publish.bytes()).sum::<usize>();
            let late = self.late.values().sum::<u64>();
            assert_eq!(publishes().map(Publish::numbers).sum::<u64>() + late, self.numbers);
            assert_eq!(publishes().map(Publish::bytes).sum::<usize>() + queued, self.bytes);
        }
        if let (Some((last_queued, _)), Some((first_lined, _))) =
            (self.queue.last_key_value(), self.line.first_key_value())
        {
            assert!(last_queued < first_lined);
        }
    }
}
