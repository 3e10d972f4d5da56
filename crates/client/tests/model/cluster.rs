//! A small correct cluster of one node: two partitions that outlive connections, and the node's side of
//! the present connection. Nothing is evicted; a follower is told of a gap when the schedule says so.

use crate::support::{Got, Node, TOPIC_PARTITION, at, channel};
use multibeam_client::{Position, Receipt, Start};
use multibeam_wire::{self as wire, ChannelId, Delivery, Gap, GapReason, Header, Offset, Part, Payload};
use multibeam_wire::{Seq, SubscriptionId};
use std::collections::BTreeMap;

pub(crate) const PARTITIONS: u32 = 2;

/// Longest body, and what a delivery of it takes at most.
pub(crate) const BODY_BYTES_MAX: u16 = 3_000;
const DELIVERY_BYTES_MAX: u32 = 3_100;

/// Window of the node, and of the client, in units of 1 KiB.
pub(crate) const NODE_WINDOW: u16 = 3;
pub(crate) const CLIENT_WINDOW_BYTES: u32 = 4_096;

/// Numbers that a client may have under way, unless one publish alone has more.
pub(crate) const NUMBERS_MAX: usize = 8;

/// Topics are `t.0` to `t.3`.
pub(crate) fn partition_of(topic: &str) -> u32 {
    u32::from(topic.as_bytes()[2] - b'0') % PARTITIONS
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) topic: String,
    pub(crate) body: Vec<u8>,
}

/// What is stored: the offset is the index + 1.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) partitions: [Vec<Stored>; PARTITIONS as usize],
    places: BTreeMap<u64, Receipt>,
}

impl Log {
    /// Stores a message once, in the order of numbers a topic.
    fn store(&mut self, number: u64, retry: bool, topic: &str, body: &[u8]) -> Receipt {
        let partition = partition_of(topic);
        let stored = &mut self.partitions[partition as usize];
        if let Some(place) = self.places.get(&number) {
            assert!(retry, "{number} came twice without a mark");
            let known = &stored[usize::try_from(place.position.offset.0).unwrap() - 1];
            assert_eq!((known.topic.as_str(), known.body.as_slice()), (topic, body));
            return *place;
        }
        let before = stored.iter().rev().find(|before| before.topic == topic);
        assert!(before.is_none_or(|before| before.number < number), "{number} came too late");
        stored.push(Stored { number, topic: topic.to_owned(), body: body.to_vec() });
        let place = Receipt { partition, position: at(stored.len() as u64), copies: 1 };
        self.places.insert(number, place);
        place
    }

    /// Where the messages with this body are stored.
    pub(crate) fn places(&self, body: &[u8]) -> usize {
        self.partitions.iter().flatten().filter(|stored| stored.body == body).count()
    }
}

/// A request of this connection that is not done.
enum Request {
    Subscription,
    Publish {
        number: u64,
        retry: bool,
        topics: Vec<String>,
        body: Vec<u8>,
        bytes: usize,
        receipts: Vec<Receipt>,
    },
}

/// How far a subscription is served in one partition.
struct Follower {
    id: SubscriptionId,
    channel: ChannelId,
    partition: u32,
    /// `None` for a filter, which matches everything.
    topic: Option<String>,
    cursor: u64,
}

impl Follower {
    /// The next message behind the cursor, with its offset.
    fn next<'a>(&self, log: &'a Log) -> Option<(u64, &'a Stored)> {
        let stored = log.partitions[self.partition as usize].iter().enumerate();
        let mut behind =
            stored.map(|(at, stored)| (at as u64 + 1, stored)).skip(usize::try_from(self.cursor).unwrap());
        behind.find(|(_, stored)| self.topic.as_ref().is_none_or(|topic| *topic == stored.topic))
    }
}

/// The node's side of one connection.
pub(crate) struct Link {
    pub(crate) node: Node,
    pub(crate) to_node: Vec<u8>,
    pub(crate) to_client: Vec<u8>,
    requests: Vec<Request>,
    followers: Vec<Follower>,
}

impl Link {
    pub(crate) fn new() -> Self {
        let mut node = Node::new();
        node.window = NODE_WINDOW;
        node.interval_ms = u32::MAX;
        Self { node, to_node: Vec::new(), to_client: Vec::new(), requests: Vec::new(), followers: Vec::new() }
    }

    pub(crate) fn carry_to_node(&mut self, bytes: usize, log: &Log) {
        let bytes: Vec<_> = self.to_node.drain(..bytes.min(self.to_node.len())).collect();
        for (header, got) in self.node.receive(&bytes) {
            self.take(&header, got, log);
        }
    }

