//! The node's other shard, as far as its mail can be seen: home of half of the partitions, and follower
//! of the other half.

use super::bytes::Bytes;
use super::plan::Names;
use super::truth::{Truth, matches};
use super::{Check, GENERATION};
use multibeam_proto::{
    Command, ConnectionId, FeedId, FeedName, FeedState, Message, PartitionId, PublishRefusal, PublishRequest,
    ShardId, Stored, Time,
};
use multibeam_wire::{
    ErrorCode, Offset, Outcome, Position, ProducerId, TopicFilter, TopicName, fill_template,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The producer that publishes there.
const PRODUCER: ProducerId = ProducerId(100);

struct Logged {
    offset: u64,
    topic: String,
    ttl_ms: u32,
    ingress: Time,
    body: Vec<u8>,
}

type Name = (PartitionId, String);

pub(super) struct Peer {
    id: ShardId,
    shard: ShardId,
    /// Commands that the shard may still send without an answer being set aside, and what it awaits.
    room: usize,
    awaited: usize,
    replies_max: usize,
    inbox: VecDeque<Command>,
    logs: BTreeMap<PartitionId, Vec<Logged>>,
    numbers: BTreeMap<(PartitionId, ProducerId), BTreeMap<u64, u64>>,
    /// The shard's feeds that follow here, and up to where they were sent messages.
    followers: BTreeMap<Name, (FeedId, u64)>,
    /// What is followed there: its feed, whether that was answered, the last offset.
    following: BTreeMap<Name, (FeedId, bool, u64)>,
    feeds: u32,
    number: u64,
    /// Publishes there by number: the topic, the publish, its body.
    published: BTreeMap<u64, (&'static str, usize, Vec<u8>)>,
}

impl Peer {
    pub(super) const fn new(id: ShardId, shard: ShardId, replies_max: usize) -> Self {
        Self {
            id,
            shard,
            room: 0,
            awaited: 0,
            replies_max,
            inbox: VecDeque::new(),
            logs: BTreeMap::new(),
            numbers: BTreeMap::new(),
            followers: BTreeMap::new(),
            following: BTreeMap::new(),
            feeds: 0,
            number: 0,
            published: BTreeMap::new(),
        }
    }

    pub(super) const fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Mail of the shard.
    pub(super) fn got(&mut self, command: Command, truth: &mut Truth) -> Check {
        if !command.is_reply() {
            self.room = self.room.checked_sub(1).ok_or("a command without room")?;
            self.awaited += usize::from(command.is_request());
            if self.awaited > self.replies_max {
                return Err(format!("{} replies are awaited", self.awaited));
            }
        }
        match command {
            Command::Published(request) => self.published(&request, truth),
            Command::Followed { feed, result } => {
                let known = self.following.iter_mut().find(|(_, (own, ..))| *own == feed);
                match (known, result) {
                    (Some((_, (_, answered, last))), Ok(state)) => {
                        if !*answered {
                            *last = state.floor.0;
                        }
                        *answered = true;
                    }
                    (Some((name, _)), Err(_)) => {
                        let name = name.clone();
                        self.following.remove(&name);
                    }
                    // Given up meanwhile.
                    (None, _) => {}
                }
                Ok(())
            }
            Command::Append { feed, message } => self.appended(feed, &message, truth),
            command @ (Command::Publish(_) | Command::Follow { .. } | Command::Unfollow { .. }) => {
                self.inbox.push_back(command);
                Ok(())
            }
            command @ (Command::Probe { .. }
            | Command::Probed { .. }
            | Command::Isolated { .. }
            | Command::Rejoined
            | Command::Stop) => Err(format!("{command:?} to another shard")),
        }
    }

    fn published(&self, request: &PublishRequest, truth: &mut Truth) -> Check {
        let Some((topic, sent, _)) = self.published.get(&request.number) else {
            return Err("the answer to no publish".to_owned());
        };
        let [result] = request.results[..] else { return Err("a publish has one result".to_owned()) };
        match result {
            Ok(Stored { partition, position }) => {
                truth.place(partition.number(), position, topic, Some(*sent))
            }
            Err(_) => Ok(()),
        }
    }

    fn appended(&mut self, feed: FeedId, message: &Message, truth: &mut Truth) -> Check {
        let Some(((partition, text), (_, answered, last))) =
            self.following.iter_mut().find(|(_, (own, ..))| *own == feed)
        else {
            return Ok(());
        };
        let Position { offset, .. } = message.position;
        if !*answered || message.prev.0 < *last || offset <= message.prev {
            return Err(format!("P2: {:?} was appended to {text} behind {last}", message.position));
        }
        let filter = TopicFilter::is_meant(text);
        let topic = if filter { &*message.topic } else { &**text };
        if filter && !TopicFilter::matches(text, topic) {
            return Err(format!("{topic} was appended to {text}"));
        }
        let prev = Position { offset: message.prev, ..message.position };
        let between = Position { offset: Offset(offset.0 - 1), ..prev };
        if let Some((missing, _)) = truth.among(partition.number(), text, prev, between).next() {
            return Err(format!("P3: {missing} of {text} lies behind prev {prev}"));
        }
        *last = offset.0;
        let sent = truth.identity(&message.body);
        truth.place(partition.number(), message.position, topic, sent)
    }

    /// Does the next thing that waits here; `None` if nothing does.
    pub(super) fn step(
        &mut self,
        bytes: &mut Bytes<'_>,
        truth: &mut Truth,
        now: Time,
    ) -> Result<Option<Command>, String> {
        if self.inbox.is_empty() || bytes.pick(3) == 2 {
            return Ok(self.append(bytes, truth));
        }
        Ok(match self.inbox.pop_front() {
            Some(Command::Publish(mut request)) => {
                let refused = bytes.rarely(8);
                self.store_all(&mut request, refused, truth, now)?;
                self.awaited -= 1;
                Some(Command::Published(request))
            }
            Some(Command::Follow { feed, name }) => {
                self.awaited -= 1;
                let key = (name.partition, name.text.to_string());
                let known = self.followers.get(&key).map(|(feed, _)| *feed);
                if known.is_some_and(|known| known != feed) {
                    return Err(format!("{} is followed twice", name.text));
                }
                if known.is_none() && bytes.rarely(8) {
                    return Ok(Some(Command::Followed { feed, result: Err(ErrorCode::TopicsMax) }));
                }
                let state = self.state(&key, truth);
                self.followers.entry(key).or_insert((feed, state.floor.0));
                Some(Command::Followed { feed, result: Ok(state) })
            }
            Some(Command::Unfollow { feed, name }) => {
                let key = (name.partition, name.text.to_string());
                if self.followers.get(&key).is_some_and(|(known, _)| *known == feed) {
                    self.followers.remove(&key);
                }
                None
            }
            Some(other) => return Err(format!("{other:?} to another shard")),
            None => None,
        })
    }

    /// Whether mail waits, or a follower is behind.
    pub(super) fn rests(&self, truth: &Truth) -> bool {
        self.inbox.is_empty()
            && self.followers.iter().all(|(name, (_, sent))| self.next(name, *sent, truth).is_none())
    }

    fn store_all(
        &mut self,
        request: &mut PublishRequest,
        refused: bool,
        truth: &mut Truth,
        now: Time,
    ) -> Check {
        let mut topics = vec![(request.number, request.topic.clone())];
        if !request.keys.is_empty() {
            topics.clear();
            for (number, key) in &request.keys {
                let mut topic = String::new();
                fill_template(&request.topic, key, &mut topic).map_err(|_| "a key that was not checked")?;
                topics.push((*number, topic));
            }
        }
        for (number, topic) in topics {
            TopicName::check(&topic).map_err(|_| "a topic that was not checked")?;
            let partition = truth.classes.partition_of(&topic);
            if truth.classes.home(partition, 2) != self.id {
                return Err(format!("{topic} does not live here"));
            }
            let stored = |offset| Ok(Stored { partition, position: Position::new(GENERATION, offset) });
            let refusal = |code, outcome| Err(PublishRefusal { code, outcome });
            let numbers = self.numbers.entry((partition, request.producer)).or_default();
            let result = match numbers.get(&number) {
                _ if request.retry_of.is_some_and(|generation| generation.0 != GENERATION) => {
                    refusal(ErrorCode::DedupExpired, Outcome::Unknown)
                }
                Some(offset) => stored(*offset),
                None if numbers.last_key_value().is_some_and(|(last, _)| *last > number) => {
                    refusal(ErrorCode::DedupExpired, Outcome::Unknown)
                }
                None if refused => refusal(ErrorCode::TopicsMax, Outcome::Unknown),
                None => {
                    let log = self.logs.entry(partition).or_default();
                    let offset = log.last().map_or(0, |last| last.offset) + 1;
                    numbers.insert(number, offset);
                    let (body, ttl_ms) = (request.body.clone(), request.ttl_ms);
                    let sent = truth.identity(&body);
                    if let Some(sent) = sent {
                        truth.taken(sent, now);
                    }
                    truth.place(partition.number(), Position::new(GENERATION, offset), &topic, sent)?;
                    log.push(Logged { offset, topic, ttl_ms, ingress: now, body });
                    stored(offset)
                }
            };
            request.results.push(result);
        }
        Ok(())
    }

    /// The messages of a feed that are kept, last to first, each with the offset before it.
    fn kept<'a>(&'a self, (partition, text): &'a Name, truth: &Truth) -> Vec<(&'a Logged, u64)> {
        let log = self.logs.get(partition).map_or(&[][..], |log| log);
        let mut prev = 0;
        let mut all: Vec<_> = log.iter().filter(|logged| matches(text, &logged.topic)).collect();
        let kept = truth.classes.class(partition.class).retain.messages as usize;
        let gone = all.len().saturating_sub(kept);
        for logged in all.drain(..gone) {
            prev = logged.offset;
        }
        let pairs = all.into_iter().map(|logged| (logged, std::mem::replace(&mut prev, logged.offset)));
        pairs.collect()
    }

    fn state(&self, name: &Name, truth: &Truth) -> FeedState {
        let kept = self.kept(name, truth);
        let (head, head_prev) = kept.last().map_or((0, 0), |(last, prev)| (last.offset, *prev));
        FeedState {
            generation: multibeam_wire::Generation(GENERATION),
            floor: Offset(kept.first().map_or(0, |(_, prev)| *prev)),
            head: Offset(head),
            head_prev: Offset(head_prev),
            uncertain: false,
        }
    }

    fn next<'a>(&'a self, name: &'a Name, sent: u64, truth: &Truth) -> Option<(&'a Logged, u64)> {
        self.kept(name, truth).into_iter().find(|(logged, _)| logged.offset > sent)
    }

    /// The next message for one of those that are behind.
    fn append(&mut self, bytes: &mut Bytes<'_>, truth: &Truth) -> Option<Command> {
        let behind: Vec<Name> = self
            .followers
            .iter()
            .filter(|(name, (_, sent))| self.next(name, *sent, truth).is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if behind.is_empty() {
            return None;
        }
        let name = &behind[bytes.pick(behind.len())];
        let (feed, sent) = *self.followers.get(name)?;
        let (logged, prev) = self.next(name, sent, truth)?;
        let topic = if TopicFilter::is_meant(&name.1) { logged.topic.clone() } else { String::new() };
        let message = Message {
            position: Position::new(GENERATION, logged.offset),
            prev: Offset(prev),
            ingress: logged.ingress,
            ttl_ms: logged.ttl_ms,
            topic,
            body: logged.body.clone(),
        };
        let offset = logged.offset;
        self.followers.insert(name.clone(), (feed, offset));
        Some(Command::Append { feed, message: Arc::new(message) })
    }

    /// Publishes something there, for the first time or again.
    pub(super) fn publish(
        &mut self,
        names: &Names,
        bytes: &mut Bytes<'_>,
        truth: &mut Truth,
        now: Time,
    ) -> Option<Command> {
        let again = bytes.rarely(6);
        let number = if again { bytes.pick(self.number as usize + 1) as u64 } else { self.number + 1 };
        let mut ttl_ms = 0;
        if !again {
            let topic = bytes.of(&names.topics);
            let here = TopicName::check(topic).is_ok()
                && truth.classes.home(truth.classes.partition_of(topic), 2) == self.shard;
            if !here {
                return None;
            }
            ttl_ms = bytes.of(&[0, 0, 500]);
            let (sent, body) = truth.publish(ttl_ms, bytes.of(&[8, 40, 200]));
            self.published.insert(number, (topic, sent, body));
            self.number = number;
        }
        let (topic, sent, body) = self.published.get(&number)?;
        if again {
            ttl_ms = truth.sent(*sent).ttl_ms;
        }
        truth.taken(*sent, now);
        Some(Command::Publish(Box::new(PublishRequest {
            connection: ConnectionId::default(),
            topic: (*topic).to_owned(),
            producer: PRODUCER,
            number,
            retry_of: again.then_some(multibeam_wire::Generation(GENERATION)),
            ttl_ms,
            body: body.clone(),
            ..PublishRequest::default()
        })))
    }

    /// Follows something there, asks again, or gives it up.
    pub(super) fn follow(&mut self, names: &Names, bytes: &mut Bytes<'_>, truth: &Truth) -> Option<Command> {
        let filter = bytes.pick(3) == 2;
        let text = if filter { bytes.of(&names.filters) } else { bytes.of(&names.topics) };
        let partitions: Vec<PartitionId> = if filter {
            TopicFilter::check(text).ok()?;
            truth.classes.partitions_of_filter(text).collect()
        } else {
            TopicName::check(text).ok()?;
            vec![truth.classes.partition_of(text)]
        };
        let here: Vec<_> =
            partitions.into_iter().filter(|id| truth.classes.home(*id, 2) == self.shard).collect();
        if here.is_empty() {
            return None;
        }
        let name = FeedName { text: text.into(), partition: bytes.of(&here), filter };
        let key = (name.partition, name.text.to_string());
        let known = self.following.get(&key).map(|(feed, ..)| *feed);
        if let Some(feed) = known
            && bytes.pick(3) != 2
        {
            self.following.remove(&key);
            return Some(Command::Unfollow { feed, name });
        }
        let feed = known.unwrap_or_else(|| {
            self.feeds += 1;
            FeedId { slot: self.feeds, generation: 1 }
        });
        self.following.entry(key).or_insert((feed, false, 0));
        Some(Command::Follow { feed, name })
    }
}
