//! From a session's state to bytes, and back to state by what the socket took.
//!
//! ```text
//!   answers, acknowledgement, gaps … made here │ run: the feed's own bytes, uncopied
//! ```
//!
//! Staging changes nothing that a peer could notice: each part is recorded with the effect
//! it will have. [`Session::commit`] applies the effects of those frames that the kernel
//! has begun to take; the others never happened and are made anew from what is true then.
//!
//! A node without a lease says nothing that only a leader may: no delivery or gap, no acknowledgement that the
//! client does not know, no answer but those that promise nothing. All that waits as it is.
//!
//! A *run* is a feed's frames one behind the other. They say nothing but that they come next, so they fit
//! behind whatever made the acknowledgement known. Where a session has fixed headers, or calls the feed's
//! messages something else, its frames are made one by one.

mod draft;
mod taken;

pub use draft::Staged;

use draft::{Draft, Effect, varint_bytes};

use super::{Answer, Phase, Session, Standing, SubState};
use crate::class::Overflow;
use crate::config::ShardConfig;
use crate::feed::{Feed, NextStep};
use crate::feeds::Feeds;
use crate::log::{StoredFrame, payload_bytes};
use crate::planted::{self, Bug};
use crate::stats::{Stat, Stats};
use crate::time::Time;
use multibeam_wire::{
    Addresses, Features, Gap, GapReason, Generation, GoAway, GoAwayReason, HEADER_BYTES, Part, Parts,
    Payload, Position, Receipts, Refusal, Subscribed, Welcome,
    limits::{ADDRESSES_MAX, RECEIPT_RANGES_MAX},
};
use smallvec::SmallVec;
use smol_str::SmolStr;
use std::time::Duration;

/// What [`crate::Shard::stage`] made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    /// Bytes appended to the caller's.
    pub bytes: usize,
    /// What follows them, without being copied.
    pub run: Option<Run>,
}

/// Frames in a feed; good until the shard changes.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub(crate) feed: u32,
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// How many bytes they are.
    pub bytes: usize,
}

/// What staging needs to know of the shard.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a ShardConfig,
    pub(crate) feeds: &'a Feeds,
    pub(crate) generation: Generation,
    /// Without a lease nothing is made that only a leader may say.
    pub(crate) standing: Standing,
    /// Where clients are to go, if they are.
    pub(crate) away: Option<&'a [SmolStr]>,
    /// Milliseconds; the session's own.
    pub(crate) away_slot_ms: u32,
    /// The session's number on this node, for people.
    pub(crate) session: u64,
    pub(crate) stats: &'a mut Stats,
    pub(crate) parts: &'a mut Vec<Part>,
    pub(crate) now: Time,
    /// Set by staging: a topic whose class disconnects has overrun the session.
    pub(crate) too_slow: bool,
}

/// How a run goes out.
#[derive(Clone, Copy)]
struct Form {
    /// Its first message replaces others, and says so.
    skipped: bool,
    /// It may go uncopied.
    direct: bool,
}

/// How a walk through one subscription ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// It has nothing to send.
    Empty,
    Exhausted,
    OutOfCredit,
    Full,
    TooSlow,
}

