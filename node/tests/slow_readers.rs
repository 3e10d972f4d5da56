//! A reader that stops costs a place in the log, never a queue: 10,000 of them, 10,000 messages.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/wires.rs"]
mod wires;

use multibeam_proto::{ShardConfig, Stat};
use multibeam_wire::Features;
use wires::{Client, Node};

const READERS: usize = 10_000;
const MESSAGES: u64 = 10_000;

/// Bytes that a reader which stopped may cost, besides its half-written frame.
const BYTES_MAX: i64 = 100;

const TOPIC: &str = "chat.room";
const BODY: [u8; 200] = [7; 200];

/// Readers for whom more is staged than a turn may: a batch each, of 20 KB.
const CROWD: usize = 300;

/// Messages that one run of the node takes from their publisher: within its window.
const BATCH: u64 = 100;

struct Scene {
    node: Node,
    publisher: Client,
    published: u64,
}

impl Scene {
    /// A node whose log has its size, and whose loop has staged as much in a turn as it ever does.
    fn new() -> Self {
        let mut node = Node::new(1, &ShardConfig::default());
        let publisher = node.client(0, Features::COMPACT, 1 << 16);
        let mut scene = Self { node, publisher, published: 0 };
        for reader in scene.readers(CROWD, Features::NONE) {
            reader.take(&mut scene.node, 0);
        }
        (0..20).for_each(|_| scene.publish(BATCH));
        scene
    }

    fn publish(&mut self, messages: u64) {
        for _ in 0..messages {
            self.published += 1;
            self.publisher.publish(&mut self.node, self.published, TOPIC, &BODY);
        }
        self.node.run();
        self.publisher.hear(&mut self.node);
    }

    /// How long one message's frame is.
    fn frame_bytes(&mut self, features: Features) -> usize {
        let mut probe = self.readers(1, features).remove(0);
        self.publish(1);
        let bytes = probe.unread(&self.node);
        probe.hear(&mut self.node);
        assert_eq!(probe.deliveries, 1);
        probe.take(&mut self.node, 0);
        bytes
    }

    fn readers(&mut self, count: usize, features: Features) -> Vec<Client> {
        let reader = |_| {
            let mut reader = self.node.client(0, features, 1024);
            reader.subscribe(&mut self.node, 1, TOPIC);
            reader
        };
        (0..count).map(reader).collect()
    }
}

/// Readers whose socket takes `room` more bytes; returns what each cost without what is owed to it.
fn cost(features: Features, room: usize) -> i64 {
    let mut scene = Scene::new();
    let frame_bytes = scene.frame_bytes(features);
    let mut readers = scene.readers(READERS, features);
    readers.iter().for_each(|reader| reader.take(&mut scene.node, room));
    scene.node.forget_counts();
    (0..MESSAGES / BATCH).for_each(|_| scene.publish(BATCH));
    let bytes = scene.node.live_bytes;
    assert_eq!(scene.node.stat(Stat::Subscriptions) as usize, 2 * (READERS + CROWD + 1) + 1);
    // Each has what its socket took, and is owed the rest of that frame.
    let heard: Vec<usize> = readers.iter().map(|reader| reader.unread(&scene.node)).collect();
    assert!(heard.iter().all(|heard| *heard == room));
    let owed = if room == 0 { 0 } else { (frame_bytes - room % frame_bytes) as i64 };
    let each = bytes / READERS as i64;
    println!("{features:?}, {room} bytes taken: {each} bytes each, {owed} of a half-written frame");
    // They were not forgotten: each is told what it missed and gets what is kept.
    let reader = &mut readers[READERS / 2];
    reader.take(&mut scene.node, usize::MAX);
    for _ in 0..400 {
        reader.acknowledge(&mut scene.node);
        reader.take(&mut scene.node, 512);
        scene.node.run();
        reader.hear(&mut scene.node);
        reader.take(&mut scene.node, 0);
    }
    assert_eq!((reader.gaps, reader.deliveries >= 256), (1, true), "{} deliveries", reader.deliveries);
    scene.node.check();
    each - owed
}

#[test]
fn whose_sockets_take_nothing() {
    for features in [Features::COMPACT, Features::NONE] {
        let bytes = cost(features, 0);
        assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    }
}

#[test]
fn whose_sockets_take_half_a_frame() {
    for features in [Features::COMPACT, Features::NONE] {
        for room in [100, 300] {
            let bytes = cost(features, room);
            assert!(bytes <= BYTES_MAX, "{bytes} bytes");
        }
    }
}
