//! What a shard is told when it starts, drawn from the first bytes: limits down to 1, small classes of
//! every kind of overflow.

use super::bytes::Bytes;
use multibeam_proto::{Class, ClassSet, Overflow, Pattern, Retention, Route, ShardConfig};
use std::sync::Arc;
use std::time::Duration;

/// Names that clients use: some of each class, on both shards, and some that are none.
const TOPICS: [&str; 14] = [
    "gap.1", "gap.2", "con.1", "con.2", "dis.1", "dis.2", "age.1", "age.2", "uni.1.m", "uni.2.m", "any.x.y",
    "sys.1", "alarm.1", "a..b",
];

/// The names that one life is about: few, so that its clients meet.
pub(super) struct Names {
    pub(super) topics: Vec<&'static str>,
    pub(super) filters: Vec<&'static str>,
}

impl Names {
    pub(super) fn draw(bytes: &mut Bytes<'_>) -> Self {
        let (topics, filters) = (bytes.of(&[2, 1, 3, 14]), bytes.of(&[2, 1, 9]));
        Self {
            topics: (0..topics).map(|_| bytes.of(&TOPICS)).collect(),
            filters: (0..filters).map(|_| bytes.of(&FILTERS)).collect(),
        }
    }
}

/// Filters, of which one reaches everything, one nothing, and one is malformed.
const FILTERS: [&str; 9] = ["gap.*", ">", "con.*", "*.1", "dis.>", "age.*", "any.>", "uni.*.m", "a.>.b"];

/// Templates and keys of publishes to many.
pub(super) const TEMPLATES: [&str; 4] = ["uni.*.m", "gap.*", "con.*", "nothing"];
pub(super) const KEYS: [&str; 4] = ["1", "2", "3", "4"];

pub(super) fn config(bytes: &mut Bytes<'_>) -> ShardConfig {
    let ages = [None, Some(Duration::from_secs(1))];
    let class = |pattern: &str, partitions, route, overflow, retain| Class {
        pattern: Pattern::new(pattern).unwrap_or_else(|error| unreachable!("{pattern}: {error}")),
        partitions,
        route,
        overflow,
        retain,
        on_connect: false,
    };
    let mut retain =
        |age| Retention { messages: bytes.of(&[4, 1, 2, 3]), bytes: bytes.of(&[1 << 20, 150, 400]), age };
    let classes = vec![
        class("gap.*", 1, Route::Broadcast, Overflow::Gap, retain(None)),
        class("con.*", 2, Route::Broadcast, Overflow::Conflate, retain(None)),
        class("dis.*", 2, Route::Broadcast, Overflow::Disconnect, retain(None)),
        class("age.*", 2, Route::Broadcast, Overflow::Gap, retain(ages[1])),
        class("uni.{id}.m", 2, Route::Unicast, Overflow::Gap, retain(None)),
        class(">", 2, Route::Broadcast, Overflow::Gap, retain(None)),
    ];
    let classes = ClassSet::new(classes).unwrap_or_else(|error| unreachable!("{error}"));
    let (seconds, long) = (Duration::from_secs, Duration::from_secs(100_000));
    ShardConfig {
        classes: Arc::new(classes),
        messages_bytes_max: bytes.of(&[1 << 20, 20_000, 3_000]),
        heartbeat_interval: bytes.of(&[long, long, seconds(5)]),
        hello_timeout: bytes.of(&[long, seconds(2)]),
        ack_timeout: bytes.of(&[long, long, seconds(3)]),
        publish_deadline: bytes.of(&[long, seconds(1)]),
        goaway_spread: seconds(1),
        publish_window_bytes: bytes.of(&[64 * 1024, 64]),
        requests_in_flight_max: bytes.of(&[64, 1, 2]),
        deliveries_in_flight_max: bytes.of(&[64, 2, 5]),
        subscriptions_max: bytes.of(&[32, 3]),
        topics_max: bytes.of(&[256, 12, 4]),
        producers_max: 16,
        ring_replies: bytes.of(&[16, 1, 2]),
        command_batch: 16,
    }
}
