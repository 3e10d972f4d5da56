//! From a seed to a plan. Each seed switches on a random part of what can go wrong: a uniform
//! mix of everything would hide what only shows when little else happens.

use super::{
    ClientKnobs, FaultEvent, GOOD_HOSTS, HOSTILE_HOST, HostKnobs, HostileKind, HostilePlan, Network,
    NodeKnobs, Plan, PublisherPlan, SubscriberPlan, Workload,
};
use crate::random::Random;
use multibeam_model::Fault;

/// How long faults go on. Long enough for several heartbeats to be missed and for a restart.
const FAULTS_MS: u64 = 6_000;

/// Nothing bad happens before: the first clients must have connected.
const QUIET_MS: u64 = 600;

/// Topics of all classes; a plan takes some of them.
const TOPICS: &[&str] = &[
    "alarm.fire",
    "user.1.msg",
    "user.42.msg",
    "device.7.telem",
    "sys.notice",
    "chat.room.1",
    "chat.room.2",
    "a",
    "prices.x.y.z",
    "alarm.flood",
];

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let network = network(&mut Random::new(seed, "network"));
        let slow = network.latency_ms_max > 5;
        let workload = workload(&mut Random::new(seed, "workload"), slow);
        let clients = workload.publishers.len() + workload.subscribers.len();
        let node = node(&mut Random::new(seed, "node"), clients, slow);
        let hostile = hostile(&mut Random::new(seed, "hostile"));
        let faults = faults(&mut Random::new(seed, "faults"), &workload);
        Self {
            seed,
            kernel: kernel(&mut Random::new(seed, "kernel")),
            host: host(&mut Random::new(seed, "host"), clients, slow),
            network,
            node,
            workload,
            hostile,
            faults,
            heal_at_ms: QUIET_MS + FAULTS_MS,
        }
    }

    /// The chance of a fault of the kernel model, in 65,536.
    #[must_use]
    pub fn kernel_chance(&self, fault: Fault) -> u16 {
        let name = format!("{fault:?}");
        self.kernel.iter().find(|(known, _)| *known == name).map_or(0, |(_, chance)| *chance)
    }
}

fn network(random: &mut Random) -> Network {
    let tick_ms = random.pick(&[1, 1, 2, 5]);
    let latency_ms_max = random.pick(&[1, 2, 5, 20, 40]);
    Network {
        tick_ms,
        latency_ms_min: random.range(0..=latency_ms_max / 2),
        latency_ms_max,
        tcp_capacity: random.length(64..=256),
        refusal_ms: random.range(20..=400),
    }
}

fn node(random: &mut Random, clients: usize, slow: bool) -> NodeKnobs {
    let tiny = random.chance(30);
    let mut bytes = |choices: &[usize]| if tiny { random.pick(choices) } else { random.pick(&choices[1..]) };
    let read_budget = bytes(&[2, 16, 300, 4096, 65_536]);
    let read_chunk = bytes(&[2, 7, 64, 4096, 65_536]);
    let send_bytes = bytes(&[2, 20, 300, 4096, 65_536]);
    let stage_bytes = bytes(&[2, 40, 1000, 1 << 20]);
    let deliveries_in_flight_max = random.pick(&[2, 2, 4, 16, 4096]);
    // Few in flight are few a round trip: a long history would take minutes to replay.
    let retain: &[usize] = if slow || deliveries_in_flight_max <= 16 { &[2, 4, 8] } else { &[2, 4, 8, 32] };
    NodeKnobs {
        shards: random.length(2..=3),
        ring_commands: random.pick(&[1, 1, 2, 4, 64, 1024]),
        ring_replies: random.pick(&[1, 1, 2, 4, 64, 1024]),
        heartbeat_ms: random.range(250..=900),
        hello_timeout_ms: random.range(300..=1200),
        ack_timeout_ms: random.range(1_500..=5_000),
        publish_deadline_ms: random.range(800..=4_000),
        publish_window_bytes: random.pick(&[1024, 4096, 65_536]),
        requests_in_flight_max: random.pick(&[1, 2, 4, 16, 256]),
        deliveries_in_flight_max,
        producers_max: random.pick(&[2, 4, 16, 4096]),
        topics_max: random.pick(&[24, 1 << 20]),
        retain_messages_default: random.pick(retain),
        retain_messages_alarm: random.pick(retain),
        command_batch: random.pick(&[1, 2, 16]),
        read_budget,
        read_chunk,
        accept_budget: random.pick(&[1, 2, 64]),
        send_budget: random.pick(&[1, 2, 256]),
        send_bytes,
        stage_bytes,
        command_budget: random.pick(&[1, 2, 16, 1024]),
        connections_max: random.pick(&[clients + 2, 1000, 1000]),
        refusals_max: random.pick(&[1, 4, 256]),
        linger_bytes_max: random.pick(&[16, 65_536, 65_536]),
    }
}

fn host(random: &mut Random, clients: usize, slow: bool) -> HostKnobs {
    let small = if slow { 64 } else { 2 };
    HostKnobs {
        rx_bytes: random.pick(&[small, 64, 512, 4096]),
        tx_bytes: random.pick(&[small, 64, 512, 4096]),
        backlog: random.pick(&[4, 128]),
        descriptors: random.pick(&[clients + 2, 1024, 1024]),
        pump_bytes: random.pick(&[if slow { 64 } else { 16 }, 64, 256, 1024]),
        nap_permille: random.pick(&[0, 0, 1, 10]),
        slow_shard: random.pick(&[None, Some(0), Some(1)]),
        slow_ms: random.pick(&[2, 10, 30]),
        write_fails_percent: random.pick(&[0, 0, 30]),
        clock_base_us: random.pick(&[0, 1 << 44, (u64::from(u32::MAX) - 100) * 16_384]),
    }
}

