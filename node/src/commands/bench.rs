//! `multibeam bench`: what a node costs, beside the bare system calls that nobody can do without; and, in
//! [`election`], how long a cluster is without a leader.
//!
//! This process starts nodes, floors and generators, tells the generators what to do, and reads
//! in the system's accounts what the servers used. While it measures, it sleeps.
//!
//! ```text
//!        ┌─ orders ─► generate (a crowd of clients) ◄─────► serve
//!   bench┤                                                    by turns, pair by pair
//!     ▲  └─ orders ─► generate (the same crowd)     ◄─────► floor
//!     └───── CPU time and memory of the servers, as the system accounts for them
//! ```

mod accounting;
mod cases;
mod contest;
mod cores;
mod election;
mod floor;
mod generator;
mod idle;
mod processes;
mod progress;
mod protocol;
mod report;
mod statistics;
mod stopwatch;
mod verifier;

use super::Failure;
use super::serve::{ServeArgs, raise_descriptor_limit, serve};
use cases::{Case, Setting};
use clap::{Args, Subcommand};
use cores::Cores;
use idle::IdleCase;
use progress::Progress;
use report::{Machine, Report};
use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal};
use std::io::Write;
use std::net::SocketAddr;
use verifier::BODY_BYTES;

/// Descriptors that a server or a generator needs beside one a client.
const DESCRIPTORS_BESIDE: u64 = 100;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Memory of idle connections, and the CPU time of their heartbeats.
    Idle(IdleArgs),
    /// One topic that all clients follow: CPU time a delivery.
    Fanout(LoadArgs),
    /// A topic a client: CPU time a delivery.
    Unicast(LoadArgs),
    /// One client that follows the topic that it publishes to: round trips.
    Pingpong(PingPongArgs),
    /// All of these, with one shard and with two.
    All(Options),
    /// A cluster whose leader is killed: time until another leads, and until its first entry.
    Election(election::ElectionArgs),
    /// The bare loop that a node is measured against.
    #[command(hide = true)]
    Floor(floor::FloorArgs),
    /// A crowd of clients, which takes orders on the standard input.
    #[command(hide = true)]
    Generate,
    /// `multibeam serve`, but it ends with the process that started it.
    #[command(hide = true)]
    Node(ServeArgs),
}

#[derive(Debug, Args)]
struct Options {
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
    /// Shards of the node, all on one processor; several numbers are measured side by side
    /// [default: 1; with all: 1 2].
    #[arg(long, value_name = "N", num_args = 1.., value_parser = clap::value_parser!(u8).range(1..=8))]
    shards: Vec<u8>,
    /// Pairs of turns: a node's and its floor's.
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pairs: u16,
    /// Nodes that run already, instead of one of its own: they are loaded and checked, but what
    /// they use is not seen, and there is no floor beside them.
    #[arg(long, value_name = "IP:PORT", num_args = 1..)]
    server: Vec<SocketAddr>,
}

#[derive(Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    options: Options,
    /// Clients that subscribe.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscribers: Option<u32>,
    /// Publishes of a round, all on their way at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    outstanding: Option<u16>,
    /// Rounds of a turn [default: about 0.6 s].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: Option<u32>,
}

#[derive(Debug, Args)]
struct PingPongArgs {
    #[command(flatten)]
    options: Options,
    /// Round trips of a turn [default: 4000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rounds: Option<u32>,
}

#[derive(Debug, Args)]
struct IdleArgs {
    #[command(flatten)]
    options: Options,
    /// Clients; memory is measured at so many and at two sevenths.
    #[arg(long, value_name = "N", default_value_t = 14_000, value_parser = clap::value_parser!(u32).range(7..=1_000_000))]
    subscribers: u32,
    /// Seconds that heartbeats are measured.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
}

/// What is to be measured.
enum Job {
    Load(Case),
    Idle(IdleCase),
}

/// Runs what was asked for.
///
/// # Errors
/// A fault in what a server did, or in the machine, in one sentence. There are no figures of that case
/// and those behind it.
pub(super) fn bench(args: BenchArgs) -> Result<(), Failure> {
    raise_descriptor_limit();
    let done = match args.bench {
        Bench::Election(args) => return election::election(&args),
        Bench::Floor(args) => floor::floor(&args),
        Bench::Generate => generator::generate(),
        Bench::Node(args) => {
            // Where there is no such thing, an interrupted bench leaves a node behind.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            serve(args)
        }
        Bench::Fanout(args) => run(&args.options, &args.fanout(), args.rounds, &[1]),
        Bench::Unicast(args) => run(&args.options, &args.unicast(), args.rounds, &[1]),
        Bench::Pingpong(args) => run(&args.options, &[Job::Load(Case::ping_pong())], args.rounds, &[1]),
        Bench::Idle(args) => run(&args.options, &[args.idle()], None, &[1]),
        Bench::All(options) => run(&options, &all(), None, &[1, 2]),
    };
    Ok(done?)
}

