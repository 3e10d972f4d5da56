//! What is kept: by each topic's count and bytes, by age, and by the shard's memory.

use super::{Evictions, Feeds};
use crate::feed::{Arrival, Source};
use crate::order::Place;
use crate::planted::{self, Bug};
use crate::time::Time;
use multibeam_wire::Offset;
use std::time::Duration;

impl Feeds {
    /// Adds a message to a feed and drops what is beyond its topic's count and bytes.
    pub(crate) fn append(&mut self, slot: u32, arrival: &Arrival<'_>, now: Time) {
        let id = self.id(slot);
        let Some(feed) = self.table.at_mut(slot) else { return };
        let (class, partition) = (feed.partition.class, feed.partition);
        let memory = feed.memory();
        let place = Place { feed: id, index: feed.next_index(), arrival: arrival.ingress.max(now) };
        feed.append(arrival);
        let mut evicted = 0;
        let retain = self.classes.class(class).retain;
        while feed.overfull(&retain) && feed.evict() {
            evicted += 1;
        }
        let home = feed.source == Source::Home && !feed.filter;
        let floor = if evicted > 0 { feed.first_prev().offset } else { Offset(0) };
        self.log_bytes = self.log_bytes + feed.memory() - memory;
        let order = &mut self.orders[usize::from(class.0)];
        order.push(place);
        order.evicted(evicted);
        if evicted > 0 && home {
            self.raise(partition, floor);
        }
        self.sweep(class.0);
    }

    /// What a filter that begins from here on can't know to be complete.
    fn raise(&mut self, partition: crate::class::PartitionId, floor: Offset) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.evict(floor);
        }
    }

    /// Drops dead places where most are.
    fn sweep(&mut self, class: u16) {
        let order = &mut self.orders[usize::from(class)];
        if order.wants_sweep() {
            let table = &self.table;
            order.sweep(|place| {
                table.used(place.feed.slot) == Some(place.feed.generation)
                    && table.at(place.feed.slot).is_some_and(|feed| place.index >= feed.first_index())
            });
        }
    }

    /// Drops the messages of a feed up to `place`. Returns how many went.
    fn evict_through(&mut self, place: &Place) -> u64 {
        if self.table.used(place.feed.slot) != Some(place.feed.generation) {
            return 0;
        }
        let Some(feed) = self.table.at_mut(place.feed.slot) else { return 0 };
        let (memory, partition) = (feed.memory(), feed.partition);
        let home = feed.source == Source::Home && !feed.filter;
        let mut evicted = 0;
        while feed.first_index() <= place.index && feed.evict() {
            evicted += 1;
        }
        if evicted == 0 {
            return 0;
        }
        feed.shrink();
        let floor = feed.first_prev().offset;
        self.log_bytes = self.log_bytes + feed.memory() - memory;
        self.orders[usize::from(partition.class.0)].evicted(evicted as usize);
        if home {
            self.raise(partition, floor);
        }
        evicted
    }

    /// Drops what is older than its class keeps.
    pub(crate) fn expire(&mut self, now: Time) {
        for class in 0..self.orders.len() {
            let Some(age) = self.age(class) else { continue };
            while let Some(place) = self.orders[class].front().copied()
                && place.arrival + age <= now
            {
                self.orders[class].pop_front();
                self.evictions.by_age += self.evict_through(&place);
            }
            self.orders[class].rest();
        }
    }

    fn age(&self, class: usize) -> Option<Duration> {
        let age = self.classes.class(crate::class::ClassId(class as u16)).retain.age?;
        Some(if planted::on(Bug::AgeTooEarly) { age / 2 } else { age })
    }

    /// When [`Feeds::expire`] has something to do.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        let fronts = self.orders.iter().enumerate();
        fronts.filter_map(|(class, order)| Some(order.front()?.arrival + self.age(class)?)).min()
    }

    /// Drops the oldest messages until no more than `bytes_max` are reserved.
    pub(crate) fn keep_within(&mut self, bytes_max: usize) {
        while self.message_bytes() > bytes_max {
            let fronts = self.orders.iter().enumerate();
            let oldest = fronts.filter_map(|(class, order)| Some((order.front()?.arrival, class))).min();
            let Some((_, class)) = oldest else { break };
            let Some(place) = self.orders[class].pop_front() else { break };
            self.evictions.by_budget += self.evict_through(&place);
            self.sweep(class as u16);
        }
    }

    /// Bytes that messages and their indexes reserve.
    pub(crate) fn message_bytes(&self) -> usize {
        self.log_bytes + self.orders.iter().map(crate::order::Order::memory).sum::<usize>()
    }

    /// Messages that are kept.
    pub(crate) fn messages(&self) -> usize {
        self.orders.iter().map(crate::order::Order::live).sum()
    }

    pub(crate) fn evictions(&self) -> Evictions {
        self.evictions
    }
}
