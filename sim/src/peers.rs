//! The node's side of the wire: each connection of one start of the node, frame by frame, where its
//! bytes enter and leave the network. P8 and R7 are judged by what is seen here.

use crate::frames::{Splitter, kind};
use crate::history::{Failure, PublishId};
use crate::oracles::p8_dead_peers::{self, Silence};
use crate::oracles::r7_lease::{self, Unleased};
use crate::plan::NodeKnobs;
use crate::workload::publish_of;
use multibeam_model::sockets::{SocketId, Sockets};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Connections of one start of the node, until all that it said has left.
#[derive(Default)]
pub struct Peers {
    peers: BTreeMap<u64, Peer>,
    found: Vec<Failure>,
}

struct Peer {
    sockets: Rc<RefCell<Sockets>>,
    id: SocketId,
    up: Splitter,
    down: Splitter,
    silence: Silence,
    unleased: Unleased,
    accepted: bool,
    /// When it last had nothing to send, and was at the end of a frame.
    dry_us: u64,
}

impl Peers {
    /// A connection has arrived.
    pub fn open(&mut self, number: u64, sockets: &Rc<RefCell<Sockets>>, id: SocketId, now_us: u64) {
        let (up, down) = (Splitter::default(), Splitter::default());
        let silence = Silence::new(now_us);
        let (unleased, accepted) = (Unleased::default(), false);
        let peer =
            Peer { sockets: Rc::clone(sockets), id, up, down, silence, unleased, accepted, dry_us: now_us };
        self.peers.insert(number, peer);
    }

    /// The node's host got bytes.
    pub fn up(&mut self, number: u64, bytes: &[u8], now_us: u64) {
        if let Some(Peer { up, silence, .. }) = self.peers.get_mut(&number) {
            up.push(bytes, |frame| silence.hears(frame, now_us));
        }
    }

    /// The client has ended its half.
    pub fn end(&mut self, number: u64) {
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.silence.ends();
        }
    }

    /// The node's host has nothing to send.
    pub fn dry(&mut self, number: u64, now_us: u64) {
        if let Some(peer) = self.peers.get_mut(&number).filter(|peer| peer.down.is_between()) {
            peer.dry_us = now_us;
        }
    }

    /// What each connection of `sockets` has been sent.
    #[must_use]
    pub fn sent(&self, sockets: &Rc<RefCell<Sockets>>) -> Vec<(u64, u64)> {
        let own = |peer: &Peer| Rc::ptr_eq(&peer.sockets, sockets);
        let sent = |(number, peer): (&u64, &Peer)| (*number, sockets.borrow().sent(peer.id));
        self.peers.iter().filter(|(_, peer)| own(peer)).map(sent).collect()
    }

    /// What has left since `before` ([`Self::sent`]) left while the node held no lease.
    pub fn left_without_lease(&mut self, before: Vec<(u64, u64)>) {
        for (number, before) in before {
            let Some(peer) = self.peers.get_mut(&number) else { continue };
            let after = peer.sockets.borrow().sent(peer.id);
            if after > before {
                peer.unleased.left(before..after);
            }
        }
    }

    /// The node's host sends bytes. Returns the messages in them, and since when they were sent.
    pub fn down(
        &mut self,
        number: u64,
        bytes: &[u8],
        knobs: &NodeKnobs,
        now_us: u64,
    ) -> Vec<(PublishId, u64)> {
        let mut messages = Vec::new();
        let Some(Peer { down, silence, unleased, dry_us, .. }) = self.peers.get_mut(&number) else {
            return messages;
        };
        let found = &mut self.found;
        down.push(bytes, |frame| {
            silence.says(frame, now_us);
            if let Err(detail) = unleased.check(frame) {
                found.push(failure(r7_lease::ORACLE, number, &detail, now_us));
            }
            if frame.kind == kind::DATA
                && let Some(publish) = frame.body().and_then(publish_of)
            {
                messages.push((publish, *dry_us));
            }
            if frame.kind == kind::BYE
                && let Err(detail) = silence.node_ends(frame, knobs, now_us)
            {
                found.push(failure(p8_dead_peers::ORACLE, number, &detail, now_us));
            }
        });
        messages
    }

    /// Nothing more will be sent.
    pub fn close(&mut self, number: u64) {
        self.peers.remove(&number);
    }

    /// What was found since the last call: first what time alone says.
    #[must_use]
    pub fn check(&mut self, knobs: &NodeKnobs, now_us: u64) -> Vec<Failure> {
        let Self { peers, found } = self;
        for (number, peer) in peers {
            if peer.sockets.borrow().gone(peer.id) {
                continue;
            }
            if !peer.accepted {
                peer.accepted = peer.sockets.borrow().watched(peer.id);
                peer.silence.accepted(now_us);
                continue;
            }
            if let Err(detail) = peer.silence.node_holds(knobs, now_us) {
                found.push(failure(p8_dead_peers::ORACLE, *number, &detail, now_us));
            }
        }
        std::mem::take(found)
    }

    /// What was found since the last call, whatever time says.
    #[must_use]
    pub fn found(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.found)
    }
}

fn failure(oracle: &str, number: u64, detail: &str, now_us: u64) -> Failure {
    Failure::new(oracle, format!("connection {number}, at {now_us} us: the node {detail}"))
}
