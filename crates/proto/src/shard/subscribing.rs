//! Subscriptions: from a client's frame to members of feeds, asked for where they live.
//!
//! A subscription waits until all its feeds are known, then begins with one answer. Asking needs room in
//! a ring; what can't be asked yet waits in a queue a thread, so that a SUBSCRIBE never blocks its socket.

use super::inbound::Handled;
use super::{Shard, session_mut};
use crate::class::PartitionId;
use crate::command::{Command, FeedName, FeedState};
use crate::feed::{Member, Source};
use crate::ids::{ConnectionId, FeedId, ShardId};
use crate::planted::{self, Bug};
use crate::session::{Answer, StartKind, Sub, SubState};
use crate::stats::Stat;
use crate::time::Time;
use multibeam_wire::{
    ErrorCode, Offset, Outcome, Position, Seq, Start, Subscribe, SubscriptionId, TopicFilter, TopicName,
    limits,
};
use smol_str::SmolStr;

/// What another thread is to be told about a feed of this shard, in order.
#[derive(Debug)]
pub(super) enum Ask {
    Follow(FeedId, FeedName),
    Unfollow(FeedId, FeedName),
}

/// One feed of a subscription, and where it begins there.
struct Beginning {
    name: FeedName,
    start: StartKind,
    cursor: Position,
}

impl Shard {
    pub(super) fn subscribe(&mut self, id: ConnectionId, subscribe: &Subscribe<'_>, now: Time) -> Handled {
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let request = session.requests.open(0, None, 0);
        let taken = session.subscriptions.named(subscribe.subscription).next().is_some();
        let own = |(_, sub): &(u32, &Sub)| sub.id != SubscriptionId::SYSTEM;
        let count = session.subscriptions.iter().filter(own).count();
        let result = if taken || subscribe.subscription == SubscriptionId::SYSTEM {
            Err(ErrorCode::SubscriptionTaken)
        } else {
            self.beginnings(subscribe).and_then(|beginnings| {
                if count + beginnings.len() > self.config.subscriptions_max {
                    return Err(ErrorCode::SubscriptionsMax);
                }
                self.follow_all(id, subscribe.subscription, Some(request), beginnings, now)
            })
        };
        if let Err(code) = result {
            self.refuse(id, request, code, Outcome::Definite);
        }
        Handled::Done
    }

    /// The subscription that every session has: to the class that says so.
    pub(super) fn subscribe_system(&mut self, id: ConnectionId, after: Option<Position>, now: Time) {
        let Some(class) = self.config.classes.on_connect() else { return };
        let after = after.filter(|_| !planted::on(Bug::SystemNotResumed));
        let text = SmolStr::new(self.config.classes.class(class).pattern.as_filter());
        let name = FeedName { text, partition: PartitionId { class, index: 0 }, filter: true };
        let start = if after.is_some() { StartKind::After } else { StartKind::New };
        let beginning = Beginning { name, start, cursor: after.unwrap_or_default() };
        let fresh = FeedName::clone(&beginning.name);
        if self.follow_all(id, SubscriptionId::SYSTEM, None, vec![beginning], now).is_err() {
            // A cursor of somewhere else: SUBSCRIBED says where it begins instead. Without a place for its
            // feed a session goes without, which the missing SUBSCRIBED tells.
            let beginning = Beginning { name: fresh, start: StartKind::New, cursor: Position::default() };
            let _ = self.follow_all(id, SubscriptionId::SYSTEM, None, vec![beginning], now);
        }
    }

