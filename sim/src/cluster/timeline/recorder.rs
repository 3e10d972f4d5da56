//! Looks at the nodes and clients of a run at each step and keeps what changes, up to a bound. It reads what the oracles
//! read, says nothing to anybody, and draws no number.

use super::{
    FAULTS_MAX, Lane, Network, NetworkFault, SPANS_MAX, Span, State, Timeline, Track, WAITS_MS, Why,
};
use crate::cluster::faults::ClusterFault;
use crate::cluster::nodes::Nodes;
use crate::history::Failure;
use crate::platform::SimPlatform;
use crate::workload::connector::host_of;
use multibeam::cluster::Cluster;
use std::collections::BTreeMap;

/// How often the consensus is asked for its role: the answer is a copy of all that a node knows, too much for
/// each step. Elections take some hundred milliseconds.
const ROLES_EACH_MS: u64 = 20;

/// See the module's documentation.
pub(in crate::cluster) struct Recorder {
    nodes: Vec<Watched>,
    clients: Vec<Watched>,
    faults: Vec<NetworkFault>,
    faults_left_out: bool,
    healed_ms: Option<u64>,
    roles_at_ms: u64,
}

impl Recorder {
    pub(in crate::cluster) fn new(nodes: &Nodes) -> Self {
        let watched = |node: usize| {
            let rate_ppm = Some(nodes.all[node].world.plan.host.clock_rate_ppm);
            Watched::new(Track { name: nodes.name(node).to_owned(), rate_ppm, ..Track::default() })
        };
        Self {
            nodes: (0..nodes.all.len()).map(watched).collect(),
            clients: (0..nodes.clients.len())
                .map(|client| Track { name: format!("client {client}"), ..Track::default() })
                .map(Watched::new)
                .collect(),
            faults: Vec::new(),
            faults_left_out: false,
            healed_ms: None,
            roles_at_ms: 0,
        }
    }

    fn fault(&mut self, nodes: &Nodes, fault: ClusterFault, hit: bool, now_ms: u64) {
        if let Some((kind, words, for_ms)) = network_fault(nodes, fault) {
            if self.faults.len() < FAULTS_MAX {
                let until_ms = now_ms + for_ms;
                self.faults.push(NetworkFault { words, kind, hit, from_ms: now_ms, until_ms });
            } else {
                self.faults_left_out = true;
            }
        } else if hit {
            self.process_fault(fault, now_ms);
        }
    }

    fn process_fault(&mut self, fault: ClusterFault, now_ms: u64) {
        match fault {
            ClusterFault::Kill { node, .. } => self.nodes[node].why = Some(Why::Killed),
            ClusterFault::PowerLoss { node, .. } => self.nodes[node].why = Some(Why::PowerLost),
            ClusterFault::Wipe { node, .. } => self.nodes[node].why = Some(Why::Wiped),
            ClusterFault::Stop { node, .. } => self.nodes[node].why = Some(Why::Stopped),
            ClusterFault::Pause { node, for_ms } => self.nodes[node].paused_until_ms = now_ms + for_ms,
            ClusterFault::RestartAll { power, .. } => {
                let why = if power { Why::PowerLost } else { Why::Killed };
                self.nodes.iter_mut().for_each(|node| node.why = Some(why));
            }
            // Its disk is looked at.
            ClusterFault::DiskFails { .. }
            | ClusterFault::CutOff { .. }
            | ClusterFault::Partition { .. }
            | ClusterFault::Split { .. }
            | ClusterFault::OneWay { .. }
            | ClusterFault::Hold { .. }
            | ClusterFault::SlowLink { .. }
            | ClusterFault::Unreachable { .. } => {}
        }
    }

