//! Any frame of a link, drawn by proptest.

use crate::values::{body, number, number_u16, text};
use multibeam_wire::limits::{ADDRESS_BYTES_MAX, DETAIL_BYTES_MAX, LINK_PART_BYTES_MAX, VOTERS_MAX};
use multibeam_wire::link::{
    ClusterId, Epoch, Identity, Incarnation, Lease, LinkDirection, LinkFrameType, LinkHeartbeat, LinkHello,
    LinkPayload, LinkPurpose, NodeId, Part, Request, Response, State, StoreId, VoterSet, Voters,
};
use multibeam_wire::{Bye, Features};
use proptest::prelude::*;
use proptest::sample::select;

/// A payload and what it borrows.
#[derive(Clone, Debug)]
pub(crate) struct DrawnLink {
    bare: LinkPayload<'static>,
    text: String,
    body: Vec<u8>,
}

impl DrawnLink {
    /// Hands the payload to `f`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(LinkPayload<'_>) -> R) -> R {
        let text = self.text.as_str();
        let fill = |part: Part<'static>| Part { more: part.more, bytes: &self.body };
        f(match self.bare {
            LinkPayload::Bye(bye) => LinkPayload::Bye(Bye { detail: text, ..bye }),
            LinkPayload::Hello(hello) => {
                LinkPayload::Hello(LinkHello { address: text, clients: text, ..hello })
            }
            LinkPayload::Request(request) => {
                LinkPayload::Request(Request { part: fill(request.part), ..request })
            }
            LinkPayload::Response(response) => {
                LinkPayload::Response(Response { part: fill(response.part), ..response })
            }
            LinkPayload::State(state) => LinkPayload::State(State { part: fill(state.part), ..state }),
            bare @ (LinkPayload::Welcome(_) | LinkPayload::Heartbeat(_) | LinkPayload::Lease(_)) => bare,
        })
    }
}

impl From<LinkPayload<'static>> for DrawnLink {
    fn from(bare: LinkPayload<'static>) -> Self {
        Self { bare, text: String::new(), body: Vec::new() }
    }
}

/// What travels in a direction.
pub(crate) fn types(direction: LinkDirection) -> Vec<LinkFrameType> {
    let other_side_only = match direction {
        LinkDirection::ToAcceptor => LinkFrameType::Welcome,
        LinkDirection::ToDialler => LinkFrameType::Hello,
    };
    LinkFrameType::ALL.iter().copied().filter(|frame_type| *frame_type != other_side_only).collect()
}

/// Any payload of a direction.
pub(crate) fn payload(direction: LinkDirection) -> BoxedStrategy<DrawnLink> {
    select(types(direction)).prop_flat_map(payload_of).boxed()
}

/// Any payload of a type.
pub(crate) fn payload_of(frame_type: LinkFrameType) -> BoxedStrategy<DrawnLink> {
    match frame_type {
        LinkFrameType::Bye => (number_u16(), text(DETAIL_BYTES_MAX))
            .prop_map(|(code, text)| DrawnLink { text, ..LinkPayload::Bye(Bye { code, detail: "" }).into() })
            .boxed(),
        LinkFrameType::Hello => hello(),
        LinkFrameType::Welcome => {
            identity().prop_map(|identity| LinkPayload::Welcome(identity).into()).boxed()
        }
        LinkFrameType::Heartbeat => (number(), number())
            .prop_map(|(number, epoch)| {
                LinkPayload::Heartbeat(LinkHeartbeat { number, epoch: Epoch(epoch) }).into()
            })
            .boxed(),
        LinkFrameType::Lease => lease(),
        LinkFrameType::Request => (number(), number_u16(), any::<bool>(), body(LINK_PART_BYTES_MAX))
            .prop_map(|(number, kind, more, body)| {
                let request = Request { number, kind, part: Part { more, bytes: &[] } };
                DrawnLink { body, ..LinkPayload::Request(request).into() }
            })
            .boxed(),
        LinkFrameType::Response => (number(), any::<bool>(), body(LINK_PART_BYTES_MAX))
            .prop_map(|(number, more, body)| {
                let response = Response { number, part: Part { more, bytes: &[] } };
                DrawnLink { body, ..LinkPayload::Response(response).into() }
            })
            .boxed(),
        LinkFrameType::State => state(),
    }
}

fn identity() -> impl Strategy<Value = Identity> {
    (number(), any::<(u128, u64)>(), number(), number(), number()).prop_map(
        |(features, (cluster, store), node, incarnation, epoch)| Identity {
            features: Features(features),
            cluster: ClusterId(cluster),
            node: NodeId(node),
            store: StoreId(store),
            incarnation: Incarnation(incarnation),
            epoch: Epoch(epoch),
        },
    )
}

fn hello() -> BoxedStrategy<DrawnLink> {
    (
        identity(),
        select(&[LinkPurpose::Control, LinkPurpose::Data][..]),
        text(ADDRESS_BYTES_MAX),
        number_u16(),
    )
        .prop_map(|(identity, purpose, text, weight)| {
            let hello = LinkHello { identity, purpose, address: "", clients: "", weight };
            DrawnLink { text, ..LinkPayload::Hello(hello).into() }
        })
        .boxed()
}

fn lease() -> BoxedStrategy<DrawnLink> {
    let voters = (number(), voter_set(), voter_set());
    let voters = voters.prop_map(|(index, present, before)| Voters { index, present, before });
    (number(), any::<bool>(), number(), voters, number(), any::<u32>())
        .prop_map(|(number, granted, incarnation, voters, epoch, lease_ms)| {
            let (incarnation, epoch) = (Incarnation(incarnation), Epoch(epoch));
            LinkPayload::Lease(Lease { number, granted, incarnation, voters, epoch, lease_ms }).into()
        })
        .boxed()
}

fn voter_set() -> impl Strategy<Value = VoterSet> {
    let stores = proptest::collection::vec(any::<u64>().prop_map(StoreId), 0..=VOTERS_MAX);
    stores.prop_map(|stores| VoterSet::new(stores).unwrap())
}

fn state() -> BoxedStrategy<DrawnLink> {
    (number(), number(), any::<(bool, bool)>(), body(LINK_PART_BYTES_MAX))
        .prop_map(|(a, b, (snapshot, more), body)| {
            let (from, to) = (a.min(b).min(u64::MAX - 1), a.max(b));
            let to = if from == to { from + 1 } else { to };
            let part = Part { more, bytes: &[] };
            let state = State { from: Epoch(from), to: Epoch(to), snapshot, part };
            DrawnLink { body, ..LinkPayload::State(state).into() }
        })
        .boxed()
}
