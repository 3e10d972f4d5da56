//! The cases with a load, what each should cost, and how long it takes.

use super::contest::{Contender, Effort, Quantity, contest};
use super::cores::Cores;
use super::floor::Kind;
use super::generator::publishers;
use super::processes::Server;
use super::progress::Progress;
use super::protocol::{Load, Target};
use super::report::CaseReport;
use super::stopwatch::Stopwatch;
use std::net::SocketAddr;

/// The name of each floor.
pub(super) const FLOOR: &str = "floor";

/// What a server of two shards on one core may cost beside one of one shard.
const TWO_SHARDS_TARGET: f64 = 1.20;

/// CPU that a send costs, roughly, with the receiver's part; only for estimates and the size of turns.
const SEND_NS: u64 = 11_000;

/// A turn takes about so long: far above the resolution of what is measured, and short enough
/// that what drifts on the machine drifts between pairs.
const TURN_NS: u64 = 600_000_000;

/// A round trip between two sleeping processes, roughly.
const ROUND_TRIP_NS: u64 = 70_000;

/// Rounds of a ping-pong's turn: enough for a median.
const PING_PONG_ROUNDS: usize = 4000;

/// Connections that are opened in a second, roughly.
const CONNECTS_PER_SECOND: f64 = 8_000.0;

/// A load, its floor and its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) load: Load,
    /// Largest ratio to the floor, where one is set.
    pub(super) target: Option<f64>,
}

impl Case {
    /// Fan-out to so many subscribers.
    pub(super) fn fanout(subscribers: usize, outstanding: usize) -> Self {
        let target = match (subscribers, outstanding) {
            (1_000, 16) => Some(1.18),
            (1_000, 1) => Some(1.10),
            (10_000, 4) => Some(1.08),
            _ => None,
        };
        Self { load: Load::Fanout { subscribers, outstanding }, target }
    }

    /// Messages to single users.
    pub(super) fn unicast(users: usize, outstanding: usize) -> Self {
        Self {
            load: Load::Unicast { users, outstanding },
            target: ((users, outstanding) == (1_000, 500)).then_some(1.15),
        }
    }

    /// One message to and fro.
    pub(super) const fn ping_pong() -> Self {
        Self { load: Load::PingPong, target: Some(1.3) }
    }

    fn bench(&self) -> &'static str {
        match self.load {
            Load::Fanout { .. } => "fanout",
            Load::Unicast { .. } => "unicast",
            Load::PingPong => "pingpong",
            Load::Idle => "idle",
        }
    }

    fn name(&self) -> String {
        match self.load {
            Load::Fanout { subscribers, outstanding } => {
                format!("fanout: {subscribers} subscribers, {outstanding} outstanding")
            }
            Load::Unicast { users, outstanding } => {
                format!("unicast: {users} users, {outstanding} outstanding")
            }
            Load::PingPong => "pingpong: 1 client, 1 outstanding".to_owned(),
            Load::Idle => "idle".to_owned(),
        }
    }

    const fn subscribers(&self) -> usize {
        match self.load {
            Load::Fanout { subscribers, .. } => subscribers,
            Load::Unicast { users, .. } => users,
            Load::PingPong => 1,
            Load::Idle => 0,
        }
    }

    /// Clients in all, of which some only publish.
    pub(super) fn clients(&self) -> usize {
        self.subscribers() + publishers(self.load)
    }

    const fn outstanding(&self) -> usize {
        match self.load {
            Load::Fanout { outstanding, .. } | Load::Unicast { outstanding, .. } => outstanding,
            Load::PingPong => 1,
            Load::Idle => 0,
        }
    }

    const fn kind(&self) -> Kind {
        match self.load {
            Load::Fanout { .. } => Kind::Fanout,
            Load::Unicast { .. } => Kind::Unicast,
            Load::PingPong => Kind::Echo,
            Load::Idle => Kind::Beat,
        }
    }

    /// Roughly how long a round takes.
    const fn round_ns(&self) -> u64 {
        match self.load {
            Load::Fanout { subscribers, .. } => subscribers as u64 * SEND_NS,
            Load::Unicast { outstanding, .. } => outstanding as u64 * SEND_NS,
            Load::PingPong | Load::Idle => ROUND_TRIP_NS,
        }
    }

    fn rounds(&self) -> usize {
        match self.load {
            Load::PingPong => PING_PONG_ROUNDS,
            Load::Fanout { .. } | Load::Unicast { .. } | Load::Idle => {
                (TURN_NS / self.round_ns().max(1)).clamp(2, 10_000) as usize
            }
        }
    }

    /// Seconds that `contenders` need.
    fn estimate(&self, effort: &Effort, contenders: usize) -> f64 {
        let turn = (effort.rounds as u64 * self.round_ns()) as f64 / 1e9 + 0.02;
        let connecting = self.subscribers() as f64 / CONNECTS_PER_SECOND + 0.1;
        contenders as f64 * ((effort.pairs + 1) as f64 * turn + connecting)
    }
}

