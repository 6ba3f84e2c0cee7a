//! What every service offers to those who run it, and answers for what nobody offers.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, Problem, Readiness,
    compression::{compression, only_gzip},
    document::{self, Document, Interface},
    page,
    readable::refuse_unreadable,
    readiness::all_pass,
    responses::Unavailable,
    serve::{OnSpare, RETRY_AFTER},
};
use crate::metrics::{Metrics, count_requests};

/// Completes what is served; its router comes whole, with its fallbacks if it has some:
///
/// - `GET /livez`: 200 as long as the process answers at all.
/// - `GET /readyz`: 200 and `{"status": "ready", "checks": {…}}`, or 503 and a [`Problem`] that says which checks fail.
/// - `GET /health`: the same for people: `"Ready"`, or 503 and a string that says what is missing.
/// - `GET /metrics`: in Prometheus' text format.
/// - `GET /openapi.json`: the document of all of it, and `GET /docs`: a page to read and to try it.
///
/// All but the first four are refused on a [spare connection](super::Limits::spare_connections).
///
/// Requests are counted by route, long answers are compressed for whoever takes that, a 404 or 405 without a body becomes a
/// [`Problem`], and what nobody could understand (the encoding of the path, of the body) is one, too.
pub fn operational(interface: impl Into<Interface>, readiness: Readiness, metrics: Metrics) -> Router {
    let Interface { router, elsewhere } = interface.into();
    let service = OpenApiRouter::default()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(health))
        .with_state(readiness)
        .merge(OpenApiRouter::default().routes(routes!(measured)).with_state(metrics));
    let documentation = OpenApiRouter::default()
        .routes(routes!(document::openapi))
        .routes(routes!(page::page))
        .route("/docs/{file}", get(page::file));
    let mut router = router.layer(middleware::from_fn(refuse_on_spare)).merge(service);
    let document = router.to_openapi().merge_from(documentation.get_openapi().clone());
    router
        .merge(documentation.with_state(Document::new(document, elsewhere)).layer(middleware::from_fn(refuse_on_spare)))
        .split_for_parts()
        .0
        .layer(middleware::map_response(bare_to_problem))
        .layer(middleware::from_fn(refuse_unreadable))
        .layer(middleware::from_fn(count_requests))
        .layer(compression())
        .layer(middleware::map_request(only_gzip))
}

/// That the process answers.
#[derive(Serialize, ToSchema)]
struct Alive {
    #[schema(inline)]
    status: Living,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Living {
    Alive,
}

/// That the service can do its work.
#[derive(Serialize, ToSchema)]
struct Ready {
    #[schema(inline)]
    status: Being,
    /// What was looked at, and how it is: all of it is `ok`.
    checks: BTreeMap<&'static str, String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Being {
    Ready,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/livez",
    tag = "service",
    responses((status = OK, description = "It does, as long as it answers at all.", body = Alive))
)]
async fn livez() -> Json<Alive> {
    Json(Alive { status: Living::Alive })
}

/// Whether it can do its work, for programs
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses((status = OK, description = "It can.", body = Ready), Unavailable)
)]
async fn readyz(State(readiness): State<Readiness>) -> Result<Json<Ready>, Problem> {
    let reports: Vec<_> = readiness.ask().collect();
    let word = |result: &Result<(), String>| result.as_ref().err().map_or("ok", String::as_str).to_owned();
    let checks: BTreeMap<_, _> = reports.iter().map(|(name, result)| (*name, word(result))).collect();
    match all_pass(&reports) {
        Ok(()) => Ok(Json(Ready { status: Being::Ready, checks })),
        Err(missing) => Err(Problem::unavailable(RETRY_AFTER, format!("not ready: {missing}")).with("checks", checks)),
    }
}

/// Whether it can do its work, for people
#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    responses(
        (status = OK, description = "It can.", body = String, content_type = "application/json", example = "Ready"),
        (
            status = SERVICE_UNAVAILABLE,
            description = "What is missing.",
            body = String,
            content_type = "application/json",
            example = "Not ready: bus: not connected"
        )
    )
)]
async fn health(State(readiness): State<Readiness>) -> (StatusCode, Json<String>) {
    match readiness.ready() {
        Ok(()) => (StatusCode::OK, Json("Ready".to_owned())),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, Json(format!("Not ready: {missing}"))),
    }
}

/// What has been measured, in Prometheus' text format
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = OK, description = "Metrics of this process.", body = String))
)]
async fn measured(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}

/// Before anything of the body is read.
async fn refuse_on_spare(request: Request, next: Next) -> Response {
    match request.extensions().get() {
        Some(OnSpare) => Problem::unavailable(RETRY_AFTER, "Too many connections are open at a time.").into_response(),
        None => next.run(request).await,
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
