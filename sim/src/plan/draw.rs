//! From a seed to a plan. Each seed switches on a random part of what can go wrong: a uniform
//! mix of everything would hide what only shows when little else happens.

mod delivery;

use super::{
    FaultEvent, HOSTILE_HOST, HostKnobs, HostileKind, HostilePlan, Network, NodeKnobs, OverflowPlan, Plan,
    Workload,
};
use crate::cluster::plan::ClusterPlan;
use crate::random::Random;
use multibeam_model::Fault;

/// How long faults go on. Long enough for several heartbeats to be missed and for a restart.
const FAULTS_MS: u64 = 6_000;

/// Nothing bad happens before: the first clients must have connected.
const QUIET_MS: u64 = 600;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let network = network(&mut Random::new(seed, "network"));
        let slow = network.latency_ms_max > 5;
        let workload = delivery::workload(&mut Random::new(seed, "workload"), slow);
        let clients = workload.publishers.len() + workload.subscribers.len();
        let node = node(&mut Random::new(seed, "node"), clients, slow);
        let hostile = hostile(&mut Random::new(seed, "hostile"));
        let faults = faults(&mut Random::new(seed, "faults"), &workload);
        let cluster = Self::is_cluster(seed).then(|| ClusterPlan::of(seed));
        let heal_at_ms = cluster.as_ref().map_or(QUIET_MS + FAULTS_MS, |(_, heal_at_ms)| *heal_at_ms);
        Self {
            seed,
            kernel: kernel(&mut Random::new(seed, "kernel")),
            host: host(&mut Random::new(seed, "host"), clients, slow),
            network,
            node,
            workload,
            hostile,
            faults,
            heal_at_ms,
            cluster: cluster.map(|(cluster, _)| cluster),
        }
    }

    /// Whether a seed's plan is one of several nodes: every second is.
    #[must_use]
    pub const fn is_cluster(seed: u64) -> bool {
        seed % 2 == 1
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
    let retain: &[u32] =
        if slow || deliveries_in_flight_max <= 16 { &[1, 2, 4, 8] } else { &[1, 2, 4, 8, 32] };
    let mut knobs = NodeKnobs {
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
        topics_max: random.pick(&[96, 1 << 20]),
        messages_bytes_max: random.pick(&[80_000, 80_000, 1 << 30]),
        classes: delivery::classes(random, retain),
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
        parked_bytes_max: random.pick(&[2_500, 10_000, 1 << 28]),
    };
    spare_slow_clients(&mut knobs);
    knobs
}

/// Where some class disconnects, a client that does its best must be able to keep up: with two messages in
/// flight, and half a second until they are acknowledged, nobody would.
fn spare_slow_clients(knobs: &mut NodeKnobs) {
    let mut disconnects = false;
    for class in knobs.classes.iter_mut().filter(|class| class.overflow == OverflowPlan::Disconnect) {
        disconnects = true;
        class.messages = class.messages.max(4);
        class.bytes = class.bytes.max(8_192);
        class.age_ms = class.age_ms.filter(|age_ms| *age_ms >= 4_000);
    }
    if disconnects {
        knobs.deliveries_in_flight_max = knobs.deliveries_in_flight_max.max(64);
        knobs.messages_bytes_max = 1 << 30;
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
        clock_rate_ppm: 1_000_000,
        link_bytes: random.pick(&[40, 1_000, 70_000]),
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
            10 => FaultEvent::NoDescriptors { for_ms },
            11 => FaultEvent::ClientsPowerLoss { host, for_ms: random.pick(&[800, 2_000, 4_000]) },
            12 => FaultEvent::StopReading {
                client: random.length(0..=clients - 1),
                for_ms: random.pick(&[200, 1_000, 3_000]),
            },
            13 => FaultEvent::RestartSubscriber {
                subscriber: random.length(0..=workload.subscribers.len() - 1),
                politely: random.chance(50),
            },
            _ => FaultEvent::Flood {
                publisher: random.length(0..=workload.publishers.len() - 1),
                for_ms: random.pick(&[50, 200, 600]),
            },
        };
        faults.push((random.range(QUIET_MS..=QUIET_MS + FAULTS_MS - 600), event));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
