//! Drawn schedules against a small correct node: every acknowledged publish is stored once and
//! in order, every stored message reaches the subscriber once and in order, both windows
//! hold, whatever connections break and however bytes are cut.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a failed unwrap fails the test")]

mod support;

use multibeam_client::session::{Dial, Next, Notice};
use multibeam_client::{Config, Event, Session, Start};
use multibeam_wire::{HEADER_BYTES, SubscriptionId};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use support::{Got, Node, at, config, topic};

const WINDOW_BYTES: u32 = 4096;

#[derive(Clone, Debug)]
enum Step {
    Publish(u16),
    /// The node stores this many of the publishes that it has, and acknowledges them.
    Store(usize),
    /// The node sends this many deliveries, as far as the window allows.
    Deliver(usize),
    /// The application takes this many events.
    Take(usize),
    /// This many bytes travel each way.
    ToNode(usize),
    ToClient(usize),
    Break,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u16..3000).prop_map(Step::Publish),
        4 => (1usize..6).prop_map(Step::Store),
        4 => (1usize..6).prop_map(Step::Deliver),
        4 => (1usize..6).prop_map(Step::Take),
        6 => (1usize..9000).prop_map(Step::ToNode),
        6 => (1usize..9000).prop_map(Step::ToClient),
        1 => Just(Step::Break),
        2 => (1u64..700).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..200)
}

/// The topic's log with its deduplication, which outlives connections.
#[derive(Default)]
struct Log {
    /// Numbers of the stored publishes; the offset is the index + 1.
    stored: Vec<(u64, Vec<u8>)>,
}

impl Log {
    fn store(&mut self, number: u64, retry: bool, body: Vec<u8>) {
        if let Some((_, known)) = self.stored.iter().find(|(it, _)| *it == number) {
            assert!(retry, "{number} came twice without a mark");
            assert_eq!(known, &body);
            return;
        }
        assert!(self.stored.last().is_none_or(|(last, _)| *last < number), "{number} came too late");
        self.stored.push((number, body));
    }
}

/// The node's side of the present connection.
struct Link {
    node: Node,
    to_node: Vec<u8>,
    to_client: Vec<u8>,
    /// Numbered frames that were read and not yet done.
    requests: Vec<Option<(u64, bool, Vec<u8>)>>,
    bytes_in_flight_to_node: usize,
    sizes: BTreeMap<u32, u32>,
    follower: Option<(SubscriptionId, u64)>,
}

struct World {
    session: Session,
    now_ms: u64,
    log: Log,
    link: Option<Link>,
    id: SubscriptionId,
    taken: u64,
    published: usize,
    ended: usize,
}

impl World {
    fn new() -> Self {
        let settings = Config {
            window_bytes: WINDOW_BYTES,
            publish_deadline: Duration::from_secs(1 << 20),
            publish_in_flight_max: 20,
            ..config()
        };
        let mut session = Session::new(settings);
        let id = session.subscribe(topic(), Start::After(at(0))).unwrap();
        Self { session, now_ms: 0, log: Log::default(), link: None, id, taken: 0, published: 0, ended: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(len) => {
                self.session.publish(topic(), vec![7; len.into()], self.now_ms);
                self.published += 1;
            }
            Step::Store(count) => (0..count).for_each(|_| self.store_one()),
            Step::Deliver(count) => (0..count).for_each(|_| self.deliver_one()),
            Step::Take(count) => (0..count).for_each(|_| self.take_one()),
            Step::ToNode(bytes) => self.carry_to_node(bytes),
            Step::ToClient(bytes) => self.carry_to_client(bytes),
            Step::Break => {
                if self.link.take().is_some() {
                    self.session.disconnected(None, self.now_ms);
                }
            }
            Step::Wait(ms) => self.now_ms += ms,
        }
        self.settle();
    }

    /// Does what a driver does after each call.
    fn settle(&mut self) {
        self.session.handle_timeout(self.now_ms);
        if matches!(self.session.poll_dial(self.now_ms), Dial::Now(_)) {
            self.session.connected(self.now_ms);
            let mut node = Node::new();
            node.window = 3;
            node.interval_ms = u32::MAX;
            self.link = Some(Link {
                node,
                to_node: Vec::new(),
                to_client: Vec::new(),
                requests: Vec::new(),
                bytes_in_flight_to_node: 0,
                sizes: BTreeMap::new(),
                follower: None,
            });
        }
        if let Some(link) = &mut self.link {
            self.session.poll_output(self.now_ms, &mut link.to_node);
        }
        while let Some(notice) = self.session.poll_notice() {
            if let Notice::PublishEnded(_, outcome) = notice {
                assert_eq!(outcome, Ok(()));
                self.ended += 1;
                assert!(self.ended <= self.log.stored.len(), "acknowledged and not stored");
            }
        }
    }

