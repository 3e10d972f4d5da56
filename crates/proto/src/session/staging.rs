//! From a session's state to bytes, and back to state by what the socket took.
//!
//! Staging changes nothing that a peer could notice: each frame is recorded with the effect
//! it will have. [`Session::commit`] applies the effects of those frames that the kernel
//! has begun to take; the others never happened and are made anew from what is true then.

use super::{Answer, Phase, Session, SubscriptionState};
use crate::config::ShardConfig;
use crate::feed::Feed;
use crate::feeds::Feeds;
use crate::planted::{self, Bug};
use crate::stats::{Stat, Stats};
use crate::time::Time;
use multibeam_wire::{
    ChannelId, Delivery, Encoder, Features, Gap, GapReason, Generation, Payload, Position, Refusal, Seq,
    SubscriptionId, Welcome,
};

/// A frame that was made but not yet taken.
#[derive(Clone, Copy, Debug)]
pub struct Staged {
    /// Bytes of this frame and all before it.
    end: usize,
    effect: Effect,
    /// Encodes what follows it.
    encoder: Encoder,
}

#[derive(Clone, Copy, Debug)]
enum Effect {
    /// The first queued answer is on its way.
    Answer,
    /// Carried nothing but the header.
    Header,
    Delivery {
        subscription: SubscriptionId,
        cursor: Position,
        index: u64,
        payload: u16,
    },
    Gap {
        subscription: SubscriptionId,
        cursor: Position,
    },
    Farewell,
}

/// What staging needs to know of the shard.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a ShardConfig,
    pub(crate) feeds: &'a Feeds,
    pub(crate) generation: Generation,
    pub(crate) stats: &'a mut Stats,
}

/// Frames under way to the output, as if all were taken already.
struct Draft<'a> {
    out: &'a mut Vec<u8>,
    staged: &'a mut Vec<Staged>,
    start: usize,
    bytes_max: usize,
    encoder: Encoder,
    seq: Seq,
    ack: Seq,
    window: u16,
    in_flight_bytes: u32,
    in_flight_frames: usize,
}

impl Draft<'_> {
    fn full(&self) -> bool {
        self.out.len() - self.start >= self.bytes_max
    }

    fn frame(&mut self, payload: &Payload<'_>, effect: Effect) {
        if payload.frame_type().sequenced() {
            self.seq = self.seq.next();
        }
        self.encoder.encode(payload, self.seq, self.ack, self.window, self.out);
        self.staged.push(Staged { end: self.out.len() - self.start, effect, encoder: self.encoder });
    }

    /// Compact headers behind the last frame.
    fn agree_compact(&mut self) {
        self.encoder.agree_compact();
        if let Some(last) = self.staged.last_mut() {
            last.encoder = self.encoder;
        }
    }

    /// A gap goes with the message behind it, wholly or not at all: on a slow line that message
    /// would be evicted before its turn, and gap would follow gap for ever.
    fn join_last_two(&mut self) {
        if let [.., gap, message] = &mut self.staged[..] {
            gap.end = message.end;
        }
    }
}

/// How a walk through one subscription ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Exhausted,
    OutOfCredit,
    Full,
}

impl Session {
    /// Appends frames to `out`, at least one if there is any, until `bytes_max` is reached,
    /// and their effects to `staged`. Returns the bytes appended.
    pub(crate) fn stage(
        &mut self,
        bytes_max: usize,
        out: &mut Vec<u8>,
        staged: &mut Vec<Staged>,
        context: &mut Context<'_>,
    ) -> usize {
        if self.farewell_taken {
            return 0;
        }
        self.blocks_when_taken = false;
        let start = out.len();
        let mut draft = Draft {
            start,
            bytes_max,
            encoder: self.encoder,
            seq: self.credit.sent(),
            ack: self.requests.done(),
            window: self.unit.window(context.config.publish_window_bytes),
            in_flight_bytes: self.credit.bytes(),
            in_flight_frames: self.credit.frames(),
            out,
            staged,
        };
        for answer in &self.answers {
            if draft.full() {
                break;
            }
            draft.frame(&self.payload_of(*answer, context), Effect::Answer);
            if *answer == Answer::Welcome && self.features.has(Features::COMPACT) {
                draft.agree_compact();
            }
        }
        match self.phase {
            Phase::Closing(code) if !draft.full() => draft.frame(&Payload::bye(code), Effect::Farewell),
            Phase::Open => self.stage_deliveries(&mut draft, context),
            Phase::Hello | Phase::Ending(_) | Phase::Closing(_) => {}
        }
        if draft.out.len() == start && self.ack_owed {
            draft.frame(&Payload::ACK, Effect::Header);
        }
        if draft.out.len() == start && self.heartbeat_owed {
            draft.frame(&Payload::Heartbeat, Effect::Header);
        }
        if planted::on(Bug::HeaderOfUnsent) {
            self.encoder = draft.encoder;
        }
        out.len() - start
    }

