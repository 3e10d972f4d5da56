//! All feeds of one shard, by name and by slot; what is kept of them, and which may be forgotten.

mod retention;

use crate::class::{ClassSet, PartitionId};
use crate::columns::Table;
use crate::command::{FeedName, FeedState};
use crate::config::ShardConfig;
use crate::feed::{Arrival, Feed, Source};
use crate::ids::{FeedId, ShardId};
use crate::order::{Order, Place};
use crate::partition::Partition;
use crate::planted::{self, Bug};
use crate::time::Time;
use hashbrown::HashTable;
use multibeam_wire::{ChannelId, Generation, Offset, Position, TopicFilter};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::sync::Arc;

/// The feeds of one shard, and the partitions whose home it is.
#[derive(Debug)]
pub(crate) struct Feeds {
    /// Slots by name.
    by_name: HashTable<u32>,
    /// Clients choose the names, so the hash's key is a secret of the process.
    secret: u64,
    table: Table<Feed>,
    partitions: BTreeMap<PartitionId, Partition>,
    classes: Arc<ClassSet>,
    /// By class: stored messages in the order in which they came.
    orders: Vec<Order>,
    /// Bytes that messages and their indexes reserve, without the orders.
    log_bytes: usize,
    /// Home feeds that nobody followed when they were queued, with their use at that time.
    idle: VecDeque<(FeedId, u64)>,
    uses: u64,
    forgotten: u64,
    evictions: Evictions,
}

/// How many messages went for which reason; the topic's own count and bytes are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evictions {
    pub(crate) by_age: u64,
    pub(crate) by_budget: u64,
}

/// Entries of feeds that are gone which are not worth a sweep.
const IDLE_DEAD_MIN: usize = 64;

