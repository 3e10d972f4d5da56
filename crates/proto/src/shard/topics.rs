//! Feeds between shards, and who is told of a new message.

use super::{Shard, session_mut, touch};
use crate::command::{Command, FeedName, FeedState};
use crate::feed::{Arrival, Follower};
use crate::feeds::Full;
use crate::ids::{ConnectionId, FeedId, ShardId};
use crate::message::Message;
use crate::session::Stall;
use crate::stats::Stat;
use crate::time::Time;
use multibeam_wire::{CloseCode, ErrorCode};
use std::sync::Arc;

impl Shard {
    /// Something came from another thread.
    pub fn command(&mut self, from: ShardId, command: Command, now: Time) {
        if command.is_reply() {
            self.rooms.replied(from);
            self.resume(from);
        }
        match command {
            Command::Publish(mut request) => {
                self.store_all(&mut request, now);
                self.outbox.push_back((from, Command::Published(request)));
            }
            Command::Published(request) => self.request_ended(request),
            Command::Follow { feed, name } => {
                let result = self.follow(from, feed, &name, now);
                self.outbox.push_back((from, Command::Followed { feed, result }));
                self.serve_lagging(from);
            }
            Command::Followed { feed, result } => self.followed(feed, result),
            Command::Append { feed, message } => self.appended(feed, &message, now),
            Command::Unfollow { feed, name } => self.unfollow(from, feed, &name),
            Command::Probe { id } => self.outbox.push_back((from, Command::Probed { id })),
            Command::Probed { .. } => {}
            Command::Isolated { addresses } => self.isolated(Some(addresses)),
            Command::Rejoined => self.isolated(None),
            Command::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        for id in self.open_sessions() {
            self.close(id, CloseCode::Shutdown);
        }
    }

    /// Each connection that is known.
    pub(super) fn open_sessions(&self) -> Vec<ConnectionId> {
        let sessions = self.sessions.iter();
        sessions.map(|(slot, session)| ConnectionId { slot, generation: session.generation }).collect()
    }

    /// The ring towards `to` takes `commands` more. To be told at the start of each turn.
    pub fn set_room(&mut self, to: ShardId, commands: usize) {
        if !self.rooms.set(to, commands) {
            return;
        }
        self.serve_asks(to);
        self.serve_lagging(to);
        self.resume(to);
    }

    /// Whether the shard must be rung when the ring towards `to` has room.
    #[must_use]
    pub fn wants_ring(&self, to: ShardId) -> bool {
        self.rooms.wants_ring(to)
    }

    /// Whether work waits that the next turn can do, without anything happening before.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        (0..=self.setup.shards).any(|to| self.rooms.wants_turn(ShardId(to)))
    }

    /// As much as waits to ask `to` and can try again: a crowd of sessions is not woken for one place.
    fn resume(&mut self, to: ShardId) {
        self.serve_asks(to);
        let stalled = &mut self.stalled[usize::from(to.0)];
        let mut places = self.rooms.requests(to);
        while places > 0 {
            let Some(id) = stalled.pop_front() else { break };
            if let Some(session) = session_mut(&mut self.sessions, id)
                && session.stalled == Some(Stall::Room(to))
            {
                session.stalled = None;
                touch(&mut self.sessions, &mut self.touched, id);
                places -= 1;
            }
        }
        let wait = !stalled.is_empty() || !self.asks[usize::from(to.0)].is_empty();
        self.rooms.requests_wait(to, wait);
    }

    /// A message came to a feed: its members and followers have something to get.
    pub(super) fn tell(&mut self, slot: u32) {
        self.tell_members(slot);
        self.tell_followers(slot);
    }

    fn tell_members(&mut self, slot: u32) {
        let Some(feed) = self.feeds.at(slot) else { return };
        for member in &feed.members {
            let Some(session) = self.sessions.at_mut(member.slot) else { continue };
            let waiting = session.subscriptions.at(member.sub).is_none_or(|sub| sub.is_waiting());
            if !waiting && session.subscriptions.push_pending(member.sub) && !session.touched {
                session.touched = true;
                self.touched.push_back(ConnectionId { slot: member.slot, generation: session.generation });
            }
        }
    }

    /// Sends followers on other shards what they have not got, as far as there is room. One
    /// that was up to date joins the queue of those that are behind; the others stand in it.
    fn tell_followers(&mut self, slot: u32) {
        let Some(feed) = self.feeds.at(slot) else { return };
        if feed.followers().is_empty() {
            return;
        }
        let newest = feed.next_index() - 1;
        let mut at = 0;
        while let Some(follower) = self.feeds.at(slot).and_then(|feed| feed.followers().get(at)).copied() {
            if follower.next_index == newest {
                self.fall_behind(slot, follower.shard);
                self.serve_lagging(follower.shard);
            }
            at += 1;
        }
    }

