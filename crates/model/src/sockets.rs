//! The sockets of one shard, from both sides: the node's calls, and what their peers do.
//!
//! ```text
//!   peer ──push──► rx ──read──►            edges: an edge for reading is owed once a read
//!                                node            said `Again` (or at registration) and
//!   peer ◄──pull── tx ◄──send──                   something arrives; for writing likewise
//! ```
//!
//! Every stage has a cap in bytes. A socket that the node closed lives on until its peer has
//! taken what is left in `tx`, as the kernel's do; unread input at that time is a reset and
//! destroys what the peer has not taken.

use crate::chooser::{Chooser, Fault};
use multibeam::kernel::{Errno, Event, Send, Token};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Name of a socket in this model; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// The node's handle of a socket. To drop one without closing it is a leak, and counted.
#[derive(Debug)]
pub struct ModelSock {
    id: SocketId,
    leaks: Rc<Cell<usize>>,
    closed: bool,
}

impl ModelSock {
    /// Which socket.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.id
    }
}

impl Drop for ModelSock {
    fn drop(&mut self) {
        if !self.closed {
            self.leaks.set(self.leaks.get() + 1);
        }
    }
}

/// Caps of the model.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Bytes that a socket holds before the node reads them.
    pub rx_bytes: usize,
    /// Bytes that a socket holds before its peer takes them.
    pub tx_bytes: usize,
    /// Connections that wait to be accepted.
    pub backlog: usize,
    /// Sockets that the node may hold.
    pub descriptors: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { rx_bytes: 4096, tx_bytes: 4096, backlog: 128, descriptors: 1024 }
    }
}

/// Calls that a socket's peer gets when something changed for it.
type Wake = Rc<dyn Fn()>;

#[derive(Default)]
struct Socket {
    rx: VecDeque<u8>,
    /// The peer ended its half, behind what is in `rx`.
    peer_ended: bool,
    /// The peer, or the network, reset the connection.
    reset: bool,
    /// The node was told of the reset.
    reset_told: bool,
    tx: VecDeque<u8>,
    /// The node ended its half, behind what is in `tx`.
    shut: bool,
    /// The node's close destroyed the connection.
    destroyed: bool,
    token: Option<Token>,
    /// The token it was ever watched by: its end follows the loop's rules.
    watched: Option<Token>,
    /// The node holds a handle.
    held: bool,
    read_armed: bool,
    write_armed: bool,
    wake: Option<Wake>,
}

impl Socket {
    fn readable(&self) -> bool {
        !self.rx.is_empty() || self.peer_ended || (self.reset && !self.reset_told)
    }
}

/// What the model has seen happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Edges for tokens that were closed before.
    pub stale_edges: u64,
    /// Connections refused with a farewell.
    pub shed: u64,
    /// Closes that unread input turned into a reset while the peer had not taken everything.
    pub destroyed: u64,
    /// Calls of the node.
    pub calls: u64,
}

/// What can be known about one socket that the node holds, for the checker.
#[derive(Clone, Copy, Debug)]
pub struct SocketView {
    /// As registered.
    pub token: Token,
    /// A read would find something.
    pub readable: bool,
    /// An edge for reading is on its way.
    pub read_edge: bool,
    /// An edge for writing is on its way, or will be once there is room.
    pub write_edge: bool,
}

/// The sockets of one shard.
pub struct Sockets {
    chooser: Rc<RefCell<dyn Chooser>>,
    caps: Caps,
    sockets: BTreeMap<SocketId, Socket>,
    next_id: u64,
    backlog: VecDeque<SocketId>,
    listening: bool,
    accept_armed: bool,
    edges: VecDeque<Event>,
    /// Tokens closed lately: an edge for one of them may still come.
    stale: VecDeque<Token>,
    held: usize,
    leaks: Rc<Cell<usize>>,
    wake: Option<Wake>,
    seen: Seen,
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets").field("sockets", &self.sockets.len()).field("held", &self.held).finish()
    }
}

/// Tokens of closed sockets that the model remembers, to deliver stale edges for.
const STALE_MAX: usize = 8;

impl Sockets {
    /// No sockets, listening.
    #[must_use]
    pub fn new(caps: Caps, chooser: Rc<RefCell<dyn Chooser>>) -> Self {
        Self {
            chooser,
            caps,
            sockets: BTreeMap::new(),
            next_id: 0,
            backlog: VecDeque::new(),
            listening: true,
            accept_armed: true,
            edges: VecDeque::new(),
            stale: VecDeque::new(),
            held: 0,
            leaks: Rc::new(Cell::new(0)),
            wake: None,
            seen: Seen::default(),
        }
    }

    /// Calls `wake` whenever the node has an edge to take.
    pub fn on_edge(&mut self, wake: impl Fn() + 'static) {
        self.wake = Some(Rc::new(wake));
    }

