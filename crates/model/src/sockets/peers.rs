//! What peers do with their ends: connect, push, pull, end, reset; and what they can see.

use super::{Socket, SocketId, Sockets};
use multibeam::kernel::{Event, Token};

impl Sockets {
    /// Somebody connects. `None`: refused, or the backlog is full.
    pub fn connect(&mut self) -> Option<SocketId> {
        if !self.listening || self.backlog.len() >= self.caps.backlog {
            return None;
        }
        let id = SocketId(self.next_id);
        self.next_id += 1;
        self.sockets.insert(id, Socket::default());
        self.backlog.push_back(id);
        if self.accept_armed {
            self.accept_armed = false;
            self.edge(Event::Accept);
        }
        Some(id)
    }

    /// Bytes arrive; returns how many fit.
    pub fn push(&mut self, id: SocketId, bytes: &[u8]) -> usize {
        let rx_bytes = self.caps.rx_bytes;
        let Some(socket) = self.sockets.get_mut(&id) else { return bytes.len() };
        if socket.reset || socket.destroyed || socket.peer_ended {
            return bytes.len();
        }
        let count = bytes.len().min(rx_bytes - socket.rx.len());
        socket.rx.extend(&bytes[..count]);
        self.settle(id);
        count
    }

    /// Bytes that [`Sockets::push`] would take.
    #[must_use]
    pub fn room(&self, id: SocketId) -> usize {
        match self.sockets.get(&id) {
            Some(socket) if !socket.reset && !socket.destroyed => self.caps.rx_bytes - socket.rx.len(),
            // Whatever comes is thrown away.
            Some(_) | None => self.caps.rx_bytes,
        }
    }

    /// The peer ends its half.
    pub fn end(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.peer_ended = true;
            self.settle(id);
        }
    }

    /// The peer resets, or is found to be gone.
    pub fn reset(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.reset = true;
            socket.tx.clear();
            self.settle(id);
        }
        self.forget(id);
    }

    /// Takes up to `max` bytes that the node sent.
    pub fn pull(&mut self, id: SocketId, max: usize) -> Vec<u8> {
        let Some(socket) = self.sockets.get_mut(&id) else { return Vec::new() };
        let count = max.min(socket.tx.len());
        let bytes = socket.tx.drain(..count).collect();
        self.settle(id);
        self.forget(id);
        bytes
    }

    /// Bytes that the node sent and the peer has not taken.
    #[must_use]
    pub fn waiting(&self, id: SocketId) -> usize {
        self.sockets.get(&id).map_or(0, |socket| socket.tx.len())
    }

    /// Bytes that the node has sent ever since the peer connected.
    #[must_use]
    pub fn sent(&self, id: SocketId) -> u64 {
        self.sockets.get(&id).map_or(0, |socket| socket.sent)
    }

    /// Whether the node's half has ended and the peer has taken everything.
    #[must_use]
    pub fn ended(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_none_or(|socket| socket.shut && socket.tx.is_empty() && !socket.destroyed)
    }

    /// Whether the connection was reset by the node.
    #[must_use]
    pub fn destroyed(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.destroyed)
    }

    /// Whether the node's loop has ever watched it.
    #[must_use]
    pub fn watched(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.watched.is_some())
    }

    /// The token that the node's loop has watched it by, also after its close.
    #[must_use]
    pub fn token(&self, id: SocketId) -> Option<Token> {
        self.sockets.get(&id)?.watched
    }

    /// Whether the node holds no handle of it any more, or never did.
    #[must_use]
    pub fn gone(&self, id: SocketId) -> bool {
        !self.backlog.contains(&id) && self.sockets.get(&id).is_none_or(|socket| !socket.held)
    }

    /// Drops a socket that neither side has any use for.
    pub(super) fn forget(&mut self, id: SocketId) {
        let over = self.sockets.get(&id).is_some_and(|socket| !socket.held && socket.reset);
        if over && !self.backlog.contains(&id) {
            self.sockets.remove(&id);
        }
    }

    /// The peer has seen the end, and will not ask again.
    pub fn release(&mut self, id: SocketId) {
        if self.gone(id) {
            self.sockets.remove(&id);
        }
    }
}