/// The table holds as many feeds as it may, and each is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Feeds {
    pub(crate) fn new(secret: u64, classes: Arc<ClassSet>) -> Self {
        let orders = classes.iter().map(|_| Order::default()).collect();
        Self {
            by_name: HashTable::new(),
            secret,
            table: Table::default(),
            partitions: BTreeMap::new(),
            classes,
            orders,
            log_bytes: 0,
            idle: VecDeque::new(),
            uses: 0,
            forgotten: 0,
            evictions: Evictions::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Topics forgotten so far.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn hash(&self, text: &str, filter: Option<PartitionId>) -> u64 {
        hash(self.secret, text, filter)
    }

    fn find(&self, text: &str, filter: Option<PartitionId>) -> Option<u32> {
        let same = |slot: &u32| {
            self.table.at(*slot).is_some_and(|feed| {
                feed.text.as_str() == text
                    && feed.filter == filter.is_some()
                    && filter.is_none_or(|at| at == feed.partition)
            })
        };
        self.by_name.find(self.hash(text, filter), same).copied()
    }

    pub(crate) fn find_topic(&self, topic: &str) -> Option<u32> {
        self.find(topic, None)
    }

    pub(crate) fn find_name(&self, name: &FeedName) -> Option<u32> {
        self.find(&name.text, name.filter.then_some(name.partition))
    }

    pub(crate) fn id(&self, slot: u32) -> FeedId {
        FeedId { slot, generation: self.table.used(slot).unwrap_or_default() }
    }

    pub(crate) fn at(&self, slot: u32) -> Option<&Feed> {
        self.table.at(slot)
    }

    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut Feed> {
        self.table.at_mut(slot)
    }

    /// The slot of a feed that is still the one it was.
    pub(crate) fn slot(&self, id: FeedId) -> Option<u32> {
        let used = self.table.used(id.slot)?;
        if used == id.generation || planted::on(Bug::StaleToken) { Some(id.slot) } else { None }
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(&id)
    }

    pub(crate) fn partition_mut(
        &mut self,
        id: PartitionId,
        generation: Generation,
        config: &ShardConfig,
    ) -> &mut Partition {
        self.partitions.entry(id).or_insert_with(|| Partition::new(generation, config.producers_max))
    }

    /// A feed for a topic or filter of a partition whose home is this shard.
    pub(crate) fn open_home(
        &mut self,
        name: &FeedName,
        home: ShardId,
        generation: Generation,
        config: &ShardConfig,
        now: Time,
    ) -> Result<u32, Full> {
        if let Some(slot) = self.find_name(name) {
            self.touch(slot);
            return Ok(slot);
        }
        self.make_room(config.topics_max)?;
        let partition = self.partition_mut(name.partition, generation, config);
        let floor =
            if name.filter { partition.forgotten().max(partition.evicted()) } else { partition.forgotten() };
        let state =
            FeedState { generation, floor, head: floor, head_prev: floor, uncertain: floor > Offset(0) };
        let slot = self.insert(name, home, Source::Home, state);
        if name.filter {
            if let Some(partition) = self.partitions.get_mut(&name.partition) {
                partition.filters.push(slot);
            }
            self.fill_filter(slot, floor, now);
        }
        // It is opened to be used: whoever leaves it or publishes to it queues it.
        Ok(slot)
    }

    /// A feed for a topic or filter whose home is another shard, and which was not here before.
    pub(crate) fn open_follower(
        &mut self,
        name: &FeedName,
        home: ShardId,
        config: &ShardConfig,
    ) -> Result<u32, Full> {
        assert!(self.find_name(name).is_none(), "{} is followed already", name.text);
        self.make_room(config.topics_max)?;
        let (generation, zero) = (Generation(0), Offset(0));
        let state = FeedState { generation, floor: zero, head: zero, head_prev: zero, uncertain: false };
        Ok(self.insert(name, home, Source::Asked, state))
    }

    fn insert(&mut self, name: &FeedName, home: ShardId, source: Source, state: FeedState) -> u32 {
        let channel = ChannelId(self.table.vacancy().0);
        let feed = Feed::new(name.text.clone(), channel, name.partition, name.filter, home, source, state);
        let (slot, _) = self.table.insert(feed);
        let (secret, table) = (self.secret, &self.table);
        let rehash = |slot: &u32| table.at(*slot).map_or(0, |feed| hash(secret, &feed.text, key(feed)));
        let own = hash(secret, &name.text, name.filter.then_some(name.partition));
        self.by_name.insert_unique(own, slot, rehash);
        slot
    }

    /// Removes a feed.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Feed> {
        let own = self.table.at(slot).map(|feed| self.hash(&feed.text, key(feed)))?;
        if let Ok(entry) = self.by_name.find_entry(own, |other| *other == slot) {
            entry.remove();
        }
        let feed = self.table.remove(slot)?;
        self.log_bytes -= feed.memory();
        self.orders[usize::from(feed.partition.class.0)].evicted(feed.len());
        if feed.filter
            && let Some(partition) = self.partitions.get_mut(&feed.partition)
        {
            partition.filters.retain(|filter| *filter != slot);
        }
        if self.table.is_empty() {
            self.by_name = HashTable::new();
            self.idle = VecDeque::new();
        }
        self.sweep_idle();
        Some(feed)
    }

    /// A home feed was used, or has just been left: it is forgotten after all others.
    pub(crate) fn touch(&mut self, slot: u32) {
        self.uses += 1;
        let (used, id) = (self.uses, self.id(slot));
        let Some(feed) = self.at_mut(slot) else { return };
        feed.used = used;
        if feed.source == Source::Home && feed.idle() && !feed.idle_queued {
            feed.idle_queued = true;
            self.idle.push_back((id, used));
            self.sweep_idle();
        }
    }

    /// Drops entries of feeds that went without waiting for their turn.
    fn sweep_idle(&mut self) {
        if self.idle.len() > 2 * self.table.len() + IDLE_DEAD_MIN {
            let table = &self.table;
            self.idle.retain(|(id, _)| {
                table.used(id.slot) == Some(id.generation)
                    && table.at(id.slot).is_some_and(|feed| feed.idle_queued)
            });
        }
    }

    /// Nobody follows a home feed any more. A filter's goes, for it is a copy; so does one that never had a
    /// message, for nothing is forgotten with it.
    pub(crate) fn left(&mut self, slot: u32) {
        let Some(feed) = self.at(slot) else { return };
        let forgotten = self.partitions.get(&feed.partition).map_or(Offset(0), Partition::forgotten);
        if feed.filter || (feed.len() == 0 && feed.head().offset <= forgotten) {
            self.remove(slot);
        } else {
            self.touch(slot);
        }
    }

    /// Forgets the home feed that was idle longest, if the table is full.
    fn make_room(&mut self, topics_max: usize) -> Result<(), Full> {
        if self.len() < topics_max {
            return Ok(());
        }
        // Each entry is looked at once, and once more if it was used since it was queued.
        for _ in 0..2 * self.idle.len() {
            let Some((id, queued_at)) = self.idle.pop_front() else { break };
            let Some(slot) = self.slot(id) else { continue };
            let Some(feed) = self.at_mut(slot) else { continue };
            feed.idle_queued = false;
            if !feed.idle() {
                continue;
            }
            if feed.used > queued_at {
                feed.idle_queued = true;
                let used = feed.used;
                self.idle.push_back((id, used));
                continue;
            }
            let (partition, head) = (feed.partition, feed.head().offset);
            self.remove(slot);
            self.forgotten += 1;
            if let Some(partition) = self.partitions.get_mut(&partition) {
                partition.forget(head);
            }
            return Ok(());
        }
        Err(Full)
    }

    /// Forgets partitions of which there is nothing to know: a crowd's topics open them all.
    pub(crate) fn rest(&mut self) {
        let used: std::collections::BTreeSet<PartitionId> =
            self.table.iter().map(|(_, _, feed)| feed.partition).collect();
        self.partitions.retain(|id, partition| used.contains(id) || !partition.is_blank());
    }

    /// Fills a filter's new feed with what is kept of its topics.
    fn fill_filter(&mut self, slot: u32, floor: Offset, now: Time) {
        let Some(filter) = self.at(slot) else { return };
        let (text, partition, generation) = (filter.text.clone(), filter.partition, filter.generation());
        let places: Vec<Place> = self.orders[usize::from(partition.class.0)].iter().copied().collect();
        for place in places {
            let Some(feed) = self.slot(place.feed).and_then(|slot| self.at(slot)) else { continue };
            let matches = feed.partition == partition
                && feed.source == Source::Home
                && !feed.filter
                && TopicFilter::matches(&text, &feed.text);
            let Some((entry, delivery)) = feed.message(place.index).filter(|_| matches) else { continue };
            let Some(filter) = self.at(slot) else { return };
            if entry.offset <= floor {
                continue;
            }
            let (topic, body) = (feed.text.clone(), delivery.body.to_vec());
            let arrival = Arrival {
                position: Position { generation, offset: entry.offset },
                prev: filter.head().offset,
                ingress: entry.ingress,
                ttl_ms: entry.ttl_ms(),
                topic: Some(&topic),
                body: &body,
            };
            self.append(slot, &arrival, now);
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn invariants(&self) {
        assert_eq!(self.by_name.len(), self.table.len(), "names and feeds differ");
        assert!(self.idle.len() <= 2 * self.table.len() + IDLE_DEAD_MIN + 1 || self.table.is_empty());
        let memory: usize = self.table.iter().map(|(_, _, feed)| feed.memory()).sum();
        assert_eq!(memory, self.log_bytes, "bytes of messages are miscounted");
        let live: usize = self.orders.iter().map(Order::live).sum();
        assert_eq!(live, self.table.iter().map(|(_, _, feed)| feed.len()).sum::<usize>());
    }
}

fn key(feed: &Feed) -> Option<PartitionId> {
    feed.filter.then_some(feed.partition)
}

fn hash(secret: u64, text: &str, filter: Option<PartitionId>) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(secret);
    hasher.write(text.as_bytes());
    hasher.write_u64(filter.map_or(u64::MAX, |partition| partition.number().into()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic that nobody ever published to leaves nothing behind when its only subscriber goes.
    #[test]
    fn topics_that_come_and_go_leave_nothing() {
        let config = ShardConfig::default();
        let mut feeds = Feeds::new(1, Arc::clone(&config.classes));
        let stays = "a.that.stays";
        for topic in std::iter::once(stays.to_owned()).chain((0..10_000).map(|n| format!("user.{n}.msg"))) {
            let partition = config.classes.partition_of(&topic);
            let name = FeedName { text: (&*topic).into(), partition, filter: false };
            let slot = feeds.open_home(&name, ShardId(0), Generation(1), &config, Time(0)).unwrap();
            if topic != stays {
                // Queued to be forgotten some time, and gone before.
                feeds.touch(slot);
                feeds.left(slot);
            }
            feeds.invariants();
        }
        assert_eq!(feeds.len(), 1);
        assert!(feeds.idle.len() <= IDLE_DEAD_MIN + 3, "{} entries", feeds.idle.len());
    }
}