    fn take(&mut self, header: &Header, got: Got, log: &Log) {
        match got {
            Got::Hello { .. } => {
                let bytes = self.node.welcome();
                self.to_client.extend(bytes);
            }
            Got::Subscribe { id, topic, start } => {
                self.requests.push(Request::Subscription);
                self.subscribe(id, &topic, &start, log);
            }
            Got::Unsubscribe(id) => {
                self.requests.push(Request::Subscription);
                self.followers.retain(|follower| follower.id != id);
            }
            Got::Publish { number, topic, keys, retry_of, body, .. } => {
                let topics = match keys.as_slice() {
                    [] => vec![topic],
                    keys => keys.iter().map(|key| topic.replace('*', key)).collect(),
                };
                let (bytes, retry) = (usize::from(header.len), retry_of.is_some());
                self.requests.push(Request::Publish {
                    number,
                    retry,
                    topics,
                    body,
                    bytes,
                    receipts: Vec::new(),
                });
                self.check_bounds();
            }
            Got::Bye(code) => panic!("BYE {code}"),
            Got::Heartbeat | Got::Ack | Got::WindowUpdate => {}
        }
    }

    /// Window and numbers, of what the client knows no answer to.
    fn check_bounds(&self) {
        let publishes = || {
            self.requests.iter().filter_map(|request| match request {
                Request::Publish { bytes, topics, .. } => Some((*bytes, topics.len())),
                Request::Subscription => None,
            })
        };
        if publishes().count() > 1 {
            let bytes: usize = publishes().map(|(bytes, _)| bytes).sum();
            let numbers: usize = publishes().map(|(_, numbers)| numbers).sum();
            assert!(bytes <= usize::from(NODE_WINDOW) * 1024, "{bytes} bytes are more than the window");
            assert!(numbers <= NUMBERS_MAX, "{numbers} numbers are under way");
        }
    }

    fn subscribe(&mut self, id: SubscriptionId, topic: &str, start: &Start, log: &Log) {
        let Start::After(cursor) = start else { panic!("{start:?}") };
        let follower = |partition, channel, topic, position: Position| Follower {
            id,
            channel,
            partition,
            topic,
            cursor: position.offset.0,
        };
        let followers: Vec<_> = match cursor.position() {
            Some(position) => {
                vec![follower(partition_of(topic), channel(id), Some(topic.to_owned()), position)]
            }
            None => {
                let channel = |partition| ChannelId(10_000 + id.0 * PARTITIONS + partition);
                cursor.parts().map(|(part, at)| follower(part.0, channel(part.0), None, at)).collect()
            }
        };
        let parts: Vec<_> = followers.iter().map(|it| part(it, log)).collect();
        let bytes = self.node.subscribed_to(id, &parts);
        self.to_client.extend(bytes);
        self.followers.extend(followers);
    }

    /// Stores one message of the oldest request, or answers what has none.
    pub(crate) fn store_one(&mut self, log: &mut Log) {
        let done = match self.requests.first_mut() {
            None => return,
            Some(Request::Subscription) => Vec::new(),
            Some(Request::Publish { number, retry, topics, body, receipts, .. }) => {
                let next = receipts.len();
                receipts.push(log.store(*number + next as u64, *retry, &topics[next], body));
                if receipts.len() < topics.len() {
                    return;
                }
                std::mem::take(receipts)
            }
        };
        self.requests.remove(0);
        let seq = self.node.ack.next();
        let told = |it: &Receipt| wire::Receipt {
            seq: Seq(seq.0),
            count: 1,
            partition: it.partition,
            position: it.position,
            copies: it.copies,
        };
        let bytes = self.node.acks_with(seq.0, &done.iter().map(told).collect::<Vec<_>>());
        self.to_client.extend(bytes);
    }

    /// Sends a follower its next message, or tells it that the message will not come.
    pub(crate) fn deliver_one(&mut self, which: usize, gap: bool, log: &Log) {
        let count = self.followers.len();
        let Some(follower) =
            (0..count).map(|n| (which + n) % count).find(|&n| self.followers[n].next(log).is_some())
        else {
            return;
        };
        let follower = &mut self.followers[follower];
        let Some((offset, stored)) = follower.next(log) else { return };
        let (from, channel) = (follower.cursor, follower.channel);
        let payload = if gap {
            Payload::Gap(Gap { channel, from: at(from), to: at(offset), reason: GapReason::Overflow })
        } else {
            let Node { last_sent, acked_by_client, client_window, .. } = self.node;
            let in_flight = acked_by_client.distance(last_sent).cast_unsigned();
            // Each counts as the longest, which keeps the node well inside the window.
            let room = u32::from(client_window) * 1024;
            if room == 0 || (in_flight > 0 && (in_flight + 1) * DELIVERY_BYTES_MAX > room) {
                return;
            }
            let topic = follower.topic.is_none().then_some(stored.topic.as_str());
            let (position, prev) = (at(offset), Offset(from));
            let body = stored.body.as_slice();
            Payload::Delivery(Delivery { channel, position, prev, skipped: false, topic, body })
        };
        follower.cursor = offset;
        let bytes = self.node.frame(&payload);
        self.to_client.extend(bytes);
    }
}

fn part(follower: &Follower, log: &Log) -> Part {
    let head = log.partitions[follower.partition as usize].len() as u64;
    let partition = if follower.topic.is_some() { TOPIC_PARTITION } else { follower.partition };
    Part {
        channel: follower.channel,
        partition,
        from: at(follower.cursor),
        head: at(head),
        count: head - follower.cursor,
        gap: false,
    }
}