/// How cases are run.
pub(super) struct Setting<'a> {
    pub(super) cores: &'a Cores,
    pub(super) progress: &'a Progress,
    /// Shards of the nodes that are started.
    pub(super) shards: &'a [usize],
    /// Nodes that somebody else runs, instead.
    pub(super) servers: &'a [SocketAddr],
    pub(super) pairs: usize,
    pub(super) rounds: Option<usize>,
}

/// What a node with so many shards is called.
pub(super) fn node_name(shards: usize) -> String {
    format!("{shards} shard{}", if shards == 1 { "" } else { "s" })
}

/// Runs one case.
///
/// # Errors
/// The first thing that went wrong.
pub(super) fn run(case: &Case, setting: &Setting<'_>) -> Result<CaseReport, String> {
    let watch = Stopwatch::start();
    let effort = Effort {
        subscribers: case.subscribers(),
        rounds: setting.rounds.unwrap_or_else(|| case.rounds()),
        pairs: setting.pairs,
    };
    let contenders = if setting.servers.is_empty() { setting.shards.len() + 1 } else { 1 };
    setting.progress.case(&case.name(), case.estimate(&effort, contenders));
    let samples = contest(contestants(case, setting)?, effort, setting.progress)?;
    let compared = |quantity, of: &str, to: &str, target| samples.compare(quantity, of, to, target);
    let mut comparisons = Vec::new();
    let one = node_name(1);
    for &shards in setting.shards {
        let of = node_name(shards);
        let target = case.target.filter(|_| shards == 1);
        let is_ping_pong = case.load == Load::PingPong;
        if is_ping_pong {
            comparisons.extend(compared(Quantity::RoundTrip, &of, FLOOR, target));
        }
        comparisons.extend(compared(Quantity::CpuPerDelivery, &of, FLOOR, target.filter(|_| !is_ping_pong)));
        if shards != 1 {
            let target = (shards == 2 && !is_ping_pong).then_some(TWO_SHARDS_TARGET);
            comparisons.extend(compared(Quantity::CpuPerDelivery, &of, &one, target));
        }
    }
    Ok(CaseReport {
        name: case.name(),
        bench: case.bench(),
        subscribers: case.subscribers(),
        outstanding: case.outstanding(),
        rounds: effort.rounds,
        seconds: watch.elapsed().as_secs_f64(),
        contestants: samples.contestants(),
        comparisons,
        memory: Vec::new(),
    })
}

fn contestants(case: &Case, setting: &Setting<'_>) -> Result<Vec<Contender>, String> {
    let Setting { cores, shards, servers, .. } = setting;
    if !servers.is_empty() {
        return Ok(vec![Contender::elsewhere(servers, case.load, cores)?]);
    }
    let mut contenders = Vec::new();
    for &shards in *shards {
        let server = Server::node(cores, shards, &[])?;
        contenders.push(Contender::new(&node_name(shards), server, Target::Node, case.load, cores)?);
    }
    let floor = Server::floor(cores, case.kind(), &[])?;
    // The floor stands beside the first node.
    contenders.insert(1, Contender::new(FLOOR, floor, Target::Floor, case.load, cores)?);
    Ok(contenders)
}
