//! What exists: every publish that was asked for, and every place that anybody told.

use crate::history::{End, Entry, PublishId, What};
use crate::plan::Plan;
use multibeam_wire::Position;
use std::collections::BTreeMap;

/// A message: of a publish to many keys each topic has one.
pub(super) type MessageId = (PublishId, usize);

/// A publish as its caller knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) invoked_us: u64,
    pub(super) ttl_ms: Option<u64>,
    pub(super) bytes: usize,
    pub(super) ended: Option<(u64, End)>,
}

pub(super) struct Known<'a> {
    pub(super) plan: &'a Plan,
    pub(super) stands: BTreeMap<(u32, Position), MessageId>,
    pub(super) place: BTreeMap<MessageId, (u32, Position)>,
    /// Acknowledged, with the place of the call in the history.
    pub(super) acked: Vec<(MessageId, usize)>,
    pub(super) asked: BTreeMap<PublishId, Asked>,
    /// By topic, in the order of the calls.
    pub(super) of_topic: BTreeMap<usize, Vec<PublishId>>,
}

impl<'a> Known<'a> {
    pub(super) fn of(plan: &'a Plan, history: &[Entry]) -> Self {
        let mut known = Self {
            plan,
            stands: BTreeMap::new(),
            place: BTreeMap::new(),
            acked: Vec::new(),
            asked: BTreeMap::new(),
            of_topic: BTreeMap::new(),
        };
        let mut called: BTreeMap<PublishId, (Vec<usize>, usize)> = BTreeMap::new();
        for (at, entry) in history.iter().enumerate() {
            match &entry.what {
                What::Delivered {
                    topic: Some(topic), partition, position, publish: Some(publish), ..
                } => {
                    known.stands((*publish, *topic), (*partition, *position));
                }
                What::Invoke { publish, topics, ttl_ms, bytes } => {
                    called.insert(*publish, (topics.clone(), at));
                    let (invoked_us, ttl_ms, bytes) = (entry.time_us, *ttl_ms, *bytes);
                    known.asked.insert(*publish, Asked { invoked_us, ttl_ms, bytes, ended: None });
                    for topic in topics {
                        known.of_topic.entry(*topic).or_default().push(*publish);
                    }
                }
                What::Ended { publish, end, receipts } => {
                    let Some((topics, at)) = called.get(publish) else { continue };
                    if let Some(asked) = known.asked.get_mut(publish) {
                        asked.ended = Some((entry.time_us, *end));
                    }
                    if *end == End::Stored {
                        known.acked.extend(topics.iter().map(|topic| ((*publish, *topic), *at)));
                    }
                    // Which receipt is which key's is not said.
                    if let ([topic], [(partition, position)]) = (topics.as_slice(), receipts.as_slice()) {
                        let partition = (plan.class_of(*topic) as u32) << 16 | partition;
                        known.stands((*publish, *topic), (partition, *position));
                    }
                }
                What::Delivered { .. }
                | What::Subscribe { .. }
                | What::Subscribed { .. }
                | What::Gap { .. }
                | What::Over { .. }
                | What::Sent { .. }
                | What::Refused { .. }
                | What::Blamed { .. }
                | What::Killed { .. }
                | What::HostileEnd(_)
                | What::Healed => {}
            }
        }
        known
    }

    fn stands(&mut self, message: MessageId, place: (u32, Position)) {
        self.stands.insert(place, message);
        self.place.insert(message, place);
    }
}