    /// The feeds that a SUBSCRIBE means.
    fn beginnings(&self, subscribe: &Subscribe<'_>) -> Result<Vec<Beginning>, ErrorCode> {
        let text = subscribe.topic;
        if !TopicFilter::is_meant(text) {
            TopicName::check(text).map_err(|_| ErrorCode::TopicInvalid)?;
            let (start, cursor) = match subscribe.start {
                Start::New => (StartKind::New, Position::default()),
                Start::Last => (StartKind::Last, Position::default()),
                Start::First => (StartKind::First, Position::default()),
                Start::After(position) => (StartKind::After, position),
                Start::AfterEach(_) => return Err(ErrorCode::CursorMismatch),
            };
            let name = match self.feeds.find_topic(text).and_then(|slot| self.feeds.at(slot)) {
                Some(feed) => FeedName { text: feed.text.clone(), partition: feed.partition, filter: false },
                None => {
                    let partition = self.config.classes.partition_of(text);
                    FeedName { text: SmolStr::new(text), partition, filter: false }
                }
            };
            return Ok(vec![Beginning { name, start, cursor }]);
        }
        TopicFilter::check(text).map_err(|_| ErrorCode::FilterInvalid)?;
        let partitions: Vec<PartitionId> =
            self.config.classes.partitions_of_filter(text).take(limits::PARTS_MAX + 1).collect();
        if partitions.is_empty() {
            return Err(ErrorCode::FilterMatchesNothing);
        }
        if partitions.len() > limits::PARTS_MAX {
            return Err(ErrorCode::FilterTooWide);
        }
        let text = SmolStr::new(text);
        let begin = |partition: PartitionId| {
            let (start, cursor) = match subscribe.start {
                Start::New => (StartKind::New, Position::default()),
                Start::Last => (StartKind::Last, Position::default()),
                Start::First => (StartKind::First, Position::default()),
                Start::After(_) => return Err(ErrorCode::CursorMismatch),
                Start::AfterEach(cursors) => {
                    let known = cursors.iter().find(|cursor| cursor.partition == partition.number());
                    let mut cursor = known.map(|known| known.position).unwrap_or_default();
                    if planted::on(Bug::FilterCursorAhead) {
                        cursor.offset.0 += 1;
                    }
                    (StartKind::After, cursor)
                }
            };
            Ok(Beginning { name: FeedName { text: text.clone(), partition, filter: true }, start, cursor })
        };
        partitions.into_iter().map(begin).collect()
    }

    /// Makes the session a member of all these feeds, or of none.
    fn follow_all(
        &mut self,
        id: ConnectionId,
        subscription: SubscriptionId,
        request: Option<Seq>,
        beginnings: Vec<Beginning>,
        now: Time,
    ) -> Result<(), ErrorCode> {
        for beginning in beginnings {
            let Beginning { name, start, cursor } = beginning;
            let Ok(slot) = self.open(&name, now) else {
                self.leave_named(id, subscription);
                return Err(ErrorCode::TopicsMax);
            };
            self.join(id, Sub::new(subscription, request, start, cursor), slot);
            self.ask_where_needed(slot, name, start, cursor);
        }
        self.begin(id, subscription)
    }

    fn open(&mut self, name: &FeedName, now: Time) -> Result<u32, crate::feeds::Full> {
        if let Some(slot) = self.feeds.find_name(name) {
            return Ok(slot);
        }
        let home = self.config.classes.home(name.partition, self.setup.shards);
        if home == self.setup.id {
            self.open_home(name, now)
        } else {
            self.feeds.open_follower(name, home, &self.config)
        }
    }

    fn join(&mut self, id: ConnectionId, sub: Sub, slot: u32) {
        let Some(feed) = self.feeds.at_mut(slot) else { return };
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        let place = session.subscriptions.add(sub, slot, feed.members.len() as u32);
        feed.members.push(Member { slot: id.slot, sub: place });
        self.stats.add(Stat::Subscriptions, 1);
    }

    /// Asks the home shard for a feed that is not known here, or whose cursor only it can judge: what this
    /// shard knows may be behind what the client got from another one.
    fn ask_where_needed(&mut self, slot: u32, name: FeedName, start: StartKind, cursor: Position) {
        let feed_id = self.feeds.id(slot);
        let Some(feed) = self.feeds.at_mut(slot) else { return };
        let home = feed.home;
        let ask = match feed.source {
            Source::Home => false,
            Source::Asked => feed.asks == 0,
            Source::Following => start == StartKind::After && cursor > feed.head(),
        };
        if ask {
            feed.asks += 1;
            self.asks[usize::from(home.0)].push_back(Ask::Follow(feed_id, name));
            self.serve_asks(home);
        }
    }

