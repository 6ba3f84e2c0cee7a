//! Every HTTP request, by the route it took.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use http::Method;

const REQUESTS: &str = "ebs_http_requests_total";
const DURATION: &str = "ebs_http_request_duration_seconds";

/// The route of a request that no route matched: its path is the client's choice and would make a label of each.
const NO_ROUTE: &str = "none";

pub(super) fn describe() {
    metrics::describe_counter!(REQUESTS, "HTTP requests answered, by method, route and status.");
    metrics::describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "Time from a request's headers to its answer's headers, by method and route."
    );
}

/// Middleware that counts and times. One that the client gave up is not counted: it was not answered.
pub(crate) async fn count_requests(request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE.into(), |path| path.as_str().to_owned());
    let started = Instant::now();

    let response = next.run(request).await;

    metrics::histogram!(DURATION, "method" => method, "route" => route.clone()).record(started.elapsed());
    let status = response.status().as_u16().to_string();
    metrics::counter!(REQUESTS, "method" => method, "route" => route, "status" => status).increment(1);
    response
}

/// A method may be any word; only those known become labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
