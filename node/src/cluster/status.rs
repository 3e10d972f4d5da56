//! What an operator sees of the cluster from this node, as JSON and as numbers.

use super::Cluster;
use crate::platform::Platform;
use multibeam_consensus::{Role, Status};
use multibeam_proto::cluster::Contact;
use multibeam_proto::view::{Batch, MemberState, Op, Refusal};
use multibeam_wire::link::{NodeId, StoreId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The cluster as one node knows it. Ids are 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster, 32 digits; empty while there is none.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// Its disk.
    pub store: String,
    /// Its run.
    pub incarnation: u64,
    /// Number of the newest view here.
    pub epoch: u64,
    /// What that view is, in 16 digits: the same on each node that has this epoch.
    pub view: String,
    /// Milliseconds that the lease still holds; 0 without one.
    pub lease_ms: u64,
    /// The node has had no lease for too long.
    pub isolated: bool,
    /// This node's part in the consensus: leader, follower, candidate, learner or stopped.
    pub role: String,
    /// Of the consensus.
    pub term: u64,
    /// The node that leads the consensus; empty if unknown.
    pub leader: String,
    /// The term of the newest entry that the view contains: once it is `term`, its leader has got an entry agreed on.
    pub applied_term: u64,
    /// Entries in the log that the view does not contain.
    pub lag: u64,
    /// The voters, by disk.
    pub voters: Vec<VoterStatus>,
    /// The members, by id.
    pub members: Vec<MemberStatus>,
    /// How partitions are doing.
    pub records: RecordsStatus,
    /// Links, by peer.
    pub links: Vec<LinkStatus>,
    /// Addresses that can't be reached, and why; and from where somebody was turned away in the last minute.
    pub troubles: Vec<(String, String)>,
    /// Why the last proposal was refused; empty if none was.
    pub refused: String,
}

/// A voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterStatus {
    /// Its disk.
    pub store: String,
    /// Its node, if that is a member.
    pub node: String,
    /// It votes only until the change that is under way is done.
    pub leaving: bool,
    /// Entries it lacks, as the leader knows; elsewhere, nothing.
    pub lag: Option<u64>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub node: String,
    /// Where other nodes reach it.
    pub address: String,
    /// Where clients reach it.
    pub clients: String,
    /// Its run.
    pub incarnation: u64,
    /// Its disk.
    pub store: String,
    /// Its share of the partitions.
    pub weight: u8,
    /// up or draining.
    pub state: String,
    /// Partitions it leads.
    pub leads: usize,
    /// Partitions it has in sync.
    pub in_sync: usize,
    /// alive, degraded or silent, as seen from this node; itself is alive.
    pub contact: String,
}

/// Partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsStatus {
    /// With a record.
    pub all: usize,
    /// With a leader.
    pub led: usize,
    /// Without one, and nobody alive can be (R3).
    pub offline: usize,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Who.
    pub node: String,
    /// Its disk.
    pub store: String,
    /// Where it is.
    pub address: String,
    /// This node's connection to it stands.
    pub dialled: bool,
    /// Its connection to this node stands.
    pub accepted: bool,
    /// alive, degraded or silent.
    pub contact: String,
    /// Milliseconds since it was last heard.
    pub silence_ms: u64,
    /// Microseconds from the last heartbeat to its answer.
    pub round_trip_us: Option<u64>,
    /// The view it has.
    pub epoch: u64,
}

/// Why a node was not removed. Each is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// No such node.
    #[error(
        "no member, past or present, is called {0}: see 'multibeam cluster status' for ids and addresses"
    )]
    Unknown(String),
    /// It is in touch.
    #[error("node {0} is alive: stop it first, or it would join again")]
    Alive(String),
    /// Only the leader can, and admin servers are known on their own machines alone.
    #[error(
        "this node does not lead the consensus: say it to the admin server (--admin) of node {node}, whose clients \
         connect to {clients}"
    )]
    NotLeader {
        /// The node that does.
        node: String,
        /// Where clients reach it.
        clients: String,
    },
    /// As above, and nobody leads.
    #[error("no node is known here to lead the consensus: see 'multibeam cluster status', and ask again")]
    NoLeader,
    /// It is still a member; that ends within a second of its silence.
    #[error("node {0} is still being taken out: ask again in a second")]
    Member(String),
    /// The consensus did not decide.
    #[error("{0}")]
    Failed(String),
}

pub(super) fn hex(id: u64) -> String {
    format!("{id:016x}")
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Stopped => "stopped",
    }
}

/// Entries of the log that the view does not contain.
pub(super) fn lag(status: &Status) -> u64 {
    status.last_log.map_or(0, |last| last.saturating_sub(status.applied.unwrap_or(0)))
}

