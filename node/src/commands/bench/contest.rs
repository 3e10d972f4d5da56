//! Contenders take turns at the same load; each turn is a sample.
//!
//! A contender is a server with a crowd of its own. All are connected at the same time, and
//! while one works the others sleep. From one pair to the next the order changes, so that whatever
//! drifts on the machine meets them alike.

use super::accounting::Accounts;
use super::cores::Cores;
use super::processes::{Generator, Server};
use super::progress::Progress;
use super::protocol::{Load, Order, Plan, Reply, Target, Turn};
use super::report::{Comparison, Contestant};
use super::statistics::{Percentiles, Summary};
use std::net::SocketAddr;

/// One round of so many goes before a turn and is not measured.
const WARMING_SHARE: usize = 20;

/// Draws the users that messages go to; the same for all contenders.
const SEED: u64 = 0x4D42;

/// A server and its crowd.
pub(super) struct Contender {
    pub(super) name: String,
    /// None of a server that somebody else runs.
    pub(super) accounts: Option<Accounts>,
    generator: Generator,
    /// Behind the crowd, so that it ends after it.
    _server: Option<Server>,
}

impl Contender {
    /// With a server of ours.
    ///
    /// # Errors
    /// The crowd can't be started.
    pub(super) fn new(
        name: &str,
        server: Server,
        target: Target,
        load: Load,
        cores: &Cores,
    ) -> Result<Self, String> {
        let plan = Plan { servers: vec![server.address()], target, load, seed: SEED };
        let generator = Generator::start(cores, &plan)?;
        Ok(Self {
            name: name.to_owned(),
            accounts: Some(server.accounts()),
            generator,
            _server: Some(server),
        })
    }

    /// With nodes that somebody else runs.
    ///
    /// # Errors
    /// The crowd can't be started.
    pub(super) fn elsewhere(servers: &[SocketAddr], load: Load, cores: &Cores) -> Result<Self, String> {
        let plan = Plan { servers: servers.to_vec(), target: Target::Node, load, seed: SEED };
        let generator = Generator::start(cores, &plan)?;
        Ok(Self { name: "given".to_owned(), accounts: None, generator, _server: None })
    }

    /// Gives its crowd an order. `progress` hears how many are connected.
    ///
    /// # Errors
    /// What went wrong, with the contender's name.
    pub(super) fn order(&mut self, order: Order, progress: impl FnMut(usize)) -> Result<Reply, String> {
        self.generator.order(order, progress).map_err(|error| format!("{}: {error}", self.name))
    }

    /// A few rounds that bring sockets and memory back into the caches, then those that count.
    fn turn(&mut self, rounds: usize) -> Result<Sample, String> {
        let settled =
            |accounts: &Option<Accounts>| accounts.as_ref().map(Accounts::settled_cpu_ns).transpose();
        self.run(rounds.div_ceil(WARMING_SHARE))?;
        let before = settled(&self.accounts)?;
        let turn = self.run(rounds)?;
        let after = settled(&self.accounts)?;
        Ok(Sample { cpu_ns: before.zip(after).map(|(before, after)| after - before), turn })
    }

    fn run(&mut self, rounds: usize) -> Result<Turn, String> {
        match self.order(Order::Run { rounds }, |_| {})? {
            Reply::Ran(turn) => Ok(turn),
            Reply::Progress(_) | Reply::Connected | Reply::Counted(_) | Reply::Left | Reply::Failed(_) => {
                Err(format!("{}: the generator answered something else", self.name))
            }
        }
    }
}

/// Whose turn it is at this place of this pair, of so many contenders: as many pairs as there are
/// orders, and each has gone before and behind each other equally often.
const fn turn_of(pair: usize, place: usize, contenders: usize) -> usize {
    let turned = if (pair / contenders).is_multiple_of(2) { place } else { contenders - 1 - place };
    (turned + pair) % contenders
}

/// How much is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Clients that subscribe.
    pub(super) subscribers: usize,
    /// Rounds of a turn.
    pub(super) rounds: usize,
    /// Turns of each contender that count; one more goes before.
    pub(super) pairs: usize,
}

/// Connects all crowds and lets them take turns.
///
/// # Errors
/// The first thing that went wrong anywhere.
pub(super) fn contest(
    mut contenders: Vec<Contender>,
    effort: Effort,
    progress: &Progress,
) -> Result<Samples, String> {
    for contender in &mut contenders {
        let Effort { subscribers, .. } = effort;
        let name = contender.name.clone();
        contender.order(Order::Connect { subscribers }, |clients| {
            progress.connecting(&name, clients, subscribers)
        })?;
    }
    // Buffers and caches come into their state.
    for contender in &mut contenders {
        contender.turn(effort.rounds)?;
    }
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::with_capacity(effort.pairs)).collect();
    for pair in 0..effort.pairs {
        progress.pair(pair, effort.pairs);
        for place in 0..contenders.len() {
            let index = turn_of(pair, place, contenders.len());
            samples[index].push(contenders[index].turn(effort.rounds)?);
        }
    }
    let names = contenders.into_iter().map(|contender| contender.name);
    Ok(Samples(names.zip(samples).collect()))
}

