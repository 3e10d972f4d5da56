//! The tables of `docs/CAPACITY.md` are what the code's sizes add up to, and what a loop really takes.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/wires.rs"]
mod wires;

use multibeam::event_loop;
use multibeam_proto::{ShardConfig, Stat, footprint};
use multibeam_wire::Features;
use multibeam_wire::limits::DEDUP_WINDOW;
use std::time::Duration;
use wires::Node;

/// What an idle plain connection with a topic of its own may take in user space.
const BUDGET_BYTES: usize = 512;

/// What Linux keeps for a connected TCP socket in an epoll set; measured, see the document.
const KERNEL_BYTES: usize = 4100;

/// One term of a sum.
type Term = (&'static str, usize, &'static str);

fn rounded(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

fn idle_connection() -> Vec<Term> {
    let (shard, turning) = (footprint(), event_loop::footprint());
    vec![
        ("connection: flags, two pointers, use of its slot", turning.connection, "`connections_max`"),
        ("its socket's descriptor", turning.socket, "with it"),
        ("its deadline", 4, "with it"),
        ("its places in the lists of a turn", turning.lists, "with it; kept once all were in work at a time"),
        ("session, with two subscriptions", shard.session, "with it"),
        ("membership in the feed of `sys.*`", shard.member, "with it"),
        ("feed of `user.{id}.msg`, with its name and member", shard.feed, "`topics_max`"),
        ("its place in the table of names", shard.name_place, "with the feed"),
    ]
}

/// What vectors and tables that have just grown hold in reserve, at the most.
fn reserve() -> usize {
    let (shard, turning) = (footprint(), event_loop::footprint());
    // A table of names is between 7/16 and 7/8 full.
    let names = shard.name_place * 16 / 7 - shard.name_place + 1;
    4 + turning.lists + shard.member + names
}

fn others() -> Vec<Term> {
    let (shard, turning) = (footprint(), event_loop::footprint());
    vec![
        ("message: entry in its topic's log", shard.entry, "retention of its class"),
        ("message: place in the order of its class", shard.place, "as many dead ones as live ones, and 32"),
        ("message: frame beside the body", frame_overhead(), "retention, `messages_bytes_max`"),
        ("topic or filter of more than 23 bytes: beside its name", shard.name_head, "`topics_max`"),
        ("topic with messages: its log", rounded(shard.log), "`topics_max`"),
        ("subscription beyond two", shard.subscription + shard.member, "`subscriptions_max`"),
        ("slow reader: frames of one size in flight", shard.run, "64 sizes at most, 1 KiB"),
        ("slow reader: half-written frame, beside its rest", turning.tail, "one a connection"),
        ("half-received frame, beside its buffer", turning.parked, "`parked_bytes_max` for the buffers"),
        ("close under way, or a send to be tried again", turning.rare, "one a connection"),
        ("publisher: tables of requests and answers", shard.tables, "given back at the first heartbeat"),
        ("publisher: request that waits", shard.request, "`requests_in_flight_max`"),
        ("publisher: receipt that waits", shard.receipt, "256"),
        ("producer of a partition", shard.producer, "`producers_max` a partition"),
        ("producer: its last 256 numbers", shard.producer_numbers, "the window, 256"),
        (
            "publish between shards, beside topic and body",
            shard.publish_request,
            "256 kept to be filled again",
        ),
        ("message between shards, beside its body", shard.message, "1024 kept to be filled again"),
    ]
}

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CAPACITY.md")).unwrap()
}

/// Compares the table that begins with `head`; says what it should be.
fn same_table(head: &str, rows: &[String]) {
    let document = document();
    let should = format!("the table should be\n{head}\n{}", rows.join("\n"));
    let (_, rest) = document.split_once(&format!("{head}\n")).unwrap_or_else(|| panic!("{should}"));
    let found: Vec<&str> = rest.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(found == rows, "{should}");
}

fn row((what, bytes, bound): &Term) -> String {
    format!("| {what} | {bytes} | {bound} |")
}

#[test]
fn an_idle_connection_adds_up_to_its_budget() {
    let terms = idle_connection();
    let sum: usize = terms.iter().map(|(_, bytes, _)| bytes).sum();
    let mut rows: Vec<String> = terms.iter().map(row).collect();
    rows.push(format!("| **sum** | **{sum}** | |"));
    rows.push(format!("| reserve of what grows by doubling, at the most | {} | |", reserve()));
    same_table("| of an idle connection | bytes | bounded by |", &rows);
    assert!(sum <= BUDGET_BYTES, "{sum} bytes");
}

