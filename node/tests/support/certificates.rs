//! A cluster's CA, nodes of it, and a clock that a test sets.

use multibeam::link_tls::LinkTls;
use multibeam::link_tls::authority::{Authority, Validity};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// When certificates are made: 2023-11-14.
pub(crate) const NOW: u64 = 1_700_000_000;
/// How long they are valid.
pub(crate) const YEAR: u64 = 365 * 86_400;

#[derive(Debug)]
pub(crate) struct HandClock(Mutex<u64>);

impl HandClock {
    pub(crate) fn at(seconds: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(seconds)))
    }

    pub(crate) fn set(&self, seconds: u64) {
        *self.0.lock().unwrap() = seconds;
    }

    pub(crate) fn moved(self: Arc<Self>, seconds: u64) -> Arc<Self> {
        self.set(seconds);
        self
    }
}

impl TimeProvider for HandClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(*self.0.lock().unwrap())))
    }
}

fn validity() -> Validity {
    let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    Validity { from: time(NOW), until: time(NOW + YEAR) }
}

pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    pub(crate) ca: String,
}

pub(crate) struct Node {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) tls: LinkTls,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let authority = Authority::generate().unwrap();
        let ca = authority.certificate(validity()).unwrap();
        Self { authority, ca }
    }

    /// The file of a CA in which all of these are trusted.
    pub(crate) fn trusting(clusters: &[&Self]) -> String {
        clusters.iter().map(|cluster| cluster.ca.as_str()).collect()
    }

    pub(crate) fn node(&self, hosts: &[&str]) -> Node {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let issued = self.authority.issue(&hosts, validity()).unwrap();
        Node::new(&self.ca, issued.certificate, issued.key)
    }

    /// A node of this cluster that trusts `ca`.
    pub(crate) fn node_of(&self, host: &str, ca: &str) -> LinkTls {
        let issued = self.authority.issue(&[host.to_owned()], validity()).unwrap();
        Node::new(ca, issued.certificate, issued.key).tls
    }
}

impl Node {
    fn new(ca: &str, certificate: String, key: String) -> Self {
        let clock = HandClock::at(NOW);
        let pieces = (ca.as_bytes(), certificate.as_bytes(), key.as_bytes());
        let tls = LinkTls::from_pem(pieces.0, pieces.1, pieces.2, clock.clone()).unwrap();
        Self { certificate, key, clock, tls }
    }

    /// The same node after a restart.
    pub(crate) fn again(self, cluster: &Cluster) -> Self {
        Self::new(&cluster.ca, self.certificate, self.key)
    }
}