/// What one turn of one contender was like.
#[derive(Debug)]
struct Sample {
    cpu_ns: Option<u64>,
    turn: Turn,
}

/// A quantity of a sample by which contenders are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    CpuPerDelivery,
    RoundTrip,
}

impl Quantity {
    const fn label(self) -> &'static str {
        match self {
            Self::CpuPerDelivery => "CPU a delivery",
            Self::RoundTrip => "round trip, p50",
        }
    }

    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::CpuPerDelivery => sample.cpu_ns_per(sample.turn.tally.deliveries),
            Self::RoundTrip => {
                Percentiles::of(sample.turn.round_trips_ns.iter().copied()).map(|times| times.p50_ns)
            }
        }
    }
}

impl Sample {
    fn cpu_ns_per(&self, count: u64) -> Option<f64> {
        self.cpu_ns.filter(|_| count > 0).map(|cpu_ns| cpu_ns as f64 / count as f64)
    }

    fn deliveries_per_second(&self) -> f64 {
        self.turn.tally.deliveries as f64 * 1e9 / self.turn.wall_ns.max(1) as f64
    }
}

/// Name and turns of each contender.
#[derive(Debug)]
pub(super) struct Samples(Vec<(String, Vec<Sample>)>);

impl Samples {
    /// Each by itself.
    pub(super) fn contestants(&self) -> Vec<Contestant> {
        self.0.iter().map(|(name, samples)| contestant(name, samples)).collect()
    }

    /// `of` in relation to `to`, pair by pair. `None`: one of them did not run, or was not measured.
    pub(super) fn compare(
        &self,
        quantity: Quantity,
        of: &str,
        to: &str,
        target: Option<f64>,
    ) -> Option<Comparison> {
        let samples = |name: &str| self.0.iter().find(|(it, _)| it == name).map(|(_, samples)| samples);
        let values =
            |name| samples(name)?.iter().map(|sample| quantity.of(sample)).collect::<Option<Vec<f64>>>();
        let (of_values, to_values) = (values(of)?, values(to)?);
        let ratio = Summary::of(of_values.iter().zip(&to_values).map(|(of, to)| of / to))?;
        Some(Comparison {
            what: quantity.label().to_owned(),
            of: of.to_owned(),
            to: Some(to.to_owned()),
            unit: "ns".to_owned(),
            of_value: Summary::of(of_values)?.median,
            to_value: Some(Summary::of(to_values)?.median),
            result: ratio,
            target,
            met: target.map(|target| ratio.low <= target),
        })
    }
}

fn contestant(name: &str, samples: &[Sample]) -> Contestant {
    let all = |value: &dyn Fn(&Sample) -> Option<f64>| Summary::of(samples.iter().filter_map(value));
    let sum = |value: &dyn Fn(&Turn) -> u64| samples.iter().map(|sample| value(&sample.turn)).sum();
    Contestant {
        name: name.to_owned(),
        cpu_ns_per_delivery: all(&|sample| sample.cpu_ns_per(sample.turn.tally.deliveries)),
        cpu_ns_per_send: all(&|sample| sample.cpu_ns_per(sample.turn.tally.receives)),
        deliveries_per_second: all(&|sample| Some(sample.deliveries_per_second())),
        round_trip: Percentiles::of(
            samples.iter().flat_map(|sample| sample.turn.round_trips_ns.iter().copied()),
        ),
        deliveries: sum(&|turn| turn.tally.deliveries),
        receives: sum(&|turn| turn.tally.receives),
        publishes: sum(&|turn| turn.publishes),
        acks: sum(&|turn| turn.tally.acks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_as_often_as_any_other() {
        let order = |pair, contenders| (0..contenders).map(move |place| turn_of(pair, place, contenders));
        let orders = |pairs, contenders| -> Vec<Vec<usize>> {
            let mut orders: Vec<_> = (0..pairs).map(|pair| order(pair, contenders).collect()).collect();
            orders.sort();
            orders
        };
        assert_eq!(orders(4, 2), [[0, 1], [0, 1], [1, 0], [1, 0]]);
        assert_eq!(orders(6, 3), [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]);
    }
}