    /// Calls `wake` whenever something changed for the peer of `id`.
    pub fn on_change(&mut self, id: SocketId, wake: impl Fn() + 'static) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.wake = Some(Rc::new(wake));
        }
    }

    /// What the model has seen happen.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Handles that the node holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Handles that were dropped without being closed.
    #[must_use]
    pub fn leaks(&self) -> usize {
        self.leaks.get()
    }

    /// Whether the node has an edge to take.
    #[must_use]
    pub fn has_edges(&self) -> bool {
        !self.edges.is_empty()
    }

    /// Whether somebody waits to be accepted and no edge will tell the node.
    #[must_use]
    pub fn waits_unseen(&self) -> bool {
        !self.backlog.is_empty() && !self.accept_armed && !self.edges.contains(&Event::Accept)
    }

    /// Each registered socket that the node holds.
    pub fn views(&self) -> impl Iterator<Item = SocketView> + '_ {
        self.sockets.values().filter(|socket| socket.held).filter_map(|socket| {
            let token = socket.token?;
            let queued = |want: fn(&Event) -> bool| {
                self.edges.iter().any(|event| {
                    matches!(event, Event::Socket { token: t, .. } if *t == token) && want(event)
                })
            };
            Some(SocketView {
                token,
                readable: socket.readable(),
                read_edge: queued(|event| matches!(event, Event::Socket { readable: true, .. })),
                write_edge: socket.write_armed
                    || queued(|event| matches!(event, Event::Socket { writable: true, .. })),
            })
        })
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.chooser.borrow_mut().strikes(fault)
    }

    fn below(&self, n: usize) -> usize {
        self.chooser.borrow_mut().below(n)
    }

    fn edge(&mut self, event: Event) {
        self.edges.push_back(event);
        if let Some(wake) = &self.wake {
            wake();
        }
    }

    /// Something may have become ready: pays the edges that are owed.
    fn settle(&mut self, id: SocketId) {
        let tx_bytes = self.caps.tx_bytes;
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Some(token) = socket.token else { return };
        if !socket.held {
            return;
        }
        let readable = socket.read_armed && socket.readable();
        let writable = socket.write_armed && (socket.tx.len() < tx_bytes || socket.reset);
        socket.read_armed &= !readable;
        socket.write_armed &= !writable;
        if readable || writable {
            self.edge(Event::Socket { token, readable, writable });
        }
    }

    fn tell_peer(&self, id: SocketId) {
        if let Some(wake) = self.sockets.get(&id).and_then(|socket| socket.wake.as_ref()) {
            wake();
        }
    }
}

