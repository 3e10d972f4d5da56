//! Who is dialled: the addresses of the configuration, of all members, and of whoever dials this node. Each
//! address has a task for control and, once it is known who is there, one for data.

use super::connection::{self, Ended};
use super::handshake::{self, HandshakeError};
use super::{DIALS_MAX, Dialled};
use crate::cluster::{Cluster, count, identity};
use crate::platform::Platform;
use multibeam_wire::link::{LinkPurpose, StoreId};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Time to connect, and again to say who is who.
const DIAL_MAX: Duration = Duration::from_secs(1);

/// First pause after a dial that failed; it doubles up to [`PAUSE_MAX`]. A node that comes back is to be in touch
/// within a few heartbeats.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Pause after a peer was refused, or refuses this node: a person has to mend something.
const PAUSE_REFUSED: Duration = Duration::from_secs(2);

/// Dials those who are wanted and are not dialled yet, and no longer those who are not.
pub(in crate::cluster) fn renew<P: Platform>(cluster: &Cluster<P>) {
    if !cluster.inner.settings.is_configured() {
        return;
    }
    let mut wanted = wanted(cluster);
    let mut links = cluster.inner.links.borrow_mut();
    links.dialled.retain(|address, dialled| {
        let said = wanted.remove(address);
        if said.is_none() {
            dialled.is_unwanted();
        }
        said.map(|said| *dialled.said.borrow_mut() = said).is_some()
    });
    for (address, said) in wanted {
        if links.dialled.len() >= DIALS_MAX {
            break;
        }
        if links.own.contains(&address) {
            continue;
        }
        let dialled = Rc::new(Dialled::default());
        dialled.wanted.set(true);
        *dialled.said.borrow_mut() = said;
        links.dialled.insert(address.clone(), Rc::clone(&dialled));
        for purpose in [LinkPurpose::Control, LinkPurpose::Data] {
            let dial = Dial {
                cluster: cluster.clone(),
                address: address.clone(),
                dialled: Rc::clone(&dialled),
                purpose,
            };
            cluster.inner.platform.spawn(dial.keep());
        }
    }
}

/// The addresses to dial, and which disks are said to be there.
fn wanted<P: Platform>(cluster: &Cluster<P>) -> BTreeMap<String, Vec<StoreId>> {
    let settings = &cluster.inner.settings;
    let agent = cluster.inner.agent.borrow();
    let own = agent.own();
    let configured = settings.initial_voters.iter().chain(&settings.join);
    let mut wanted: BTreeMap<String, Vec<StoreId>> =
        configured.map(|address| (address.clone(), Vec::new())).collect();
    let mut say = |address: &str, store| wanted.entry(address.to_owned()).or_default().push(store);
    for (_, member) in agent.view().members().iter().filter(|(node, _)| **node != own.node) {
        say(&member.address, member.store);
    }
    // Without a vote that is missing nothing may be decided, whether its node is a member or not.
    for store in agent.voters().all().filter(|store| *store != own.store) {
        if let Some(address) = agent.view().address_of(store) {
            say(address, store);
        }
    }
    for status in agent.peers(cluster.now()) {
        if status.peer.is_linked() && !status.peer.address.is_empty() {
            say(&status.peer.address, status.store);
        }
    }
    wanted.remove(own.address.as_str());
    wanted.retain(|address, _| settings.may_dial(address));
    wanted
}

impl Dialled {
    fn is_unwanted(&self) {
        self.wanted.set(false);
        self.changed.notify_one();
    }
}

/// An address, and what for.
struct Dial<P: Platform> {
    cluster: Cluster<P>,
    address: String,
    dialled: Rc<Dialled>,
    purpose: LinkPurpose,
}