    fn payload_of(&self, answer: Answer, context: &Context<'_>) -> Payload<'static> {
        match answer {
            Answer::Welcome => Payload::Welcome(Welcome {
                features: self.features,
                window_unit: self.unit,
                heartbeat_interval_ms: u32::try_from(context.config.heartbeat_interval.as_millis())
                    .unwrap_or(u32::MAX),
                generation: context.generation,
                session: self.number,
                requests_in_flight_max: context.config.requests_in_flight_max as u32,
            }),
            Answer::Subscribed { subscribed, .. } => Payload::Subscribed(subscribed),
            Answer::Refused { request, code, outcome } => {
                Payload::Error(Refusal::new(request, code, outcome))
            }
        }
    }

    fn stage_deliveries(&mut self, draft: &mut Draft<'_>, context: &mut Context<'_>) {
        for &id in &self.pending {
            match self.stage_subscription(id, draft, context) {
                Walk::Full => break,
                Walk::OutOfCredit => {
                    context.stats.add(Stat::WindowZero, 1);
                    self.blocks_when_taken = true;
                    break;
                }
                // It leaves the queue when its last frame is taken.
                Walk::Exhausted => {}
            }
        }
        if draft.out.len() == draft.start {
            self.blocked = self.blocks_when_taken;
            self.prune(context.feeds);
        }
    }

    /// Drops subscriptions from the queue that have nothing to send.
    pub(crate) fn prune(&mut self, feeds: &Feeds) {
        let subscriptions = &mut self.subscriptions;
        self.pending.retain(|id| {
            let Some(subscription) = subscriptions.get_mut(id) else { return false };
            let SubscriptionState::Live { cursor, index } = subscription.state else { return true };
            subscription.pending =
                feeds.feed(subscription.feed).is_some_and(|feed| next_step(feed, cursor, index).is_some());
            subscription.pending
        });
    }

    fn stage_subscription(&self, id: SubscriptionId, draft: &mut Draft<'_>, context: &Context<'_>) -> Walk {
        let Some(subscription) = self.subscriptions.get(&id) else { return Walk::Exhausted };
        let SubscriptionState::Live { mut cursor, mut index } = subscription.state else {
            return Walk::Exhausted;
        };
        let Some(feed) = context.feeds.feed(subscription.feed) else { return Walk::Exhausted };
        while let Some(step) = next_step(feed, cursor, index) {
            if draft.full() {
                return Walk::Full;
            }
            if draft.in_flight_frames >= context.config.deliveries_in_flight_max {
                return Walk::OutOfCredit;
            }
            // A gap is told where the next message stands, so that it is told once; or at
            // once where no message follows.
            let message = feed.at(step.index);
            let payload = message.map(|(_, message)| delivery(subscription.channel, message));
            let bytes = payload.map_or(0, |delivery| delivery.payload_bytes() as u32);
            let mut joined = false;
            if payload.is_some() && !self.credit.allows(draft.in_flight_bytes, bytes) {
                return Walk::OutOfCredit;
            }
            if let Some((to, reason)) = step.gap {
                if !planted::on(Bug::GapOmitted) {
                    let gap = Gap { channel: subscription.channel, from: cursor, to, reason };
                    draft.frame(&Payload::Gap(gap), Effect::Gap { subscription: id, cursor: to });
                    draft.in_flight_frames += 1;
                    joined = payload.is_some();
                }
                cursor = to;
            }
            if let Some(delivery) = payload {
                cursor = delivery.position;
                index = step.index + 1;
                let effect = Effect::Delivery { subscription: id, cursor, index, payload: bytes as u16 };
                draft.frame(&Payload::Delivery(delivery), effect);
                if joined {
                    draft.join_last_two();
                }
                draft.in_flight_frames += 1;
                draft.in_flight_bytes += bytes;
            }
        }
        Walk::Exhausted
    }

    /// The kernel took `taken` of the bytes that [`Session::stage`] made. Returns where the
    /// last frame of which it took anything ends: the bytes between are owed to the socket.
    pub(crate) fn commit(
        &mut self,
        taken: usize,
        staged: &[Staged],
        now: Time,
        heartbeat_in: std::time::Duration,
        stats: &mut Stats,
    ) -> usize {
        let mut end = 0;
        let mut served = None;
        for frame in staged {
            // Frames with the same end are one: a gap and the message behind it.
            if end >= taken && end < frame.end {
                break;
            }
            if end == 0 {
                // Every frame carries the acknowledgement and is a sign of life.
                self.ack_owed = false;
                self.heartbeat_owed = false;
                self.heartbeat_at = now + heartbeat_in;
            }
            end = frame.end;
            self.encoder = frame.encoder;
            self.apply(frame.effect, now, stats);
            if let Effect::Delivery { subscription, .. } | Effect::Gap { subscription, .. } = frame.effect {
                served = Some(subscription);
            }
        }
        // Whoever got something is behind all others from here on, or busy topics would starve
        // them. Only what was taken counts: else whose turn it is could depend on how much
        // was staged.
        if let Some(at) = served.and_then(|served| self.pending.iter().position(|id| *id == served)) {
            self.pending.rotate_left(at + 1);
        }
        if staged.last().is_some_and(|last| last.end == end) {
            self.blocked = self.blocks_when_taken;
        }
        if end > taken {
            stats.add(Stat::HalfWritten, 1);
        }
        end
    }

    fn apply(&mut self, effect: Effect, now: Time, stats: &mut Stats) {
        match effect {
            Effect::Header => {}
            Effect::Farewell => self.farewell_taken = true,
            Effect::Answer => match self.answers.pop_front() {
                Some(Answer::Subscribed { request, .. } | Answer::Refused { request, .. }) => {
                    self.finish(request);
                }
                Some(Answer::Welcome) | None => {}
            },
            Effect::Delivery { subscription, cursor, index, payload } => {
                stats.add(Stat::Delivered, 1);
                self.credit.took(payload, now);
                self.moved(subscription, cursor, Some(index));
            }
            Effect::Gap { subscription, cursor } => {
                stats.add(Stat::Gaps, 1);
                self.credit.took(0, now);
                self.moved(subscription, cursor, None);
            }
        }
    }

    fn moved(&mut self, id: SubscriptionId, to: Position, next: Option<u64>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        if let SubscriptionState::Live { cursor, index } = &mut subscription.state {
            assert!(*cursor < to, "{id:?} moved from {cursor} back to {to}");
            *cursor = to;
            *index = next.unwrap_or(*index);
        }
    }
}

/// The next thing to tell a subscription at `cursor`, whose next message is at `index`.
struct NextStep {
    /// Where the next message is or will be.
    index: u64,
    /// What is missing before it.
    gap: Option<(Position, GapReason)>,
}

fn next_step(feed: &Feed, cursor: Position, index: u64) -> Option<NextStep> {
    let mut index = index;
    // Messages at or below the cursor arrive where a feed is being filled from its home.
    while let Some((at, message)) = feed.at(index) {
        if message.position > cursor {
            index = at;
            break;
        }
        index = at + 1;
    }
    let to = match feed.at(index) {
        Some((_, message)) => Position { offset: message.prev, ..message.position },
        None => feed.first_prev(),
    };
    let gap = if cursor < to {
        let reason = if cursor.generation < to.generation {
            GapReason::Generation
        } else if feed.is_uncertain_up_to(to) {
            GapReason::Uncertain
        } else {
            GapReason::Overflow
        };
        Some((to, reason))
    } else {
        None
    };
    if gap.is_none() && feed.at(index).is_none() { None } else { Some(NextStep { index, gap }) }
}

fn delivery(channel: ChannelId, message: &crate::Message) -> Delivery<'_> {
    let (position, prev) = (message.position, message.prev);
    Delivery { channel, position, prev, skipped: false, body: &message.body }
}
