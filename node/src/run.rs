//! A node from start to end: the one wiring, used by the binary and by the simulator.
//!
//! ```text
//!  admin bound ─► generation written ─► shards listen ─► ready ─► asked to stop
//!                                          │                          │
//!                                  mail task, admin            Stop to each shard,
//!                                                              all ended, admin ended
//! ```
//!
//! Everything it does to the world goes through [`Platform`]; it decides nothing about
//! clients, topics or messages.

use crate::admin::{self, Exposition};
use crate::cluster::{self, Addresses, Cluster, ClusterControl, ClusterError, Opened};
use crate::config::NodeConfig;
use crate::event_loop::Loop;
use crate::lease::LeaseCell;
use crate::link_tls::LinkTls;
use crate::metrics::ShardMetrics;
use crate::platform::{Platform, ShardsSetup, Started};
use crate::runtime::{self, Control};
use axum::serve::Listener;
use multibeam_proto::{Shard, ShardId, ShardSetup};
use multibeam_wire::Generation;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Durable file with the generation of the last start, as decimal text.
pub const GENERATION_FILE: &str = "generation";

/// Beyond its own deadline a shard may take this long to end before the node gives up on it.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What stands for the address of a node that nobody can link to.
pub(crate) const NO_LINKS: &str = "-";

/// A node that is alone decides by itself; it takes a few writes to the disk.
const ALONE_MAX: Duration = Duration::from_secs(10);

/// Answers of the admin server that are on their way may take this long at the end.
const ADMIN_STOP_MAX: Duration = Duration::from_secs(1);

/// A node that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where clients connect.
    pub listening: SocketAddr,
    /// Where the admin server is.
    pub admin: SocketAddr,
    /// The generation that this run stores messages in.
    pub generation: Generation,
    /// Where other nodes reach it.
    pub links: String,
}

/// Why a node did not start, or ended unasked. Each is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A durable file could not be read or written.
    #[error("{0}")]
    File(io::Error),
    /// The generation file holds something else.
    #[error(
        "{} holds no generation (expected a number from 1 on, found {found:?}): restore it from a backup, or \
         put a number in that is larger than any this node has had",
        path.display()
    )]
    Generation {
        /// The file.
        path: PathBuf,
        /// The start of its content.
        found: String,
    },
    /// Clients can't be listened for.
    #[error("{0}")]
    Listen(io::Error),
    /// Links of other nodes can't be listened for.
    #[error("{0}")]
    Links(io::Error),
    /// The admin address can't be listened on.
    #[error("{0}")]
    Admin(io::Error),
    /// A shard ended unasked. The others can't serve its topics, so the node ends.
    #[error("{0}; the node can't go on without it")]
    Shard(String),
    /// It has no part in its cluster, or can't go on having one.
    #[error("{0}")]
    Cluster(String),
    /// A shard did not end when asked.
    #[error("a shard did not stop within {} s; its connections were cut", .0.as_secs())]
    Stuck(Duration),
}

/// Runs a node until it is asked to stop; calls `ready` once it serves.
///
/// # Errors
/// See [`RunError`]. Clients that were connected see their connections end.
pub async fn run<P: Platform>(
    platform: P,
    config: NodeConfig,
    ready: impl FnOnce(&Ready, &Cluster<P>),
) -> Result<(), RunError> {
    // First, so that whoever saw `ready` can ask for a stop.
    let shutdown = platform.shutdown();
    let admin_listener = platform.bind_admin(config.admin).await.map_err(RunError::Admin)?;
    let admin = admin_listener.local_addr().map_err(RunError::Admin)?;
    let links = match config.cluster.listen {
        None => None,
        Some(listen) => Some(platform.bind_links(listen).await.map_err(RunError::Links)?),
    };
    let opened = cluster::open(&platform, &config.cluster).map_err(ClusterError::from).map_err(in_cluster)?;
    // Members store apart from each other, and a client that goes from one to another must be told that.
    let least = if config.cluster.is_configured() { opened.number_of_run() } else { 1 };
    let generation = next_generation(&platform, &config, least)?;

    let metrics: Arc<[Arc<ShardMetrics>]> = (0..config.shards).map(|_| ShardMetrics::new()).collect();
    let lease = LeaseCell::none();
    let Started { listening, mail, ended } = start(&platform, &config, generation, &metrics, &lease).await?;
    let (control, requests) = runtime::control();
    platform.spawn(runtime::serve_mail(platform.clone(), mail, config.shards, requests));
    let cluster = join(&platform, &config, opened, links, lease, listening).await?;
    cluster.serve(control.clone());
    let (cluster_control, cluster_requests) = cluster::cluster_control();
    platform.spawn(cluster::serve_cluster(cluster.clone(), cluster_requests));

    let exposition = Exposition::new(metrics, generation, platform.wall_ms());
    let admin_server = spawn_admin(&platform, admin_listener, control.clone(), cluster_control, exposition);
    ready(&Ready { listening, admin, generation, links: cluster.own().address.to_string() }, &cluster);

    let mut ended = pin!(ended);
    let result = tokio::select! {
        biased;
        end = &mut ended => Err(unasked(end)),
        failure = cluster.failure() => Err(RunError::Cluster(failure)),
        () = shutdown => {
            let stopped = stop(&platform, &config, &control, ended).await;
            // Shards that run on may lead: others wait until that is over.
            if stopped.is_ok() {
                cluster.sign_off().await;
            }
            stopped
        }
    };
    cluster.shutdown().await;
    admin_server.end(&platform).await;
    result
}

