//! P2, P3 and P10: the order of what comes, and that what does not come is said to be gone.

use super::{Channel, Received};
use crate::session::Check;
use crate::session::truth::Truth;
use multibeam_proto::{Overflow, Time};
use multibeam_wire::{Delivery, Gap, GapReason, Position, TopicFilter};

impl Received {
    pub(super) fn gap(&mut self, gap: Gap, truth: &Truth, made: Time) -> Check {
        let Some(channel) = self.channels.get_mut(&gap.channel) else {
            return Err(format!("{gap:?} for nobody"));
        };
        let Channel { ref text, cursor, overflow, fresh, .. } = *channel;
        if gap.from != cursor || gap.to <= gap.from {
            return Err(format!("P3: {gap:?} of {text} at {cursor}"));
        }
        match gap.reason {
            GapReason::Conflated => return Err(format!("{gap:?} of {text} has a frame of its own")),
            GapReason::Overflow if overflow == Overflow::Disconnect && !fresh => {
                return Err(format!("{gap:?} of {text}, which disconnects"));
            }
            GapReason::Expired => {
                for (position, sent) in truth.among(channel.partition, text, gap.from, gap.to) {
                    if sent.is_some_and(|sent| !truth.expired(sent, made, true)) {
                        return Err(format!("{position} of {text} is not expired, but {gap:?}"));
                    }
                }
            }
            GapReason::Overflow | GapReason::Generation | GapReason::Uncertain => {}
        }
        (channel.cursor, channel.gap_due, channel.fresh) = (gap.to, false, false);
        Ok(())
    }

    pub(super) fn delivery(&mut self, delivery: &Delivery<'_>, truth: &mut Truth, made: Time) -> Check {
        let Delivery { position, prev, skipped, .. } = *delivery;
        if self.ends {
            return Err(format!("{position} came behind the end"));
        }
        let Some(channel) = self.channels.get_mut(&delivery.channel) else {
            return Err(format!("{position} for nobody"));
        };
        let Channel { ref text, cursor, partition, overflow, gap_due, .. } = *channel;
        if position <= cursor {
            return Err(format!("P2: {position} of {text} behind {cursor}"));
        }
        if gap_due && !skipped {
            return Err(format!("P3: {position} of {text} came instead of a gap"));
        }
        let missed = prev > cursor.offset;
        if position.generation != cursor.generation || missed != skipped {
            return Err(format!("P3: {position} of {text}, prev {prev:?}, skipped {skipped}, at {cursor}"));
        }
        if skipped && overflow != Overflow::Conflate {
            return Err(format!("{text} is conflated at {position}"));
        }
        let filter = TopicFilter::is_meant(text);
        if filter != delivery.topic.is_some() {
            return Err(format!("{position} of {text} has the topic {:?}", delivery.topic));
        }
        let topic = delivery.topic.unwrap_or(text);
        if filter && !TopicFilter::matches(text, topic) {
            return Err(format!("{topic} came to {text}"));
        }
        let sent = truth.identity(delivery.body);
        truth.place(partition, position, topic, sent)?;
        let before = Position { offset: prev, ..position };
        if let Some((missing, _)) =
            truth.among(partition, text, before, position).find(|(known, _)| *known < position)
        {
            return Err(format!("P3: {missing} of {text} lies between {prev:?} and {position}"));
        }
        if let Some(sent) = sent
            && truth.expired(sent, made, false)
        {
            return Err(format!("{position} of {text} came after its time to live"));
        }
        (channel.cursor, channel.gap_due, channel.fresh) = (position, false, false);
        self.delivered += 1;
        Ok(())
    }

    /// At rest: everything is answered, and everything known has come or was said to be gone.
    pub(in super::super) fn check_rest(&self, truth: &Truth) -> Check {
        if self.ends {
            return Err("a SUBSCRIBE was acknowledged without an answer".to_owned());
        }
        if !self.requests.is_empty() {
            let open: Vec<_> = self.requests.iter().map(|(seq, request)| (seq, &request.asked)).collect();
            return Err(format!("no answer to {open:?}"));
        }
        for channel in self.channels.values() {
            let last = truth.last(channel.partition, &channel.text);
            if Some(channel.cursor) < last {
                return Err(format!("P10: {} rests at {}, behind {last:?}", channel.text, channel.cursor));
            }
        }
        Ok(())
    }
}
