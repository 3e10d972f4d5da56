//! What a client got, frame by frame, against what it was promised.

mod answers;
mod deliveries;

use super::client::Asked;
use super::truth::Truth;
use super::{Check, GENERATION};
use multibeam_model::lease;
use multibeam_proto::{Overflow, Time};
use multibeam_wire::{
    ChannelId, Direction, Features, Frame, FrameType, GoAway, GoAwayReason, Inbound, Payload, Position, Seq,
    SubscriptionId, WindowUnit, flow,
};
use std::collections::{BTreeMap, BTreeSet};

/// When frames were made, and whether the node held a lease then.
#[derive(Clone, Copy)]
pub(super) struct Made {
    pub(super) at: Time,
    pub(super) led: bool,
}

/// One part of a subscription.
struct Channel {
    /// The request that it belongs to; `None` for the system's.
    request: Option<Seq>,
    subscription: SubscriptionId,
    text: String,
    partition: u32,
    overflow: Overflow,
    cursor: Position,
    /// SUBSCRIBED said that a gap comes first, and nothing has come.
    gap_due: bool,
    /// Nothing has come.
    fresh: bool,
    leaving: bool,
}

struct Request {
    asked: Asked,
    answered: bool,
    /// A SUBSCRIBE that its UNSUBSCRIBE followed.
    abandoned: bool,
    /// Where its messages stand, as far as that was told.
    told: BTreeSet<(u32, Position)>,
}

/// All that came on one connection.
pub(super) struct Received {
    inbound: Inbound,
    /// It broke a rule, or may have.
    pub(super) wild: bool,
    /// It broke a rule for certain: BYE must come.
    pub(super) doomed: bool,
    pub(super) greeted: bool,
    pub(super) welcomed: bool,
    pub(super) offered: Features,
    pub(super) compact: bool,
    pub(super) bye: bool,
    pub(super) unit: WindowUnit,
    /// A SUBSCRIBE was acknowledged without an answer: BYE or our own end is the reason.
    ends: bool,
    /// Number of the last sequenced frame; and what this side has acknowledged.
    pub(super) last: Seq,
    pub(super) acked: Seq,
    /// Bytes of publishes that the node lets be in flight.
    pub(super) node_window: u64,
    node_acked: Seq,
    requests: BTreeMap<u32, Request>,
    channels: BTreeMap<ChannelId, Channel>,
    /// Bytes of DATA up to each frame not acknowledged, and the one before.
    data: BTreeMap<u32, u64>,
    data_bytes: u64,
    data_limit: u64,
    /// Sums at which we said, with a window above zero, that nothing is in flight.
    empty_at: BTreeSet<u64>,
    pub(super) delivered: u64,
    /// Why it is to go elsewhere, as it was told last.
    away: Option<u16>,
}

impl Received {
    pub(super) fn new() -> Self {
        Self {
            inbound: Inbound::new(Direction::ToClient),
            wild: false,
            doomed: false,
            greeted: false,
            welcomed: false,
            offered: Features::NONE,
            compact: false,
            bye: false,
            ends: false,
            unit: WindowUnit::SMALLEST,
            last: Seq(0),
            acked: Seq(0),
            node_window: 0,
            node_acked: Seq(0),
            requests: BTreeMap::new(),
            channels: BTreeMap::new(),
            data: BTreeMap::from([(0, 0)]),
            data_bytes: 0,
            data_limit: 0,
            empty_at: BTreeSet::new(),
            delivered: 0,
            away: None,
        }
    }

    /// A frame was sent that allows `window` behind `ack`.
    pub(super) fn granted(&mut self, ack: Seq, window: u16) {
        let Some(base) = self.data.get(&ack.0).copied() else { return };
        self.data_limit = self.data_limit.max(base + u64::from(self.unit.bytes(window)));
        if window > 0 {
            self.empty_at.insert(base);
        }
        self.data = self.data.split_off(&ack.0);
    }

    pub(super) fn ask(&mut self, seq: Seq, asked: Asked) {
        if let Asked::Unsubscribe(ended) = asked {
            for request in self.requests.values_mut() {
                let same =
                    matches!(&request.asked, Asked::Subscribe { subscription, .. } if *subscription == ended);
                request.abandoned |= same;
            }
            for channel in self.channels.values_mut().filter(|channel| channel.subscription == ended) {
                channel.leaving = true;
            }
        }
        self.requests
            .insert(seq.0, Request { asked, answered: false, abandoned: false, told: BTreeSet::new() });
    }

    /// Whether an answer to this subscription could mean an earlier one.
    pub(super) fn abandoned(&self, id: SubscriptionId) -> bool {
        self.requests.values().any(|request| {
            request.abandoned
                && matches!(request.asked, Asked::Subscribe { subscription, .. } if subscription == id)
        })
    }

    pub(super) fn publish_bytes(&self) -> u64 {
        let bytes =
            |request: &Request| if let Asked::Publish { bytes, .. } = request.asked { bytes } else { 0 };
        self.requests.values().map(bytes).sum()
    }

    /// The last position told of `text`.
    pub(super) fn last_of(&self, text: &str) -> Option<Position> {
        self.channels.values().find(|channel| channel.text == text).map(|channel| channel.cursor)
    }