    /// Asks what waits to be asked of `to`, while there is room.
    pub(super) fn serve_asks(&mut self, to: ShardId) {
        while let Some(ask) = self.asks[usize::from(to.0)].pop_front() {
            let command = match &ask {
                // The feed may be gone meanwhile.
                Ask::Follow(feed, _) if self.feeds.slot(*feed).is_none() => continue,
                Ask::Follow(feed, name) if self.rooms.take_request(to) => {
                    Command::Follow { feed: *feed, name: name.clone() }
                }
                Ask::Unfollow(feed, name) if self.rooms.take_first(to) => {
                    Command::Unfollow { feed: *feed, name: name.clone() }
                }
                Ask::Follow(..) | Ask::Unfollow(..) => {
                    self.asks[usize::from(to.0)].push_front(ask);
                    break;
                }
            };
            self.outbox.push_back((to, command));
        }
    }

    /// The home shard answered.
    pub(super) fn followed(&mut self, id: FeedId, result: Result<FeedState, ErrorCode>) {
        let Some(slot) = self.feeds.slot(id) else {
            return self.stats.add(Stat::StaleCommands, 1);
        };
        let Some(feed) = self.feeds.at_mut(slot) else { return };
        feed.asks -= 1;
        if let Ok(state) = result {
            feed.followed(state);
        }
        let members: Vec<Member> = feed.members.to_vec();
        for member in members {
            let Some(session) = self.sessions.at(member.slot) else { continue };
            let connection = ConnectionId { slot: member.slot, generation: session.generation };
            let Some(sub) = session.subscriptions.at(member.sub) else { continue };
            let (name, request) = (sub.id, sub.request());
            if !sub.is_waiting() {
                continue;
            }
            if result.is_err() {
                self.leave_named(connection, name);
            }
            let ended = result.and_then(|_| self.begin(connection, name));
            if let (Err(code), Some(request)) = (ended, request) {
                self.refuse(connection, request, code, Outcome::Definite);
            }
        }
    }

    /// Begins a subscription if all its feeds are known: says where, and delivers from there on.
    fn begin(&mut self, id: ConnectionId, subscription: SubscriptionId) -> Result<(), ErrorCode> {
        let Some(session) = session_mut(&mut self.sessions, id) else { return Ok(()) };
        let waiting: Vec<(u32, Sub)> = session
            .subscriptions
            .named(subscription)
            .filter(|(_, sub)| sub.is_waiting())
            .map(|(at, sub)| (at, *sub))
            .collect();
        let known = |sub: &Sub| {
            self.feeds.at(sub.feed).is_some_and(|feed| match feed.source {
                Source::Home => true,
                Source::Asked => false,
                // Only the newest answer tells that there is no such place.
                Source::Following => {
                    sub.state != SubState::Waiting(StartKind::After)
                        || sub.cursor <= feed.head()
                        || feed.asks == 0
                }
            })
        };
        if waiting.is_empty() || !waiting.iter().all(|(_, sub)| known(sub)) {
            return Ok(());
        }
        let request = waiting.first().and_then(|(_, sub)| sub.request());
        for (place, sub) in waiting {
            let Some(feed) = self.feeds.at(sub.feed) else { continue };
            let SubState::Waiting(start) = sub.state else { continue };
            let cursor = match start {
                StartKind::New => feed.head(),
                StartKind::Last => feed.before_last(),
                StartKind::First => feed.first_prev(),
                StartKind::After if sub.cursor > feed.head() => {
                    self.leave_named(id, subscription);
                    return Err(ErrorCode::CursorAhead);
                }
                StartKind::After => {
                    self.stats.add(Stat::Resumed, 1);
                    if planted::on(Bug::DuplicateOnResume) {
                        Position { offset: Offset(sub.cursor.offset.0.saturating_sub(1)), ..sub.cursor }
                    } else {
                        sub.cursor
                    }
                }
            };
            let index = feed.index_after(cursor);
            let Some(session) = session_mut(&mut self.sessions, id) else { return Ok(()) };
            if let Some(known) = session.subscriptions.at_mut(place) {
                (known.cursor, known.index, known.state) = (cursor, index, SubState::Fresh);
            }
            session.subscriptions.push_pending(place);
        }
        let Some(session) = session_mut(&mut self.sessions, id) else { return Ok(()) };
        session.requests.answer(Answer::Subscribed { request, subscription });
        self.touch(id);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, subscription: SubscriptionId) -> Handled {
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let request = session.requests.open(0, None, 0);
        let first = session.subscriptions.named(subscription).next().map(|(_, sub)| *sub);
        match first {
            None => self.refuse(id, request, ErrorCode::SubscriptionUnknown, Outcome::Definite),
            Some(sub) => {
                self.leave_named(id, subscription);
                let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
                // A SUBSCRIBE that was not answered is done with its UNSUBSCRIBE.
                if let Some(request) = sub.request().filter(|_| sub.is_waiting()) {
                    session.requests.finish(request);
                }
                session.requests.finish(request);
                self.touch(id);
            }
        }
        Handled::Done
    }

