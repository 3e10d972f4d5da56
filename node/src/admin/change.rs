//! What an operator changes through the admin server: a cluster is begun, a node given up.
//!
//! A page in a browser on this machine can send requests here as well. It can't set this content type for another
//! site without asking first, which nobody answers, and it always says where it is from; so a change needs the
//! content type and no origin.

use super::{Admin, JSON, json, unanswered};
use crate::cluster::{BootstrapError, RemoveError};
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use std::time::Duration;

/// Bytes of a body: an id or an address, some times over.
const BODY_BYTES_MAX: usize = 1024;

/// A body of that size comes with its head, from this machine.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// The body of a removal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    node: String,
}

fn refused(status: StatusCode, sentence: impl Into<String>) -> Response {
    json(status, &serde_json::json!({ "error": sentence.into() }))
}

/// Refuses what a page could have sent.
fn from_a_program(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    if headers.contains_key(header::ORIGIN) {
        return Err((
            StatusCode::FORBIDDEN,
            "pages of a browser change nothing here: use 'multibeam cluster'",
        ));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    Err((
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "a change needs the header content-type: application/json, or use 'multibeam cluster'",
    ))
}

pub(super) async fn bootstrap(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if let Err((status, sentence)) = from_a_program(&headers) {
        return refused(status, sentence);
    }
    match admin.cluster.bootstrap().await {
        Err(why) => unanswered(why),
        Ok(Ok(cluster)) => {
            json(StatusCode::OK, &serde_json::json!({ "cluster": format!("{:032x}", cluster.0) }))
        }
        Ok(Err(error)) => {
            let status = match error {
                BootstrapError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
                BootstrapError::NoVoters
                | BootstrapError::NotAmong(_)
                | BootstrapError::Missing { .. }
                | BootstrapError::Taken { .. }
                | BootstrapError::Twice { .. }
                | BootstrapError::Number(_)
                | BootstrapError::Belongs(_) => StatusCode::CONFLICT,
            };
            refused(status, error.to_string())
        }
    }
}

pub(super) async fn remove(State(admin): State<Admin>, headers: HeaderMap, body: Body) -> Response {
    if let Err((status, sentence)) = from_a_program(&headers) {
        return refused(status, sentence);
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await;
    let body = body.ok().and_then(Result::ok);
    let Some(Remove { node }) = body.and_then(|body| serde_json::from_slice(&body).ok()) else {
        return refused(StatusCode::BAD_REQUEST, r#"expected a body such as {"node": "10.0.0.3:7401"}"#);
    };
    match admin.cluster.remove(node.clone()).await {
        Err(why) => unanswered(why),
        Ok(Ok(())) => json(StatusCode::OK, &serde_json::json!({ "removed": node })),
        Ok(Err(error)) => {
            let status = match error {
                RemoveError::Unknown(_) => StatusCode::NOT_FOUND,
                RemoveError::Alive(_)
                | RemoveError::NotLeader { .. }
                | RemoveError::NoLeader
                | RemoveError::Member(_) => StatusCode::CONFLICT,
                RemoveError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            refused(status, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_change_anything() {
        let status = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            });
            from_a_program(&headers.collect()).map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(status(&[("content-type", "application/json")]), Ok(()));
        assert_eq!(status(&[("content-type", "Application/JSON; charset=utf-8")]), Ok(()));
        assert_eq!(status(&[]), Err(415));
        assert_eq!(status(&[("content-type", "text/plain")]), Err(415));
        assert_eq!(status(&[("content-type", "text/plain; application/json")]), Err(415));
        assert_eq!(
            status(&[("content-type", "application/json"), ("origin", "http://127.0.0.1:7480")]),
            Err(403)
        );
    }
}
