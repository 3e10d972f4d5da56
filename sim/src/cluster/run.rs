//! One run of a cluster's plan: builds the hosts, lets faults happen, heals, waits until everything has come
//! back, and sums up.

use super::clients::{self, ClusterClient, HOST};
use super::faults::Schedule;
use super::nodes::Nodes;
use super::oracles::Oracles;
use super::plan::{ClusterPlan, QUIET_MS};
use super::promises::Promises;
use super::story;
use super::timeline::Recorder;
use crate::plan::Plan;
use crate::report::Outcome;
use crate::run::Options;
use crate::world::Phase;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use turmoil::Sim;

/// No run lasts longer; the phases have limits of their own, which add up to less.
const SIMULATED_MAX: Duration = Duration::from_secs(120);

/// How often the consensus is looked at for the story.
const NOTE_EACH_MS: u64 = 20;

/// Runs the plan on the present thread, which is the run's own.
pub fn run(
    plan: &Plan,
    cluster: &ClusterPlan,
    options: Options,
    panic: impl FnOnce() -> Option<String>,
) -> Outcome {
    let nodes = Nodes::new(plan, cluster, options.keep_trace);
    let mut oracles = Oracles::new(&nodes);
    let mut sim = build(plan, &nodes);
    let mut recorder = options.keep_timeline.then(|| Recorder::new(&nodes));
    let mut now_ms = 0;
    let stepping = catch_unwind(AssertUnwindSafe(|| {
        step_all(plan, &mut sim, &nodes, &mut oracles, recorder.as_mut(), &mut now_ms);
    }));
    if stepping.is_err() {
        nodes.fail("panic", panic().unwrap_or_else(|| "without a word".to_owned()));
        // Its hosts may panic again while they are dropped, and that would end the process.
        std::mem::forget(sim);
    } else {
        for node in &nodes.all {
            *node.cluster.borrow_mut() = None;
        }
        drop(sim);
    }
    let timeline = recorder.map(|recorder| recorder.finish(plan.seed, now_ms, nodes.failures()));
    Outcome { timeline, ..outcome(plan, &nodes, oracles, now_ms) }
}

fn build<'a>(plan: &Plan, nodes: &Rc<Nodes>) -> Sim<'a> {
    let network = &plan.network;
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(plan.seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .simulation_duration(SIMULATED_MAX)
        .tick_duration(Duration::from_millis(network.tick_ms))
        .min_message_latency(Duration::from_millis(network.latency_ms_min.min(5)))
        .max_message_latency(Duration::from_millis(network.latency_ms_max.min(10)))
        .tcp_capacity(network.tcp_capacity)
        .enable_random_order();
    let mut sim = builder.build();
    for node in 0..nodes.all.len() {
        let shared = Rc::clone(nodes);
        sim.host(nodes.name(node), move || Nodes::run(Rc::clone(&shared), node));
    }
    let shared = Rc::clone(nodes);
    sim.host(HOST, move || clients::run_host(Rc::clone(&shared)));
    sim
}

fn step_all(
    plan: &Plan,
    sim: &mut Sim<'_>,
    nodes: &Rc<Nodes>,
    oracles: &mut Oracles,
    mut recorder: Option<&mut Recorder>,
    last_ms: &mut u64,
) {
    let mut schedule = Schedule::new(nodes);
    let mut healed_ms = None;
    let mut promises = Promises::new(nodes);
    let (mut consensus, mut isolated) = ((String::new(), Vec::new()), BTreeSet::new());
    loop {
        let now_ms = sim.elapsed().as_millis() as u64;
        *last_ms = now_ms;
        for node in &nodes.all {
            node.world.outside_us.set(now_ms * 1000);
        }
        if healed_ms.is_none() {
            if now_ms >= plan.heal_at_ms {
                schedule.heal(sim, nodes, now_ms);
                nodes.set_phase(Phase::Healing);
                for node in &nodes.all {
                    if let Some(run) = node.world.node_run() {
                        run.chooser.borrow_mut().calm();
                    }
                }
                healed_ms = Some(now_ms);
            } else {
                schedule.due(sim, nodes, now_ms);
            }
        } else {
            schedule.due(sim, nodes, now_ms);
        }
        schedule.restart_ended(nodes, now_ms);
        oracles.look(&schedule, now_ms);
        promises.look(oracles, now_ms);
        if let Some(recorder) = &mut recorder {
            recorder.look(nodes, schedule.take_begun(), healed_ms, now_ms);
        }
        if now_ms % NOTE_EACH_MS < plan.network.tick_ms {
            oracles.note_consensus(&mut consensus, now_ms);
            oracles.count_isolated(&mut isolated);
            let since = schedule.disturbed_ms.max(QUIET_MS);
            if now_ms > since {
                oracles.judge_silence(schedule.alone(nodes), since, now_ms);
                promises.judge(oracles, &schedule, since, now_ms);
            }
        }
        if !nodes.failures().is_empty() {
            return;
        }
        if let Some(healed_ms) = healed_ms
            && oracles.is_back(healed_ms, now_ms)
        {
            nodes.tell(now_ms, "everything has come back".to_owned());
            return;
        }
        if let Err(error) = sim.step() {
            nodes.fail("host", format!("{error}; {}", oracles.missing));
            return;
        }
    }
}

fn outcome(plan: &Plan, nodes: &Nodes, oracles: Oracles, simulated_ms: u64) -> Outcome {
    let (mut hash, mut events, mut trace) = (0_u64, 0, Vec::new());
    for node in &nodes.all {
        let mut own = node.world.trace.borrow_mut();
        hash = hash.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ own.hash();
        events += own.events();
        trace.extend(own.take_lines());
    }
    let restarts: usize =
        nodes.all.iter().map(|node| node.world.node_runs.borrow().len().saturating_sub(1)).sum();
    let mut rare: std::collections::BTreeMap<String, u64> =
        oracles.rare.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    rare.insert("restart".to_owned(), restarts as u64);
    Outcome {
        seed: plan.seed,
        hash: format!("{hash:016x}"),
        events,
        simulated_ms,
        deliveries: nodes.clients.iter().map(ClusterClient::deliveries).sum(),
        hits: nodes.hits.borrow().iter().map(|(label, count)| ((*label).to_owned(), *count)).collect(),
        rare,
        counts: std::collections::BTreeMap::new(),
        failures: nodes.failures(),
        story: story::lines(nodes),
        timeline: None,
        trace,
    }
}
