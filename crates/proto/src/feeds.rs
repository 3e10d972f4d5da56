//! All topics of one shard, by name and by slot; which of them may be forgotten.

use crate::class::PartitionId;
use crate::command::FeedState;
use crate::config::ShardConfig;
use crate::feed::{Feed, Source};
use crate::ids::{FeedId, ShardId};
use crate::partition::Partition;
use crate::planted::{self, Bug};
use multibeam_wire::{Generation, Offset, TopicName};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

/// A keyed hash: clients choose the names, so its key must be a secret of the process.
#[derive(Clone, Debug)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// The topics of one shard, and the partitions whose home it is.
#[derive(Debug)]
pub(crate) struct Feeds {
    by_topic: HashMap<TopicName, FeedId, Keyed>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    partitions: BTreeMap<PartitionId, Partition>,
    /// Home feeds that nobody followed when they were queued, with their use at that time.
    idle: VecDeque<(FeedId, u64)>,
    uses: u64,
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    feed: Option<Box<Feed>>,
}

/// The table holds as many topics as it may, and each is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Feeds {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            by_topic: HashMap::with_hasher(Keyed(seed)),
            slots: Vec::new(),
            free: Vec::new(),
            partitions: BTreeMap::new(),
            idle: VecDeque::new(),
            uses: 0,
            forgotten: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_topic.len()
    }

    /// Topics forgotten so far.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) fn find(&self, topic: &str) -> Option<FeedId> {
        self.by_topic.get(topic).copied()
    }

    pub(crate) fn feed(&self, id: FeedId) -> Option<&Feed> {
        let slot = self.slots.get(id.slot as usize)?;
        if slot.generation == id.generation || planted::on(Bug::StaleToken) {
            slot.feed.as_deref()
        } else {
            None
        }
    }

    pub(crate) fn feed_mut(&mut self, id: FeedId) -> Option<&mut Feed> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation == id.generation || planted::on(Bug::StaleToken) {
            slot.feed.as_deref_mut()
        } else {
            None
        }
    }

    pub(crate) fn partition_mut(
        &mut self,
        id: PartitionId,
        generation: Generation,
        config: &ShardConfig,
    ) -> &mut Partition {
        self.partitions.entry(id).or_insert_with(|| Partition::new(generation, config.producers_max))
    }

    /// A feed for `topic`, whose home is this shard.
    pub(crate) fn open_home(
        &mut self,
        topic: &TopicName,
        home: ShardId,
        generation: Generation,
        config: &ShardConfig,
    ) -> Result<FeedId, Full> {
        if let Some(id) = self.find(topic.as_str()) {
            self.touch(id);
            return Ok(id);
        }
        let partition = PartitionId::of(topic.as_str());
        self.make_room(config.topics_max)?;
        let floor = self.partition_mut(partition, generation, config).forgotten();
        let state =
            FeedState { generation, floor, head: floor, head_prev: floor, uncertain: floor > Offset(0) };
        let retain = partition.class.retain_messages(config);
        let id = self.insert(Feed::new(topic.clone(), partition, home, Source::Home, state, retain));
        self.touch(id);
        Ok(id)
    }

    /// A feed for `topic`, whose home is another shard, and which was not here before.
    pub(crate) fn open_follower(
        &mut self,
        topic: &TopicName,
        home: ShardId,
        config: &ShardConfig,
    ) -> Result<FeedId, Full> {
        assert!(self.find(topic.as_str()).is_none(), "{topic} is followed already");
        let partition = PartitionId::of(topic.as_str());
        self.make_room(config.topics_max)?;
        let zero = Offset(0);
        let state = FeedState {
            generation: Generation(0),
            floor: zero,
            head: zero,
            head_prev: zero,
            uncertain: false,
        };
        let retain = partition.class.retain_messages(config);
        Ok(self.insert(Feed::new(topic.clone(), partition, home, Source::Asked, state, retain)))
    }

    fn insert(&mut self, feed: Feed) -> FeedId {
        let topic = feed.topic.clone();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        assert!(place.feed.is_none(), "a free slot holds a feed");
        place.feed = Some(Box::new(feed));
        let id = FeedId { slot, generation: place.generation };
        self.by_topic.insert(topic, id);
        id
    }

    /// Removes a feed.
    pub(crate) fn remove(&mut self, id: FeedId) -> Option<Box<Feed>> {
        self.feed(id)?;
        let slot = &mut self.slots[id.slot as usize];
        let feed = slot.feed.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.by_topic.remove(feed.topic.as_str());
        Some(feed)
    }

    /// A home feed was used, or has just been left: it is forgotten after all others.
    pub(crate) fn touch(&mut self, id: FeedId) {
        self.uses += 1;
        let used = self.uses;
        let Some(feed) = self.feed_mut(id) else { return };
        feed.used = used;
        if feed.source == Source::Home && feed.idle() && !feed.idle_queued {
            feed.idle_queued = true;
            self.idle.push_back((id, used));
        }
    }

    /// Forgets the home feed that was idle longest, if the table is full.
    fn make_room(&mut self, topics_max: usize) -> Result<(), Full> {
        if self.by_topic.len() < topics_max {
            return Ok(());
        }
        // Each entry is looked at once, and once more if it was used since it was queued.
        for _ in 0..2 * self.idle.len() {
            let Some((id, queued_at)) = self.idle.pop_front() else { break };
            let Some(feed) = self.feed_mut(id) else { continue };
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
            self.remove(id);
            self.forgotten += 1;
            if let Some(partition) = self.partitions.get_mut(&partition) {
                partition.forget(head);
            }
            return Ok(());
        }
        Err(Full)
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn invariants(&self) {
        assert_eq!(
            self.by_topic.len() + self.free.len(),
            self.slots.len(),
            "a slot is neither used nor free"
        );
        assert!(self.idle.len() <= self.slots.len());
    }
}