impl<P: Platform> Cluster<P> {
    /// The cluster as this node knows it.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let (now, status) = (self.now(), self.inner.consensus.status());
        let agent = self.inner.agent.borrow();
        let (own, view) = (agent.own(), agent.view());
        let node_of = |store: StoreId| {
            let member = view.members().iter().find(|(_, member)| member.store == store);
            member.map_or_else(String::new, |(node, _)| hex(node.0))
        };
        let last = status.last_log;
        let voters = agent.voters();
        let cluster = own.cluster.0;
        ClusterStatus {
            cluster: if cluster == 0 { String::new() } else { format!("{cluster:032x}") },
            node: hex(own.node.0),
            store: hex(own.store.0),
            incarnation: own.incarnation.0,
            epoch: view.epoch(),
            view: hex(view.digest()),
            lease_ms: millis(self.inner.lease.until().since(now)),
            isolated: agent.is_isolated(),
            role: role(status.role).to_owned(),
            term: status.term,
            leader: status.leader.map(node_of).unwrap_or_default(),
            applied_term: status.applied_term,
            lag: lag(&status),
            voters: voters
                .all()
                .map(|store| VoterStatus {
                    store: hex(store.0),
                    node: node_of(store),
                    leaving: !voters.present.contains(store),
                    lag: status.replication.get(&store).map(|matched| {
                        let has = matched.map_or(0, |index| index + 1);
                        last.map_or(0, |index| index + 1).saturating_sub(has)
                    }),
                })
                .collect(),
            members: self.members(&agent),
            records: self.records(&agent),
            links: agent
                .peers(now)
                .filter(|peer| peer.peer.is_linked() || view.members().contains_key(&peer.peer.node))
                .map(|status| LinkStatus {
                    node: hex(status.peer.node.0),
                    store: hex(status.store.0),
                    address: status.peer.address.to_string(),
                    dialled: status.peer.dialled,
                    accepted: status.peer.accepted,
                    contact: status.contact.label().to_owned(),
                    silence_ms: millis(status.silence),
                    round_trip_us: status
                        .peer
                        .round_trip
                        .map(|trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX)),
                    epoch: status.peer.epoch.0,
                })
                .collect(),
            troubles: {
                let links = self.inner.links.borrow();
                let dialled = links.troubles().filter_map(|(at, trouble)| Some((at.clone(), trouble?)));
                dialled.chain(links.turned_away(now)).collect()
            },
            refused: agent.steward().last_refusal().map_or_else(String::new, |refusal| refusal.to_string()),
        }
    }

    fn members(&self, agent: &multibeam_proto::cluster::Agent) -> Vec<MemberStatus> {
        let (view, now) = (agent.view(), self.now());
        let contact = |node: NodeId, store: StoreId| {
            if node == agent.own().node {
                return Contact::Alive;
            }
            let peer = agent.peers(now).find(|status| status.store == store);
            peer.map_or(Contact::Silent, |status| status.contact)
        };
        let members = view.members().iter().map(|(node, member)| {
            let leads = view.records().values().filter(|record| record.leader == Some(*node)).count();
            let has = |replica: &multibeam_proto::view::Replica| replica.node == *node;
            let in_sync = view.records().values().filter(|record| record.in_sync.iter().any(has)).count();
            MemberStatus {
                node: hex(node.0),
                address: member.address.to_string(),
                clients: member.clients.to_string(),
                incarnation: member.incarnation.0,
                store: hex(member.store.0),
                weight: member.weight,
                state: match member.state {
                    MemberState::Up => "up",
                    MemberState::Draining => "draining",
                }
                .to_owned(),
                leads,
                in_sync,
                contact: contact(*node, member.store).label().to_owned(),
            }
        });
        members.collect()
    }

    pub(super) fn records(&self, agent: &multibeam_proto::cluster::Agent) -> RecordsStatus {
        let view = agent.view();
        let mut records = RecordsStatus { all: view.records().len(), ..RecordsStatus::default() };
        for record in view.records().values() {
            match record.leader {
                Some(_) => records.led += 1,
                None if record.in_sync.iter().any(|replica| view.is_current(replica)) => {}
                None => records.offline += 1,
            }
        }
        records
    }

    /// Gives up a node that will not come back with its disk: its vote goes to another, or away.
    ///
    /// # Errors
    /// See [`RemoveError`]. Nothing was changed.
    pub async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        let node = self.gone(name)?;
        let ops = vec![Op::Lose { node }];
        let outcome = self.propose(Batch { if_epoch: None, ops }).await;
        let outcome = outcome.map_err(|error| RemoveError::Failed(error.to_string()))?;
        match outcome.refused.first() {
            None => Ok(()),
            Some((_, Refusal::NotGone(_))) => Err(RemoveError::Unknown(name.to_owned())),
            Some((_, refusal)) => Err(RemoveError::Failed(refusal.to_string())),
        }
    }

    /// The node of that id or address, if it is no member.
    fn gone(&self, name: &str) -> Result<NodeId, RemoveError> {
        let agent = self.inner.agent.borrow();
        if !agent.facts().leads {
            let leader = agent.facts().leader;
            let leader = agent.view().members().iter().find(|(_, member)| Some(member.store) == leader);
            return Err(leader.map_or(RemoveError::NoLeader, |(node, member)| RemoveError::NotLeader {
                node: hex(node.0),
                clients: member.clients.to_string(),
            }));
        }
        let by_id = u64::from_str_radix(name, 16).ok().filter(|_| name.len() == 16).map(NodeId);
        let view = agent.view();
        let by_address = || {
            let member = view.members().iter().find(|(_, member)| member.address == name);
            let member = member.map(|(node, _)| *node);
            member.or_else(|| {
                agent.peers(self.now()).find(|peer| peer.peer.address == name).map(|peer| peer.peer.node)
            })
        };
        let node = by_id.or_else(by_address).ok_or_else(|| RemoveError::Unknown(name.to_owned()))?;
        let linked = agent
            .peers(self.now())
            .any(|peer| peer.peer.node == node && peer.peer.is_linked() && peer.contact != Contact::Silent);
        if linked || node == agent.own().node {
            return Err(RemoveError::Alive(hex(node.0)));
        }
        if view.members().contains_key(&node) {
            return Err(RemoveError::Member(hex(node.0)));
        }
        Ok(node)
    }
}
