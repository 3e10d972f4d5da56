//! Drawn schedules against a small correct node, whatever connections break and however bytes are cut.
//!
//! Every publish ends, and as it says: stored once for each key at the place that its receipt names, or
//! certainly not stored. What is queued and under way is bounded. Every stored message reaches each
//! subscriber once and in order, or as a gap in its place; with manual acks, once more for each time it was
//! given back. A stored cursor loses nothing.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

#[path = "model/cluster.rs"]
mod cluster;
#[path = "model/reader.rs"]
mod reader;
mod support;

use cluster::{BODY_BYTES_MAX, CLIENT_WINDOW_BYTES, Link, Log, NUMBERS_MAX, partition_of};
use multibeam_client::session::{Dial, Notice, Ticket};
use multibeam_client::{Config, Publish, PublishError, Published, Session, Start};
use multibeam_wire::HEADER_BYTES;
use proptest::prelude::*;
use reader::Reader;
use std::collections::BTreeMap;
use std::time::Duration;
use support::config;

const QUEUE_MESSAGES_MAX: usize = 6;
const QUEUE_BYTES_MAX: usize = 65_535;

#[derive(Clone, Debug)]
enum Step {
    /// To the topics of these keys; of one alone where `many` is not set.
    Publish {
        keys: Vec<u8>,
        many: bool,
        len: u16,
        ttl_ms: Option<u64>,
        deadline_ms: Option<u64>,
        wait: bool,
    },
    /// The node stores this many messages, and acknowledges the publishes that are done.
    Store(usize),
    /// The node sends this many messages to one of its followers.
    Deliver(usize, usize),
    /// The node tells one of its followers that a message will not come.
    Gap(usize),
    /// The reader with manual acks, or the other, takes this many events.
    Take(bool, usize),
    Ack(usize),
    GiveBack(usize),
    /// A reader goes on from its stored cursor.
    Restart(bool),
    /// This many bytes travel each way.
    ToNode(usize),
    ToClient(usize),
    Break,
    Wait(u64),
}