impl Session {
    /// Appends frames to `out`, at least one if there is any, until `bytes_max` is reached,
    /// and their effects to `staged`. With `direct`, the last of them may be a run instead.
    pub(crate) fn stage(
        &mut self,
        bytes_max: usize,
        direct: bool,
        out: &mut Vec<u8>,
        staged: &mut Vec<Staged>,
        context: &mut Context<'_>,
    ) -> Made {
        if self.farewell_taken {
            return Made::default();
        }
        self.blocks_when_taken = false;
        let leads = context.standing.leads;
        let ack = if leads || planted::on(Bug::HeartbeatAcksWithoutLease) {
            self.requests.done()
        } else {
            self.told_ack
        };
        let mut draft = Draft {
            start: out.len(),
            bytes_max,
            compact: self.compact,
            seq: self.credit.sent(),
            told: self.told_ack,
            ack,
            window: self.unit.window(context.config.publish_window_bytes),
            in_flight_bytes: self.credit.bytes(),
            in_flight_frames: self.credit.frames(),
            run: None,
            out,
            staged,
        };
        if leads {
            self.stage_receipts(&mut draft);
        }
        let mut behind = 0;
        for answer in self.requests.answers() {
            if draft.full() {
                break;
            }
            if leads || answer.is_free() {
                draft.frame(&self.payload_of(answer, context), Effect::Answer { behind });
            } else {
                behind += 1;
            }
        }
        if self.away_owed(context.standing) && !draft.full() {
            self.stage_away(&mut draft, context);
        }
        match self.phase {
            Phase::Closing(code) if !draft.full() => draft.frame(&Payload::bye(code), Effect::Farewell),
            Phase::Open if leads => self.stage_deliveries(&mut draft, direct, context),
            Phase::Hello | Phase::Open | Phase::Ending | Phase::Closing(_) => {}
        }
        if draft.is_empty() && leads && self.ack_owed() {
            draft.frame(&Payload::ACK, Effect::Header);
        }
        if draft.is_empty() && self.heartbeat_owed {
            draft.frame(&Payload::Heartbeat, Effect::Header);
        }
        if planted::on(Bug::HeaderOfUnsent) {
            self.told_ack = draft.told;
        }
        Made { bytes: draft.out.len() - draft.start, run: draft.run }
    }

    /// Where publishes were stored is told no later than that they were.
    fn stage_receipts(&mut self, draft: &mut Draft<'_>) {
        let (told, done) = (draft.told, draft.ack);
        let receipts = self.requests.receipts();
        for (at, ranges) in receipts.chunks(RECEIPT_RANGES_MAX).enumerate() {
            let last = (at + 1) * RECEIPT_RANGES_MAX >= receipts.len();
            draft.ack = if last { done } else { told };
            draft.frame(&Payload::Ack(Receipts::new(ranges)), Effect::Receipts(ranges.len()));
        }
        draft.ack = done;
    }

    /// Behind WELCOME, which is an answer: whoever sees room here has made all of them.
    fn stage_away(&self, draft: &mut Draft<'_>, context: &Context<'_>) {
        let addresses: SmallVec<[&str; ADDRESSES_MAX]> =
            context.away.unwrap_or_default().iter().map(SmolStr::as_str).collect();
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let (reason, deadline_ms, retry_after_ms) = match context.away {
            Some(_) => (GoAwayReason::Isolated, millis(context.config.goaway_spread), context.away_slot_ms),
            None => (GoAwayReason::Withdrawn, 0, 0),
        };
        let go_away = GoAway {
            reason: reason as u16,
            deadline_ms,
            retry_after_ms,
            addresses: Addresses::new(&addresses),
        };
        draft.frame(&Payload::GoAway(go_away), Effect::Away(context.standing.away));
    }

    fn payload_of<'a>(&self, answer: Answer, context: &'a mut Context<'_>) -> Payload<'a> {
        match answer {
            Answer::Welcome => {
                let flag = |set, features| if set { features } else { Features::NONE };
                Payload::Welcome(Welcome {
                    features: flag(self.compact, Features::COMPACT)
                        .with(flag(self.receipts, Features::RECEIPTS)),
                    window_unit: self.unit,
                    heartbeat_interval_ms: u32::try_from(context.config.heartbeat_interval.as_millis())
                        .unwrap_or(u32::MAX),
                    generation: context.generation,
                    session: context.session,
                    requests_in_flight_max: context.config.requests_in_flight_max as u32,
                    leads: context.standing.leads,
                })
            }
            Answer::Subscribed { subscription, .. } => {
                context.parts.clear();
                for (place, sub) in self.subscriptions.named(subscription) {
                    let Some(feed) = context.feeds.at(sub.feed) else { continue };
                    context.parts.push(Part {
                        channel: self.subscriptions.channel(place),
                        partition: feed.partition.number(),
                        from: sub.cursor,
                        head: feed.head().max(sub.cursor),
                        count: feed.next_index() - feed.index_after(sub.cursor),
                        gap: sub.cursor < feed.first_prev(),
                    });
                }
                // Places of a session are used again, so theirs need not be the partitions' order.
                context.parts.sort_unstable_by_key(|part| part.partition);
                Payload::Subscribed(Subscribed { subscription, parts: Parts::new(context.parts) })
            }
            Answer::Refused { request, code, outcome } => {
                Payload::Error(Refusal::new(request, code, outcome))
            }
        }
    }