const SUBSCRIBERS: usize = 1_000;
const UNICAST_OUTSTANDING: usize = 500;
const FANOUT_OUTSTANDING: usize = 16;

fn fanouts() -> Vec<Job> {
    let cases = [(SUBSCRIBERS, FANOUT_OUTSTANDING), (SUBSCRIBERS, 1), (10 * SUBSCRIBERS, 4)];
    cases.map(|(subscribers, outstanding)| Job::Load(Case::fanout(subscribers, outstanding))).into()
}

fn all() -> Vec<Job> {
    let mut jobs = fanouts();
    jobs.push(Job::Load(Case::unicast(SUBSCRIBERS, UNICAST_OUTSTANDING)));
    jobs.push(Job::Load(Case::ping_pong()));
    jobs.push(Job::Idle(IdleCase::DEFAULT));
    jobs
}

impl LoadArgs {
    fn sizes(&self, outstanding: usize) -> (usize, usize) {
        let subscribers = self.subscribers.map_or(SUBSCRIBERS, |subscribers| subscribers as usize);
        (subscribers, self.outstanding.map_or(outstanding, usize::from))
    }

    fn fanout(&self) -> Vec<Job> {
        if self.subscribers.is_none() && self.outstanding.is_none() {
            return fanouts();
        }
        let (subscribers, outstanding) = self.sizes(FANOUT_OUTSTANDING);
        vec![Job::Load(Case::fanout(subscribers, outstanding))]
    }

    fn unicast(&self) -> Vec<Job> {
        let (users, outstanding) = self.sizes(UNICAST_OUTSTANDING);
        vec![Job::Load(Case::unicast(users, outstanding))]
    }
}

impl IdleArgs {
    fn idle(&self) -> Job {
        Job::Idle(IdleCase { clients: self.subscribers as usize, seconds: self.seconds.into() })
    }
}

fn run(options: &Options, jobs: &[Job], rounds: Option<u32>, shards: &[usize]) -> Result<(), String> {
    let most = jobs.iter().map(Job::clients).max().unwrap_or(0);
    check_descriptors(most)?;
    let given: Vec<usize> = options.shards.iter().copied().map(usize::from).collect();
    let shards = if given.is_empty() { shards } else { &given };
    let (cores, progress) = (Cores::choose(), Progress::new());
    if cores.server.is_none() {
        progress.say("there is one processor for servers and load: ratios mean less");
    }
    let setting = Setting {
        cores: &cores,
        progress: &progress,
        shards,
        servers: &options.server,
        pairs: options.pairs.into(),
        rounds: rounds.map(|rounds| rounds as usize),
    };
    let mut cases = Vec::new();
    let result = jobs.iter().try_for_each(|job| {
        cases.push(job.run(&setting)?);
        Ok(())
    });
    drop(progress);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::here(cores),
        body_bytes: BODY_BYTES,
        pairs: options.pairs.into(),
        cases,
    };
    // What was found before a fault stands, and the fault still fails the run.
    if !report.cases.is_empty() {
        let text = if options.json { report.json()? } else { report.text() };
        std::io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| format!("can't print the report: {error}"))?;
    }
    result
}

impl Job {
    fn clients(&self) -> usize {
        match self {
            Self::Load(case) => case.clients(),
            Self::Idle(case) => case.clients,
        }
    }

    fn run(&self, setting: &Setting<'_>) -> Result<report::CaseReport, String> {
        match self {
            Self::Load(case) => cases::run(case, setting),
            Self::Idle(case) => idle::run(case, setting),
        }
    }
}

/// A crowd is one process, and so is its server.
fn check_descriptors(clients: usize) -> Result<(), String> {
    let Some(allowed) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    let room = allowed.saturating_sub(DESCRIPTORS_BESIDE);
    if clients as u64 > room {
        return Err(format!(
            "{clients} clients need as many descriptors a process, and the system allows {allowed}"
        ));
    }
    Ok(())
}
