//! Publishes: from a client's frame to the home shards of its topics, and back with how it ended.

use super::inbound::Handled;
use super::{SPARE_REQUESTS_MAX, Shard, session_mut, touch};
use crate::command::{Command, FeedName, PublishRefusal, PublishRequest, Stored};
use crate::feed::Arrival;
use crate::ids::{ConnectionId, ShardId};
use crate::partition::{Admission, Attempt};
use crate::planted::{self, Bug};
use crate::session::Stall;
use crate::stats::Stat;
use crate::time::Time;
use multibeam_wire::{
    ErrorCode, Outcome, Position, ProducerId, Publish, Seq, TopicFilter, TopicName, fill_template, flow,
    limits,
};
use smol_str::SmolStr;

/// One message that is to be stored.
struct Storing<'a> {
    attempt: Attempt,
    ttl_ms: u32,
    body: &'a [u8],
}

impl Shard {
    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        bytes: u32,
        now: Time,
    ) -> Handled {
        let window = u64::from(self.config.publish_window_bytes);
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        if let Err(misbehaved) = flow::within_window(window, session.requests.bytes(), bytes.into()) {
            return misbehaved.into();
        }
        let producer = session.producer();
        let known = if publish.keys.is_empty() { self.feeds.find_topic(publish.topic) } else { None };
        if let Some(code) = self.refusal(publish, known) {
            let deadline = now + self.config.publish_deadline;
            let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
            let request = session.requests.open(bytes, Some(deadline), 1);
            self.stats.add(Stat::Refused, 1);
            self.published(id, request, &[Err(PublishRefusal { code, outcome: Outcome::Definite })]);
            return Handled::Done;
        }
        if publish.keys.is_empty() {
            self.publish_one(id, publish, known, producer, bytes, now)
        } else {
            self.publish_many(id, publish, producer, bytes, now)
        }
    }

    /// What is wrong with it, whatever the topics hold. `known`: the feed of its topic.
    fn refusal(&mut self, publish: &Publish<'_>, known: Option<u32>) -> Option<ErrorCode> {
        if publish.body.len() > limits::BODY_BYTES_MAX {
            return Some(ErrorCode::BodyTooLong);
        }
        if known.is_some() {
            return None;
        }
        if publish.keys.is_empty() {
            return TopicName::check(publish.topic).err().map(|_| ErrorCode::TopicInvalid);
        }
        let topic = &mut self.topic;
        let bad = publish.keys.iter().any(|key| fill_template(publish.topic, key, topic).is_err());
        bad.then_some(ErrorCode::KeysInvalid)
    }

    fn publish_one(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        known: Option<u32>,
        producer: ProducerId,
        bytes: u32,
        now: Time,
    ) -> Handled {
        let home = self.home_of(publish.topic, known);
        if home != self.setup.id && !self.rooms.take_request(home) {
            return Handled::Stall(Stall::Room(home));
        }
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let seq = session.requests.open(bytes, Some(now + self.config.publish_deadline), 1);
        if home == self.setup.id {
            let attempt = Attempt { producer, number: publish.number, retry_of: publish.retry_of };
            let storing = Storing { attempt, ttl_ms: publish.ttl_ms.unwrap_or(0), body: publish.body };
            let result = self.store(publish.topic, known, &storing, now);
            self.published(id, seq, &[result]);
        } else {
            let request = self.request(id, seq, publish, producer);
            self.outbox.push_back((home, Command::Publish(request)));
        }
        Handled::Done
    }

    /// A message for each of several keys: one request for each home shard that has any of them.
    fn publish_many(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        producer: ProducerId,
        bytes: u32,
        now: Time,
    ) -> Handled {
        let mut parts: Vec<(ShardId, Vec<(u64, String)>)> = Vec::new();
        for (number, key) in (publish.number..).zip(publish.keys.iter()) {
            let number = if planted::on(Bug::KeyNumbersReused) { publish.number } else { number };
            let mut topic = std::mem::take(&mut self.topic);
            let filled = fill_template(publish.topic, key, &mut topic);
            debug_assert!(filled.is_ok(), "{key:?} was checked");
            let home = self.home_of(&topic, self.feeds.find_topic(&topic));
            self.topic = topic;
            match parts.iter_mut().find(|(shard, _)| *shard == home) {
                Some((_, keys)) => keys.push((number, key.to_owned())),
                None => parts.push((home, vec![(number, key.to_owned())])),
            }
        }
        // All or none: a half-asked publish would hold room that the other half waits for.
        for (at, (home, _)) in parts.iter().enumerate() {
            if *home != self.setup.id && !self.rooms.take_request(*home) {
                for (taken, _) in parts[..at].iter().filter(|(taken, _)| *taken != self.setup.id) {
                    self.rooms.give_back(*taken);
                }
                return Handled::Stall(Stall::Room(*home));
            }
        }
        let Some(session) = session_mut(&mut self.sessions, id) else { return Handled::Done };
        let seq = session.requests.open(bytes, Some(now + self.config.publish_deadline), parts.len() as u16);
        for (home, keys) in parts {
            let mut request = self.request(id, seq, publish, producer);
            request.keys = keys;
            if home == self.setup.id {
                self.store_all(&mut request, now);
                self.published(id, seq, &request.results);
                self.spare(request);
            } else {
                self.outbox.push_back((home, Command::Publish(request)));
            }
        }
        Handled::Done
    }

    /// The home of a topic, whose feed here, if there is one, is `known`.
    fn home_of(&self, topic: &str, known: Option<u32>) -> ShardId {
        match known.and_then(|slot| self.feeds.at(slot)) {
            Some(feed) => feed.home,
            None => self.config.classes.home(self.config.classes.partition_of(topic), self.setup.shards),
        }
    }

    /// A request without keys, in the memory of an old one.
    fn request(
        &mut self,
        connection: ConnectionId,
        seq: Seq,
        publish: &Publish<'_>,
        producer: ProducerId,
    ) -> Box<PublishRequest> {
        let mut request = self.spare_requests.pop().unwrap_or_default();
        (request.connection, request.seq, request.producer) = (connection, seq, producer);
        (request.number, request.retry_of) = (publish.number, publish.retry_of);
        request.ttl_ms = publish.ttl_ms.unwrap_or(0);
        request.topic.clear();
        request.topic.push_str(publish.topic);
        request.keys.clear();
        request.body.clear();
        request.body.extend_from_slice(publish.body);
        request.results.clear();
        request
    }

    fn spare(&mut self, request: Box<PublishRequest>) {
        if self.spare_requests.len() < SPARE_REQUESTS_MAX {
            self.spare_requests.push(request);
        }
    }

    /// Stores the messages of a request whose home this is, and fills in its results.
    pub(super) fn store_all(&mut self, request: &mut PublishRequest, now: Time) {
        let PublishRequest { topic, keys, body, results, .. } = request;
        let attempt = |number| Attempt { producer: request.producer, number, retry_of: request.retry_of };
        let ttl_ms = request.ttl_ms;
        if keys.is_empty() {
            let storing = Storing { attempt: attempt(request.number), ttl_ms, body };
            results.push(self.store(topic, self.feeds.find_topic(topic), &storing, now));
        }
        let mut filled = String::new();
        for (number, key) in keys {
            let checked = fill_template(topic, key, &mut filled);
            debug_assert!(checked.is_ok(), "{key:?} was checked");
            let storing = Storing { attempt: attempt(*number), ttl_ms, body };
            results.push(self.store(&filled, self.feeds.find_topic(&filled), &storing, now));
        }
    }

    /// Stores a message of a topic whose home this is, and tells everybody who follows it. `known`: its feed.
    fn store(
        &mut self,
        topic: &str,
        known: Option<u32>,
        storing: &Storing<'_>,
        now: Time,
    ) -> Result<Stored, PublishRefusal> {
        let generation = self.setup.generation;
        let slot = match known {
            Some(slot) => Ok(slot),
            None => {
                let partition = self.config.classes.partition_of(topic);
                let name = FeedName { text: SmolStr::new(topic), partition, filter: false };
                self.feeds.open_home(&name, self.setup.id, generation, &self.config, now)
            }
        };
        let Ok(slot) = slot else {
            let retry = storing.attempt.retry_of.is_some();
            let outcome = if retry { Outcome::Unknown } else { Outcome::Definite };
            self.stats.add(Stat::Refused, 1);
            return Err(PublishRefusal { code: ErrorCode::TopicsMax, outcome });
        };
        self.feeds.touch(slot);
        let Some(feed) = self.feeds.at(slot) else { unreachable!("opened above") };
        let (partition, prev) = (feed.partition, feed.head().offset);
        let known = self.feeds.partition_mut(partition, generation, &self.config);
        match known.admit(&storing.attempt) {
            Admission::Refuse(refusal) => {
                self.stats.add(Stat::Refused, 1);
                Err(refusal)
            }
            Admission::Stored(position) => {
                self.stats.add(Stat::Duplicates, 1);
                Ok(Stored { partition, position })
            }
            Admission::Store(offset) => {
                let position = Position { generation, offset };
                let Storing { ttl_ms, body, .. } = *storing;
                let arrival = Arrival { position, prev, ingress: now, ttl_ms, topic: None, body };
                self.feeds.append(slot, &arrival, now);
                self.stats.add(Stat::Stored, 1);
                self.tell(slot);
                self.store_for_filters(topic, &arrival, partition, now);
                self.feeds.keep_within(self.config.messages_bytes_max);
                Ok(Stored { partition, position })
            }
        }
    }

    /// Gives a stored message to the filters that its topic matches.
    fn store_for_filters(
        &mut self,
        topic: &str,
        arrival: &Arrival<'_>,
        partition: crate::class::PartitionId,
        now: Time,
    ) {
        let filters = |shard: &Self| shard.feeds.partition(partition).map_or(0, |known| known.filters.len());
        for at in 0..filters(self) {
            let known = self.feeds.partition(partition).and_then(|known| known.filters.get(at).copied());
            let Some(slot) = known else { break };
            let Some(feed) = self.feeds.at(slot) else { continue };
            let missed = planted::on(Bug::FilterMissesMessage) && arrival.position.offset.0.is_multiple_of(8);
            if missed || !TopicFilter::matches(&feed.text, topic) {
                continue;
            }
            let prev = feed.head().offset;
            self.feeds.append(slot, &Arrival { prev, topic: Some(topic), ..*arrival }, now);
            self.tell(slot);
        }
    }

    /// A publish, or a part of one, ended, here or at another shard.
    pub(super) fn published(
        &mut self,
        id: ConnectionId,
        seq: Seq,
        results: &[Result<Stored, PublishRefusal>],
    ) {
        let Some(session) = session_mut(&mut self.sessions, id) else {
            return self.stats.add(Stat::StaleCommands, 1);
        };
        if !session.requests.waits(seq) {
            // Its deadline passed before, and the client was told so.
            return;
        }
        if session.receipts {
            for stored in results.iter().flatten() {
                session.requests.stored(seq, *stored);
            }
        }
        match session.requests.part_ended(seq, results) {
            // The receipts of this part may go.
            None => touch(&mut self.sessions, &mut self.touched, id),
            Some(_) if !self.standing.leads && !planted::on(Bug::HeartbeatAcksWithoutLease) => {
                session.requests.leave_unsaid();
                touch(&mut self.sessions, &mut self.touched, id);
            }
            Some(Ok(())) => {
                session.requests.finish(seq);
                if session.stalled == Some(Stall::Requests) && !session.requests.are_full(&self.config) {
                    session.stalled = None;
                }
                touch(&mut self.sessions, &mut self.touched, id);
            }
            Some(Err(refusal)) => self.refuse(id, seq, refusal.code, refusal.outcome),
        }
    }

    /// A request came back from its home shard.
    pub(super) fn request_ended(&mut self, request: Box<PublishRequest>) {
        self.published(request.connection, request.seq, &request.results);
        self.spare(request);
    }
}
