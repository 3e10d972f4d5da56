//! One run of one plan: builds the hosts, lets faults happen, heals, waits for everything to
//! come back, and judges.

mod faults;

use crate::cluster::run as cluster_run;
use crate::entropy;
use crate::history::{Failure, What};
use crate::oracles::{self, p7_credit, p10_comes_back};
use crate::plan::{GOOD_HOSTS, Plan};
use crate::platform::SimPlatform;
use crate::report::Outcome;
use crate::world::{Phase, World};
use crate::{hostile, workload};
use faults::Faults;
use multibeam::cluster::Cluster;
use multibeam_model::core::planted::{self, Bug};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use turmoil::Sim;

/// The node's host.
pub(crate) const NODE: &str = "node";
/// Client hosts; the last is the hostile ones'.
pub(crate) const CLIENTS: [&str; GOOD_HOSTS + 1] = ["good-0", "good-1", "hostile"];

/// No run lasts longer; the phases have limits of their own, which add up to less.
const SIMULATED_MAX: Duration = Duration::from_secs(300);

/// Messages that a run must deliver to say anything.
pub(crate) const DELIVERIES_MIN: u64 = 200;

/// Planned faults that must hit somebody in a run.
const HITS_MIN: u64 = 2;

/// How to run a plan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The bug that is switched on.
    pub planted: Option<Bug>,
    /// Lines of the trace are wanted.
    pub keep_trace: bool,
    /// What a run of a cluster can be drawn from is wanted.
    pub keep_timeline: bool,
}

thread_local! {
    /// What the panic of this thread said, if it is a run's.
    static PANIC: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Runs a plan on a thread of its own, so that nothing of an earlier run is left.
#[must_use]
pub fn run_plan(plan: &Plan, options: Options) -> Outcome {
    keep_panics();
    let seed = plan.seed;
    let plan = plan.clone();
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        entropy::seed(seed);
        planted::plant(options.planted);
        PANIC.with(|panic| *panic.borrow_mut() = Some(None));
        match plan.cluster.clone() {
            Some(cluster) => cluster_run::run(&plan, &cluster, options, || {
                PANIC.with(|panic| panic.borrow_mut().take().flatten())
            }),
            None => run(plan, options),
        }
    });
    let failed = |detail: &str| Outcome::failed(seed, Failure::new("panic", detail));
    match thread {
        Err(error) => failed(&format!("no thread: {error}")),
        Ok(thread) => thread.join().unwrap_or_else(|_| failed("the run's own code")),
    }
}

/// Runs a seed's plan. See [`run_plan`].
#[must_use]
pub fn run_seed(seed: u64, options: Options) -> Outcome {
    run_plan(&Plan::of(seed), options)
}

/// A panic inside a run is a finding; it is kept with its place and not printed.
fn keep_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let kept = PANIC.with(|panic| match &mut *panic.borrow_mut() {
                Some(first) => {
                    first.get_or_insert_with(|| info.to_string().replace('\n', " "));
                    true
                }
                None => false,
            });
            if !kept {
                print(info);
            }
        }));
    });
}

fn run(plan: Plan, options: Options) -> Outcome {
    let world = World::new(plan, options.keep_trace);
    let mut sim = build(&world);
    let stepping = catch_unwind(AssertUnwindSafe(|| step_all(&mut sim, &world)));
    if stepping.is_err() {
        let detail = PANIC.with(|panic| panic.borrow_mut().take().flatten());
        world.fail("panic", detail.unwrap_or_else(|| "without a word".to_owned()));
        // Its hosts may panic again while they are dropped, and that would end the process.
        std::mem::forget(sim);
    } else {
        drop(sim);
    }
    judge(&world);
    Outcome::of(&world)
}

fn judge(world: &World) {
    // What came first in the run explains the rest; without it, the history speaks.
    if world.failures.borrow().is_empty() {
        let failures = oracles::judge(&world.plan, &world.history.borrow());
        world.failures.borrow_mut().extend(failures);
    }
    if world.failures.borrow().is_empty() {
        let (deliveries, hits) = (world.deliveries.get(), Outcome::hits_of(world));
        if deliveries < DELIVERIES_MIN || hits < HITS_MIN {
            world.fail("plan", format!("only {deliveries} deliveries and {hits} faults that hit"));
        }
    }
}

fn build<'a>(world: &Rc<World>) -> Sim<'a> {
    let network = &world.plan.network;
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(world.plan.seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .simulation_duration(SIMULATED_MAX)
        .tick_duration(Duration::from_millis(network.tick_ms))
        .min_message_latency(Duration::from_millis(network.latency_ms_min))
        .max_message_latency(Duration::from_millis(network.latency_ms_max))
        .tcp_capacity(network.tcp_capacity)
        .enable_random_order();
    let mut sim = builder.build();
    let shared = Rc::clone(world);
    sim.host(NODE, move || node(Rc::clone(&shared)));
    for (host, name) in CLIENTS.iter().enumerate() {
        let shared = Rc::clone(world);
        sim.host(*name, move || {
            let world = Rc::clone(&shared);
            async move {
                if host < GOOD_HOSTS {
                    workload::run_host(world, host).await;
                } else {
                    hostile::run_host(world).await;
                }
                Ok(())
            }
        });
    }
    sim
}

/// The node's host: the binary's own `run`.
async fn node(world: Rc<World>) -> turmoil::Result {
    let platform = SimPlatform::new(&world);
    let run = Rc::clone(platform.node_run());
    let ready = Rc::clone(&run);
    let started = move |_: &multibeam::Ready, cluster: &Cluster<SimPlatform>| ready.serves(cluster.lease());
    let result = multibeam::run(platform, world.plan.node.config(), started).await;
    run.ended.set(true);
    if let Err(error) = result
        && !run.may_end.get()
    {
        world.fail("node", format!("the node ended: {error}"));
    } else if !run.may_end.get() {
        world.fail("node", "the node ended unasked");
    }
    Ok(())
}

/// What can be judged at any moment.
fn watch(world: &World, now_us: u64) {
    let mut found = world.lines.check(now_us);
    if let Some(run) = world.node_run().filter(|run| !run.killed.get() && !run.may_end.get()) {
        found.extend(run.peers.borrow_mut().check(&world.plan.node, now_us));
    }
    world.failures.borrow_mut().extend(found);
    p7_credit::check_memory(world);
}

fn step_all(sim: &mut Sim<'_>, world: &Rc<World>) {
    let mut faults = Faults::new(world);
    let mut phase_began_ms = 0;
    loop {
        let now_ms = sim.elapsed().as_millis() as u64;
        world.outside_us.set(now_ms * 1000);
        if world.phase.get() == Phase::Faults {
            if now_ms >= world.plan.heal_at_ms {
                faults.heal(sim, now_ms);
                world.record(What::Healed);
                world.phase.set(Phase::Healing);
                phase_began_ms = now_ms;
            } else {
                faults.due(sim, now_ms);
            }
        } else if let Some(next) = p10_comes_back::advance(world, now_ms - phase_began_ms) {
            world.phase.set(next);
            phase_began_ms = now_ms;
        }
        faults.restart(sim, now_ms);
        watch(world, now_ms * 1000);
        if world.phase.get() == Phase::Over || !world.failures.borrow().is_empty() {
            return;
        }
        if let Err(error) = sim.step() {
            world.fail("host", error.to_string());
            return;
        }
    }
}