impl<P: Platform> Dial<P> {
    /// Keeps a connection there for as long as it is wanted.
    async fn keep(self) {
        let mut pause = PAUSE_MIN;
        while self.is_due().await {
            let trouble = match self.once().await {
                Ok((ended, stood)) => {
                    pause = self.pause_after(&ended, stood, pause);
                    ended.to_string()
                }
                Err(error) if error.is_itself() => {
                    let mut links = self.cluster.inner.links.borrow_mut();
                    links.own.insert(self.address.clone());
                    links.dialled.remove(&self.address);
                    self.dialled.is_unwanted();
                    return;
                }
                Err(error) => {
                    count(&self.cluster.inner.numbers.dials_failed);
                    let refused = matches!(error, HandshakeError::Refused(_) | HandshakeError::Unwanted(_));
                    pause = if refused { PAUSE_REFUSED } else { (pause * 2).min(PAUSE_MAX) };
                    error.to_string()
                }
            };
            if self.purpose == LinkPurpose::Control {
                *self.dialled.trouble.borrow_mut() = Some(trouble);
            }
            self.cluster.inner.platform.sleep(self.jittered(pause)).await;
        }
    }

    /// One that ends at once is no better than a dial that fails.
    fn pause_after(&self, ended: &Ended, stood: Duration, pause: Duration) -> Duration {
        if ended.is_lasting() {
            PAUSE_REFUSED
        } else if stood >= self.cluster.inner.settings.times.silent_after {
            PAUSE_MIN
        } else {
            (pause * 2).min(PAUSE_MAX)
        }
    }

    /// Waits until a dial is of use. `false`: it is wanted no more.
    async fn is_due(&self) -> bool {
        while self.dialled.wanted.get() {
            let (elsewhere, present) = {
                let links = self.cluster.inner.links.borrow();
                (links.is_elsewhere(&self.dialled, self.purpose), links.at(&self.address).is_some())
            };
            // Data needs nobody who is not in touch.
            if !elsewhere && (present || self.purpose == LinkPurpose::Control) {
                return true;
            }
            if elsewhere && self.purpose == LinkPurpose::Control {
                *self.dialled.trouble.borrow_mut() = None;
            }
            tokio::select! {
                biased;
                () = self.dialled.changed.notified(), if self.purpose == LinkPurpose::Data => {}
                () = self.cluster.inner.platform.sleep(PAUSE_REFUSED) => {}
            }
        }
        false
    }

    /// From half of it to all of it, so that nodes that lost each other do not meet each time.
    fn jittered(&self, pause: Duration) -> Duration {
        let part = (identity::random(&self.cluster.inner.platform) % 512) as u32;
        pause * (512 + part) / 1024
    }

    /// How a connection ended, and how long it stood.
    async fn once(&self) -> Result<(Ended, Duration), HandshakeError> {
        let cluster = &self.cluster;
        count(&cluster.inner.numbers.dials);
        let stream = self.in_time(cluster.inner.platform.dial(&self.address)).await??;
        match cluster.inner.tls.clone() {
            None => self.exchange(stream).await,
            Some(tls) => {
                // Of the peer's judgement of this node the first read tells.
                let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let secured = self.in_time(tls.dial(stream, host)).await??;
                cluster.inner.numbers.secured(&secured);
                let exchanged = self.exchange(secured).await;
                exchanged.map_err(|error| error.of_tls(&format!("the node at {host}")))
            }
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
    ) -> Result<(Ended, Duration), HandshakeError> {
        let cluster = &self.cluster;
        let mut established =
            self.in_time(handshake::dial(cluster, &mut stream, self.purpose, &self.address)).await??;
        if self.purpose == LinkPurpose::Control {
            self.dialled.known.set(Some(established.peer.store));
            self.dialled.changed.notify_one();
            *self.dialled.trouble.borrow_mut() = None;
            established.address.clone_from(&self.address);
        }
        let began = cluster.now();
        let ended = connection::run(cluster, stream, established).await;
        Ok((ended, cluster.now().since(began)))
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, HandshakeError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cluster.inner.platform.sleep(DIAL_MAX) => {
                let text = format!("no answer within {} ms", DIAL_MAX.as_millis());
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into())
            }
        }
    }
}
