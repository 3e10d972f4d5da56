//! The admin server: health, metrics and the cluster over HTTP, for machines and people on this host.
//!
//! It reads what shards publish and asks the mail task and the cluster; what it changes are the two things that an
//! operator says to a cluster. It has no authentication, so [`crate::config`] lets it listen on loopback addresses
//! only, and a browser's page can't make it change anything.

mod change;
mod exposition;
mod limited;

pub use exposition::Exposition;

use crate::cluster::{ClusterControl, Standing, Unanswered};
use crate::runtime::{Control, Health, PROBE_TIMEOUT};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use limited::Limited;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

const INDEX: &str = "Multibeam node

/healthz            200 when every shard turns, 503 otherwise; JSON names the shards that do not
/readyz             200 when clients can be sent here, 503 otherwise; JSON says why not
/metrics            numbers for Prometheus
/cluster            the cluster as this node knows it, as JSON
/cluster/bootstrap  POST begins the cluster, as 'multibeam cluster bootstrap' does
/cluster/remove     POST {\"node\": \"ID or address\"} gives up a node, as 'multibeam cluster remove' does
";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";

#[derive(Clone)]
struct Admin {
    control: Control,
    cluster: ClusterControl,
    exposition: Arc<Exposition>,
}

/// Serves until `stop` is sent or dropped; answers on their way are finished.
pub async fn serve<L: Listener<Addr = SocketAddr>>(
    listener: L,
    control: Control,
    cluster: ClusterControl,
    exposition: Exposition,
    stop: oneshot::Receiver<()>,
) {
    let admin = Admin { control, cluster, exposition: Arc::new(exposition) };
    let router = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/cluster", get(status))
        .route("/cluster/bootstrap", post(change::bootstrap))
        .route("/cluster/remove", post(change::remove))
        .with_state(admin);
    let server = axum::serve(Limited::new(listener), router).with_graceful_shutdown(async {
        let _ = stop.await;
    });
    // By its contract it ends without error, and only when asked.
    let _ = server.await;
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    // Numbers, words and lists of them always have a form in JSON.
    let body = serde_json::to_string(body).unwrap_or_default() + "\n";
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// Nobody took it up, or not in time.
fn unanswered(why: Unanswered) -> Response {
    json(StatusCode::SERVICE_UNAVAILABLE, &serde_json::json!({ "error": why.to_string() }))
}

const fn good(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn healthz(State(admin): State<Admin>) -> Response {
    let health = admin.control.health().await;
    json(good(health.as_ref().is_some_and(Health::is_good)), &health_json(health.as_ref()))
}

fn health_json(health: Option<&Health>) -> serde_json::Value {
    let Some(health) = health else {
        return serde_json::json!({
            "status": "unknown",
            "detail": "too many health requests at once, or the node is ending",
        });
    };
    serde_json::json!({
        "status": health_trouble(health).unwrap_or("ok"),
        "shards": health.shards,
        "silent_shards": health.silent,
        "probe_timeout_ms": u64::try_from(PROBE_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
    })
}

fn health_trouble(health: &Health) -> Option<&'static str> {
    match (health.is_good(), health.stopping) {
        (true, _) => None,
        (false, true) => Some("stopping"),
        (false, false) => Some("shards silent"),
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let health = admin.control.health().await;
    // Asked last, as the lease is the one that changes by itself.
    let standing = admin.cluster.standing().await.ok();
    let trouble = unready(health.as_ref(), standing.as_ref());
    let body = serde_json::json!({
        "ready": trouble.is_none(),
        "why": trouble.clone().unwrap_or_default(),
        "lease_ms": standing.map(|standing| u64::try_from(standing.lease.as_millis()).unwrap_or(u64::MAX)),
        "isolated": standing.map(|standing| standing.isolated),
    });
    json(good(trouble.is_none()), &body)
}

/// Why clients are not to be sent here; `None` if they are. Who is stopping or stuck says so first: a lease changes
/// nothing about that.
fn unready(health: Option<&Health>, standing: Option<&Standing>) -> Option<String> {
    let (Some(health), Some(standing)) = (health, standing) else { return Some("unknown".to_owned()) };
    health_trouble(health).map(str::to_owned).or_else(|| standing.trouble())
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // Without them the others still tell how the node is doing.
    let cluster = admin.cluster.readings().await.ok();
    ([(header::CONTENT_TYPE, OPENMETRICS)], admin.exposition.text(cluster)).into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    admin.cluster.status().await.map_or_else(unanswered, |status| json(StatusCode::OK, &status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_body_names_the_silent_shards() {
        let health = Health { silent: vec![1, 3], shards: 4, stopping: false };
        let body = health_json(Some(&health));
        assert_eq!(body["status"], "shards silent");
        assert_eq!(body["silent_shards"], serde_json::json!([1, 3]));
        let health = Health { silent: vec![], shards: 4, stopping: true };
        assert_eq!(health_json(Some(&health))["status"], "stopping");
    }

    #[test]
    fn a_node_is_ready_with_turning_shards_and_a_lease_until_it_stops() {
        let health = |silent: &[usize], stopping| Health { silent: silent.to_vec(), shards: 2, stopping };
        let lease = |millis| {
            let lease = Duration::from_millis(millis);
            Standing { belongs: true, lease, unleased: Duration::ZERO, isolated: false }
        };
        for (health, lease_ms, why) in [
            (health(&[], false), 400, None),
            (health(&[], false), 0, Some("no lease")),
            (health(&[1], false), 400, Some("shards silent")),
            (health(&[1], true), 400, Some("stopping")),
            (health(&[], true), 400, Some("stopping")),
        ] {
            assert_eq!(unready(Some(&health), Some(&lease(lease_ms))).as_deref(), why, "{health:?}");
        }
        assert_eq!(unready(None, Some(&lease(400))).as_deref(), Some("unknown"));
        assert_eq!(unready(Some(&health(&[], false)), None).as_deref(), Some("unknown"));
    }
}