/// Reads the generation of the last start and durably writes the next one, which is `least` or more.
fn next_generation<P: Platform>(
    platform: &P,
    config: &NodeConfig,
    least: u64,
) -> Result<Generation, RunError> {
    let content = platform.read_file(GENERATION_FILE).map_err(RunError::File)?;
    let last = match &content {
        None => 0,
        Some(content) => parse_generation(content).ok_or_else(|| RunError::Generation {
            path: config.data_dir.join(GENERATION_FILE),
            found: String::from_utf8_lossy(&content[..content.len().min(40)]).into_owned(),
        })?,
    };
    let next = least.max(last + 1);
    platform.write_file(GENERATION_FILE, format!("{next}\n").as_bytes()).map_err(RunError::File)?;
    Ok(Generation(next))
}

/// A generation that has a successor.
fn parse_generation(content: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('\n')?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number > 0 && number < u64::MAX)
}

async fn start<P: Platform>(
    platform: &P,
    config: &NodeConfig,
    generation: Generation,
    metrics: &Arc<[Arc<ShardMetrics>]>,
    lease: &LeaseCell,
) -> Result<Started<P::RuntimeMail, P::Ended>, RunError> {
    let mut entropy = [0; 8];
    platform.entropy(&mut entropy);
    let seed = u64::from_le_bytes(entropy);
    let shards = u16::try_from(config.shards).unwrap_or(u16::MAX);
    assert_eq!(usize::from(shards), config.shards, "a shard's number has 16 bits");

    let setup = ShardsSetup {
        listen: config.listen,
        shards: config.shards,
        ring_commands: config.ring_commands,
        ring_replies: config.shard.ring_replies,
    };
    let (shard_config, limits, metrics) = (config.shard.clone(), config.limits.clone(), Arc::clone(metrics));
    let lease = lease.clone();
    let make = move |index: usize, kernel: P::Kernel| {
        let id = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
        // Odd and distinct a shard: each draws its own numbers from the node's seed.
        let seed = seed ^ (u64::from(id.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shard = Shard::new(shard_config.clone(), ShardSetup { id, shards, generation, seed });
        Loop::new(kernel, shard, limits.clone(), Arc::clone(&metrics[index]), lease.clone())
    };
    platform.start_shards(&setup, make).await.map_err(RunError::Listen)
}

/// Takes the node's part in its cluster. One that is alone serves once it may.
async fn join<P: Platform>(
    platform: &P,
    config: &NodeConfig,
    opened: Opened,
    links: Option<P::LinkListener>,
    lease: LeaseCell,
    listening: SocketAddr,
) -> Result<Cluster<P>, RunError> {
    let settings = config.cluster.clone();
    let at = match &links {
        Some(links) => Some(links.local_addr().map_err(RunError::Links)?.to_string()),
        None => None,
    };
    let addresses = Addresses {
        links: settings.advertise.clone().or(at).unwrap_or_else(|| NO_LINKS.to_owned()),
        clients: settings.advertise_clients.clone().unwrap_or_else(|| listening.to_string()),
    };
    let cluster_config = settings.cluster_config(&config.shard.classes);
    let alone = !settings.is_configured();
    let tls = match &settings.tls {
        None => None,
        Some(files) => {
            let tls = LinkTls::load(files, platform.certificate_clock());
            Some(tls.map_err(|error| RunError::Cluster(error.to_string()))?)
        }
    };
    let begun =
        Cluster::start(platform.clone(), settings, cluster_config, opened, tls, lease, addresses).await;
    let (cluster, asked) = begun.map_err(in_cluster)?;
    cluster.spawn(asked, links).await.map_err(in_cluster)?;
    if alone && !cluster.leased(ALONE_MAX).await {
        let seconds = ALONE_MAX.as_secs();
        return Err(RunError::Cluster(format!("this node did not come to lead itself within {seconds} s")));
    }
    Ok(cluster)
}

fn in_cluster(error: ClusterError) -> RunError {
    RunError::Cluster(error.to_string())
}

fn unasked(end: Result<(), String>) -> RunError {
    RunError::Shard(end.err().unwrap_or_else(|| "all shards ended though nobody asked them to".to_owned()))
}

async fn stop<P: Platform>(
    platform: &P,
    config: &NodeConfig,
    control: &Control,
    ended: impl Future<Output = Result<(), String>>,
) -> Result<(), RunError> {
    control.stop();
    let patience = config.limits.stop_deadline + STOP_GRACE;
    tokio::select! {
        biased;
        end = ended => end.map_err(RunError::Shard),
        () = platform.sleep(patience) => Err(RunError::Stuck(patience)),
    }
}

/// The admin server, running.
struct AdminServer {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

fn spawn_admin<P: Platform>(
    platform: &P,
    listener: P::AdminListener,
    control: Control,
    cluster: ClusterControl,
    exposition: Exposition,
) -> AdminServer {
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    platform.spawn(async move {
        admin::serve(listener, control, cluster, exposition, stopped).await;
        let _ = end.send(());
    });
    AdminServer { stop, ended }
}

impl AdminServer {
    async fn end<P: Platform>(self, platform: &P) {
        drop(self.stop);
        tokio::select! {
            biased;
            _ = self.ended => {}
            () = platform.sleep(ADMIN_STOP_MAX) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_number_and_a_line_end_is_a_generation() {
        for (content, generation) in [
            (&b"1\n"[..], Some(1)),
            (b"18446744073709551614\n", Some(u64::MAX - 1)),
            (b"18446744073709551615\n", None),
            (b"18446744073709551616\n", None),
            (b"0\n", None),
            (b"", None),
            (b"\n", None),
            (b"1", None),
            (b"+1\n", None),
            (b"-1\n", None),
            (b"1 \n", None),
            (b"1\n2\n", None),
            (b"\xff\n", None),
            (b"\0\0\0\0", None),
        ] {
            assert_eq!(parse_generation(content), generation, "{content:?}");
        }
    }
}
