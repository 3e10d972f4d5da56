//! What is delivered: classes, topics, publishers and subscribers.

use crate::plan::{
    ClassPlan, ClientKnobs, FollowPlan, GOOD_HOSTS, OverflowPlan, PublisherPlan, StartPlan, SubscriberPlan,
    Target, Workload,
};
use crate::random::Random;

/// Topics of all classes; a plan takes some of them.
const TOPICS: &[&str] = &[
    "alarm.fire",
    "alarm.flood",
    "alarm.smoke",
    "user.1.msg",
    "user.42.msg",
    "user.7.msg",
    "device.7.telem",
    "device.8.telem",
    "sys.notice",
    "sys.load",
    "chat.room.1",
    "chat.room.2",
    "a",
    "prices.x.y.z",
    "prices.gold",
];

/// Filters; a plan uses those that some of its topics match.
const FILTERS: &[&str] =
    &["alarm.*", "alarm.>", ">", "*.*", "chat.>", "*.room.*", "prices.>", "prices.*", "sys.*", "*"];

/// Prefixes of the names that filters reach: unicast topics they do not.
const UNICAST: &[&str] = &["user.", "device."];

/// A class for each pattern that a node knows by itself, and one more.
pub(super) fn classes(random: &mut Random, retain: &[u32]) -> Vec<ClassPlan> {
    use OverflowPlan::{Conflate, Disconnect, Gap};
    let mut class =
        |pattern: &str, broadcast: bool, partitions: &[u16], overflow: &[OverflowPlan]| ClassPlan {
            pattern: pattern.to_owned(),
            partitions: random.pick(partitions),
            broadcast,
            overflow: random.pick(overflow),
            messages: random.pick(retain),
            bytes: random.pick(&[200, 1000, 4096, 1 << 20, 1 << 20]),
            age_ms: random.pick(&[None, None, None, Some(400), Some(1_000), Some(4_000)]),
            on_connect: pattern == "sys.*",
        };
    vec![
        class("prices.>", true, &[1, 2], &[Conflate, Conflate, Disconnect]),
        class("alarm.*", true, &[1, 1, 2, 4], &[Gap]),
        class("user.{id}.msg", false, &[1, 2, 4], &[Gap, Gap, Gap, Disconnect]),
        class("device.{sn}.telem", false, &[1, 4], &[Conflate, Conflate, Gap]),
        class("sys.*", true, &[1], &[Gap, Gap, Conflate]),
        class(">", true, &[1, 2, 4], &[Gap, Gap, Gap, Conflate]),
    ]
}

fn client(random: &mut Random, slow: bool) -> ClientKnobs {
    let window_unit_log2 = random.pick(&[4, 4, 6, 10]);
    let windows: &[u32] = if slow { &[1024, 4096, 262_144] } else { &[16, 64, 300, 2048, 262_144] };
    ClientKnobs {
        window_bytes: random.pick(windows),
        window_unit_log2,
        compact: random.pick(&[true, true, false]),
        backoff_ms_min: random.range(5..=80),
        backoff_ms_max: random.range(200..=800),
        connect_timeout_ms: random.range(500..=1_500),
        publish_deadline_ms: random.range(800..=4_000),
        publish_in_flight_max: random.pick(&[1, 4, 16, 256]),
        publish_queue_messages_max: random.pick(&[1, 8, 4096, 4096]),
        receipts: random.chance(80),
    }
}

pub(super) fn workload(random: &mut Random, slow: bool) -> Workload {
    let count = random.length(4..=8);
    let mut topics: Vec<String> = Vec::new();
    while topics.len() < count {
        let topic = random.pick(TOPICS);
        if !topics.iter().any(|known| known == topic) {
            topics.push(topic.to_owned());
        }
    }
    let publishers = (0..random.length(3..=5)).map(|index| {
        let mut client = client(random, slow);
        // The first one says the last word on each topic, and must know where it stands.
        client.receipts |= index == 0;
        PublisherPlan {
            host: index % GOOD_HOSTS,
            topics: if index == 0 { (0..count).collect() } else { some(random, count) },
            pause_ms: random.range(20..=120),
            burst: random.pick(&[1, 2, 6, 12]),
            body_bytes: random.pick(&[16, 40, 200, 900]),
            many_percent: random.pick(&[0, 10, 50]),
            ttl_percent: random.pick(&[0, 0, 20, 60]),
            ttl_ms: random.pick(&[30, 200, 1_000]),
            client,
        }
    });
    let publishers = publishers.collect();
    let subscribers = (0..random.length(4..=7)).map(|index| {
        let stored = random.chance(25);
        SubscriberPlan {
            host: index % GOOD_HOSTS,
            follows: follows(random, index, &topics),
            stored,
            start_ms: if random.chance(70) { 0 } else { random.range(100..=3_000) },
            handle_ms: random.pick(&[0, 0, 0, 2, 10]),
            client: client(random, slow),
        }
    });
    let subscribers = subscribers.collect();
    Workload { topics, publishers, subscribers, short_percent: random.pick(&[0, 5, 30]) }
}

fn some(random: &mut Random, count: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..random.length(1..=3)).map(|_| random.length(0..=count - 1)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// The first two subscribers follow every topic, so that what exists is known; others also follow filters
/// and what every session is told.
fn follows(random: &mut Random, index: usize, topics: &[String]) -> Vec<FollowPlan> {
    let own = if index < 2 { (0..topics.len()).collect() } else { some(random, topics.len()) };
    let mut targets: Vec<Target> = own.into_iter().map(Target::Topic).collect();
    let broadcast = |topic: &String| !UNICAST.iter().any(|prefix| topic.starts_with(prefix));
    for filter in FILTERS {
        let reaches = |topic: &&String| broadcast(topic) && crate::plan::matches(filter, topic);
        if index >= 2 && random.chance(20) && topics.iter().any(|topic| reaches(&topic)) {
            targets.push(Target::Filter((*filter).to_owned()));
        }
    }
    if random.chance(40) && topics.iter().any(|topic| topic.starts_with("sys.")) {
        targets.push(Target::System);
    }
    let follow = |target| FollowPlan {
        target,
        start: random.pick(&[StartPlan::New, StartPlan::New, StartPlan::Last, StartPlan::First]),
        manual_acks: random.chance(25),
    };
    targets.into_iter().map(follow).collect()
}