    fn stage_deliveries(&mut self, draft: &mut Draft<'_>, direct: bool, context: &mut Context<'_>) {
        let mut next = self.subscriptions.first_pending();
        // Several feeds are copied into one send; a single one goes as it is.
        let direct =
            direct && self.compact && next.is_some_and(|at| self.subscriptions.pending_after(at).is_none());
        while let Some(place) = next {
            next = self.subscriptions.pending_after(place);
            match self.stage_subscription(place, draft, direct, context) {
                // It had nothing when it was looked at: its feed's next message brings it back.
                Walk::Empty => self.subscriptions.unlink(place),
                // It leaves the queue when its last frame is taken.
                Walk::Exhausted => {}
                Walk::Full => break,
                Walk::OutOfCredit => {
                    context.stats.add(Stat::WindowZero, 1);
                    self.blocks_when_taken = true;
                    break;
                }
                Walk::TooSlow => {
                    context.too_slow = true;
                    break;
                }
            }
        }
        if draft.is_empty() {
            self.blocked = self.blocks_when_taken;
        }
    }

    fn stage_subscription(
        &self,
        place: u32,
        draft: &mut Draft<'_>,
        direct: bool,
        context: &mut Context<'_>,
    ) -> Walk {
        let Some(sub) = self.subscriptions.at(place) else { return Walk::Empty };
        let Some(feed) = context.feeds.at(sub.feed) else { return Walk::Empty };
        let overflow = context.config.classes.class(feed.partition.class).overflow;
        let (mut cursor, mut index) = (sub.cursor, sub.index);
        let mut walk = Walk::Empty;
        while let Some(step) = feed.next_step(cursor, index, context.now) {
            walk = Walk::Exhausted;
            if draft.full() {
                return Walk::Full;
            }
            if draft.in_flight_frames >= context.config.deliveries_in_flight_max {
                return Walk::OutOfCredit;
            }
            let lost = matches!(step.gap, Some((_, GapReason::Overflow)));
            if lost && overflow == Overflow::Disconnect {
                // What comes before the loss is delivered first: whoever resumes behind it is past it.
                match sub.state {
                    _ if cursor > sub.cursor => return Walk::Full,
                    SubState::Live => return Walk::TooSlow,
                    SubState::Fresh | SubState::Waiting(_) => {}
                }
            }
            if let Some(message) = step.message {
                let bytes = self.payload_bytes(feed, place, message);
                if !self.credit.allows(draft.in_flight_bytes, bytes) {
                    return Walk::OutOfCredit;
                }
            }
            let skipped =
                lost && overflow == Overflow::Conflate && step.expired.is_none() && step.message.is_some();
            if !planted::on(Bug::GapOmitted) {
                self.stage_gaps(place, &step, cursor, skipped, draft);
            }
            cursor = step.expired.or(step.gap.map(|(to, _)| to)).unwrap_or(cursor);
            let Some(first) = step.message else { continue };
            let count = self.stage_run(place, feed, first, Form { skipped, direct }, draft, context);
            index = first + u64::from(count);
            cursor = feed.entry(index - 1).map_or(cursor, |last| feed.position(last.offset));
            if draft.run.is_some() {
                // Nothing can follow it in this turn.
                let more = feed.next_step(cursor, index, context.now).is_some();
                return if more { Walk::Full } else { Walk::Exhausted };
            }
        }
        walk
    }

