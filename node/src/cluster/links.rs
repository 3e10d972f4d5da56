//! The links of this node: which stand, who is dialled, and how to reach a peer.

pub(super) mod accept;
mod connection;
pub(super) mod dial;
mod handshake;
pub(super) mod outbox;
mod parts;

use connection::Established;
use multibeam_consensus::Unreachable;
use multibeam_wire::link::{Identity, Incarnation, LinkPayload, LinkPurpose, StoreId};
use outbox::Outbox;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tokio::sync::oneshot;

/// Connections that others dialled: two from each of a hundred members, and as many that are being replaced.
const ACCEPTED_MAX: usize = 4 * multibeam_proto::MEMBERS_MAX;

/// Addresses that are dialled at a time.
const DIALS_MAX: usize = 2 * multibeam_proto::MEMBERS_MAX;

/// A connection that stands.
struct Standing {
    outbox: Rc<Outbox>,
    incarnation: Incarnation,
}

/// An address that is dialled for as long as it is wanted.
#[derive(Debug, Default)]
struct Dialled {
    wanted: Cell<bool>,
    /// Who answered last.
    peer: Cell<Option<Identity>>,
    /// Why there is no connection, for people.
    trouble: std::cell::RefCell<Option<String>>,
}

/// By peer, purpose and whether this node dialled.
type Key = (StoreId, bool, bool);

fn key(peer: StoreId, purpose: LinkPurpose, dialled: bool) -> Key {
    (peer, purpose == LinkPurpose::Data, dialled)
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Links {
    standing: BTreeMap<Key, Standing>,
    dialled: BTreeMap<String, Rc<Dialled>>,
    /// Addresses that turned out to be this node's.
    own: BTreeSet<String>,
    accepted: usize,
    /// Epoch and number of linked peers that the dialled addresses were chosen for.
    known: (u64, usize),
}

impl Links {
    pub(super) const fn known(&self) -> (u64, usize) {
        self.known
    }

    pub(super) const fn set_known(&mut self, known: (u64, usize)) {
        self.known = known;
    }

    /// How to reach a peer: on the control connection that this node dialled, or else on its own.
    fn outbox(&self, peer: StoreId, dialled: bool) -> Option<&Rc<Outbox>> {
        self.standing.get(&key(peer, LinkPurpose::Control, dialled)).map(|standing| &standing.outbox)
    }

    /// Puts a sign of life on its way.
    pub(super) fn send(&self, to: StoreId, payload: &LinkPayload<'_>) {
        if let Some(outbox) = self.outbox(to, true) {
            outbox.urgent(outbox.frame(payload));
        }
    }

    /// Has the newest view sent to a peer that dialled this node.
    pub(super) fn send_state(&self, to: StoreId, state: &outbox::StateToSend) {
        if let Some(outbox) = self.outbox(to, false) {
            outbox.state(state.clone());
        }
    }

    /// Asks a peer.
    pub(super) fn ask(
        &self,
        to: StoreId,
        kind: u16,
        bytes: Vec<u8>,
        answer: oneshot::Sender<Result<Vec<u8>, Unreachable>>,
    ) {
        match self.outbox(to, true) {
            Some(outbox) => outbox.ask(kind, bytes, answer),
            None => {
                let _ = answer.send(Err(Unreachable));
            }
        }
    }

    /// A connection stands; an earlier one of its kind ends.
    fn stands(&mut self, established: &Established, outbox: &Rc<Outbox>) {
        let Established { peer, purpose, dialled, .. } = established;
        let standing = Standing { outbox: Rc::clone(outbox), incarnation: peer.incarnation };
        if let Some(before) = self.standing.insert(key(peer.store, *purpose, *dialled), standing) {
            before.outbox.close();
        }
    }

    /// A connection has ended. Whether it was the one that stood.
    fn ended(&mut self, established: &Established, outbox: &Rc<Outbox>) -> bool {
        let key = key(established.peer.store, established.purpose, established.dialled);
        let stood = self.standing.get(&key).is_some_and(|standing| Rc::ptr_eq(&standing.outbox, outbox));
        if stood {
            self.standing.remove(&key);
        }
        stood
    }

    /// Closes connections of peers for which `gone` holds.
    pub(super) fn close_where(&self, gone: impl Fn(StoreId, Incarnation, &Outbox) -> bool) {
        for ((peer, _, _), standing) in &self.standing {
            if gone(*peer, standing.incarnation, &standing.outbox) {
                standing.outbox.close();
            }
        }
    }

    /// All that stand, for a heartbeat on each data connection.
    pub(super) fn data(&self) -> impl Iterator<Item = &Rc<Outbox>> {
        self.standing.iter().filter(|((_, data, dialled), _)| *data && *dialled).map(|(_, at)| &at.outbox)
    }

    /// Who answered at an address.
    pub(super) fn at(&self, address: &str) -> Option<Identity> {
        self.dialled.get(address).and_then(|dialled| dialled.peer.get())
    }

    /// Whether an address is this node's own.
    pub(super) fn is_own(&self, address: &str) -> bool {
        self.own.contains(address)
    }

    /// Addresses and what is wrong with them, for people.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&String, Option<String>)> {
        self.dialled.iter().map(|(address, dialled)| (address, dialled.trouble.borrow().clone()))
    }
}