/// The peers' side.
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
    fn forget(&mut self, id: SocketId) {
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

/// The node's side: what [`multibeam::kernel::Io`] says.
impl Sockets {
    pub(crate) fn take_events(&mut self, out: &mut Vec<Event>) {
        self.seen.calls += 1;
        let count = if self.edges.len() > 1 && self.strikes(Fault::FewEdges) {
            1 + self.below(self.edges.len() - 1)
        } else {
            self.edges.len()
        };
        out.extend(self.edges.drain(..count));
        if !self.edges.is_empty()
            && let Some(wake) = &self.wake
        {
            wake();
        }
        if !self.stale.is_empty() && self.strikes(Fault::StaleEdge) {
            let token = self.stale[self.below(self.stale.len())];
            self.seen.stale_edges += 1;
            out.push(Event::Socket { token, readable: true, writable: true });
        }
        if self.strikes(Fault::SpuriousEdge) {
            let tokens: Vec<Token> = self.views().map(|view| view.token).collect();
            if tokens.is_empty() {
                out.push(Event::Accept);
            } else {
                let token = tokens[self.below(tokens.len())];
                out.push(Event::Socket { token, readable: true, writable: true });
            }
        }
    }

    pub(crate) fn accept(&mut self) -> Result<ModelSock, Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        // Linux takes the descriptor before it looks whether somebody waits.
        if self.held >= self.caps.descriptors || self.strikes(Fault::OutOfDescriptors) {
            return Err(Errno::OutOfDescriptors);
        }
        let id = self.next_waiting()?;
        if self.strikes(Fault::Aborted) {
            self.destroy(id);
            return Err(Errno::Aborted);
        }
        Ok(self.hold(id))
    }

    fn next_waiting(&mut self) -> Result<SocketId, Errno> {
        match self.backlog.pop_front() {
            Some(id) => Ok(id),
            None => {
                self.accept_armed = true;
                Err(Errno::Again)
            }
        }
    }

    fn hold(&mut self, id: SocketId) -> ModelSock {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.held = true;
        }
        self.held += 1;
        ModelSock { id, leaks: Rc::clone(&self.leaks), closed: false }
    }

    pub(crate) fn shed(&mut self, farewell: &[u8]) -> Result<(), Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        let id = self.next_waiting()?;
        self.seen.shed += 1;
        let sock = self.hold(id);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.tx.extend(farewell.iter().take(self.caps.tx_bytes));
        }
        self.close(sock);
        Ok(())
    }

    pub(crate) fn register(&mut self, sock: &ModelSock, token: Token) -> Result<(), Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::RegisterFails) {
            return Err(Errno::OutOfBuffers);
        }
        let Some(socket) = self.sockets.get_mut(&sock.id) else { return Err(Errno::Reset) };
        socket.token = Some(token);
        socket.watched = Some(token);
        socket.read_armed = true;
        socket.write_armed = true;
        self.settle(sock.id);
        Ok(())
    }

    pub(crate) fn read(&mut self, sock: &ModelSock, buf: &mut [u8]) -> Result<usize, Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        let short = self.strikes(Fault::ShortRead);
        let Some(socket) = self.sockets.get_mut(&sock.id) else { return Err(Errno::Reset) };
        let there = socket.rx.len().min(buf.len());
        if there == 0 {
            if socket.reset && !socket.reset_told {
                socket.reset_told = true;
                return Err(Errno::Reset);
            }
            if socket.peer_ended || socket.reset {
                return Ok(0);
            }
            socket.read_armed = true;
            return Err(Errno::Again);
        }
        let count = if short { 1 + self.chooser.borrow_mut().below(there) } else { there };
        for (to, from) in buf.iter_mut().zip(socket.rx.drain(..count)) {
            *to = from;
        }
        self.tell_peer(sock.id);
        Ok(count)
    }

    pub(crate) fn send(&mut self, batch: &mut [Send<'_, ModelSock>]) {
        assert!(batch.len() <= multibeam::kernel::SEND_BATCH_MAX, "a batch of {}", batch.len());
        for at in 0..batch.len() {
            let id = batch[at].sock.id;
            assert!(!batch[..at].iter().any(|entry| entry.sock.id == id), "{id:?} twice in a batch");
            assert!(batch[at].done.is_none(), "{id:?} was sent before");
            assert_eq!(self.sockets[&id].token, Some(batch[at].token), "the token of another socket");
            batch[at].done = Some(self.send_one(id, &batch[at].bufs));
        }
    }

    fn send_one(&mut self, id: SocketId, bufs: &[std::io::IoSlice<'_>; 2]) -> Result<usize, Errno> {
        self.seen.calls += 1;
        if self.strikes(Fault::Interrupted) {
            return Err(Errno::Interrupted);
        }
        if self.strikes(Fault::OutOfBuffers) {
            return Err(Errno::OutOfBuffers);
        }
        let short = self.strikes(Fault::ShortWrite);
        let tx_bytes = self.caps.tx_bytes;
        let Some(socket) = self.sockets.get_mut(&id) else { return Err(Errno::Pipe) };
        if socket.reset {
            let told = std::mem::replace(&mut socket.reset_told, true);
            return Err(if told { Errno::Pipe } else { Errno::Reset });
        }
        assert!(!socket.shut, "{id:?} was written to after its end");
        let total = bufs[0].len() + bufs[1].len();
        assert!(total > 0, "an empty send");
        let there = total.min(tx_bytes - socket.tx.len());
        if there == 0 {
            socket.write_armed = true;
            return Err(Errno::Again);
        }
        let count = if short { 1 + self.chooser.borrow_mut().below(there) } else { there };
        socket.tx.extend(bufs.iter().flat_map(|buf| buf.iter()).take(count));
        self.tell_peer(id);
        Ok(count)
    }

    pub(crate) fn shutdown(&mut self, sock: &ModelSock) {
        self.seen.calls += 1;
        if let Some(socket) = self.sockets.get_mut(&sock.id) {
            socket.shut = true;
        }
        self.tell_peer(sock.id);
    }

    pub(crate) fn close(&mut self, mut sock: ModelSock) {
        self.seen.calls += 1;
        sock.closed = true;
        self.held -= 1;
        let Some(socket) = self.sockets.get_mut(&sock.id) else { return };
        assert!(socket.held, "{:?} was closed twice", sock.id);
        socket.held = false;
        socket.shut = true;
        if let Some(token) = socket.token.take() {
            self.stale.push_back(token);
            if self.stale.len() > STALE_MAX {
                self.stale.pop_front();
            }
            self.edges.retain(|event| !matches!(event, Event::Socket { token: t, .. } if *t == token));
        }
        if !self.sockets[&sock.id].rx.is_empty() {
            if !self.sockets[&sock.id].tx.is_empty() {
                self.seen.destroyed += 1;
            }
            self.destroy(sock.id);
        }
        self.tell_peer(sock.id);
        self.forget(sock.id);
    }

    fn destroy(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.destroyed = true;
            socket.tx.clear();
            socket.rx.clear();
        }
        self.tell_peer(id);
    }

    pub(crate) fn stop_listening(&mut self) {
        self.listening = false;
        while let Some(id) = self.backlog.pop_front() {
            self.destroy(id);
        }
    }
}
