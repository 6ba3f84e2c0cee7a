//! Where requests go, and how answers are packed.

use std::io::Read;

use axum::{Router, routing::get};
use chassis::http::{Limits, Problem};
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::kit::{Server, echo};

#[tokio::test]
async fn every_route_takes_a_trailing_slash() {
    let server = Server::start(echo(), Limits::default()).await;
    for path in ["/livez", "/livez/", "/items/7/", "/items/7/?limit=3"] {
        let answer = server.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_fallback_of_the_routers_own_stays() {
    let router = Router::new().fallback(async || "forwarded");
    let server = Server::start(router, Limits::default()).await;
    assert!(server.get("/nonsense").await.ends_with("forwarded"));
}

/// Answers of all kinds.
fn answers() -> Router {
    let typed = |media_type: &'static str| move || async move { ([(CONTENT_TYPE, media_type)], "text ".repeat(1000)) };
    let packed = || async { ([(CONTENT_TYPE, "text/css"), (CONTENT_ENCODING, "br")], "text ".repeat(1000)) };
    Router::new()
        .route("/long", get(typed("application/json")))
        .route("/events", get(typed("text/event-stream")))
        .route("/lines", get(typed("application/x-ndjson")))
        .route("/packed", get(packed))
        .route("/short", get(async || "text ".repeat(100)))
        .route("/refused", get(async || Problem::bad_request("no ".repeat(600))))
}

#[tokio::test]
async fn long_answers_are_compressed_for_whoever_takes_that() {
    let server = Server::start(answers(), Limits::default()).await;
    for (path, accepted, encoding) in [
        ("/long", "gzip, deflate, br", Some("gzip")),
        ("/long", "br", None),
        ("/long", "gzip;q=0", None),
        ("/long", "identity;q=0, *;q=0", None),
        ("/refused", "gzip", Some("gzip")),
        ("/openapi.json", "gzip", Some("gzip")),
        ("/metrics", "gzip", Some("gzip")),
        ("/short", "gzip", None),
        ("/events", "gzip", None),
        ("/lines", "gzip", None),
        ("/packed", "gzip", Some("br")),
    ] {
        let answer = server.ask("GET", path, accepted).await;
        assert_eq!(answer.header("content-encoding"), encoding, "{path} {accepted}");
        let body = match encoding {
            Some("gzip") => {
                assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
                let mut unpacked = Vec::new();
                GzDecoder::new(&answer.body[..]).read_to_end(&mut unpacked).unwrap();
                assert!(answer.body.len() < unpacked.len(), "{path}");
                unpacked
            }
            _ => answer.body,
        };
        if path != "/openapi.json" && path != "/metrics" && path != "/refused" {
            assert_eq!(body, "text ".repeat(if path == "/short" { 100 } else { 1000 }).as_bytes(), "{path} {accepted}");
        }
    }
}

#[tokio::test]
async fn a_head_says_what_a_get_would() {
    let server = Server::start(answers(), Limits::default()).await;
    for (accepted, length, encoding) in [("gzip", None, Some("gzip")), ("identity", Some("5000"), None)] {
        let answer = server.ask("HEAD", "/long", accepted).await;
        assert_eq!((answer.header("content-length"), answer.header("content-encoding")), (length, encoding));
        assert!(answer.body.is_empty());
    }
}