    fn carry_to_node(&mut self, bytes: usize) {
        let Some(link) = &mut self.link else { return };
        let bytes: Vec<_> = link.to_node.drain(..bytes.min(link.to_node.len())).collect();
        for (header, got) in link.node.receive(&bytes) {
            match got {
                Got::Hello { .. } => {
                    let bytes = link.node.welcome();
                    link.to_client.extend(bytes);
                }
                Got::Subscribe { id, start, .. } => {
                    let Start::After(position) = start else { panic!("{start:?}") };
                    link.follower = Some((id, position.offset.0));
                    link.requests.push(None);
                    let head = self.log.stored.len() as u64;
                    let bytes = link.node.subscribed(id, position.offset.0, head);
                    link.to_client.extend(bytes);
                }
                Got::Publish { number, retry_of, body, .. } => {
                    let alone = link.bytes_in_flight_to_node == 0;
                    link.bytes_in_flight_to_node += usize::from(header.len);
                    assert!(alone || link.bytes_in_flight_to_node <= 3 * 1024, "more than the window");
                    link.sizes.insert(header.seq.0, header.len.into());
                    link.requests.push(Some((number, retry_of.is_some(), body)));
                }
                Got::Bye(code) => panic!("BYE {code}"),
                Got::Unsubscribe(_) | Got::Heartbeat | Got::Ack | Got::WindowUpdate => {}
            }
        }
    }

    fn store_one(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| !link.requests.is_empty()) else { return };
        if let Some((number, retry, body)) = link.requests.remove(0) {
            self.log.store(number, retry, body);
        }
        let done = link.node.ack.next();
        link.bytes_in_flight_to_node -= link.sizes.remove(&done.0).unwrap_or(0) as usize;
        let bytes = link.node.acks(done.0);
        link.to_client.extend(bytes);
    }

    fn deliver_one(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Some((id, cursor)) = &mut link.follower else { return };
        let Some((_, body)) = self.log.stored.get(usize::try_from(*cursor).unwrap()) else { return };
        let Node { last_sent, acked_by_client, client_window, .. } = link.node;
        let in_flight = acked_by_client.distance(last_sent);
        // Each delivery counts as the longest, which keeps the node well inside the window.
        let room = u32::from(client_window) * 1024;
        let fits = if in_flight == 0 { room > 0 } else { (in_flight as u32 + 1) * 3100 <= room };
        if fits {
            let bytes = link.node.delivery(*id, *cursor + 1, *cursor, body);
            assert!(bytes.len() <= HEADER_BYTES + 3100);
            link.to_client.extend(bytes);
            *cursor += 1;
        }
    }

    fn carry_to_client(&mut self, bytes: usize) {
        let Some(link) = &mut self.link else { return };
        let bytes: Vec<_> = link.to_client.drain(..bytes.min(link.to_client.len())).collect();
        self.session.handle_bytes(&bytes, self.now_ms);
        assert!(
            self.session.status().last_error.as_ref().is_none_or(|e| !e.to_string().contains("protocol"))
        );
    }

    fn take_one(&mut self) {
        match self.session.next_event(self.id, self.now_ms) {
            Next::Event(Event::Message { position, body, .. }) => {
                self.taken += 1;
                assert_eq!(position, at(self.taken), "each once, in order");
                assert_eq!(body, self.log.stored[usize::try_from(self.taken).unwrap() - 1].1);
            }
            Next::Event(Event::Subscribed { .. }) | Next::Wait => {}
            Next::Event(event) => panic!("{event:?}"),
            Next::End => panic!("the end"),
        }
        assert_eq!(self.session.cursor(self.id), Some(at(self.taken)));
    }

    fn run_to_the_end(&mut self) {
        for _ in 0..5_000 {
            for step in [
                Step::ToNode(usize::MAX),
                Step::Store(9),
                Step::Deliver(9),
                Step::ToClient(usize::MAX),
                Step::Take(9),
                Step::Wait(500),
            ] {
                self.step(step);
            }
            if self.taken as usize == self.published && self.ended == self.published {
                return;
            }
        }
        panic!("{} of {} ended, {} taken", self.ended, self.published, self.taken);
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
        let stats = world.session.stats();
        prop_assert_eq!(stats.silent_gaps, 0);
        prop_assert_eq!(stats.duplicates_dropped, 0);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), welcomed: bool, magic: bool) {
        let mut rig = support::Rig::new(config());
        rig.subscribe(Start::New);
        rig.open();
        if welcomed {
            rig.welcome();
            rig.publish(b"x");
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
        rig.advance(100_000);
    }
}
