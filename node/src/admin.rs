//! The admin server: health and metrics over HTTP, for machines and people on this host.
//!
//! It reads what shards publish and asks the mail task; it changes nothing. It has no
//! authentication, so [`crate::config`] lets it listen on loopback addresses only.

mod exposition;
mod limited;

pub use exposition::Exposition;

use crate::runtime::{Control, Health, PROBE_TIMEOUT};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use limited::Limited;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

const INDEX: &str = "Multibeam node

/healthz   200 when every shard turns, 503 otherwise; JSON names the shards that do not
/metrics   numbers for Prometheus
";

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";

#[derive(Clone)]
struct Admin {
    control: Control,
    exposition: Arc<Exposition>,
}

/// Serves until `stop` is sent or dropped; answers on their way are finished.
pub async fn serve<L: Listener<Addr = SocketAddr>>(
    listener: L,
    control: Control,
    exposition: Exposition,
    stop: oneshot::Receiver<()>,
) {
    let admin = Admin { control, exposition: Arc::new(exposition) };
    let router = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let server = axum::serve(Limited::new(listener), router).with_graceful_shutdown(async {
        let _ = stop.await;
    });
    // By its contract it ends without error, and only when asked.
    let _ = server.await;
}

async fn healthz(State(admin): State<Admin>) -> Response {
    let health = admin.control.health().await;
    let good = health.as_ref().is_some_and(Health::is_good);
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, JSON)], health_json(health.as_ref())).into_response()
}

fn health_json(health: Option<&Health>) -> String {
    let Some(health) = health else {
        let body = serde_json::json!({
            "status": "unknown",
            "detail": "too many health requests at once, or the node is ending",
        });
        return format!("{body}\n");
    };
    let status = match (health.is_good(), health.stopping) {
        (true, _) => "ok",
        (false, true) => "stopping",
        (false, false) => "shards silent",
    };
    let body = serde_json::json!({
        "status": status,
        "shards": health.shards,
        "silent_shards": health.silent,
        "probe_timeout_ms": u64::try_from(PROBE_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
    });
    format!("{body}\n")
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], admin.exposition.text()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_names_the_silent_shards() {
        let health = Health { silent: vec![1, 3], shards: 4, stopping: false };
        let body: serde_json::Value = serde_json::from_str(&health_json(Some(&health))).unwrap();
        assert_eq!(body["status"], "shards silent");
        assert_eq!(body["silent_shards"], serde_json::json!([1, 3]));
        let health = Health { silent: vec![], shards: 4, stopping: true };
        let body: serde_json::Value = serde_json::from_str(&health_json(Some(&health))).unwrap();
        assert_eq!(body["status"], "stopping");
    }
}
