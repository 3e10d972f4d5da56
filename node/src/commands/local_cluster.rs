//! A cluster of several nodes on this machine, each a process of this program: what `multibeam dev` shows to people
//! and `bench election` measures.
//!
//! ```text
//!  Layout   ports, configurations, folders       Nodes   processes: started, watched, killed, stopped
//!       └──────────────── begin: until the nodes are one cluster and ready ─────────────┘
//! ```

mod layout;
mod nodes;

pub(super) use layout::{BASE_PORTS, Layout, NODES};
pub(super) use nodes::Nodes;

use super::Failure;
use super::admin_client::{Question, request};
use crate::cluster::ClusterStatus;
use serde_json::json;
use std::time::Duration;

/// How often it is looked whether something has happened.
pub(super) const LOOK_EACH: Duration = Duration::from_millis(100);

/// How long a node of this machine may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Asks again and again until there is a cluster and all nodes are ready; its id.
///
/// # Errors
/// How a node ended; or they take longer than `timeout`; then the folder stays, for its logs.
pub(super) async fn begin(
    layout: &Layout,
    nodes: &mut Nodes<'_>,
    timeout: Duration,
) -> Result<String, Failure> {
    let mut last = String::new();
    let begun = tokio::time::timeout(timeout, async {
        loop {
            if let Some(ended) = nodes.ended() {
                return Err(ended);
            }
            match attempt(layout).await {
                Ok(cluster) => return Ok(cluster),
                Err(why) => last = why,
            }
            tokio::time::sleep(LOOK_EACH).await;
        }
    });
    let begun = begun.await;
    let late = || {
        layout.keep();
        let (seconds, folder) = (timeout.as_secs_f64(), layout.folder.display());
        Err(format!("there is no cluster after {seconds} s, and {folder} has the logs: {last}"))
    };
    Ok(begun.unwrap_or_else(|_| late())?)
}

/// The cluster, if all nodes have joined it and are ready; else what is missing.
async fn attempt(layout: &Layout) -> Result<String, String> {
    let first = layout.places[0].admin;
    let begin = Question::Change("/cluster/bootstrap", json!({}));
    let cluster = request(first, ANSWER_MAX, &begin).await?.good(first)?;
    for place in &layout.places {
        let answer = request(place.admin, ANSWER_MAX, &Question::Look("/readyz")).await?;
        if !answer.is_good() {
            let why = answer.word("why").unwrap_or_default();
            return Err(format!("{} is not ready: {why}", place.name));
        }
    }
    let status = request(first, ANSWER_MAX, &Question::Look("/cluster")).await?;
    let status: ClusterStatus = status.json(first)?;
    let (joined, all) = (status.members.len(), layout.places.len());
    if joined < all {
        return Err(format!("{joined} of {all} nodes have joined"));
    }
    debug_assert!(cluster.contains(&status.cluster), "{cluster}");
    Ok(status.cluster)
}
