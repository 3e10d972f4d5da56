//! The links of this node: which stand, who is dialled, and how to reach a peer.

pub(super) mod accept;
mod connection;
pub(super) mod dial;
mod handshake;
pub(super) mod outbox;
mod parts;

use connection::Established;
use multibeam_consensus::Unreachable;
use multibeam_proto::Time;
use multibeam_wire::link::{Identity, Incarnation, LinkPayload, LinkPurpose, StoreId};
use outbox::Outbox;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Connections that others dialled and that stand: two from each of a hundred members, and as many that are being
/// replaced.
const ACCEPTED_MAX: usize = 4 * multibeam_proto::MEMBERS_MAX;

/// Connections that others dialled and that have not said yet who they are. A member's does within a few round
/// trips; anybody can open one, so beyond this many the one that has taken longest gives way. Each may take 64 KiB.
const GREETINGS_MAX: usize = 64;

/// How long people are shown who was turned away last.
const TURNED_AWAY_SHOWN: Duration = Duration::from_secs(60);

/// Addresses that are dialled at a time.
const DIALS_MAX: usize = 2 * multibeam_proto::MEMBERS_MAX;

/// A connection that stands.
struct Standing {
    outbox: Rc<Outbox>,
    peer: Identity,
}

/// An address that is dialled for as long as it is wanted.
#[derive(Debug, Default)]
struct Dialled {
    wanted: Cell<bool>,
    /// The disk that answered last. It outlives the connection: two addresses may be of one node, which has one
    /// connection of a kind.
    known: Cell<Option<StoreId>>,
    /// The disks that are said to be there, by their nodes or by the view.
    said: RefCell<Vec<StoreId>>,
    /// Why there is no connection, for people.
    trouble: RefCell<Option<String>>,
    /// Who waits for the peer looks again.
    changed: Notify,
}

/// Somebody who dialled and could not be talked to.
struct TurnedAway {
    from: IpAddr,
    /// The disk that it said it is, if it came to that.
    peer: Option<StoreId>,
    why: String,
    at: Time,
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
    /// Handshakes under way with whoever dialled, the longest first; each ends when it is notified.
    greetings: VecDeque<Rc<Notify>>,
    turned_away: Option<TurnedAway>,
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

    /// Connections that stand, of each purpose and direction: who dialled whom.
    pub(super) fn standing(&self) -> impl Iterator<Item = (LinkPurpose, bool)> + '_ {
        let purpose = |data| if data { LinkPurpose::Data } else { LinkPurpose::Control };
        self.standing.keys().map(move |(_, data, dialled)| (purpose(*data), *dialled))
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
        // While nodes find each other, one may be turned away that is welcome a moment later.
        self.turned_away.take_if(|last| last.peer == Some(peer.store));
        let standing = Standing { outbox: Rc::clone(outbox), peer: *peer };
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
            if gone(*peer, standing.peer.incarnation, &standing.outbox) {
                standing.outbox.close();
            }
        }
    }

    /// All that stand, for a heartbeat on each data connection.
    pub(super) fn data(&self) -> impl Iterator<Item = &Rc<Outbox>> {
        self.standing.iter().filter(|((_, data, dialled), _)| *data && *dialled).map(|(_, at)| &at.outbox)
    }

    /// Who is at an address, if a control connection to that node stands: by whichever of its addresses.
    pub(super) fn at(&self, address: &str) -> Option<Identity> {
        let known = self.dialled.get(address)?.known.get()?;
        self.standing.get(&key(known, LinkPurpose::Control, true)).map(|standing| standing.peer)
    }

    /// Whether a dial would only take the place of a connection to the same node by another address.
    fn is_elsewhere(&self, dialled: &Dialled, purpose: LinkPurpose) -> bool {
        let Some(known) = dialled.known.get() else { return false };
        // An address may have gone over to another node.
        self.standing.contains_key(&key(known, purpose, true))
            && dialled.said.borrow().iter().all(|said| *said == known)
    }

    /// Whether an address is this node's own.
    pub(super) fn is_own(&self, address: &str) -> bool {
        self.own.contains(address)
    }

    /// A handshake begins with somebody who dialled. It has to end when it is notified.
    fn greets(&mut self) -> Rc<Notify> {
        let over = Rc::new(Notify::new());
        if self.greetings.len() >= GREETINGS_MAX
            && let Some(longest) = self.greetings.pop_front()
        {
            longest.notify_one();
        }
        self.greetings.push_back(Rc::clone(&over));
        over
    }

    /// That handshake has ended.
    fn greeted(&mut self, over: &Rc<Notify>) {
        self.greetings.retain(|greeting| !Rc::ptr_eq(greeting, over));
    }

    /// Who was turned away a short while ago, and why, for people.
    pub(super) fn turned_away(&self, now: Time) -> Option<(String, String)> {
        let last = self.turned_away.as_ref()?;
        (now.since(last.at) < TURNED_AWAY_SHOWN).then(|| (last.from.to_string(), last.why.clone()))
    }

    /// Addresses and what is wrong with them, for people.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&String, Option<String>)> {
        self.dialled.iter().map(|(address, dialled)| (address, dialled.trouble.borrow().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multibeam_wire::Features;
    use multibeam_wire::link::{ClusterId, Epoch, NodeId};

    #[test]
    fn who_was_turned_away_and_is_linked_now_is_shown_no_more() {
        let mut links = Links::default();
        let from = IpAddr::from([127, 0, 0, 1]);
        let now = Time(0);
        let (peer, why) = (Some(StoreId(2)), "a reason".to_owned());
        links.turned_away = Some(TurnedAway { from, peer, why, at: now });
        let established = |store| Established {
            peer: Identity {
                features: Features::NONE,
                cluster: ClusterId(1),
                node: NodeId(store),
                store: StoreId(store),
                incarnation: Incarnation(1),
                epoch: Epoch(0),
            },
            purpose: LinkPurpose::Control,
            dialled: true,
            address: String::new(),
            clients: String::new(),
            weight: 1,
            input: Vec::new(),
        };
        links.stands(&established(3), &Outbox::new(now));
        assert!(links.turned_away(now).is_some(), "another one");
        links.stands(&established(2), &Outbox::new(now));
        assert_eq!(links.turned_away(now), None);
    }
}