    fn stage_gaps(&self, place: u32, step: &NextStep, from: Position, skipped: bool, draft: &mut Draft<'_>) {
        let channel = self.subscriptions.channel(place);
        let mut from = from;
        let gap = step.gap.filter(|_| !skipped);
        let silent = planted::on(Bug::ExpiredWithoutGap);
        let expired = step.expired.filter(|_| !silent).map(|to| (to, GapReason::Expired));
        for (first, told) in [(true, gap), (false, expired)] {
            let Some((to, reason)) = told else { continue };
            let joined = step.message.is_some() || (first && expired.is_some());
            draft.frame(
                &Payload::Gap(Gap { channel, from, to, reason }),
                Effect::Gap { sub: place, to, joined },
            );
            draft.in_flight_frames += 1;
            from = to;
        }
    }

    /// Stages the message at `first`, which was found to be allowed, and those that follow it without a
    /// gap, as far as they may go. Returns how many.
    fn stage_run(
        &self,
        place: u32,
        feed: &Feed,
        first: u64,
        form: Form,
        draft: &mut Draft<'_>,
        context: &mut Context<'_>,
    ) -> u32 {
        let Form { skipped, direct } = form;
        draft.tell_ack();
        let shared = self.shares_bytes(place) && !skipped;
        let mut bytes = 0;
        let mut count = 0;
        // A flag makes the first one different from what is stored.
        let count_max = if skipped { 1 } else { u32::MAX };
        while count < count_max {
            let index = first + u64::from(count);
            if count > 0 {
                let payload = || self.payload_bytes(feed, place, index);
                let fits = draft.bytes() + bytes < draft.bytes_max
                    && draft.in_flight_frames < context.config.deliveries_in_flight_max
                    && feed.chained(index, context.now)
                    && self.credit.allows(draft.in_flight_bytes, payload());
                if !fits {
                    break;
                }
            }
            bytes += self.frame_bytes(feed, place, index);
            draft.in_flight_bytes += self.payload_bytes(feed, place, index);
            draft.in_flight_frames += 1;
            count += 1;
        }
        let places = feed.place(first)..feed.place(first) + count as usize;
        if let Some(log) = feed.log() {
            if shared && direct {
                let feed = self.subscriptions.at(place).map_or(u32::MAX, |sub| sub.feed);
                draft.run = Some(Run { feed, first, count, bytes });
                draft.seq = draft.seq.plus(count);
            } else if shared {
                draft.out.extend_from_slice(log.frames(places));
                draft.seq = draft.seq.plus(count);
            } else {
                let channel = self.subscriptions.channel(place);
                let skipped = skipped && !planted::on(Bug::SkippedNotSaid);
                for at in places {
                    draft.copy(&StoredFrame::of(log.frames(at..at + 1)), channel, skipped);
                }
            }
        }
        let effect = Effect::Run { sub: place, first, count };
        draft.staged.push(Staged { bytes, ack: draft.told, effect });
        count
    }

    /// Whether stored frames are this session's own.
    fn shares_bytes(&self, place: u32) -> bool {
        self.compact && self.subscriptions.at(place).is_some_and(super::Sub::shares_channel)
    }

    /// What the message at `index` costs of the client's window.
    fn payload_bytes(&self, feed: &Feed, place: u32, index: u64) -> u32 {
        let stored = feed.log().map_or(0, |log| log.frame_len(feed.place(index)));
        let payload = payload_bytes(stored);
        let own = match self.subscriptions.at(place) {
            Some(sub) if !sub.shares_channel() => {
                payload - varint_bytes(feed.channel.0) + varint_bytes(self.subscriptions.channel(place).0)
            }
            Some(_) | None => payload,
        };
        own as u32
    }

    /// What it takes on the wire.
    fn frame_bytes(&self, feed: &Feed, place: u32, index: u64) -> usize {
        if self.shares_bytes(place) {
            return feed.log().map_or(0, |log| log.frame_len(feed.place(index)));
        }
        let payload = self.payload_bytes(feed, place, index);
        payload as usize + if self.compact { 1 + varint_bytes(payload) } else { HEADER_BYTES }
    }
}