    /// Looks at everybody. `begun`: faults, and whether each found somebody; `healed_ms`: when they ended.
    pub(in crate::cluster) fn look(
        &mut self,
        nodes: &Nodes,
        begun: Vec<(ClusterFault, bool)>,
        healed_ms: Option<u64>,
        now_ms: u64,
    ) {
        self.healed_ms = healed_ms;
        for (fault, hit) in begun {
            self.fault(nodes, fault, hit, now_ms);
        }
        let roles = now_ms >= self.roles_at_ms;
        if roles {
            self.roles_at_ms = now_ms + ROLES_EACH_MS;
        }
        for (client, watched) in self.clients.iter_mut().enumerate() {
            watched.look_at_client(nodes, client, now_ms);
        }
        for (node, watched) in self.nodes.iter_mut().enumerate() {
            let process = watched.process(nodes, node, now_ms);
            watched.set(Lane::Process, process, now_ms);
            watched.set(Lane::Disk, nodes.disk(node).is_failing().then_some(State::DiskFails), now_ms);
            match &*nodes.all[node].cluster.borrow() {
                Some(cluster) => {
                    let clock = nodes.all[node].world.plan.host.clock(now_ms * 1000);
                    let leased = cluster.lease_until() > clock;
                    let isolated = cluster.is_isolated().then_some(State::Isolated);
                    watched.set(Lane::Lease, if leased { Some(State::Leased) } else { isolated }, now_ms);
                    watched.set(Lane::View, view(cluster), now_ms);
                    if roles {
                        watched.set(Lane::Consensus, role(cluster), now_ms);
                    }
                }
                None => {
                    for lane in [Lane::Lease, Lane::View, Lane::Consensus] {
                        watched.set(lane, None, now_ms);
                    }
                }
            }
        }
    }

    /// The run is over.
    pub(in crate::cluster) fn finish(mut self, seed: u64, end_ms: u64, failures: Vec<Failure>) -> Timeline {
        let over_ms = self.healed_ms.unwrap_or(end_ms);
        for fault in &mut self.faults {
            fault.until_ms = fault.until_ms.min(over_ms);
        }
        Timeline {
            seed,
            end_ms,
            healed_ms: self.healed_ms,
            tracks: self.nodes.into_iter().chain(self.clients).map(|node| node.finish(end_ms)).collect(),
            faults: self.faults,
            faults_left_out: self.faults_left_out,
            failures,
        }
    }
}

/// What the network does in that fault, to whom, and for how long; of a process' fault, nothing.
fn network_fault(nodes: &Nodes, fault: ClusterFault) -> Option<(Network, String, u64)> {
    let name = |node: usize| nodes.name(node);
    Some(match fault {
        ClusterFault::CutOff { node, for_ms } => {
            (Network::Apart, format!("{} cut off from all", name(node)), for_ms)
        }
        ClusterFault::Partition { a, b, for_ms } => {
            (Network::Apart, format!("{} and {} apart", name(a), name(b)), for_ms)
        }
        ClusterFault::Split { first, for_ms } => {
            (Network::Apart, format!("split: up to {}, and the others", name(first - 1)), for_ms)
        }
        ClusterFault::OneWay { from, to, for_ms } => {
            (Network::OneWay, format!("nothing from {} to {}", name(from), name(to)), for_ms)
        }
        ClusterFault::Hold { a, b, for_ms } => {
            (Network::Held, format!("{} and {} held", name(a), name(b)), for_ms)
        }
        ClusterFault::SlowLink { a, b, latency_ms, for_ms } => {
            (Network::Slow, format!("{} and {}: {latency_ms} ms", name(a), name(b)), for_ms)
        }
        ClusterFault::Unreachable { node, for_ms } => {
            (Network::Apart, format!("{} and clients apart", name(node)), for_ms)
        }
        ClusterFault::Kill { .. }
        | ClusterFault::PowerLoss { .. }
        | ClusterFault::Stop { .. }
        | ClusterFault::Wipe { .. }
        | ClusterFault::RestartAll { .. }
        | ClusterFault::Pause { .. }
        | ClusterFault::DiskFails { .. } => return None,
    })
}

fn view(cluster: &Cluster<SimPlatform>) -> Option<State> {
    let (view, own) = (cluster.view(), cluster.own());
    let epoch = view.epoch();
    let current = view.members().get(&own.node).is_some_and(|member| member.incarnation == own.incarnation);
    (epoch > 0).then_some(if current { State::Member(epoch) } else { State::Outside(epoch) })
}

fn role(cluster: &Cluster<SimPlatform>) -> Option<State> {
    let status = cluster.status();
    match status.role.as_str() {
        "leader" => Some(State::Leads(status.term)),
        "candidate" => Some(State::Stands(status.term)),
        "follower" => Some(State::Follows(status.term)),
        "learner" => Some(State::Learns(status.term)),
        _ => None,
    }
}

/// One node or client as it is recorded.
#[derive(Default)]
struct Watched {
    track: Track,
    /// What goes on, of each lane.
    open: BTreeMap<Lane, Span>,
    /// What the next end of its process comes from.
    why: Option<Why>,
    /// What its present absence comes from.
    down: Option<Why>,
    paused_until_ms: u64,
}