fn kernel(random: &mut Random) -> Vec<(String, u16)> {
    let mut chances = Vec::new();
    for &fault in Fault::ALL {
        if !random.chance(55) {
            continue;
        }
        let chance = match fault {
            Fault::ShortRead | Fault::ShortWrite => random.pick(&[2_000, 10_000, 30_000]),
            Fault::Preempted | Fault::LessRoom | Fault::FewEdges => random.pick(&[1_000, 8_000, 25_000]),
            Fault::Interrupted | Fault::SpuriousEdge | Fault::StaleEdge => random.pick(&[500, 3_000, 8_000]),
            Fault::OutOfBuffers => random.pick(&[200, 1_000, 3_000]),
            Fault::OutOfDescriptors | Fault::Aborted | Fault::RegisterFails => {
                random.pick(&[2_000, 6_000, 13_000])
            }
        };
        chances.push((format!("{fault:?}"), chance));
    }
    chances
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
    }
}

fn workload(random: &mut Random, slow: bool) -> Workload {
    let count = random.length(3..=6);
    let mut topics: Vec<String> = Vec::new();
    while topics.len() < count {
        let topic = random.pick(TOPICS);
        if !topics.iter().any(|known| known == topic) {
            topics.push(topic.to_owned());
        }
    }
    let some = |random: &mut Random, most: usize| {
        let mut chosen: Vec<usize> =
            (0..random.length(1..=most)).map(|_| random.length(0..=count - 1)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    };
    let publishers = (0..random.length(3..=5)).map(|index| PublisherPlan {
        host: index % GOOD_HOSTS,
        topics: if index == 0 { (0..count).collect() } else { some(random, 3) },
        pause_ms: random.range(20..=120),
        burst: random.pick(&[1, 2, 6, 12]),
        body_bytes: random.pick(&[16, 40, 200, 900]),
        client: client(random, slow),
    });
    let publishers = publishers.collect();
    let subscribers = (0..random.length(4..=7)).map(|index| SubscriberPlan {
        host: index % GOOD_HOSTS,
        topics: if index < 2 { (0..count).collect() } else { some(random, 3) },
        from_last: random.chance(30),
        start_ms: if random.chance(70) { 0 } else { random.range(100..=3_000) },
        handle_ms: random.pick(&[0, 0, 0, 2, 10]),
        client: client(random, slow),
    });
    let subscribers = subscribers.collect();
    Workload { topics, publishers, subscribers, short_percent: random.pick(&[0, 5, 30]) }
}

fn hostile(random: &mut Random) -> Vec<HostilePlan> {
    let mut clients: Vec<HostilePlan> = (0..random.length(4..=12))
        .map(|_| HostilePlan {
            start_ms: random.range(100..=FAULTS_MS - 1_000),
            kind: random.pick(HostileKind::ALL),
            seed: random.number(),
        })
        .collect();
    if random.chance(30) {
        // A crowd: all at once.
        let at = random.range(QUIET_MS..=FAULTS_MS / 2);
        clients.extend((0..random.length(6..=20)).map(|_| HostilePlan {
            start_ms: at,
            kind: random.pick(HostileKind::ALL),
            seed: random.number(),
        }));
    }
    clients.sort_by_key(|client| client.start_ms);
    clients
}

fn faults(random: &mut Random, workload: &Workload) -> Vec<(u64, FaultEvent)> {
    let kinds: Vec<usize> = (0..FaultEvent::LABELS.len()).filter(|_| random.chance(45)).collect();
    let clients = workload.publishers.len() + workload.subscribers.len();
    let mut faults = Vec::new();
    for count in 0..random.length(5..=10) {
        // The first two are of kinds that always find somebody.
        let kind = if count < 2 || kinds.is_empty() { random.pick(&[8, 9]) } else { random.pick(&kinds) };
        let host = random.length(0..=HOSTILE_HOST);
        let for_ms = random.pick(&[30, 200, 800, 2_000]);
        let event = match kind {
            0 => FaultEvent::Partition { host, for_ms },
            1 => FaultEvent::PartitionOneWay { host, from_node: random.chance(50), for_ms },
            2 => FaultEvent::Hold { host, for_ms },
            3 => FaultEvent::KillNode { for_ms },
            4 => FaultEvent::PowerLoss { for_ms },
            5 => FaultEvent::BounceNode,
            6 => FaultEvent::StopNode { for_ms: for_ms.min(800) },
            7 => FaultEvent::KillClients { host, for_ms },
            8 => FaultEvent::Cut { client: random.length(0..=clients - 1) },
            9 => FaultEvent::SlowReader {
                subscriber: random.length(0..=workload.subscribers.len() - 1),
                for_ms: random.pick(&[300, 1_000, 2_500]),
            },
            _ => FaultEvent::NoDescriptors { for_ms },
        };
        faults.push((random.range(QUIET_MS..=QUIET_MS + FAULTS_MS - 600), event));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