    /// Bytes came that the shard made at `made`.
    pub(super) fn got(&mut self, bytes: &[u8], truth: &mut Truth, frames_max: usize, made: Made) -> Check {
        let mut inbound = std::mem::replace(&mut self.inbound, Inbound::new(Direction::ToClient));
        inbound.push(bytes);
        let result = loop {
            match inbound.next_frame() {
                Ok(Some(frame)) => {
                    let compact = matches!(frame.payload,
                        Payload::Welcome(welcome) if welcome.features.has(Features::COMPACT));
                    if let Err(error) = self.frame(&frame, truth, frames_max, made) {
                        break Err(error);
                    }
                    if compact {
                        inbound.agree_compact();
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(format!("P9: bytes that are no frame: {error}")),
            }
        };
        self.inbound = inbound;
        result
    }

    fn frame(&mut self, frame: &Frame<'_>, truth: &mut Truth, frames_max: usize, made: Made) -> Check {
        let header = &frame.header;
        if self.bye {
            return Err(format!("{:?} came behind BYE", header.frame_type));
        }
        flow::in_order(self.last, header).map_err(|error| format!("{error}"))?;
        self.last = header.seq;
        self.check_window(frame, frames_max)?;
        self.bye = header.frame_type == FrameType::Bye;
        if self.wild || self.bye {
            return Ok(());
        }
        self.check_lease(frame, made)?;
        let (led, made) = (made.led, made.at);
        if self.welcomed == (header.frame_type == FrameType::Welcome) {
            return Err(format!("{:?} with welcomed {}", header.frame_type, self.welcomed));
        }
        match frame.payload {
            Payload::Welcome(welcome) => {
                if welcome.features != self.offered || welcome.generation.0 != GENERATION {
                    return Err(format!("{welcome:?}, but {:?} was offered", self.offered));
                }
                if welcome.leads != led {
                    return Err(format!("R7: {welcome:?} of a node whose lease is {led}"));
                }
                self.welcomed = true;
                self.compact = welcome.features.has(Features::COMPACT);
            }
            Payload::Error(refusal) => {
                self.refused(refusal.ref_seq, header.ack_seq, refusal.code, refusal.outcome)?
            }
            Payload::Subscribed(subscribed) => self.subscribed(&subscribed, truth)?,
            Payload::Gap(gap) => self.gap(gap, truth, made)?,
            Payload::Delivery(delivery) => self.delivery(&delivery, truth, made)?,
            Payload::Ack(receipts) => {
                for receipt in receipts.iter() {
                    self.receipt(&receipt, truth)?;
                }
            }
            Payload::Heartbeat => {}
            Payload::GoAway(go_away) => self.away(&go_away)?,
            Payload::WindowUpdate
            | Payload::Publish(_)
            | Payload::Hello(_)
            | Payload::Subscribe(_)
            | Payload::Unsubscribe(_)
            | Payload::Reject(_)
            | Payload::Bye(_) => return Err(format!("{:?} from a shard", header.frame_type)),
        }
        self.acknowledged(header.ack_seq, header.window)
    }

    fn away(&mut self, go_away: &GoAway<'_>) -> Check {
        let isolated = go_away.reason == GoAwayReason::Isolated as u16;
        if !isolated && go_away.reason != GoAwayReason::Withdrawn as u16 {
            return Err(format!("{go_away:?}, which nobody meant"));
        }
        let named = go_away.addresses.iter().count() == if isolated { 2 } else { 0 };
        if !named || go_away.retry_after_ms > go_away.deadline_ms {
            return Err(format!("{go_away:?} is not what was said"));
        }
        self.away = Some(go_away.reason);
        Ok(())
    }

    /// At rest: who is to look elsewhere knows it, and who is not does not believe it any more.
    pub(super) fn check_away(&self, isolated: bool) -> Check {
        let told = self.away == Some(GoAwayReason::Isolated as u16);
        if told == isolated { Ok(()) } else { Err(format!("R8: isolated {isolated}, told {:?}", self.away)) }
    }

    /// R7: without a lease nothing is said that only a leader may say.
    fn check_lease(&self, frame: &Frame<'_>, made: Made) -> Check {
        if made.led || (lease::needs_none(&frame.payload) && frame.header.ack_seq == self.node_acked) {
            return Ok(());
        }
        Err(format!("R7: {frame:?} was made without a lease, behind {:?}", self.node_acked))
    }

    /// P7: bytes in flight stay within a window that was granted, or it is one frame where nothing is.
    fn check_window(&mut self, frame: &Frame<'_>, frames_max: usize) -> Check {
        let before = self.data_bytes;
        if frame.header.frame_type == FrameType::Data {
            self.data_bytes += u64::from(frame.header.len);
        }
        if frame.header.frame_type.sequenced() {
            self.data.insert(self.last.0, self.data_bytes);
        }
        if self.wild {
            return Ok(());
        }
        if self.data_bytes > before && self.data_bytes > self.data_limit && !self.empty_at.contains(&before) {
            return Err(format!("P7: {} bytes in flight, {} allowed", self.data_bytes, self.data_limit));
        }
        // The last message that fits may bring two gaps along.
        let in_flight = self.acked.distance(self.last);
        if in_flight as usize > frames_max + 2 {
            return Err(format!("P7: {in_flight} frames in flight, {frames_max} allowed"));
        }
        Ok(())
    }
}
