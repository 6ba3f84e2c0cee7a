//! What every service offers to those who run it, and answers for what nobody offers.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::State,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use super::{Problem, Readiness, readiness::all_pass, serve::RETRY_AFTER};
use crate::metrics::{Metrics, count_requests};

/// Completes `router`, which comes whole, with its fallbacks if it has some:
///
/// - `GET /livez`: 200 as long as the process answers at all.
/// - `GET /readyz`: 200 and `{"status": "ready", "checks": {…}}`, or 503 and a [`Problem`] that says which checks fail.
/// - `GET /health`: the same for people: `"Ready"`, or 503 and a string that says what is missing.
/// - `GET /metrics`: in Prometheus' text format.
///
/// Requests are counted by route, and a 404 or 405 without a body becomes a [`Problem`].
pub fn operational(router: Router, readiness: Readiness, metrics: Metrics) -> Router {
    let own = Router::new()
        .route("/livez", get(async || Json(json!({"status": "alive"}))))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .with_state(readiness)
        .route("/metrics", get(async move || ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())));
    router.merge(own).layer(middleware::map_response(bare_to_problem)).layer(middleware::from_fn(count_requests))
}

async fn readyz(State(readiness): State<Readiness>) -> Result<Json<serde_json::Value>, Problem> {
    let reports: Vec<_> = readiness.ask().collect();
    let word = |result: &Result<(), String>| result.as_ref().err().map_or("ok", String::as_str).to_owned();
    let checks: BTreeMap<_, _> = reports.iter().map(|(name, result)| (*name, word(result))).collect();
    match all_pass(&reports) {
        Ok(()) => Ok(Json(json!({"status": "ready", "checks": checks}))),
        Err(missing) => Err(Problem::unavailable(RETRY_AFTER, format!("not ready: {missing}")).with("checks", checks)),
    }
}

async fn health(State(readiness): State<Readiness>) -> (StatusCode, Json<String>) {
    match readiness.ready() {
        Ok(()) => (StatusCode::OK, Json("Ready".to_owned())),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, Json(format!("Not ready: {missing}"))),
    }
}

/// The router's own 404 and 405 have no body; a handler's have one. The router adds `Allow` afterwards.
async fn bare_to_problem(response: Response) -> Response {
    match response.status() {
        _ if response.headers().contains_key(CONTENT_TYPE) => response,
        StatusCode::NOT_FOUND => Problem::not_found("There is nothing at this path.").into_response(),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::method_not_allowed("The Allow header says which methods this path takes.").into_response()
        }
        _ => response,
    }
}
