//! The cluster as numbers: what `/metrics` shows of it, and what `/readyz` asks.

use super::Cluster;
use super::status::{RecordsStatus, millis, role};
use crate::platform::Platform;
use multibeam_consensus::Role;
use multibeam_proto::StatKind;
use multibeam_proto::cluster::{Contact, LeaseWishes};
use multibeam_wire::link::LinkPurpose;
use std::time::Duration;

/// Whether this node may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It belongs to a cluster.
    pub belongs: bool,
    /// How long its lease still holds; zero without one.
    pub lease: Duration,
    /// How long it has had none; zero with one.
    pub unleased: Duration,
    /// That is too long.
    pub isolated: bool,
}

impl Standing {
    /// Why clients are not to be sent here; `None` if they are.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        if !self.belongs {
            return Some("no cluster yet: say bootstrap".to_owned());
        }
        if self.isolated {
            return Some(format!("isolated: no lease for {} ms", self.unleased.as_millis()));
        }
        self.lease.is_zero().then(|| "no lease".to_owned())
    }
}

/// A peer that is linked, or a member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PeerReading {
    node: String,
    contact: Contact,
    round_trip: Option<Duration>,
}

/// The numbers of one moment.
#[derive(Clone, Debug)]
pub struct ClusterReadings {
    epoch: u64,
    members: usize,
    voters: usize,
    standing: Standing,
    wishes: LeaseWishes,
    promises: usize,
    leases_lost: u64,
    times_isolated: u64,
    peers: Vec<PeerReading>,
    /// By purpose and direction.
    links: [(&'static str, u64); 4],
    dials: u64,
    dials_failed: u64,
    tls_full: u64,
    tls_resumed: u64,
    refused: u64,
    proposals: u64,
    records: RecordsStatus,
    role: Role,
    write_us_max: u64,
    term: u64,
    lag: u64,
}

/// What one series of a metric is told apart by, if there are several; and its value.
type Series = (Option<(&'static str, String)>, u64);

/// A family of `/metrics`; one row of the documents.
#[derive(Clone, Copy, Debug)]
pub struct ClusterMetric {
    /// Its name behind `multibeam_cluster_`, without `_total`.
    pub metric: &'static str,
    /// Gauge or counter.
    pub kind: StatKind,
    /// What it tells, as a sentence.
    pub help: &'static str,
    read: fn(&ClusterReadings) -> Vec<Series>,
}

const fn gauge(
    metric: &'static str,
    help: &'static str,
    read: fn(&ClusterReadings) -> Vec<Series>,
) -> ClusterMetric {
    ClusterMetric { metric, kind: StatKind::Gauge, help, read }
}

const fn counter(
    metric: &'static str,
    help: &'static str,
    read: fn(&ClusterReadings) -> Vec<Series>,
) -> ClusterMetric {
    ClusterMetric { metric, kind: StatKind::Count, help, read }
}

fn one(value: u64) -> Vec<Series> {
    vec![(None, value)]
}

const CONTACTS: [Contact; 3] = [Contact::Alive, Contact::Degraded, Contact::Silent];

const ROLES: [Role; 5] = [Role::Leader, Role::Follower, Role::Candidate, Role::Learner, Role::Stopped];

impl ClusterMetric {
    /// All, in the order of the documents.
    pub const ALL: &[Self] = &[
        gauge("epoch", "Number of the newest view here.", |now| one(now.epoch)),
        gauge("members", "Members of that view.", |now| one(now.members as u64)),
        gauge("voters", "Voters of the consensus, those that are leaving included.", |now| {
            one(now.voters as u64)
        }),
        gauge("lease_ms", "Milliseconds that this node's lease still holds; 0 without one.", |now| {
            one(millis(now.standing.lease))
        }),
        counter("leases_lost", "Times that this node had a lease and then none.", |now| one(now.leases_lost)),
        counter(
            "lease_wishes",
            "Wishes of other nodes for a lease that this voter answered, by answer.",
            |now| {
                vec![
                    (Some(("answer", "granted".to_owned())), now.wishes.granted),
                    (Some(("answer", "refused".to_owned())), now.wishes.refused),
                ]
            },
        ),
        gauge(
            "promises",
            "Nodes that this voter has promised to grant nothing, and that are not taken out yet.",
            |now| one(now.promises as u64),
        ),
        gauge("isolated", "1 while this node has had no lease for too long, else 0.", |now| {
            one(now.standing.isolated.into())
        }),
        counter("times_isolated", "Times that this node became isolated.", |now| one(now.times_isolated)),
        gauge("peers", "Other nodes that are members or linked, by contact.", |now| {
            let count = |contact| now.peers.iter().filter(|peer| peer.contact == contact).count() as u64;
            CONTACTS.map(|contact| (Some(("contact", contact.label().to_owned())), count(contact))).to_vec()
        }),
        gauge("round_trip_us", "Microseconds from the last heartbeat to its answer, by peer.", |now| {
            let trip = |peer: &PeerReading| {
                let micros = u64::try_from(peer.round_trip?.as_micros()).unwrap_or(u64::MAX);
                Some((Some(("peer", peer.node.clone())), micros))
            };
            now.peers.iter().filter_map(trip).collect()
        }),
        gauge("links", "Connections to other nodes that stand, by purpose and by who dialled.", |now| {
            now.links.map(|(kind, count)| (Some(("link", kind.to_owned())), count)).to_vec()
        }),
        counter("dials", "Connections to other nodes that were tried.", |now| one(now.dials)),
        counter("dials_failed", "Those that came to nothing.", |now| one(now.dials_failed)),
        counter("tls_handshakes", "Handshakes of TLS on links in both directions, by kind.", |now| {
            vec![
                (Some(("kind", "full".to_owned())), now.tls_full),
                (Some(("kind", "resumed".to_owned())), now.tls_resumed),
            ]
        }),
        counter("peers_refused", "Peers that this node would not talk to.", |now| one(now.refused)),
        counter(
            "proposals",
            "Batches of changes that this node proposed as leader of the consensus.",
            |now| one(now.proposals),
        ),
        gauge("records", "Partitions with a record.", |now| one(now.records.all as u64)),
        gauge("records_led", "Partitions with a leader.", |now| one(now.records.led as u64)),
        gauge("records_offline", "Partitions without a leader that nobody alive can lead.", |now| {
            one(now.records.offline as u64)
        }),
        gauge("role", "1 for this node's part in the consensus, 0 for the others, by role.", |now| {
            ROLES.map(|each| (Some(("role", role(each).to_owned())), u64::from(each == now.role))).to_vec()
        }),
        gauge(
            "write_us_max",
            "Microseconds of the longest durable write of the consensus since the start; while it lasts the node is silent.",
            |now| one(now.write_us_max),
        ),
        gauge("term", "Term of the consensus.", |now| one(now.term)),
        gauge("lag", "Entries of the log here that the view does not contain.", |now| one(now.lag)),
    ];

    /// The series of a moment.
    pub(crate) fn read(&self, readings: &ClusterReadings) -> Vec<Series> {
        (self.read)(readings)
    }
}

impl<P: Platform> Cluster<P> {
    /// Whether this node may lead.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (now, agent) = (self.now(), self.inner.agent.borrow());
        let until = self.inner.lease.until();
        let lease = until.since(now);
        let last = until.max(self.inner.leased.get());
        let unleased = if lease.is_zero() { now.since(last) } else { Duration::ZERO };
        Standing { belongs: agent.own().cluster.0 != 0, lease, unleased, isolated: agent.is_isolated() }
    }

    fn count_links(&self) -> [(&'static str, u64); 4] {
        let links = self.inner.links.borrow();
        let count =
            |purpose, dialled| links.standing().filter(|link| *link == (purpose, dialled)).count() as u64;
        [
            ("control_dialled", count(LinkPurpose::Control, true)),
            ("control_accepted", count(LinkPurpose::Control, false)),
            ("data_dialled", count(LinkPurpose::Data, true)),
            ("data_accepted", count(LinkPurpose::Data, false)),
        ]
    }

    /// The numbers of this moment.
    #[must_use]
    pub fn readings(&self) -> ClusterReadings {
        let (now, status, numbers) = (self.now(), self.inner.consensus.status(), &self.inner.numbers);
        let agent = self.inner.agent.borrow();
        let view = agent.view();
        let peers = agent.peers(now);
        let peers =
            peers.filter(|peer| peer.peer.is_linked() || view.members().contains_key(&peer.peer.node));
        ClusterReadings {
            epoch: view.epoch(),
            members: view.members().len(),
            voters: agent.voters().all().count(),
            standing: self.standing(),
            wishes: agent.lease_wishes(),
            promises: agent.undecided().len(),
            leases_lost: numbers.leases_lost.get(),
            times_isolated: numbers.times_isolated.get(),
            peers: peers
                .map(|peer| PeerReading {
                    node: super::status::hex(peer.peer.node.0),
                    contact: peer.contact,
                    round_trip: peer.peer.round_trip,
                })
                .collect(),
            links: self.count_links(),
            dials: numbers.dials.get(),
            dials_failed: numbers.dials_failed.get(),
            tls_full: numbers.tls_full.get(),
            tls_resumed: numbers.tls_resumed.get(),
            refused: numbers.refused.get(),
            proposals: numbers.proposals.get(),
            records: self.records(&agent),
            role: status.role,
            write_us_max: u64::try_from(self.inner.store.longest_write().as_micros()).unwrap_or(u64::MAX),
            term: status.term,
            lag: super::status::lag(&status),
        }
    }
}

#[cfg(test)]
impl ClusterReadings {
    /// Those of a node that leads a cluster, for the test of the exposition.
    pub(crate) fn example() -> Self {
        let peer = |node: &str, contact, round_trip| PeerReading { node: node.into(), contact, round_trip };
        let standing = Standing {
            belongs: true,
            lease: Duration::from_millis(321),
            unleased: Duration::ZERO,
            isolated: true,
        };
        Self {
            epoch: 17,
            members: 3,
            voters: 5,
            standing,
            wishes: LeaseWishes { granted: 31, refused: 6 },
            promises: 8,
            leases_lost: 2,
            times_isolated: 1,
            peers: vec![
                peer("b", Contact::Alive, Some(Duration::from_micros(250))),
                peer("c", Contact::Silent, None),
            ],
            links: [
                ("control_dialled", 2),
                ("control_accepted", 3),
                ("data_dialled", 1),
                ("data_accepted", 0),
            ],
            dials: 12,
            dials_failed: 7,
            tls_full: 14,
            tls_resumed: 13,
            refused: 4,
            proposals: 9,
            records: RecordsStatus { all: 210, led: 200, offline: 6 },
            role: Role::Leader,
            write_us_max: 15,
            term: 8,
            lag: 11,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_its_first_cause() {
        let millis = Duration::from_millis;
        let standing = |belongs, lease, unleased, isolated| {
            Standing { belongs, lease: millis(lease), unleased: millis(unleased), isolated }.trouble()
        };
        assert_eq!(standing(true, 1, 0, false), None);
        assert_eq!(standing(true, 0, 30, false).as_deref(), Some("no lease"));
        assert_eq!(standing(true, 0, 2100, true).as_deref(), Some("isolated: no lease for 2100 ms"));
        assert_eq!(standing(false, 0, 2100, true).as_deref(), Some("no cluster yet: say bootstrap"));
    }
}