    /// Ends a subscription: takes the session out of all its feeds.
    fn leave_named(&mut self, id: ConnectionId, subscription: SubscriptionId) {
        if let Some(session) = session_mut(&mut self.sessions, id) {
            session.requests.withdraw(Some(subscription));
        }
        while let Some(session) = session_mut(&mut self.sessions, id)
            && let Some(place) = session.subscriptions.first_named(subscription)
        {
            self.leave(id, place);
        }
    }

    /// Takes the session out of one feed.
    fn leave(&mut self, id: ConnectionId, place: u32) {
        let Some(session) = session_mut(&mut self.sessions, id) else { return };
        let Some(sub) = session.subscriptions.remove(place) else { return };
        self.stats.sub(Stat::Subscriptions, 1);
        let Some(feed) = self.feeds.at_mut(sub.feed) else { return };
        let left = feed.members.swap_remove(sub.member as usize);
        assert_eq!((left.slot, left.sub), (id.slot, place), "a member of {} is lost", feed.text);
        if let Some(moved) = feed.members.get(sub.member as usize).copied()
            && let Some(session) = self.sessions.at_mut(moved.slot)
            && let Some(other) = session.subscriptions.at_mut(moved.sub)
        {
            other.member = sub.member;
        }
        if feed.members.is_empty() {
            feed.members = smallvec::SmallVec::new();
            self.left(sub.feed);
        }
    }

    /// The last member left a feed: it goes, or may be forgotten.
    fn left(&mut self, slot: u32) {
        let id = self.feeds.id(slot);
        let Some(feed) = self.feeds.at(slot) else { return };
        if feed.source == Source::Home {
            if feed.idle() {
                self.feeds.left(slot);
            }
            return;
        }
        let home = feed.home;
        let name = FeedName { text: feed.text.clone(), partition: feed.partition, filter: feed.filter };
        self.feeds.remove(slot);
        self.asks[usize::from(home.0)].push_back(Ask::Unfollow(id, name));
        self.serve_asks(home);
    }

    pub(super) fn leave_all(&mut self, id: ConnectionId) {
        if let Some(session) = session_mut(&mut self.sessions, id) {
            session.requests.withdraw(None);
        }
        while let Some(session) = session_mut(&mut self.sessions, id)
            && let Some((place, sub)) = session.subscriptions.any()
        {
            if let Some(request) = sub.request().filter(|_| sub.is_waiting()) {
                session.requests.finish(request);
            }
            self.leave(id, place);
        }
    }
}