impl Watched {
    fn new(track: Track) -> Self {
        Self { track, ..Self::default() }
    }

    fn look_at_client(&mut self, nodes: &Nodes, client: usize, now_ms: u64) {
        let client = &nodes.clients[client];
        let status = client.status().unwrap_or_default();
        let host = host_of(status.server.as_deref().unwrap_or_default());
        let node = (0..nodes.all.len()).map(|node| nodes.name(node)).find(|name| *name == host);
        let session = node.and_then(|node| match status.state {
            multibeam_client::State::Connected => Some(State::Served(node)),
            multibeam_client::State::Stale => Some(State::Stale(node)),
            multibeam_client::State::Connecting
            | multibeam_client::State::Waiting
            | multibeam_client::State::Closed => None,
        });
        self.set(Lane::Session, session, now_ms);
        let waits = client.waits_since_ms().is_some_and(|(since_ms, _)| now_ms - since_ms >= WAITS_MS);
        self.set(Lane::Publish, waits.then_some(State::Waits), now_ms);
    }

    fn process(&mut self, nodes: &Nodes, node: usize, now_ms: u64) -> Option<State> {
        let run = nodes.all[node].world.node_run()?;
        if !nodes.is_up(node) {
            let itself = if run.killed.get() { Why::Killed } else { Why::Ended };
            self.paused_until_ms = 0;
            return Some(State::Down(*self.down.get_or_insert(self.why.unwrap_or(itself))));
        }
        if self.down.take().is_some() {
            self.why = None;
        }
        // Until its host has taken a step, the last run is the one before.
        if run.killed.get() || run.ended.get() || !run.ready.get() {
            return Some(State::Starting);
        }
        Some(match self.why {
            Some(Why::Stopped) => State::Stopping,
            _ if now_ms < self.paused_until_ms => State::Paused,
            _ => State::Up,
        })
    }

    /// From here on that is what the node is on `lane`.
    fn set(&mut self, lane: Lane, state: Option<State>, now_ms: u64) {
        let known = self.open.get(&lane).map(|span| span.state);
        if known == state {
            return;
        }
        if let Some(span) = self.open.remove(&lane) {
            self.track.spans.push(Span { until_ms: now_ms, ..span });
        }
        let Some(state) = state else { return };
        assert_eq!(state.lane(), lane, "{state:?}");
        if self.track.spans.len() + self.open.len() < SPANS_MAX && self.track.full_ms.is_none() {
            self.open.insert(lane, Span { state, from_ms: now_ms, until_ms: now_ms });
        } else {
            self.track.full_ms.get_or_insert(now_ms);
        }
    }

    fn finish(mut self, end_ms: u64) -> Track {
        for span in std::mem::take(&mut self.open).into_values() {
            self.track.last.push(span.state);
            self.track.spans.push(Span { until_ms: end_ms, ..span });
        }
        assert!(self.track.spans.len() <= SPANS_MAX);
        self.track
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_never_rests_is_recorded_up_to_the_bound() {
        let mut watched = Watched::default();
        for step in 0..3 * SPANS_MAX as u64 {
            watched.set(Lane::Lease, (step % 2 == 0).then_some(State::Leased), step);
            watched.set(Lane::View, Some(State::Member(step / 10)), step);
        }
        let track = watched.finish(10_000);
        assert_eq!(track.spans.len(), SPANS_MAX);
        let full_ms = track.full_ms.expect("it is said");
        let last = track.spans.iter().map(|span| span.from_ms).max();
        assert!(last.is_some_and(|last| last <= full_ms && full_ms < last + 10), "{last:?} {full_ms}");
        // What was going on when it was full is kept to its end, and not to the run's.
        assert!(track.spans.iter().all(|span| span.until_ms <= full_ms + 10));
    }

    #[test]
    fn spans_of_a_lane_follow_each_other() {
        let mut watched = Watched::default();
        watched.set(Lane::Process, Some(State::Starting), 0);
        watched.set(Lane::Process, Some(State::Up), 5);
        watched.set(Lane::Process, Some(State::Up), 6);
        watched.set(Lane::Process, Some(State::Down(Why::Killed)), 9);
        let spans = watched.finish(20).spans;
        let times: Vec<_> = spans.iter().map(|span| (span.from_ms, span.until_ms)).collect();
        assert_eq!(times, [(0, 5), (5, 9), (9, 20)]);
    }
}
