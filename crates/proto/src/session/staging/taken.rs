//! What becomes true of a session by what the socket took.

use super::Context;
use super::draft::{Effect, Staged};
use crate::session::{Answer, Phase, Runs, Session, SubState};
use crate::stats::Stat;
use multibeam_wire::Position;
use std::ops::Range;
use std::time::Duration;

impl Session {
    /// The kernel took `taken` of the bytes that [`Session::stage`] made. Returns where the
    /// last frame of which it took anything ends: the bytes between are owed to the socket.
    pub(crate) fn commit(
        &mut self,
        taken: usize,
        staged: &[Staged],
        heartbeat_in: Duration,
        runs: &mut Runs,
        context: &mut Context<'_>,
    ) -> usize {
        let (mut end, mut joined, mut all) = (0, false, true);
        for part in staged {
            if end >= taken && !joined {
                all = false;
                break;
            }
            if end == 0 {
                // Every frame is a sign of life.
                self.heartbeat_owed = false;
                if self.phase == Phase::Open {
                    self.heartbeat_at = context.now + heartbeat_in;
                }
            }
            self.told_ack = part.ack;
            match part.effect {
                Effect::Run { sub, first, count } => {
                    let enough = taken.saturating_sub(end);
                    let (frames, bytes) =
                        self.begun(sub, first..first + u64::from(count), part.bytes, enough, context);
                    self.delivered(sub, first, frames, runs, context);
                    end += bytes;
                    joined = false;
                    if frames < count {
                        all = false;
                        break;
                    }
                }
                effect @ (Effect::Answer { .. }
                | Effect::Receipts(_)
                | Effect::Header
                | Effect::Away(_)
                | Effect::Gap { .. }
                | Effect::Farewell) => {
                    end += part.bytes;
                    joined = matches!(effect, Effect::Gap { joined: true, .. });
                    self.apply(effect, runs, context);
                }
            }
        }
        self.requeue(staged, end, context);
        // A send of an old tail alone says nothing of the window.
        if all && !staged.is_empty() {
            self.blocked = self.blocks_when_taken;
        }
        if end > taken {
            context.stats.add(Stat::HalfWritten, 1);
        }
        self.requests.rest(false);
        end
    }

    /// How many of these frames the kernel has begun to take when it took `taken` bytes of them, at least
    /// one, and the bytes of those.
    fn begun(
        &self,
        place: u32,
        range: Range<u64>,
        bytes: usize,
        taken: usize,
        context: &Context<'_>,
    ) -> (u32, usize) {
        let count = (range.end - range.start) as u32;
        if taken >= bytes {
            return (count, bytes);
        }
        let feed = self.subscriptions.at(place).and_then(|sub| context.feeds.at(sub.feed));
        let Some(feed) = feed else { return (count, bytes) };
        let mut end = self.frame_bytes(feed, place, range.start);
        let mut frames = 1;
        while end < taken {
            end += self.frame_bytes(feed, place, range.start + u64::from(frames));
            frames += 1;
        }
        (frames, end)
    }

    fn delivered(&mut self, place: u32, first: u64, frames: u32, runs: &mut Runs, context: &mut Context<'_>) {
        let Some(sub) = self.subscriptions.at(place) else { return };
        let Some(feed) = context.feeds.at(sub.feed) else { return };
        for index in first..first + u64::from(frames) {
            let payload = self.payload_bytes(feed, place, index);
            self.credit.took(runs, payload, context.now);
        }
        context.stats.add(Stat::Delivered, frames.into());
        let next = first + u64::from(frames);
        let Some(last) = feed.entry(next - 1) else { return };
        self.moved(place, feed.position(last.offset), Some(next));
    }

    fn apply(&mut self, effect: Effect, runs: &mut Runs, context: &mut Context<'_>) {
        match effect {
            Effect::Header | Effect::Run { .. } => {}
            Effect::Away(word) => self.told_away = word,
            Effect::Farewell => self.farewell_taken = true,
            Effect::Receipts(count) => self.requests.receipts_taken(count),
            Effect::Answer { behind } => match self.requests.answer_taken(behind) {
                Some(Answer::Subscribed { request: Some(request), .. } | Answer::Refused { request, .. }) => {
                    self.requests.finish(request);
                }
                Some(Answer::Welcome | Answer::Subscribed { request: None, .. }) | None => {}
            },
            Effect::Gap { sub, to, .. } => {
                context.stats.add(Stat::Gaps, 1);
                self.credit.took(runs, 0, context.now);
                self.moved(sub, to, None);
            }
        }
    }

    fn moved(&mut self, place: u32, to: Position, next: Option<u64>) {
        let Some(sub) = self.subscriptions.at_mut(place) else { return };
        assert!(sub.cursor < to, "{:?} moved from {} back to {to}", sub.id, sub.cursor);
        sub.cursor = to;
        sub.index = next.unwrap_or(sub.index);
        sub.state = SubState::Live;
    }

    /// Whoever got something is behind all others from here on, or busy topics would starve
    /// them. Only what was taken counts: else whose turn it is could depend on how much
    /// was staged.
    fn requeue(&mut self, staged: &[Staged], end: usize, context: &Context<'_>) {
        let (mut at, mut served) = (0, None);
        for part in staged {
            if at >= end {
                break;
            }
            at += part.bytes;
            let (Effect::Run { sub, .. } | Effect::Gap { sub, .. }) = part.effect else { continue };
            if served.replace(sub) == Some(sub) {
                continue;
            }
            self.subscriptions.unlink(sub);
            let more = self.subscriptions.at(sub).is_some_and(|known| {
                let feed = context.feeds.at(known.feed);
                feed.is_some_and(|feed| feed.next_step(known.cursor, known.index, context.now).is_some())
            });
            if more {
                self.subscriptions.push_pending(sub);
            }
        }
    }
}
