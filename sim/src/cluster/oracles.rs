//! What must hold of several nodes at each moment: one leader (P5), one view (P6), nobody silent for long in the
//! view and nobody cut off without knowing (P8), and that it comes back (P10).

use super::faults::Schedule;
use super::nodes::Nodes;
use crate::platform::SimPlatform;
use multibeam::cluster::Cluster;
use multibeam_model::core::view::{Member, Record, View};
use multibeam_model::core::{NodeId, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// A node that nobody hears has left the view of those that agree, by the slowest settings that are drawn:
/// silence, promises, an election, and its proposal.
const REMOVED_WITHIN_MS: u64 = 6_000;

/// A node that hears nobody knows it after 2 s on the slowest clock.
pub(super) const ISOLATED_WITHIN_MS: u64 = 2_600;

/// How long a healed cluster must be as it should be.
const STEADY_MS: u64 = 1_000;

/// How long it may take until then: a voter of which nobody heard is replaced one by one.
const BACK_WITHIN_MS: u64 = 40_000;

/// What the oracles remember of one node.
#[derive(Clone, Default)]
struct Seen {
    view: Option<Arc<View>>,
    leads: Rc<BTreeSet<PartitionId>>,
    leased: bool,
    leased_ever: bool,
    /// Since when its lease has not come or gone.
    since_ms: u64,
}

/// See the module's documentation.
pub struct Oracles {
    nodes: Rc<Nodes>,
    seen: Vec<Seen>,
    /// The newest view that any node has had.
    newest: Option<Arc<View>>,
    /// The one view of each epoch, and who had it first.
    views: BTreeMap<(bool, u64), (u64, usize)>,
    /// Which members, by the epoch of joining, some voter has promised to let lead no more, and whether something was
    /// the matter with them then.
    promised: BTreeMap<(NodeId, u64), bool>,
    steady_since_ms: Option<u64>,
    /// What is not yet as it should be.
    pub missing: String,
    /// Takeovers, and other states that are rare.
    pub rare: BTreeMap<&'static str, u64>,
}

/// States that a sweep must reach.
pub const RARE: &[&str] = &[
    "cluster_epochs",
    "cluster_takeover",
    "cluster_new_generation",
    "cluster_lease_lost",
    "cluster_isolated",
    "cluster_voters_changed",
    "cluster_consensus_leader_changed",
    "cluster_offline_record",
    "client_told",
    "client_told_in_time",
    "client_moved",
    "client_left_in_time",
    "client_answered_in_time",
];

impl Oracles {
    pub(super) fn new(nodes: &Rc<Nodes>) -> Self {
        let rare = RARE.iter().map(|name| (*name, 0)).collect();
        Self {
            nodes: Rc::clone(nodes),
            seen: vec![Seen::default(); nodes.all.len()],
            newest: None,
            views: BTreeMap::new(),
            promised: BTreeMap::new(),
            steady_since_ms: None,
            missing: String::new(),
            rare,
        }
    }

    pub(super) fn count(&mut self, name: &'static str) {
        *self.rare.entry(name).or_default() += 1;
    }

    /// Since when a node has held its lease without a break.
    pub(super) fn leased_since_ms(&self, node: usize) -> Option<u64> {
        self.seen[node].leased.then_some(self.seen[node].since_ms)
    }

    /// Looks at all nodes.
    pub(super) fn look(&mut self, schedule: &Schedule, now_ms: u64) {
        for node in 0..self.nodes.all.len() {
            let cluster = self.nodes.all[node].cluster.borrow().clone();
            match cluster {
                Some(cluster) => self.look_at(node, &cluster, schedule, now_ms),
                None => self.seen[node] = Seen::default(),
            }
        }
        self.one_leader(now_ms);
    }

    fn look_at(&mut self, node: usize, cluster: &Cluster<SimPlatform>, schedule: &Schedule, now_ms: u64) {
        let now = self.nodes.all[node].world.plan.host.clock(now_ms * 1000);
        let leased = cluster.lease_until() > now;
        let view = cluster.view();
        let name = self.nodes.name(node);
        if leased != self.seen[node].leased {
            self.nodes.tell(now_ms, format!("{name} {} a lease", if leased { "has" } else { "is without" }));
            if !leased {
                self.count("cluster_lease_lost");
            }
            self.seen[node].leased = leased;
            self.seen[node].since_ms = now_ms;
            self.seen[node].leased_ever |= leased;
        }
        self.note_promises(cluster, &view, schedule, now_ms);
        let before = self.seen[node].view.clone();
        if before.as_ref().is_some_and(|before| before.epoch() == view.epoch()) {
            return;
        }
        self.one_view(node, before.as_deref(), &view, now_ms);
        let is_news = self.newest.as_ref().is_none_or(|newest| newest.epoch() < view.epoch());
        if is_news
            && !self.nodes.is_stranger(node)
            && let Some(newest) = self.newest.replace(Arc::clone(&view))
        {
            self.none_taken_out_unharmed(&newest, &view, schedule, now_ms);
        }
        let own = cluster.own();
        let member = view.members().get(&own.node);
        let current = member.is_some_and(|member| member.incarnation == own.incarnation);
        let leads = |record: &Record| current && record.leader == Some(own.node);
        let leads = view.records().iter().filter(|(_, record)| leads(record)).map(|(id, _)| *id).collect();
        self.seen[node].leads = Rc::new(leads);
        self.seen[node].view = Some(view);
    }

    /// P6, and what no view may be.
    fn one_view(&mut self, node: usize, before: Option<&View>, view: &View, now_ms: u64) {
        let (name, epoch, digest) = (self.nodes.name(node), view.epoch(), view.digest());
        if before.is_some_and(|before| epoch < before.epoch()) {
            self.nodes.fail("P6", format!("{name} goes back to epoch {epoch}"));
        }
        let stranger = self.nodes.is_stranger(node);
        match self.views.get(&(stranger, epoch)).copied() {
            None => {
                self.views.insert((stranger, epoch), (digest, node));
                if !stranger {
                    self.count("cluster_epochs");
                    self.describe(before, view, now_ms);
                }
            }
            Some((known, first)) if known != digest => {
                let first = self.nodes.name(first);
                let detail = format!("epoch {epoch} is {known:016x} on {first} and {digest:016x} on {name}");
                self.nodes.fail("P6", detail);
            }
            Some(_) => {}
        }
        for member in view.members().values() {
            let others = if stranger {
                !member.address.starts_with("stranger")
            } else {
                member.address.starts_with("stranger")
            };
            if others {
                self.nodes.fail("clusters", format!("{name} has {} for a member", member.address));
            }
        }
        if let Some((id, _)) = view.records().iter().find(|(_, record)| record.in_sync.is_empty()) {
            self.nodes.fail("R3", format!("nobody is in sync of {id:?} at epoch {epoch}"));
        }
    }

    fn note_promises(
        &mut self,
        cluster: &Cluster<SimPlatform>,
        view: &View,
        schedule: &Schedule,
        now_ms: u64,
    ) {
        for given_up in cluster.undecided() {
            let about = view.members().get(&given_up.node).and_then(|member| self.node_of(member));
            if let Some(node) = about {
                let involved = schedule.is_involved(&self.nodes, node, now_ms);
                self.promised.entry((given_up.node, given_up.joined)).or_insert(involved);
            }
        }
    }

    /// Which of the plan's nodes it is.
    fn node_of(&self, member: &Member) -> Option<usize> {
        (0..self.nodes.plan.nodes).find(|node| member.address == self.nodes.link_address(*node).as_str())
    }

    /// P8, the other way round: nobody is given up who was well. What was promised of somebody who was not is decided
    /// by whoever leads next, however late that is.
    fn none_taken_out_unharmed(&self, before: &View, view: &View, schedule: &Schedule, now_ms: u64) {
        for (id, member) in before.members() {
            let stays = view
                .members()
                .get(id)
                .is_some_and(|now| now.incarnation != member.incarnation || now.joined == member.joined);
            let node = self.node_of(member);
            // The disk that a node had before it was wiped goes whenever there is a majority to say so.
            let has = |node: usize| self.nodes.all[node].cluster.borrow().as_ref().map(|own| own.own().store);
            if let Some(node) = node
                && !stays
                && has(node).is_none_or(|store| store == member.store)
                && !schedule.is_involved(&self.nodes, node, now_ms)
                && self.promised.get(&(*id, member.joined)) != Some(&true)
            {
                let name = self.nodes.name(node);
                self.nodes.fail(
                    "P8",
                    format!("{name} was taken out at {now_ms} ms, and nothing had happened to it"),
                );
            }
        }
    }

    fn describe(&mut self, before: Option<&View>, view: &View, now_ms: u64) {
        let empty = View::default();
        let before = before.unwrap_or(&empty);
        let node_of = |node: &NodeId, view: &View| {
            view.members().get(node).map_or_else(|| "?".to_owned(), |member| member.address.to_string())
        };
        let mut parts = Vec::new();
        for (node, member) in view.members() {
            if before.members().get(node) != Some(member) {
                parts.push(format!("{} joins (run {})", member.address, member.incarnation.0 % 1_000_000));
            }
        }
        for node in before.members().keys().filter(|node| !view.members().contains_key(node)) {
            parts.push(format!("{} is out", node_of(node, before)));
        }
        let (mut taken, mut renewed, mut offline) = (0, 0, 0);
        for (id, record) in view.records() {
            let Some(old) = before.records().get(id) else { continue };
            taken += u64::from(record.leader.is_some() && record.leader != old.leader);
            renewed += u64::from(record.generation != old.generation);
            offline += u64::from(record.leader.is_none());
        }
        for (name, many) in [
            ("cluster_takeover", taken),
            ("cluster_new_generation", renewed),
            ("cluster_offline_record", offline),
        ] {
            *self.rare.entry(name).or_default() += many;
        }
        if taken + renewed + offline > 0 {
            parts.push(format!(
                "{taken} partitions have another leader, {renewed} begin again, {offline} have none"
            ));
        }
        self.nodes.tell(now_ms, format!("epoch {}: {}", view.epoch(), parts.join("; ")));
    }

    /// P5: whoever leads by its view and its lease would let out.
    fn one_leader(&self, now_ms: u64) {
        let leaders: Vec<usize> = (0..self.nodes.plan.nodes).filter(|node| self.seen[*node].leased).collect();
        for (at, a) in leaders.iter().enumerate() {
            for b in &leaders[at + 1..] {
                let (first, second) = (&self.seen[*a], &self.seen[*b]);
                let same = |one: &Seen, other: &Seen| {
                    one.view.as_ref().map(|view| view.epoch()) == other.view.as_ref().map(|view| view.epoch())
                };
                // One view has one leader.
                if same(first, second) {
                    continue;
                }
                if let Some(id) = first.leads.intersection(&second.leads).next() {
                    let epoch = |seen: &Seen| seen.view.as_ref().map_or(0, |view| view.epoch());
                    self.nodes.fail(
                        "P5",
                        format!(
                            "at {now_ms} ms {} (epoch {}) and {} (epoch {}) both would let out for {id:?}",
                            self.nodes.name(*a),
                            epoch(first),
                            self.nodes.name(*b),
                            epoch(second),
                        ),
                    );
                }
            }
        }
    }

    /// P8: `since_ms`: when something last changed; only what lasts can be judged.
    pub(super) fn judge_silence(&self, alone: Option<usize>, since_ms: u64, now_ms: u64) {
        let Some(alone) = alone else { return };
        let lasted = now_ms - since_ms;
        let name = self.nodes.name(alone);
        if lasted >= ISOLATED_WITHIN_MS
            && let Some(cluster) = &*self.nodes.all[alone].cluster.borrow()
            && !cluster.status().isolated
        {
            self.nodes.fail("P8", format!("{name} was cut off for {lasted} ms and does not know it"));
        }
        if lasted < REMOVED_WITHIN_MS {
            return;
        }
        let address = self.nodes.link_address(alone);
        for (node, seen) in self.seen.iter().enumerate().take(self.nodes.plan.nodes) {
            let has = |view: &Arc<View>| view.members().values().any(|member| member.address == address);
            if node != alone && seen.leased && seen.view.as_ref().is_some_and(has) {
                let by = self.nodes.name(node);
                self.nodes
                    .fail("P8", format!("{name} was silent for {lasted} ms, and {by} has it in its view"));
            }
        }
    }

    /// P10: whether the cluster has come back and stayed so; fails if that takes too long.
    pub(super) fn is_back(&mut self, healed_ms: u64, now_ms: u64) -> bool {
        match self.not_back() {
            None => {
                let since = *self.steady_since_ms.get_or_insert(now_ms);
                now_ms - since >= STEADY_MS
            }
            Some(missing) => {
                self.steady_since_ms = None;
                if now_ms - healed_ms > BACK_WITHIN_MS {
                    let all = self.sketch();
                    self.nodes
                        .fail("P10", format!("{BACK_WITHIN_MS} ms after the last fault: {missing}; {all}"));
                }
                self.missing = missing;
                false
            }
        }
    }

    /// How each node is doing, shortly.
    fn sketch(&self) -> String {
        let nodes = (0..self.nodes.plan.nodes).map(|node| {
            let name = self.nodes.name(node);
            let Some(cluster) = self.nodes.all[node].cluster.borrow().clone() else {
                return format!("{name}: down");
            };
            let status = cluster.status();
            let links: Vec<String> = status
                .links
                .iter()
                .map(|link| {
                    let arrows = (if link.dialled { ">" } else { "" }, if link.accepted { "<" } else { "" });
                    format!("{}{}{} {}", arrows.0, arrows.1, link.address, link.contact)
                })
                .collect();
            format!(
                "{name}: {} of term {}, epoch {}, lease {} ms, links [{}], troubles {:?}, refused {:?}",
                status.role,
                status.term,
                status.epoch,
                status.lease_ms,
                links.join(", "),
                status.troubles,
                status.refused
            )
        });
        nodes.collect::<Vec<_>>().join("; ")
    }

    /// What is not as it should be.
    fn not_back(&self) -> Option<String> {
        let own = 0..self.nodes.plan.nodes;
        let mut first: Option<&Arc<View>> = None;
        for node in own.clone() {
            let name = self.nodes.name(node);
            let cluster = self.nodes.all[node].cluster.borrow();
            let (Some(cluster), Some(view)) = (&*cluster, &self.seen[node].view) else {
                return Some(format!("{name} is not up"));
            };
            if !self.seen[node].leased {
                return Some(format!("{name} has no lease"));
            }
            let first = *first.get_or_insert(view);
            if view.epoch() != first.epoch() {
                return Some(format!("{name} is at epoch {}, another at {}", view.epoch(), first.epoch()));
            }
            let own = cluster.own();
            if view.members().get(&own.node).is_none_or(|member| member.incarnation != own.incarnation) {
                return Some(format!("{name} is no member"));
            }
            let status = cluster.status();
            if status.isolated {
                return Some(format!("{name} is isolated"));
            }
            let lost = status.voters.iter().find(|voter| voter.node.is_empty());
            if let Some(lost) = lost {
                return Some(format!("{name} counts disk {} for a voter, and nobody has it", lost.store));
            }
        }
        let view = first?;
        if view.members().len() != self.nodes.plan.nodes {
            return Some(format!("{} members in place of {}", view.members().len(), self.nodes.plan.nodes));
        }
        let expected = view.members().len();
        if view.records().is_empty() && expected > 0 {
            return Some("no partition has begun".to_owned());
        }
        for (index, client) in self.nodes.clients.iter().enumerate() {
            if let Some(missing) = client.missing() {
                return Some(format!("client {index} {missing}"));
            }
        }
        let leaderless = view.records().iter().find(|(_, record)| record.leader.is_none());
        leaderless.map(|(id, record)| format!("{id:?} has no leader: {record:?}"))
    }

    /// Who leads the consensus, and voters, for the story.
    pub(super) fn note_consensus(&mut self, before: &mut (String, Vec<String>), now_ms: u64) {
        let leader = self.nodes.all.iter().take(self.nodes.plan.nodes).find_map(|node| {
            let cluster = node.cluster.borrow();
            let status = cluster.as_ref()?.status();
            (status.role == "leader" && status.lease_ms > 0).then_some(status)
        });
        let Some(status) = leader else { return };
        if status.node != before.0 {
            if !before.0.is_empty() {
                self.count("cluster_consensus_leader_changed");
            }
            before.0.clone_from(&status.node);
            let address = status.members.iter().find(|member| member.node == status.node);
            let address = address.map_or_else(|| status.node.clone(), |member| member.address.clone());
            self.nodes.tell(now_ms, format!("{address} leads the consensus in term {}", status.term));
        }
        let voters: Vec<String> = status.voters.iter().map(|voter| voter.store.clone()).collect();
        if voters != before.1 {
            if !before.1.is_empty() {
                self.count("cluster_voters_changed");
            }
            self.nodes.tell(now_ms, format!("voters are {}", voters.join(", ")));
            before.1 = voters;
        }
    }

    /// Nodes that know they are isolated.
    pub(super) fn count_isolated(&mut self, isolated: &mut BTreeSet<usize>) {
        for node in 0..self.nodes.plan.nodes {
            let is =
                self.nodes.all[node].cluster.borrow().as_ref().is_some_and(|cluster| cluster.is_isolated());
            if !is {
                isolated.remove(&node);
            } else if isolated.insert(node) && self.seen[node].leased_ever {
                self.count("cluster_isolated");
            }
        }
    }
}
