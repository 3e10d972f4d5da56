//! Back-pressure must be felt: what a reader swallows that never reads is bounded by the
//! simulation's buffers, or no slow reader would ever cost the node anything.

use multibeam_client::{Client, Config};
use multibeam_sim::plan::Plan;
use multibeam_sim::platform::SimPlatform;
use multibeam_sim::random::Random;
use multibeam_sim::workload::connector::{Kill, SimConnector, Streams, Watch};
use multibeam_sim::world::World;
use multibeam_wire::{Hello, Payload, ProducerId, Seq, Start, Subscribe, SubscriptionId};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use turmoil::net::TcpStream;

const TOPIC: &str = "flood";
const MESSAGES: u64 = 400;
const BODY_BYTES: usize = 900;

/// Segments and the bytes of each that the network may hold for one direction of a connection:
/// as many on their way as have arrived and were not read.
fn cap(plan: &Plan) -> u64 {
    2 * plan.network.tcp_capacity as u64 * plan.host.pump_bytes as u64
}

fn plan(tcp_capacity: usize, pump_bytes: usize) -> Plan {
    let mut plan = Plan::of(1);
    plan.kernel.clear();
    plan.network.tcp_capacity = tcp_capacity;
    plan.network.latency_ms_max = 2;
    plan.network.latency_ms_min = 0;
    plan.host.pump_bytes = pump_bytes;
    plan.host.write_fails_percent = 0;
    (plan.host.rx_bytes, plan.host.tx_bytes) = (512, 512);
    plan.node.deliveries_in_flight_max = 4096;
    plan.node.requests_in_flight_max = 256;
    for class in &mut plan.node.classes {
        (class.messages, class.bytes, class.age_ms) = (1024, 1 << 20, None);
    }
    plan.node.messages_bytes_max = 1 << 30;
    plan.node.ack_timeout_ms = 600_000;
    plan.node.heartbeat_ms = 600_000;
    plan
}

async fn dead_reader() -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("node", 7400)).await?;
    let mut bytes = Vec::new();
    let hello = Hello {
        features: multibeam_wire::Features::NONE,
        window_unit_log2: 15,
        producer: ProducerId(1),
        agent: "dead",
        system_after: None,
    };
    Payload::Hello(hello).encode(Seq(0), Seq(0), u16::MAX, &mut bytes);
    let subscribe = Subscribe { subscription: SubscriptionId(1), topic: TOPIC, start: Start::New };
    Payload::Subscribe(subscribe).encode(Seq(1), Seq(0), u16::MAX, &mut bytes);
    stream.write_all(&bytes).await?;
    Ok(stream)
}

/// Bytes that the network took for a client that never reads.
fn swallowed(plan: Plan) -> u64 {
    let world = World::new(plan, false);
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(1).simulation_duration(Duration::from_secs(600));
    let network = &world.plan.network;
    builder.tcp_capacity(network.tcp_capacity).max_message_latency(Duration::from_millis(2));
    let mut sim = builder.build();
    let node = Rc::clone(&world);
    sim.host("node", move || {
        let world = Rc::clone(&node);
        async move {
            let config = world.plan.node.config();
            multibeam::run(SimPlatform::new(&world), config, |_, _| {}).await?;
            Ok(())
        }
    });
    let probe = Rc::clone(&world);
    sim.client("probe", async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _dead = dead_reader().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let permits = Arc::new(Semaphore::new(1));
        let random = Random::new(1, "probe");
        let watch = Watch { lines: probe.lines.clone(), who: "probe".to_owned(), handshake_ms: 5_000 };
        let (kill, streams) = (Kill::default(), Streams::default());
        let connector = SimConnector::new(&probe.plan, kill, streams, watch, permits, random);
        let client = Client::connect(Config::new("node", 1), connector);
        for _ in 0..MESSAGES {
            client.publish(TOPIC, vec![b'x'; BODY_BYTES]).await?;
        }
        Ok(())
    });
    sim.run().expect("every publish is stored");
    let run = world.node_run().expect("the node has run");
    let pumped = run.pumped.borrow().get(&1).copied();
    pumped.expect("the reader that is dead came first")
}

#[test]
fn a_dead_reader_swallows_no_more_than_the_buffers_hold() {
    for (tcp_capacity, pump_bytes) in [(64, 64), (64, 256), (256, 64)] {
        let plan = plan(tcp_capacity, pump_bytes);
        let cap = cap(&plan);
        let published = MESSAGES * BODY_BYTES as u64;
        assert!(cap * 2 < published, "the test would prove nothing: {cap} of {published}");
        let bytes = swallowed(plan);
        assert!(bytes <= cap, "{bytes} bytes of {published} with {tcp_capacity} segments of {pump_bytes}");
        assert!(bytes > 0, "nothing was ever sent");
    }
}
