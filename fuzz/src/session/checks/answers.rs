//! Answers to what a client asked: each request gets one, and it says what is true.

use super::{Channel, Received, Request};
use crate::session::Check;
use crate::session::client::{Asked, Begin};
use crate::session::truth::Truth;
use multibeam_proto::Overflow;
use multibeam_wire::{
    ErrorCode, Features, Outcome, Part, Position, Receipt, Seq, Subscribed, SubscriptionId, TopicFilter, flow,
};

impl Received {
    pub(super) fn acknowledged(&mut self, ack: Seq, window: u16) -> Check {
        let sent = self.requests.last_key_value().map_or(self.node_acked, |(last, _)| Seq(*last));
        flow::newly_acked(self.node_acked, ack, sent).map_err(|error| format!("{error}"))?;
        self.node_acked = ack;
        self.node_window = u64::from(self.unit.bytes(window));
        while let Some(entry) = self.requests.first_entry()
            && *entry.key() <= ack.0
        {
            let (seq, Request { asked, answered, abandoned, told }) = entry.remove_entry();
            match asked {
                Asked::Publish { messages, .. } => {
                    let owed = self.offered.has(Features::RECEIPTS) && !answered;
                    if owed && told.len() != messages {
                        return Err(format!("{told:?} was told of the {messages} messages of publish {seq}"));
                    }
                }
                // Either side ends the session: nothing begins any more.
                Asked::Subscribe { .. } => self.ends |= !answered && !abandoned,
                Asked::Unsubscribe(ended) => self.channels.retain(|_, channel| {
                    channel.subscription != ended || channel.request.is_some_and(|request| request.0 > seq)
                }),
            }
        }
        Ok(())
    }

    pub(super) fn refused(&mut self, seq: Seq, ack: Seq, code: u16, outcome: Outcome) -> Check {
        let code = ErrorCode::from_number(u64::from(code)).ok_or_else(|| format!("ERROR {code}"))?;
        let Some(request) = self.requests.get_mut(&seq.0) else {
            return Err(format!("ERROR for {seq:?}, which is done or was never sent"));
        };
        if request.answered || ack.0 >= seq.0 {
            return Err(format!("{seq:?} is answered twice, or acknowledged: {code:?}"));
        }
        request.answered = true;
        let publish = matches!(request.asked, Asked::Publish { .. });
        if !publish && outcome != Outcome::Definite {
            return Err(format!("nobody knows how {seq:?} ended"));
        }
        Ok(())
    }

    pub(super) fn receipt(&mut self, receipt: &Receipt, truth: &mut Truth) -> Check {
        if !self.offered.has(Features::RECEIPTS) {
            return Err("a receipt that was not agreed on".to_owned());
        }
        for n in 0..receipt.count {
            let seq = receipt.seq.plus(n);
            let Some(request) = self.requests.get_mut(&seq.0) else {
                return Err(format!("a receipt for {seq:?}, which is done or was never sent"));
            };
            let Asked::Publish { topic, sent, messages, .. } = request.asked else {
                return Err(format!("a receipt for {seq:?}, which is no publish"));
            };
            let Position { generation, offset } = receipt.position;
            let position = Position::new(generation.0, offset.0 + u64::from(n));
            if !request.told.insert((receipt.partition, position)) {
                return Err(format!("two messages of {seq:?} stand at {position}"));
            }
            if messages == 1 && !TopicFilter::is_meant(topic) {
                truth.place(receipt.partition, position, topic, Some(sent))?;
            }
        }
        Ok(())
    }

    pub(super) fn subscribed(&mut self, subscribed: &Subscribed<'_>, truth: &Truth) -> Check {
        let id = subscribed.subscription;
        let system = id == SubscriptionId::SYSTEM;
        let (request, text, start) = if system {
            if self.channels.values().any(|channel| channel.subscription == id && !channel.leaving) {
                return Err("the system's topics begin twice".to_owned());
            }
            (None, "sys.*", None)
        } else {
            let found = self.requests.iter_mut().find(|(_, request)| {
                !request.answered
                    && matches!(request.asked, Asked::Subscribe { subscription, .. } if subscription == id)
            });
            let Some((seq, request)) = found else {
                return Err(format!("SUBSCRIBED for {id:?}, which nobody asked for"));
            };
            request.answered = true;
            let Asked::Subscribe { text, start, .. } = &request.asked else { unreachable!("found so") };
            (Some(Seq(*seq)), *text, Some(start.clone()))
        };
        let expected: Vec<u32> = if TopicFilter::is_meant(text) {
            truth.classes.partitions_of_filter(text).map(|partition| partition.number()).collect()
        } else {
            vec![truth.classes.partition_of(text).number()]
        };
        if !subscribed.parts.iter().map(|part| part.partition).eq(expected.iter().copied()) {
            return Err(format!("{text} has parts other than {expected:?}"));
        }
        let mut behind = self.requests.range(request.map_or(0, |seq| seq.0)..);
        let ended =
            behind.any(|(_, request)| matches!(request.asked, Asked::Unsubscribe(ended) if ended == id));
        for part in subscribed.parts.iter() {
            check_start(&part, start.as_ref())?;
            let class = truth.classes.iter().find(|(class, _)| u32::from(class.0) == part.partition >> 16);
            let channel = Channel {
                request,
                subscription: id,
                text: text.to_owned(),
                partition: part.partition,
                overflow: class.map_or(Overflow::Gap, |(_, class)| class.overflow),
                cursor: part.from,
                gap_due: part.gap,
                fresh: true,
                leaving: ended,
            };
            if let Some(other) = self.channels.insert(part.channel, channel)
                && !other.leaving
            {
                return Err(format!("{:?} is the channel of {} and {text}", part.channel, other.text));
            }
        }
        Ok(())
    }
}

/// Where a part begins.
fn check_start(part: &Part, start: Option<&Begin>) -> Check {
    let from = match start {
        None | Some(Begin::New | Begin::Last | Begin::First) => part.from,
        Some(Begin::After(after)) => *after,
        Some(Begin::AfterEach(cursors)) => cursors
            .iter()
            .find(|cursor| cursor.partition == part.partition)
            .map_or(Position::default(), |cursor| cursor.position),
    };
    if part.from != from || part.head < from {
        return Err(format!("P3: {part:?} begins at {from}"));
    }
    Ok(())
}
