//! Topics: storing at home, following from elsewhere, and who is told.

use super::inbound::Handled;
use super::{Shard, session_mut, touch};
use crate::class::PartitionId;
use crate::command::{Command, FeedState, PublishRefusal, PublishRequest};
use crate::feed::{Follower, Member, Source};
use crate::ids::{ConnectionId, FeedId, ShardId};
use crate::message::Message;
use crate::partition::Admission;
use crate::planted::{self, Bug};
use crate::session::{Answer, Stall, Subscription, SubscriptionState};
use crate::stats::Stat;
use crate::time::Time;
use multibeam_wire::{
    CloseCode, ErrorCode, Offset, Outcome, Position, Seq, Start, Subscribe, Subscribed, SubscriptionId,
    TopicName,
};
use std::sync::Arc;

impl Shard {
    /// Something came from another thread.
    pub fn command(&mut self, from: ShardId, command: Command, now: Time) {
        if command.is_reply() {
            self.rooms.replied(from);
            self.resume(from);
        }
        match command {
            Command::Publish(request) => {
                let (connection, seq) = (request.connection, request.seq);
                let result = self.store(*request, now);
                self.outbox.push_back((from, Command::Published { connection, seq, result }));
            }
            Command::Published { connection, seq, result } => self.published(connection, seq, result),
            Command::Follow { feed, topic } => {
                let result = self.follow(from, feed, &topic);
                self.outbox.push_back((from, Command::Followed { feed, result }));
                self.serve_lagging(from);
            }
            Command::Followed { feed, result } => self.followed(feed, result),
            Command::Append { feed, message } => {
                let Some(known) = self.feeds.feed_mut(feed) else {
                    return self.stats.add(Stat::StaleCommands, 1);
                };
                known.append(message);
                self.tell_members(feed);
            }
            Command::Unfollow { feed, topic } => self.unfollow(from, feed, &topic),
            Command::Probe { id } => self.outbox.push_back((from, Command::Probed { id })),
            Command::Probed { .. } => {}
            Command::Stop => self.stop(),
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let open: Vec<ConnectionId> = self.sessions.iter().flatten().map(|session| session.id).collect();
        for id in open {
            self.close(id, CloseCode::Shutdown);
        }
    }

    /// The ring towards `to` takes `commands` more. To be told at the start of each turn.
    pub fn set_room(&mut self, to: ShardId, commands: usize) {
        if !self.rooms.set(to, commands) {
            return;
        }
        while let Some(unfollow) = self.unfollows[usize::from(to.0)].pop_front() {
            if !self.rooms.take_first(to) {
                self.unfollows[usize::from(to.0)].push_front(unfollow);
                break;
            }
            self.outbox.push_back((to, unfollow));
        }
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

    /// As many sessions that wait to ask `to` as can try again: a crowd of them is not woken
    /// for one place.
    fn resume(&mut self, to: ShardId) {
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
        self.rooms.requests_wait(to, !stalled.is_empty());
    }

    /// Stores a message of a topic whose home this is, and tells everybody who follows it.
    pub(super) fn store(&mut self, request: PublishRequest, now: Time) -> Result<Position, PublishRefusal> {
        let generation = self.setup.generation;
        let refused = |stats: &mut crate::Stats, refusal| {
            stats.add(Stat::Refused, 1);
            Err(refusal)
        };
        let Ok(id) = self.feeds.open_home(&request.topic, self.setup.id, generation, &self.config) else {
            let outcome = if request.retry_of.is_some() { Outcome::Unknown } else { Outcome::Definite };
            return refused(&mut self.stats, PublishRefusal { code: ErrorCode::TopicsMax, outcome });
        };
        self.count_topics();
        let partition = PartitionId::of(request.topic.as_str());
        let partition = self.feeds.partition_mut(partition, generation, &self.config);
        match partition.admit(&request) {
            Admission::Refuse(refusal) => refused(&mut self.stats, refusal),
            Admission::Stored(position) => {
                self.stats.add(Stat::Duplicates, 1);
                Ok(position)
            }
            Admission::Store(offset) => {
                let position = Position { generation, offset };
                let Some(feed) = self.feeds.feed_mut(id) else { unreachable!("opened above") };
                let prev = feed.head().offset;
                feed.append(Arc::new(Message { position, prev, ingress: now, body: request.body }));
                self.stats.add(Stat::Stored, 1);
                self.tell_members(id);
                self.tell_followers(id);
                Ok(position)
            }
        }
    }

    fn tell_members(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.feed(id) else { return };
        for member in &feed.members {
            if let Some(session) = session_mut(&mut self.sessions, member.connection)
                && let Some(subscription) = session.subscriptions.get_mut(&member.subscription)
                && !subscription.pending
                && matches!(subscription.state, SubscriptionState::Live { .. })
            {
                subscription.pending = true;
                session.pending.push_back(member.subscription);
                touch(&mut self.sessions, &mut self.touched, member.connection);
            }
        }
    }

    /// Sends followers on other shards what they have not got, as far as there is room. One
    /// that was up to date joins the queue of those that are behind; the others stand in it.
    fn tell_followers(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.feed(id) else { return };
        let newest = feed.next_index() - 1;
        let up_to_date: Vec<ShardId> =
            feed.followers.iter().filter(|f| f.next_index == newest).map(|f| f.shard).collect();
        for shard in up_to_date {
            self.fall_behind(id, shard);
            self.serve_lagging(shard);
        }
    }

    /// A follower has something to get: it joins the queue of its shard.
    fn fall_behind(&mut self, id: FeedId, to: ShardId) {
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        if let Some(follower) = feed.followers.iter_mut().find(|follower| follower.shard == to)
            && !follower.queued
        {
            follower.queued = true;
            self.lagging[usize::from(to.0)].push_back(id);
        }
    }

    /// Sends `to` messages of the feeds that it is behind in, in turn, while there is room.
    fn serve_lagging(&mut self, to: ShardId) {
        while let Some(id) = self.lagging[usize::from(to.0)].pop_front() {
            let Some(feed) = self.feeds.feed_mut(id) else { continue };
            let Some(at) = feed.followers.iter().position(|follower| follower.shard == to) else { continue };
            let follower = feed.followers[at];
            feed.followers[at].queued = false;
            let Some((index, message)) = feed.at(follower.next_index) else { continue };
            let message = Arc::clone(message);
            if !self.rooms.take(to) {
                self.stats.add(Stat::NoRoom, 1);
                feed.followers[at].queued = true;
                self.lagging[usize::from(to.0)].push_front(id);
                break;
            }
            feed.followers[at].next_index = index + 1;
            let more = feed.next_index() > index + 1;
            feed.followers[at].queued = more;
            self.outbox.push_back((to, Command::Append { feed: follower.feed, message }));
            if more {
                self.lagging[usize::from(to.0)].push_back(id);
            }
        }
    }

    /// Another shard asks for a topic whose home this is.
    fn follow(&mut self, from: ShardId, theirs: FeedId, topic: &TopicName) -> Result<FeedState, ErrorCode> {
        let id = self
            .feeds
            .open_home(topic, self.setup.id, self.setup.generation, &self.config)
            .map_err(|_| ErrorCode::TopicsMax)?;
        self.count_topics();
        let Some(feed) = self.feeds.feed_mut(id) else { unreachable!("opened above") };
        let first = feed.first_index();
        let state = feed.state();
        // A shard gives up a feed before it asks with another, and mail keeps its order.
        match feed.followers.iter().find(|follower| follower.shard == from) {
            Some(follower) => assert!(follower.feed == theirs, "{from:?} follows {topic} twice"),
            None => {
                feed.followers.push(Follower { shard: from, feed: theirs, next_index: first, queued: false });
                if feed.next_index() > first {
                    self.fall_behind(id, from);
                }
            }
        }
        Ok(state)
    }

    fn unfollow(&mut self, from: ShardId, theirs: FeedId, topic: &TopicName) {
        let Some(id) = self.feeds.find(topic.as_str()) else { return };
        let Some(feed) = self.feeds.feed_mut(id) else { return };
        let Some(at) = feed.followers.iter().position(|f| f.shard == from && f.feed == theirs) else {
            return;
        };
        if feed.followers.swap_remove(at).queued {
            self.lagging[usize::from(from.0)].retain(|lagging| *lagging != id);
        }
        self.feeds.touch(id);
    }

    /// The home shard answered.
    fn followed(&mut self, id: FeedId, result: Result<FeedState, ErrorCode>) {
        let Some(feed) = self.feeds.feed_mut(id) else {
            return self.stats.add(Stat::StaleCommands, 1);
        };
        let waiting: Vec<Member> = feed.members.clone();
        let head = match result {
            Ok(state) => {
                feed.followed(state);
                Ok(Position { generation: state.generation, offset: state.head })
            }
            Err(code) => Err(code),
        };
        for member in waiting {
            let Some(session) = session_mut(&mut self.sessions, member.connection) else { continue };
            let Some(subscription) = session.subscriptions.get(&member.subscription) else { continue };
            let SubscriptionState::Waiting { request, start } = subscription.state else { continue };
            match head {
                Ok(head) => self.begin(member, request, start, head),
                Err(code) => {
                    self.leave(member.connection, member.subscription);
                    self.refuse(member.connection, request, code, Outcome::Definite);
                }
            }
        }
    }

    pub(super) fn subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>) -> Handled {
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let refusal = if TopicName::check(subscribe.topic).is_err() {
            Some(ErrorCode::TopicInvalid)
        } else if session.subscriptions.contains_key(&subscribe.subscription) {
            Some(ErrorCode::SubscriptionTaken)
        } else if session.subscriptions.len() >= self.config.subscriptions_max {
            Some(ErrorCode::SubscriptionsMax)
        } else {
            None
        };
        if let Some(code) = refusal {
            let request = session.requests.open(0, None);
            self.refuse(id, request, code, Outcome::Definite);
            return Handled::Done;
        }
        let home = PartitionId::of(subscribe.topic).home(self.setup.shards);
        // What this shard knows may be behind what the client got from another one: then only
        // the home shard can judge the cursor.
        let known = self.feeds.find(subscribe.topic).and_then(|feed| self.feeds.feed(feed));
        let must_ask = match known {
            Some(feed) => match feed.source {
                Source::Home | Source::Asked => false,
                Source::Following => {
                    matches!(subscribe.start, Start::After(cursor) if cursor > feed.head())
                }
            },
            None => home != self.setup.id,
        };
        if must_ask && (!self.unfollows[usize::from(home.0)].is_empty() || !self.rooms.take_request(home)) {
            return Handled::Stall(Stall::Room(home));
        }
        let topic = self.name(subscribe.topic);
        let feed = match self.feeds.find(subscribe.topic) {
            Some(feed) => Ok(feed),
            None if home == self.setup.id => {
                self.feeds.open_home(&topic, home, self.setup.generation, &self.config)
            }
            None => self.feeds.open_follower(&topic, home, &self.config),
        };
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let request = session.requests.open(0, None);
        let Ok(feed_id) = feed else {
            if must_ask {
                self.rooms.give_back(home);
            }
            self.refuse(id, request, ErrorCode::TopicsMax, Outcome::Definite);
            return Handled::Done;
        };
        self.join(
            id,
            subscribe.subscription,
            feed_id,
            SubscriptionState::Waiting { request, start: subscribe.start },
        );
        if must_ask {
            self.outbox.push_back((home, Command::Follow { feed: feed_id, topic }));
        } else if let Some(feed) = self.feeds.feed(feed_id)
            && feed.source != Source::Asked
        {
            let head = feed.head();
            let member = Member { connection: id, subscription: subscribe.subscription };
            self.begin(member, request, subscribe.start, head);
        }
        self.count_topics();
        Handled::Done
    }

    /// A subscription's feed is known, and `head` is its end: says where delivery begins.
    fn begin(&mut self, member: Member, request: Seq, start: Start, head: Position) {
        let Some(session) = session_mut(&mut self.sessions, member.connection) else { return };
        let Some(subscription) = session.subscriptions.get_mut(&member.subscription) else { return };
        let Some(feed) = self.feeds.feed(subscription.feed) else { return };
        let cursor = match start {
            Start::New => feed.head(),
            Start::Last => feed.before_last(),
            Start::After(cursor) if cursor > head => {
                self.leave(member.connection, member.subscription);
                self.refuse(member.connection, request, ErrorCode::CursorAhead, Outcome::Definite);
                return;
            }
            Start::After(cursor) => {
                self.stats.add(Stat::Resumed, 1);
                if planted::on(Bug::DuplicateOnResume) {
                    Position { offset: Offset(cursor.offset.0.saturating_sub(1)), ..cursor }
                } else {
                    cursor
                }
            }
        };
        subscription.state = SubscriptionState::Live { cursor, index: feed.index_after(cursor) };
        subscription.pending = true;
        session.pending.push_back(member.subscription);
        let subscribed = Subscribed {
            subscription: member.subscription,
            channel: subscription.channel,
            from: cursor,
            head: feed.head().max(head),
            gap: cursor < feed.first_prev(),
        };
        session.answer(Answer::Subscribed { request, subscribed }, self.config.requests_in_flight_max);
        self.touch(member.connection);
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, subscription: SubscriptionId) -> Handled {
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let request = session.requests.open(0, None);
        let state = session.subscriptions.get(&subscription).map(|known| known.state);
        match state {
            None => self.refuse(id, request, ErrorCode::SubscriptionUnknown, Outcome::Definite),
            Some(state) => {
                self.leave(id, subscription);
                let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
                // A SUBSCRIBE that was not answered is done with its UNSUBSCRIBE.
                if let SubscriptionState::Waiting { request, .. } = state {
                    session.finish(request);
                }
                session.finish(request);
                self.touch(id);
            }
        }
        Handled::Done
    }

    fn join(&mut self, id: ConnectionId, name: SubscriptionId, feed_id: FeedId, state: SubscriptionState) {
        let Some(feed) = self.feeds.feed_mut(feed_id) else { return };
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        let (channel, member) = (session.channel_for(feed_id), feed.members.len());
        let subscription = Subscription { feed: feed_id, channel, member, state, pending: false };
        feed.members.push(Member { connection: id, subscription: name });
        session.subscriptions.insert(name, subscription);
        self.stats.add(Stat::Subscriptions, 1);
    }

    /// Takes a subscription out of its feed and its session.
    fn leave(&mut self, id: ConnectionId, name: SubscriptionId) {
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        let Some(subscription) = session.subscriptions.remove(&name) else { return };
        if subscription.pending {
            session.pending.retain(|pending| *pending != name);
        }
        self.stats.sub(Stat::Subscriptions, 1);
        let Some(feed) = self.feeds.feed_mut(subscription.feed) else { return };
        let left = feed.members.swap_remove(subscription.member);
        assert_eq!((left.connection, left.subscription), (id, name), "a member of {} is lost", feed.topic);
        if let Some(moved) = feed.members.get(subscription.member).copied()
            && let Some(session) = session_mut(&mut self.sessions, moved.connection)
            && let Some(other) = session.subscriptions.get_mut(&moved.subscription)
        {
            other.member = subscription.member;
        }
        self.left(subscription.feed);
    }

    /// Somebody left a feed: if it was the last one, the feed goes, or may be forgotten.
    fn left(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.feed(id) else { return };
        if !feed.members.is_empty() {
            return;
        }
        if feed.source == Source::Home {
            self.feeds.touch(id);
            return;
        }
        let (home, topic) = (feed.home, feed.topic.clone());
        self.feeds.remove(id);
        let unfollow = Command::Unfollow { feed: id, topic };
        if self.unfollows[usize::from(home.0)].is_empty() && self.rooms.take_first(home) {
            self.outbox.push_back((home, unfollow));
        } else {
            self.unfollows[usize::from(home.0)].push_back(unfollow);
        }
        self.count_topics();
    }

    pub(super) fn leave_all(&mut self, id: ConnectionId) {
        while let Some(session) = session_mut(&mut self.sessions, id)
            && let Some((name, subscription)) = session.subscriptions.first_key_value()
        {
            let name = *name;
            if let SubscriptionState::Waiting { request, .. } = subscription.state {
                session.finish(request);
            }
            self.leave(id, name);
        }
    }

    fn count_topics(&mut self) {
        self.stats.set(Stat::Topics, self.feeds.len() as u64);
        let forgotten = self.feeds.forgotten() - self.stats.load(Stat::TopicsForgotten);
        self.stats.add(Stat::TopicsForgotten, forgotten);
    }
}
