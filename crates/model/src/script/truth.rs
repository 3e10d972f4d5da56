//! What all clients together know: where each message stands.
//!
//! Guards P2 (one order for everybody), P4 (stored once), and gives P3 something to compare
//! with that does not come from the node's own `prev`.

use multibeam_wire::Position;
use std::collections::BTreeMap;

/// Identity of a message: who published it, and that producer's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageId {
    pub(super) client: u32,
    pub(super) number: u64,
}

impl MessageId {
    /// The body that carries the identity and the topic it was published to.
    pub(super) fn body(self, topic: usize, bytes: usize) -> Vec<u8> {
        let mut body = self.client.to_be_bytes().to_vec();
        body.extend(self.number.to_be_bytes());
        body.push(topic as u8);
        body.resize(bytes.max(body.len()), 0xAB);
        body
    }

    /// The identity and the topic that a body carries.
    pub(super) fn of(body: &[u8]) -> Option<(Self, usize)> {
        let client = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
        let number = u64::from_be_bytes(body.get(4..12)?.try_into().ok()?);
        Some((Self { client, number }, usize::from(*body.get(12)?)))
    }
}

/// What has been seen of all topics.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// By topic, the messages seen.
    seen: BTreeMap<usize, BTreeMap<Position, MessageId>>,
    places: BTreeMap<MessageId, (usize, Position)>,
}

impl Truth {
    /// A client got a message.
    pub(super) fn saw(&mut self, topic: usize, position: Position, id: MessageId) -> Result<(), String> {
        if let Some(other) = self.seen.entry(topic).or_default().insert(position, id)
            && other != id
        {
            return Err(format!("P2: {position} of topic {topic} holds both {other:?} and {id:?}"));
        }
        match self.places.insert(id, (topic, position)) {
            Some(other) if other != (topic, position) => {
                Err(format!("P4: {id:?} stands at {other:?} and at {:?}", (topic, position)))
            }
            _ => Ok(()),
        }
    }

    /// The messages of `topic` known to lie behind `after` and before `before`.
    pub(super) fn between(&self, topic: usize, after: Position, before: Position) -> Option<Position> {
        if before <= after {
            return None;
        }
        let seen = self.seen.get(&topic)?;
        let mut range = seen.range((std::ops::Bound::Excluded(after), std::ops::Bound::Excluded(before)));
        range.next().map(|(position, _)| *position)
    }

    /// The last message known of `topic`.
    pub(super) fn last(&self, topic: usize) -> Option<Position> {
        self.seen.get(&topic)?.last_key_value().map(|(position, _)| *position)
    }

    pub(super) fn knows(&self, id: MessageId) -> bool {
        self.places.contains_key(&id)
    }

    /// P2: a producer's messages of one topic stand in the order of their numbers.
    pub(super) fn check_order(&self) -> Result<(), String> {
        for (topic, seen) in &self.seen {
            let mut last: BTreeMap<u32, u64> = BTreeMap::new();
            for (position, id) in seen {
                if let Some(before) = last.insert(id.client, id.number)
                    && before >= id.number
                {
                    return Err(format!(
                        "P2: topic {topic}: number {} at {position} behind {before}",
                        id.number
                    ));
                }
            }
        }
        Ok(())
    }
}
