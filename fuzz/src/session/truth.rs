//! What all together know: what was published, and where it stands.
//!
//! Guards P2 (one order for everybody) and P4 (stored once), and gives P3 something to compare with that
//! does not come from the shard's own `prev`.

use super::Check;
use multibeam_proto::{ClassSet, Time};
use multibeam_wire::{Position, TopicFilter};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A publish, or each of those that its keys make.
pub(super) struct Sent {
    pub(super) ttl_ms: u32,
    /// When a shard first and last had it in hand.
    pub(super) first: Option<Time>,
    pub(super) last: Option<Time>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    topic: String,
    sent: Option<usize>,
}

pub(super) struct Truth {
    pub(super) classes: Arc<ClassSet>,
    sent: Vec<Sent>,
    /// By partition and position.
    places: BTreeMap<u32, BTreeMap<Position, Known>>,
    stored: BTreeMap<(usize, String), (u32, Position)>,
}

/// Bytes of a body that say which publish it is.
const IDENTITY_BYTES: usize = 8;

fn check_of(index: u32) -> u32 {
    let mixed = (u64::from(index) + 0x1234_5678).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

impl Truth {
    pub(super) const fn new(classes: Arc<ClassSet>) -> Self {
        Self { classes, sent: Vec::new(), places: BTreeMap::new(), stored: BTreeMap::new() }
    }

    /// A new publish, and its body.
    pub(super) fn publish(&mut self, ttl_ms: u32, bytes: usize) -> (usize, Vec<u8>) {
        let index = self.sent.len();
        self.sent.push(Sent { ttl_ms, first: None, last: None });
        let mut body = (index as u32).to_be_bytes().to_vec();
        body.extend(check_of(index as u32).to_be_bytes());
        body.resize(bytes.max(IDENTITY_BYTES), 0xAB);
        (index, body)
    }

    /// Which publish a body is of; bytes that nobody meant as one have none.
    pub(super) fn identity(&self, body: &[u8]) -> Option<usize> {
        let index = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
        let check = u32::from_be_bytes(body.get(4..8)?.try_into().ok()?);
        (check == check_of(index) && (index as usize) < self.sent.len()).then_some(index as usize)
    }

    pub(super) fn sent(&self, index: usize) -> &Sent {
        &self.sent[index]
    }

    /// A shard has it in hand.
    pub(super) fn taken(&mut self, index: usize, now: Time) {
        let sent = &mut self.sent[index];
        sent.first.get_or_insert(now);
        sent.last = Some(now);
    }

    /// A message is known to stand there.
    pub(super) fn place(
        &mut self,
        partition: u32,
        position: Position,
        topic: &str,
        sent: Option<usize>,
    ) -> Check {
        let home = self.classes.partition_of(topic).number();
        if home != partition {
            return Err(format!("a message of {topic} stands in partition {partition}, not {home}"));
        }
        let known = Known { topic: topic.to_owned(), sent };
        let places = self.places.entry(partition).or_default();
        if let Some(other) = places.insert(position, known.clone())
            && other != known
        {
            return Err(format!("P2: {partition} holds both {other:?} and {known:?} at {position}"));
        }
        let Some(sent) = sent else { return Ok(()) };
        match self.stored.insert((sent, topic.to_owned()), (partition, position)) {
            Some(other) if other != (partition, position) => {
                Err(format!("P4: publish {sent} to {topic} stands at {other:?} and {position}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The known messages of `text`, a topic or filter, in a partition behind `after` up to `to`.
    pub(super) fn among<'a>(
        &'a self,
        partition: u32,
        text: &'a str,
        after: Position,
        to: Position,
    ) -> impl DoubleEndedIterator<Item = (Position, Option<usize>)> + 'a {
        let behind = (std::ops::Bound::Excluded(after), std::ops::Bound::Included(to.max(after)));
        let places = self.places.get(&partition).filter(|_| after < to);
        places
            .into_iter()
            .flat_map(move |places| places.range(behind))
            .filter(move |(_, known)| matches(text, &known.topic))
            .map(|(position, known)| (*position, known.sent))
    }

    /// The last message known of `text`.
    pub(super) fn last(&self, partition: u32, text: &str) -> Option<Position> {
        let end = Position::new(u64::MAX, u64::MAX);
        self.among(partition, text, Position::default(), end).next_back().map(|(position, _)| position)
    }

    /// Whether its time to live was certainly over at `now`, or, with `perhaps`, may have been.
    pub(super) fn expired(&self, sent: usize, now: Time, perhaps: bool) -> bool {
        let Sent { ttl_ms, first, last } = self.sent[sent];
        let ttl = Duration::from_millis(ttl_ms.into());
        let since = if perhaps { first } else { last };
        ttl_ms > 0 && since.is_some_and(|since| if perhaps { now >= since + ttl } else { now > since + ttl })
    }
}

/// Whether `text`, a topic or a filter, means `topic`.
pub(super) fn matches(text: &str, topic: &str) -> bool {
    if TopicFilter::is_meant(text) { TopicFilter::matches(text, topic) } else { text == topic }
}
