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

mod node;
mod peers;

use crate::chooser::{Chooser, Fault};
use multibeam::kernel::{Event, Token};
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
    /// An edge told the node of an end or a reset: no other one will.
    end_told: bool,
    tx: VecDeque<u8>,
    /// Bytes that the node has ever sent.
    sent: u64,
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
        let ended = socket.peer_ended || socket.reset;
        let tells_end = ended && !socket.end_told;
        let readable = socket.read_armed && (!socket.rx.is_empty() || tells_end);
        let writable = socket.write_armed && (socket.tx.len() < tx_bytes || socket.reset);
        socket.read_armed &= !readable;
        socket.write_armed &= !writable;
        if readable || writable {
            socket.end_told |= ended;
            // An end is something to read, also where an edge was due for another reason.
            self.edge(Event::Socket { token, readable: readable || tells_end, writable, ended });
        }
    }

    fn tell_peer(&self, id: SocketId) {
        if let Some(wake) = self.sockets.get(&id).and_then(|socket| socket.wake.as_ref()) {
            wake();
        }
    }
}
