//! What clients of a cluster are promised: nothing comes from a node without a lease (R7), who is connected to a
//! node that is cut off is told so and finds another one (P8), and what was asked is answered (P10).

use super::faults::Schedule;
use super::nodes::Nodes;
use super::oracles::{ISOLATED_WITHIN_MS, Oracles};
use crate::oracles::r7_lease;
use crate::workload::connector::host_of;
use multibeam_client::{State, Status};
use std::rc::Rc;

/// From a node that knows that it is isolated to a client that knows it: a slow thread, a slow network and short
/// writes.
const TOLD_WITHIN_MS: u64 = 1_000;

/// From the last moment of its slot to another node's answer: some attempts at nodes that are no better.
const LEFT_WITHIN_MS: u64 = 2_500;

/// From a publish to its end, where nothing is wrong: a deadline of the node, and an attempt more.
const ANSWERED_WITHIN_MS: u64 = 5_500;

/// What was known of a client.
#[derive(Default)]
struct Known {
    state: State,
    server: String,
    session: Option<u64>,
    since_ms: u64,
    moves: u64,
}

/// See the module's documentation.
pub(super) struct Promises {
    nodes: Rc<Nodes>,
    known: Vec<Known>,
    /// Since when each node has known that it is isolated, or has not been there. `None`: it may still get a lease.
    away_ms: Vec<Option<u64>>,
}

impl Promises {
    pub(super) fn new(nodes: &Rc<Nodes>) -> Self {
        let known = std::iter::repeat_with(Known::default).take(nodes.clients.len()).collect();
        Self { nodes: Rc::clone(nodes), known, away_ms: vec![None; nodes.all.len()] }
    }

    /// What can be said at each moment.
    pub(super) fn look(&mut self, oracles: &mut Oracles, now_ms: u64) {
        for node in 0..self.nodes.all.len() {
            let Some(run) = self.nodes.all[node].world.node_run() else { continue };
            for found in run.peers.borrow_mut().found() {
                // Processes stand still here, and clocks differ: who is late is another seed's matter.
                if found.oracle == r7_lease::ORACLE {
                    self.nodes.fail(&found.oracle, format!("{}: {}", self.nodes.name(node), found.detail));
                }
            }
        }
        for (number, (since_ms, node)) in self.away_ms.iter_mut().zip(&self.nodes.all).enumerate() {
            let isolated = || node.cluster.borrow().as_ref().is_some_and(|cluster| cluster.is_isolated());
            let away = !self.nodes.is_up(number) || isolated();
            *since_ms = away.then(|| since_ms.unwrap_or(now_ms));
        }
        for failure in self.nodes.lines.check(now_ms * 1000) {
            self.nodes.fail(&failure.oracle, failure.detail);
        }
        for (known, client) in self.known.iter_mut().zip(&self.nodes.clients) {
            let Some(Status { state, server, session, .. }) = client.status() else { continue };
            let server = host_of(server.as_deref().unwrap_or_default());
            if (known.state, known.server.as_str(), known.session) != (state, server, session) {
                if state == State::Stale {
                    oracles.count("client_told");
                }
                *known =
                    Known { state, server: server.to_owned(), session, since_ms: now_ms, moves: known.moves };
            }
            for _ in known.moves..client.moves() {
                oracles.count("client_moved");
            }
            known.moves = client.moves();
        }
    }

    /// What only time can tell. `since_ms`: when something last changed.
    pub(super) fn judge(&self, oracles: &mut Oracles, schedule: &Schedule, since_ms: u64, now_ms: u64) {
        let lasted_ms = now_ms - since_ms;
        if let Some(node) = schedule.alone(&self.nodes)
            && self.nodes.is_up(node)
        {
            self.judge_told(oracles, node, lasted_ms, now_ms);
        }
        self.judge_left(oracles, schedule, now_ms);
        if schedule.is_quiet() && lasted_ms >= ANSWERED_WITHIN_MS {
            self.judge_answers(oracles, now_ms);
        }
    }

    fn judge_told(&self, oracles: &mut Oracles, node: usize, lasted_ms: u64, now_ms: u64) {
        if lasted_ms < ISOLATED_WITHIN_MS + TOLD_WITHIN_MS {
            return;
        }
        oracles.count("client_told_in_time");
        let name = self.nodes.name(node);
        for (index, known) in self.known.iter().enumerate() {
            let is_served = known.server == name && known.state == State::Connected;
            if is_served && now_ms - known.since_ms >= TOLD_WITHIN_MS {
                let detail =
                    format!("{name} was cut off for {lasted_ms} ms, and client {index} was not told");
                self.nodes.fail("P8", detail);
            }
        }
    }

    /// Nobody stays with a node that serves nobody, where another one serves and can be reached.
    fn judge_left(&self, oracles: &mut Oracles, schedule: &Schedule, now_ms: u64) {
        let within_ms = self.nodes.plan.goaway_spread_ms + LEFT_WITHIN_MS;
        for (index, known) in self.known.iter().enumerate().filter(|(_, known)| known.state == State::Stale) {
            let server = (0..self.nodes.all.len()).find(|node| self.nodes.name(*node) == known.server);
            // A client of no server has nobody to wait for.
            let Some(away_ms) = server.map_or(Some(0), |node| self.away_ms[node]) else { continue };
            let serves_for = |node: usize| {
                let since_ms = oracles.leased_since_ms(node)?.max(schedule.reachable_since_ms(node)?);
                Some(now_ms - since_ms.max(known.since_ms).max(away_ms))
            };
            let longest = (0..self.nodes.plan.nodes).filter_map(|node| Some((serves_for(node)?, node))).max();
            let Some((for_ms, node)) = longest else { continue };
            oracles.count("client_left_in_time");
            if for_ms >= within_ms {
                let (here, there) = (&known.server, self.nodes.name(node));
                let detail =
                    format!("client {index} is still at {here}, and {there} has served for {for_ms} ms");
                self.nodes.fail("P8", detail);
            }
        }
    }

    fn judge_answers(&self, oracles: &mut Oracles, now_ms: u64) {
        for (index, (known, client)) in self.known.iter().zip(&self.nodes.clients).enumerate() {
            let node = (0..self.nodes.plan.nodes).find(|node| self.nodes.name(*node) == known.server);
            let long = |since_ms: u64| now_ms - since_ms >= ANSWERED_WITHIN_MS;
            let served = node.and_then(|node| oracles.leased_since_ms(node)).is_some_and(long);
            if known.state != State::Connected || !long(known.since_ms) || !served {
                continue;
            }
            oracles.count("client_answered_in_time");
            if let Some((since_ms, number)) = client.waits_since_ms().filter(|(since_ms, _)| long(*since_ms))
            {
                let waited_ms = now_ms - since_ms;
                let detail =
                    format!("client {index} has waited {waited_ms} ms for the end of publish {number}");
                self.nodes.fail("P10", format!("{detail} at {}, where nothing is wrong", known.server));
            }
        }
    }
}