#[test]
fn everything_else() {
    same_table("| of everything else | bytes | bounded by |", &others().iter().map(row).collect::<Vec<_>>());
    let shard = footprint();
    assert_eq!((shard.run * shard.runs_max, DEDUP_WINDOW), (1024, 256));
}

#[test]
fn how_many_fit() {
    let row = |gib: usize| {
        let each = BUDGET_BYTES + KERNEL_BYTES;
        let thousands = (gib << 30) / each / 1000;
        let user = (thousands * 1000 * BUDGET_BYTES) as f64 / f64::from(1 << 30);
        let (millions, thousands) = (thousands / 1000, thousands % 1000);
        format!("| {gib} | {millions}.{thousands:03} million | {user:.2} |")
    };
    same_table("| GiB | connections | GiB of them in the node |", &[1, 4, 16, 64].map(row));
}

/// A node that keeps `messages` of `body` bytes in one topic: bytes that it reserves for them.
fn reserved(messages: u64, body: usize) -> (u64, u64) {
    let mut config = ShardConfig::default();
    let mut classes = multibeam_proto::built_in();
    classes.last_mut().unwrap().retain =
        multibeam_proto::Retention { messages: messages as u32, bytes: 64 << 20, age: None };
    config.classes = multibeam_proto::ClassSet::new(classes).unwrap().into();
    let mut node = Node::new(1, &config);
    let mut publisher = node.client(0, Features::COMPACT, 1 << 17);
    let body = vec![7; body];
    for number in 1..=4 * messages {
        publisher.publish(&mut node, number, "chat.room", &body);
        node.run();
        publisher.hear(&mut node);
    }
    assert_eq!(node.stat(Stat::Messages), messages);
    (node.stat(Stat::MessageBytes), messages * body.len() as u64)
}

#[test]
fn retention() {
    let row = |(messages, body): (u64, usize)| {
        let (bytes, bodies) = reserved(messages, body);
        format!("| {messages} | {body} | {bytes} | {:.1} |", bytes as f64 / bodies as f64)
    };
    let rows = [(1, 100), (64, 100), (256, 200), (256, 1000), (1024, 1000), (1024, 10_000)].map(row);
    same_table("| messages kept of a topic | body | bytes reserved | times the bodies |", &rows);
}

/// Bytes of a stored frame that are not its body, with numbers of the usual length.
fn frame_overhead() -> usize {
    let mut node = Node::new(1, &ShardConfig::default());
    let mut reader = node.client(0, Features::COMPACT, 1 << 12);
    reader.subscribe(&mut node, 1, "chat.room");
    let mut publisher = node.client(0, Features::COMPACT, 1 << 12);
    let body = [7; 200];
    let mut bytes = 0;
    for number in 1..=1000 {
        publisher.publish(&mut node, number, "chat.room", &body);
        node.run();
        bytes = reader.unread(&node);
        reader.hear(&mut node);
        reader.acknowledge(&mut node);
    }
    bytes - body.len()
}

/// The sum is not forgetful: connections of a real loop take no more.
#[test]
fn connections_take_what_their_sum_says() {
    let live = |connections: usize| {
        let mut node = Node::new(1, &ShardConfig::default());
        for number in 0..connections {
            let mut client = node.client(0, Features::COMPACT, 128);
            client.subscribe(&mut node, 1, &format!("user.{:08}.msg", number));
        }
        // What they needed to begin with has been given back.
        (0..5).for_each(|_| {
            node.pass(Duration::from_secs(3));
            node.run();
        });
        node.check();
        assert_eq!(node.stat(Stat::Sessions) as usize, connections);
        node.live_bytes
    };
    let (few, many) = (1 << 11, 10 << 10);
    let each = ((live(many) - live(few)) / (many - few) as i64) as usize;
    let sum: usize = idle_connection().iter().map(|(_, bytes, _)| bytes).sum();
    println!("{each} bytes a connection, {sum} by the sum, {} in reserve", reserve());
    let lists = event_loop::footprint().lists;
    assert!((sum - lists..=sum + reserve()).contains(&each), "{each} bytes, not {sum}");
}
