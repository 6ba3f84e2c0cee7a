//! What every service has: readiness, health, metrics, its own document.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chassis::{
    healthcheck::healthcheck,
    http::{Elsewhere, Interface, Limits, Readiness, document, responses::Unavailable},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::kit::{SOON, Server, echo};

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let connected = Arc::new(AtomicBool::new(false));
    let seen = connected.clone();
    let readiness = Readiness::new()
        .check("database", || Ok(()))
        .check("bus", move || if seen.load(Ordering::Relaxed) { Ok(()) } else { Err("not connected".to_owned()) });
    let server = Server::start_with(OpenApiRouter::default(), readiness, Limits::default()).await;

    let answer = server.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains(r#""checks":{"bus":"not connected","database":"ok"}"#), "{answer}");
    let answer = server.get("/health").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with(r#""Not ready: bus: not connected""#), "{answer}");
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(healthcheck(server.address).await, ExitCode::FAILURE);

    connected.store(true, Ordering::Relaxed);
    let answer = server.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""status":"ready""#), "{answer}");
    let answer = server.get("/health").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n\"Ready\""), "{answer}");
    assert_eq!(healthcheck(server.address).await, ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_healthcheck_of_nothing_fails_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let started = Instant::now();
    assert_eq!(healthcheck(silent.local_addr().unwrap()).await, ExitCode::FAILURE);
    assert!(started.elapsed() >= Duration::from_secs(3) && started.elapsed() < SOON);

    let address = silent.local_addr().unwrap();
    drop(silent);
    assert_eq!(healthcheck(address).await, ExitCode::FAILURE);
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let server = Server::start(echo(), Limits::default()).await;
    server.get("/items/41").await;
    server.get("/items/42").await;
    server.get("/nonsense/43").await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains(r#"ebs_build_info{service="test",version="1.2.3"} 1"#), "{metrics}");
    assert!(metrics.contains("process_start_time_seconds "), "{metrics}");
    assert!(metrics.contains(r#"ebs_http_requests_total{method="GET",route="/items/{id}",status="200"}"#), "{metrics}");
    assert!(metrics.contains(r#"ebs_http_requests_total{method="GET",route="none",status="404"}"#), "{metrics}");
    assert!(
        metrics.contains(r#"ebs_http_request_duration_seconds_bucket{method="GET",route="/items/{id}",le="0.001"}"#),
        "{metrics}"
    );
    assert!(!metrics.contains("/items/41") && !metrics.contains("/nonsense"), "{metrics}");
}

#[tokio::test]
async fn what_is_served_is_documented_and_has_a_page() {
    let own = document("Echo", "Says it again.", &[("echo", "What comes back.")]);
    let router = OpenApiRouter::with_openapi(own).routes(routes!(shout));
    let elsewhere: Arc<dyn Elsewhere> = Arc::new(Neighbour);
    let interface = Interface { router, elsewhere: Some(elsewhere) };
    let server = Server::start_with(interface, Readiness::new(), Limits::default()).await;

    let answer = server.get("/openapi.json").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["info"]["title"], "Echo");
    assert_eq!(document["info"]["description"], "Says it again. So does the neighbour.");
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/docs", "/health", "/livez", "/metrics", "/openapi.json", "/readyz", "/shout"]);
    let responses = &document["paths"]["/shout"]["post"]["responses"];
    let unavailable = &responses["503"];
    assert_eq!(unavailable["description"], "Not now: try again after `Retry-After`.");
    assert_eq!(unavailable["headers"]["Retry-After"]["schema"]["type"], "integer");
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    assert_eq!(unavailable["content"], problem);
    assert_eq!(responses["500"]["content"], problem, "any handler may fail");
    assert!(document["components"]["schemas"]["Problem"].is_object());
    assert_eq!(document["servers"][0]["url"], ".", "wherever it is");
    let tags: Vec<&serde_json::Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    assert_eq!(tags, ["echo", "service"]);

    let page = server.get("/docs").await;
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("src=\"docs/start.js\""), "{page}");
    let moved = server.get("/docs/").await;
    assert!(moved.starts_with("HTTP/1.1 308 ") && moved.contains("location: ../docs"), "{moved}");
    assert!(server.get("/docs/start.js").await.contains("openapi.json"));
    assert!(server.get("/docs/../Cargo.toml").await.starts_with("HTTP/1.1 404 "));
}

#[utoipa::path(post, path = "/shout", tag = "echo", responses((status = OK, description = "It.", body = String), Unavailable))]
async fn shout(body: String) -> String {
    body
}

struct Neighbour;

#[async_trait]
impl Elsewhere for Neighbour {
    async fn complete(&self, mut own: Value) -> Value {
        own["info"]["description"] =
            format!("{} So does the neighbour.", own["info"]["description"].as_str().unwrap()).into();
        own
    }
}
