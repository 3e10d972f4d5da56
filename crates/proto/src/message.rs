//! A stored message on its way to another shard.

use crate::time::Time;
use multibeam_wire::{Offset, Position};
use std::collections::VecDeque;
use std::sync::Arc;

/// A message at its place in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where it stands.
    pub position: Position,
    /// Offset of the message before it in its feed, or the floor it began at.
    pub prev: Offset,
    /// When the turn began that took it from its publisher's socket.
    pub ingress: Time,
    /// Milliseconds from then on for which it is worth delivering; 0 for no end.
    pub ttl_ms: u32,
    /// Its topic, where the feed is a filter's; else empty.
    pub topic: String,
    /// What the publisher sent.
    pub body: Vec<u8>,
}

/// Messages that other shards are done with are filled again, so that sending one allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    lent: VecDeque<Arc<Message>>,
}

/// Messages kept to be filled again: as many as the rings towards a few shards hold.
const MESSAGES_KEPT_MAX: usize = 1024;

impl Messages {
    /// Lends a message that `fill` has filled; the one it gets holds an old one's content.
    pub(crate) fn lend(&mut self, fill: impl FnOnce(&mut Message)) -> Arc<Message> {
        let mut message = self.lent.pop_front().unwrap_or_default();
        match Arc::get_mut(&mut message) {
            Some(free) => fill(free),
            None => {
                // The oldest is still on its way: so are all others.
                if self.lent.len() < MESSAGES_KEPT_MAX {
                    self.lent.push_front(message);
                }
                let mut fresh = Message::default();
                fill(&mut fresh);
                message = Arc::new(fresh);
            }
        }
        self.lent.push_back(Arc::clone(&message));
        if self.lent.len() > MESSAGES_KEPT_MAX {
            self.lent.pop_front();
        }
        message
    }
}
