//! A stored message.

use crate::time::Time;
use multibeam_wire::{Offset, Position};

/// A message at its place in a partition; shared by every feed that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where it stands.
    pub position: Position,
    /// Offset of the topic's message before it, or the floor it began at.
    pub prev: Offset,
    /// When the turn began that took it from its publisher's socket.
    pub ingress: Time,
    /// What the publisher sent.
    pub body: Box<[u8]>,
}
