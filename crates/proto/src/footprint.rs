//! How large the pieces are of which a shard's memory consists; what docs/CAPACITY.md adds up.

use crate::command::PublishRequest;
use crate::dedup;
use crate::feed::{Feed, Member};
use crate::log::{ENTRY_BYTES, Log};
use crate::message::Message;
use crate::order::PLACE_BYTES;
use crate::session::{REQUEST_BYTES, RUN_BYTES, RUNS_MAX, Session, Sub, TABLES_BYTES};
use multibeam_wire::{Receipt, limits::DEDUP_WINDOW};
use std::num::NonZeroU32;

/// Bytes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// A session in its column, with its first two subscriptions.
    pub session: usize,
    /// A subscription beyond those.
    pub subscription: usize,
    /// A topic's or a filter's feed in its table, with its first two members.
    pub feed: usize,
    /// A member of a feed that has more of them.
    pub member: usize,
    /// A place in the hash table of names: a slot, and a byte of its hash.
    pub name_place: usize,
    /// What goes before a name's text: its counts of owners.
    pub name_head: usize,
    /// A topic's log without its messages.
    pub log: usize,
    /// A message's entry in its topic's log.
    pub entry: usize,
    /// A message's place in the order of its class.
    pub place: usize,
    /// Frames of the same size in flight to a client.
    pub run: usize,
    /// Those of one client, at the most.
    pub runs_max: usize,
    /// A producer of a partition without its numbers.
    pub producer: usize,
    /// Its numbers, once it has used as many as are remembered.
    pub producer_numbers: usize,
    /// A session's tables of requests, answers and receipts, when they are empty.
    pub tables: usize,
    /// A request that waits.
    pub request: usize,
    /// A receipt that waits.
    pub receipt: usize,
    /// A publish on its way to another shard, without topic and body.
    pub publish_request: usize,
    /// A message on its way to another shard, without body.
    pub message: usize,
}

/// The sizes of this build.
#[must_use]
pub const fn footprint() -> Footprint {
    Footprint {
        session: size_of::<Option<Session>>(),
        subscription: size_of::<Sub>(),
        feed: size_of::<Option<(NonZeroU32, Feed)>>(),
        member: size_of::<Member>(),
        name_place: size_of::<u32>() + 1,
        name_head: 2 * size_of::<usize>(),
        log: size_of::<Log>(),
        entry: ENTRY_BYTES,
        place: PLACE_BYTES,
        run: RUN_BYTES,
        runs_max: RUNS_MAX as usize,
        producer: dedup::PRODUCER_BYTES,
        producer_numbers: DEDUP_WINDOW * dedup::NUMBER_BYTES,
        tables: TABLES_BYTES,
        request: REQUEST_BYTES,
        receipt: size_of::<Receipt>(),
        publish_request: size_of::<PublishRequest>(),
        message: size_of::<Message>(),
    }
}