fn publish() -> impl Strategy<Value = Step> {
    let rarely = |ms: std::ops::Range<u64>| prop_oneof![4 => Just(None), 1 => ms.prop_map(Some)];
    let keys = proptest::sample::subsequence(vec![0u8, 1, 2, 3], 1..=4).prop_shuffle();
    (keys, any::<bool>(), 0..BODY_BYTES_MAX - 4, rarely(1..1500), rarely(1..3000), any::<bool>()).prop_map(
        |(keys, many, len, ttl_ms, deadline_ms, wait)| Step::Publish {
            keys,
            many,
            len,
            ttl_ms,
            deadline_ms,
            wait,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => publish(),
        6 => (1usize..6).prop_map(Step::Store),
        6 => (0usize..3, 1usize..6).prop_map(|(which, count)| Step::Deliver(which, count)),
        1 => (0usize..3).prop_map(Step::Gap),
        6 => (any::<bool>(), 1usize..6).prop_map(|(manual, count)| Step::Take(manual, count)),
        4 => any::<usize>().prop_map(Step::Ack),
        2 => any::<usize>().prop_map(Step::GiveBack),
        1 => any::<bool>().prop_map(Step::Restart),
        8 => (1usize..9000).prop_map(Step::ToNode),
        8 => (1usize..9000).prop_map(Step::ToClient),
        1 => Just(Step::Break),
        2 => (1u64..700).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..250)
}

/// A publish that the client took over.
struct Asked {
    topics: Vec<String>,
    body: Vec<u8>,
    accepted: bool,
    outcome: Option<Result<Published, PublishError>>,
}

struct World {
    session: Session,
    now_ms: u64,
    log: Log,
    link: Option<Link>,
    /// The one with manual acks, and the one without.
    readers: [Reader; 2],
    publishes: BTreeMap<Ticket, Asked>,
}

impl World {
    fn new() -> Self {
        let settings = Config {
            window_bytes: CLIENT_WINDOW_BYTES,
            publish_deadline: None,
            publish_in_flight_max: NUMBERS_MAX,
            publish_queue_messages_max: QUEUE_MESSAGES_MAX,
            publish_queue_bytes_max: QUEUE_BYTES_MAX,
            ..config()
        };
        let mut session = Session::new(settings);
        let readers = [Reader::new(&mut session, true), Reader::new(&mut session, false)];
        Self { session, now_ms: 0, log: Log::default(), link: None, readers, publishes: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) {
        let (session, now_ms) = (&mut self.session, self.now_ms);
        match step {
            Step::Publish { keys, many, len, ttl_ms, deadline_ms, wait } => {
                self.publish(&keys, many, len, ttl_ms, deadline_ms, wait);
            }
            Step::Store(count) => self.on_link(|link, log| (0..count).for_each(|_| link.store_one(log))),
            Step::Deliver(which, count) => {
                self.on_link(|link, log| (0..count).for_each(|_| link.deliver_one(which, false, log)));
            }
            Step::Gap(which) => self.on_link(|link, log| link.deliver_one(which, true, log)),
            Step::Take(manual, count) => {
                let reader = &mut self.readers[usize::from(!manual)];
                (0..count).for_each(|_| reader.take_one(session, now_ms, &self.log));
            }
            Step::Ack(which) => self.readers[0].settle_one(which, true, session, now_ms),
            Step::GiveBack(which) => self.readers[0].settle_one(which, false, session, now_ms),
            Step::Restart(manual) => self.readers[usize::from(!manual)].restart(session, now_ms),
            Step::ToNode(bytes) => self.on_link(|link, log| link.carry_to_node(bytes, log)),
            Step::ToClient(bytes) => self.carry_to_client(bytes),
            Step::Break => {
                if self.link.take().is_some() {
                    session.disconnected(None, now_ms);
                }
            }
            Step::Wait(ms) => self.now_ms += ms,
        }
        self.settle();
    }

    fn on_link(&mut self, act: impl FnOnce(&mut Link, &mut Log)) {
        if let Some(link) = &mut self.link {
            act(link, &mut self.log);
        }
    }

    fn publish(
        &mut self,
        keys: &[u8],
        many: bool,
        len: u16,
        ttl_ms: Option<u64>,
        deadline_ms: Option<u64>,
        wait: bool,
    ) {
        let keys: Vec<_> = keys.iter().map(u8::to_string).collect();
        let keys = if many { &keys[..] } else { &keys[..1] };
        let number = u32::try_from(self.publishes.len()).unwrap();
        let body = [&number.to_be_bytes()[..], &vec![7; len.into()]].concat();
        let mut publish = match keys {
            [key] if !many => Publish::to(format!("t.{key}"), body.clone()),
            keys => Publish::to_each("t.*", keys, body.clone()),
        };
        if let Some(ttl_ms) = ttl_ms {
            publish = publish.ttl(Duration::from_millis(ttl_ms));
        }
        if let Some(deadline_ms) = deadline_ms {
            publish = publish.deadline(Duration::from_millis(deadline_ms));
        }
        if !wait {
            let in_line = self.publishes.values().any(|it| !it.accepted && it.outcome.is_none());
            publish = match self.session.reserve(publish) {
                Ok(publish) => {
                    assert!(!in_line && self.held().0 < QUEUE_MESSAGES_MAX);
                    publish
                }
                Err(full) => {
                    assert!(in_line || self.held().0 == QUEUE_MESSAGES_MAX);
                    assert_eq!(full.publish.body(), body);
                    return;
                }
            };
        }
        let topics = keys.iter().map(|key| format!("t.{key}")).collect();
        let ticket = self.session.publish(publish, self.now_ms).unwrap();
        self.publishes.insert(ticket, Asked { topics, body, accepted: false, outcome: None });
    }

    /// Messages that the client has accepted and not ended, and their bytes.
    fn held(&self) -> (usize, usize) {
        let held = || self.publishes.values().filter(|it| it.accepted && it.outcome.is_none());
        (held().count(), held().map(|it| it.body.len()).sum())
    }

    /// Does what a driver does after each call.
    fn settle(&mut self) {
        self.session.handle_timeout(self.now_ms);
        if matches!(self.session.poll_dial(self.now_ms), Dial::Now(_)) {
            self.session.connected(self.now_ms);
            self.link = Some(Link::new());
        }
        if let Some(link) = &mut self.link {
            self.session.poll_output(self.now_ms, &mut link.to_node);
        }
        while let Some(notice) = self.session.poll_notice() {
            match notice {
                Notice::PublishAccepted(ticket) => self.publishes.get_mut(&ticket).unwrap().accepted = true,
                Notice::PublishEnded(ticket, outcome) => self.ended(ticket, outcome),
                Notice::Readable(_) | Notice::Status => {}
            }
        }
        let (messages, bytes) = self.held();
        assert!(messages <= QUEUE_MESSAGES_MAX && bytes <= QUEUE_BYTES_MAX);
    }

    fn ended(&mut self, ticket: Ticket, outcome: Result<Published, PublishError>) {
        let publish = self.publishes.get_mut(&ticket).unwrap();
        assert_eq!(publish.outcome, None, "a publish ends once");
        match &outcome {
            Ok(published) => {
                assert_eq!(self.log.places(&publish.body), publish.topics.len(), "stored once for each key");
                assert_eq!(published.receipts.len(), publish.topics.len());
                for (topic, receipt) in publish.topics.iter().zip(&published.receipts) {
                    assert_eq!(receipt.partition, partition_of(topic));
                    let offset = usize::try_from(receipt.position.offset.0).unwrap();
                    let stored = &self.log.partitions[receipt.partition as usize][offset - 1];
                    assert_eq!((&stored.topic, &stored.body), (topic, &publish.body));
                }
            }
            Err(error) => assert!(
                matches!(error, PublishError::TimedOut | PublishError::Expired | PublishError::Unknown),
                "{error}"
            ),
        }
        publish.outcome = Some(outcome);
    }

    fn carry_to_client(&mut self, bytes: usize) {
        let Some(link) = &mut self.link else { return };
        let bytes: Vec<_> = link.to_client.drain(..bytes.min(link.to_client.len())).collect();
        self.session.handle_bytes(&bytes, self.now_ms);
        let error = self.session.status().last_error.as_ref().map(ToString::to_string);
        assert!(error.as_ref().is_none_or(|error| !error.contains("protocol")), "{error:?}");
    }

    fn run_to_the_end(&mut self) {
        for _ in 0..5_000 {
            for step in
                [Step::ToNode(usize::MAX), Step::Store(9), Step::ToClient(usize::MAX), Step::Wait(500)]
            {
                self.step(step);
            }
            for which in 0..3 {
                self.step(Step::Deliver(which, 3));
            }
            self.step(Step::ToClient(usize::MAX));
            for manual in [true, false] {
                self.step(Step::Take(manual, 9));
            }
            for which in 0..9 {
                self.step(Step::Ack(which));
            }
            let all_ended = self.publishes.values().all(|publish| publish.outcome.is_some());
            if all_ended && self.readers.iter().all(|reader| reader.is_done(&self.log)) {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    /// What is certainly not stored is not, for ever.
    fn check_definite(&self) {
        for publish in self.publishes.values() {
            let Some(Err(error)) = &publish.outcome else { continue };
            if error.is_definite() {
                assert_eq!(self.log.places(&publish.body), 0, "{error}");
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_repeated_or_out_of_order(steps in steps()) {
        let mut world = World::new();
        world.settle();
        for step in steps {
            world.step(step);
        }
        world.run_to_the_end();
        world.check_definite();
        let stats = world.session.stats();
        prop_assert_eq!(stats.silent_gaps, 0);
        prop_assert_eq!(stats.duplicates_dropped, 0);
        let read: usize = world.readers.iter().map(|reader| reader.messages).sum();
        prop_assert!(read as u64 <= stats.messages);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), welcomed: bool, magic: bool) {
        let mut rig = support::Rig::new(config());
        rig.subscribe(Start::New);
        let filter = rig.subscribe_to("a.*", Start::New);
        rig.session.manual_acks(filter);
        rig.open();
        if welcomed {
            rig.welcome();
            rig.publish(b"x");
            let parts = [rig.node.part(0, 0, 0), rig.node.part(1, 0, 0)];
            let told = rig.node.subscribed_to(filter, &parts);
            rig.say(&told);
        }
        let mut bytes = bytes;
        if magic && bytes.len() >= HEADER_BYTES {
            bytes[..3].copy_from_slice(&[0x4D, 0x42, 1]);
            bytes[3] %= 11;
            for number in [4..8, 8..12] {
                bytes[number.start..number.end - 1].fill(0);
                bytes[number.end - 1] %= 4;
            }
            bytes[14] = 0;
            bytes[15] %= 40;
        }
        // The bytes may hold frames that the node would have numbered.
        rig.node.last_sent = multibeam_wire::Seq(1000);
        rig.say(&bytes);
        while rig.next(filter).is_some() {}
        rig.advance(100_000);
    }
}