    /// A follower has something to get: it joins the queue of its shard.
    fn fall_behind(&mut self, slot: u32, to: ShardId) {
        let id = self.feeds.id(slot);
        let Some(feed) = self.feeds.at_mut(slot) else { return };
        if let Some(follower) = feed.followers_mut().iter_mut().find(|follower| follower.shard == to)
            && !follower.queued
        {
            follower.queued = true;
            self.lagging[usize::from(to.0)].push_back(id);
        }
    }

    /// Sends `to` messages of the feeds that it is behind in, in turn, while there is room.
    fn serve_lagging(&mut self, to: ShardId) {
        while let Some(id) = self.lagging[usize::from(to.0)].pop_front() {
            let Some(slot) = self.feeds.slot(id) else { continue };
            let Some(feed) = self.feeds.at_mut(slot) else { continue };
            let Some(at) = feed.followers().iter().position(|follower| follower.shard == to) else {
                continue;
            };
            let follower = feed.followers()[at];
            let index = follower.next_index.max(feed.first_index());
            if index >= feed.next_index() {
                // What it had not got was evicted; the next message says so by its `prev`.
                let next_index = feed.next_index();
                let follower = &mut feed.followers_mut()[at];
                (follower.queued, follower.next_index) = (false, next_index);
                continue;
            }
            if !self.rooms.take(to) {
                self.stats.add(Stat::NoRoom, 1);
                self.lagging[usize::from(to.0)].push_front(id);
                break;
            }
            let more = feed.next_index() > index + 1;
            let known = &mut feed.followers_mut()[at];
            (known.next_index, known.queued) = (index + 1, more);
            let messages = &mut self.messages;
            let message = feed.message(index).map(|(entry, delivery)| {
                messages.lend(|message| {
                    message.position = delivery.position;
                    message.prev = delivery.prev;
                    message.ingress = entry.ingress;
                    message.ttl_ms = entry.ttl_ms();
                    message.topic.clear();
                    message.topic.push_str(delivery.topic.unwrap_or_default());
                    message.body.clear();
                    message.body.extend_from_slice(delivery.body);
                })
            });
            let Some(message) = message else { unreachable!("index {index} of {id:?} is there") };
            self.outbox.push_back((to, Command::Append { feed: follower.feed, message }));
            if more {
                self.lagging[usize::from(to.0)].push_back(id);
            }
        }
    }

    /// A message of a followed feed came from its home shard.
    fn appended(&mut self, id: FeedId, message: &Arc<Message>, now: Time) {
        let Some(slot) = self.feeds.slot(id) else {
            return self.stats.add(Stat::StaleCommands, 1);
        };
        let filter = self.feeds.at(slot).is_some_and(|feed| feed.filter);
        let arrival = Arrival {
            position: message.position,
            prev: message.prev,
            ingress: message.ingress,
            ttl_ms: message.ttl_ms,
            topic: filter.then_some(&*message.topic),
            body: &message.body,
        };
        self.feeds.append(slot, &arrival, now);
        self.feeds.keep_within(self.config.messages_bytes_max);
        self.tell_members(slot);
    }

    /// A feed whose home this is, for somebody who follows it.
    pub(super) fn open_home(&mut self, name: &FeedName, now: Time) -> Result<u32, Full> {
        let slot = self.feeds.open_home(name, self.setup.id, self.setup.generation, &self.config, now)?;
        // A filter's feed begins with copies, which cost what others do.
        self.feeds.keep_within(self.config.messages_bytes_max);
        Ok(slot)
    }

    /// Another shard asks for a feed whose home this is.
    fn follow(
        &mut self,
        from: ShardId,
        theirs: FeedId,
        name: &FeedName,
        now: Time,
    ) -> Result<FeedState, ErrorCode> {
        let slot = self.open_home(name, now).map_err(|_| ErrorCode::TopicsMax)?;
        let Some(feed) = self.feeds.at_mut(slot) else { unreachable!("opened above") };
        let first = feed.first_index();
        let state = feed.state();
        // A shard gives up a feed before it asks with another, and mail keeps its order.
        match feed.followers().iter().find(|follower| follower.shard == from) {
            Some(follower) => assert!(follower.feed == theirs, "{from:?} follows {} twice", name.text),
            None => {
                let follower = Follower { shard: from, feed: theirs, next_index: first, queued: false };
                feed.followers_mut().push(follower);
                if feed.next_index() > first {
                    self.fall_behind(slot, from);
                }
            }
        }
        Ok(state)
    }

    fn unfollow(&mut self, from: ShardId, theirs: FeedId, name: &FeedName) {
        let Some(slot) = self.feeds.find_name(name) else { return };
        let id = self.feeds.id(slot);
        let Some(feed) = self.feeds.at_mut(slot) else { return };
        let Some(at) = feed.followers().iter().position(|f| f.shard == from && f.feed == theirs) else {
            return;
        };
        if feed.followers_mut().swap_remove(at).queued {
            self.lagging[usize::from(from.0)].retain(|lagging| *lagging != id);
        }
        let idle = feed.idle();
        if idle {
            self.feeds.left(slot);
        } else {
            self.feeds.touch(slot);
        }
    }
}
