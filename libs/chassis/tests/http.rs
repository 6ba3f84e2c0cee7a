//! The server from outside: real sockets, and clients that do not behave.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    io::Read,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use chassis::{
    healthcheck::healthcheck,
    http::{
        Elsewhere, Form, Interface, Json, Limits, Path, Pieces, Problem, Query, Raw, Readiness, document, operational,
        responses::Unavailable, serve,
    },
    metrics,
};
use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

/// For what takes no time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

/// A limit that a test lets pass.
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_client_that_sends_nothing_is_closed() {
    let server = Server::start(Router::new(), Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let mut client = server.connect().await;
    assert_eq!(client.read_all().await, "");
}

#[tokio::test]
async fn a_client_that_dribbles_its_headers_is_closed() {
    let server = Server::start(Router::new(), Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let mut client = server.connect().await;
    let closed = client.dribble("GET / HTTP/1.1\r\nhost: h\r\n", "x-more: 1\r\n").await;
    assert!(closed, "still open after many times the header timeout");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_header_timeout() {
    let server = Server::start(Router::new(), Limits { header_timeout: SHORT, ..Limits::default() }).await;
    let mut client = server.connect().await;
    client.send("GET /livez HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let answers = client.read_all().await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_a_408() {
    let server = Server::start(echo(), Limits { body_stall: SHORT, ..Limits::default() }).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = client.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("Nothing of the body"), "{answer}");
}

#[tokio::test]
async fn a_body_that_dribbles_is_a_408() {
    let limits = Limits { body_stall: SOON, body_timeout: SHORT, ..Limits::default() };
    let server = Server::start(echo(), limits).await;
    let mut client = server.connect().await;
    let closed = client.dribble("POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n", "x").await;
    assert!(closed, "still open after many times the body timeout");
}

#[tokio::test]
async fn a_body_that_is_read_in_pieces_takes_as_long_as_there_is_progress() {
    const PIECES: u32 = 10;
    let limits = Limits { body_stall: SOON, body_timeout: SHORT, ..Limits::default() };
    let server = Server::start(echo(), limits).await;
    for (path, status) in [("/pieces", "200"), ("/pieces/without-progress", "408")] {
        let mut client = server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {PIECES}\r\n\r\n");
        client.send(&head).await;
        let mut ticks = tokio::time::interval(SHORT / 4);
        for _ in 0..PIECES {
            ticks.tick().await;
            client.send("x").await;
        }
        let answer = client.read_all().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn headers_that_are_too_long_are_a_431_however_long_they_are() {
    let server = Server::start(echo(), Limits::default()).await;
    for bytes in [65 * 1024, 3_000_000] {
        let answer = server.request("POST /echo", &format!("x-long: {}", "x".repeat(bytes)), "").await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{bytes}: {answer}");
    }
    let answer = server.request("POST /echo", &format!("x-long: {}", "x".repeat(30_000)), "body").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_answer_that_was_given_before_the_body_was_read_is_heard() {
    let refuse = async || Problem::unavailable(Duration::from_secs(7), "Not now.");
    let server = Server::start(Router::new().route("/refused", post(refuse)), Limits::default()).await;
    let long = "x".repeat(8 << 20);
    // Whether it would be lost is a matter of luck.
    for _ in 0..10 {
        let mut client = server.connect().await;
        client
            .send(&format!("POST /refused HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{long}", long.len()))
            .await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 7"), "{answer:?}");
        // Or a client would send its next request into the middle of this body.
        assert!(answer.contains("connection: close"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_on_sending_after_its_answer_does_not_hold_its_connection() {
    let refuse = async || Problem::unavailable(Duration::from_secs(7), "Not now.");
    let limits = Limits { connections: 1, linger: SHORT, ..Limits::default() };
    let server = Server::start(Router::new().route("/refused", post(refuse)), limits).await;
    let mut endless = server.connect().await;
    endless.send("POST /refused HTTP/1.1\r\nhost: h\r\ncontent-length: 100000000000\r\n\r\n").await;
    let sending = tokio::spawn(async move { while endless.0.write_all(&[0; 65_536]).await.is_ok() {} });
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
    in_time(sending).await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let endless = async || {
        let chunk = || Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[0; 65_536]));
        axum::body::Body::from_stream(futures_util::stream::repeat_with(chunk))
    };
    let limits = Limits { write_stall: SHORT, connections: 1, ..Limits::default() };
    let server = Server::start(Router::new().route("/endless", get(endless)), limits).await;
    let mut greedy = server.connect().await;
    greedy.send("GET /endless HTTP/1.1\r\nhost: h\r\n\r\n").await;

    // The only connection there may be is free again.
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_free_one() {
    let server = Server::start(Router::new(), Limits { connections: 2, ..Limits::default() }).await;
    let (first, _second) = (server.connect().await, server.connect().await);
    let third = server.get("/livez");
    tokio::pin!(third);
    assert!(tokio::time::timeout(SHORT, &mut third).await.is_err(), "served beyond the limit");
    drop(first);
    assert!(third.await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_request_in_flight_at_shutdown_is_answered() {
    let (router, gate) = gated();
    let mut server = Server::start(router, Limits::default()).await;
    let mut client = server.connect().await;
    let idle = server.connect().await;
    client.send("GET /gated HTTP/1.1\r\nhost: h\r\n\r\n").await;
    gate.entered.notified().await;

    server.shutdown.cancel();
    server.eventually_refuses().await;
    assert!(!server.serving.is_finished(), "did not wait for the request");
    gate.leave.notify_one();

    let answer = client.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    server.ends().await;
    drop(idle);
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_its_grace() {
    let (router, gate) = gated();
    let mut server = Server::start(router, Limits { grace: SHORT, ..Limits::default() }).await;
    let mut client = server.connect().await;
    client.send("GET /gated HTTP/1.1\r\nhost: h\r\n\r\n").await;
    gate.entered.notified().await;

    server.shutdown.cancel();
    server.ends().await;
    assert_eq!(client.read_all().await, "");
}

#[tokio::test]
async fn whoever_drops_the_server_leaves_no_connection_behind() {
    let (router, gate) = gated();
    let server = Server::start(router, Limits::default()).await;
    let mut client = server.connect().await;
    client.send("GET /gated HTTP/1.1\r\nhost: h\r\n\r\n").await;
    gate.entered.notified().await;
    server.serving.abort();
    assert_eq!(client.read_all().await, "");
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_lives_on() {
    async fn panics() -> &'static str {
        panic!("swordfish")
    }
    let server = Server::start(Router::new().route("/panics", get(panics)), Limits::default()).await;
    let answer = server.get("/panics").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && !answer.contains("swordfish"), "{answer}");
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn every_route_takes_a_trailing_slash() {
    let server = Server::start(echo(), Limits::default()).await;
    for path in ["/livez", "/livez/", "/items/7/", "/items/7/?limit=3"] {
        let answer = server.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_nobody_serves_is_a_problem() {
    let server = Server::start(echo(), Limits::default()).await;
    let answer = server.get("/nonsense").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("application/problem+json"), "{answer}");
    let answer = server.get("/echo").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("allow: POST"), "{answer}");
}

#[tokio::test]
async fn a_request_that_nobody_could_understand_is_a_problem_wherever_it_goes() {
    let server = Server::start(echo(), Limits::default()).await;
    let long = format!("GET /items/7?limit={}", "1".repeat(8 * 1024));
    for (method_and_path, header, status, why) in [
        ("GET /nonsense/%zz", "x: y", 400, "percent-encoded UTF-8"),
        ("GET /items/%FF", "x: y", 400, "percent-encoded UTF-8"),
        ("GET /items/7?limit=%", "x: y", 400, "percent-encoded UTF-8"),
        (long.as_str(), "x: y", 414, "8192 are allowed"),
        ("POST /echo", "content-encoding: gzip", 415, "without Content-Encoding"),
        ("DELETE /items/7", "x: y", 405, "Allow"),
        ("BREW /items/7", "x: y", 405, "Allow"),
    ] {
        let answer = server.request(method_and_path, header, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method_and_path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{method_and_path}: {answer}");
        assert!(answer.contains(why), "{method_and_path}: {answer}");
    }
    let answer = server.request("POST /echo", "content-encoding: identity", "body").await;
    assert!(answer.ends_with("body"), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_its_connection_closed() {
    let server = Server::start(echo(), Limits::default()).await;
    // hyper answers these by itself: no request comes of them that could have a problem for an answer.
    for nonsense in [
        "nonsense\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: many\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(nonsense).await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_ends_too_soon_is_a_problem() {
    let server = Server::start(echo(), Limits::default()).await;
    let mut client = server.connect().await;
    client.send("POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf").await;
    client.0.shutdown().await.unwrap();
    let answer = client.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not arrive whole"), "{answer}");
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

/// Server-sent events: a comment now and then.
fn comments() -> Router {
    let events = async || {
        let comments = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(SHORT * 3).await;
            Some((Ok::<_, std::io::Error>(": still here\n\n"), ()))
        });
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(comments))
    };
    Router::new().route("/events", get(events))
}

#[tokio::test]
async fn server_sent_events_outlast_every_limit_and_end_in_good_order_at_shutdown() {
    let limits = Limits { header_timeout: SHORT, body_stall: SHORT, write_stall: SHORT, ..Limits::default() };
    let mut server = Server::start(comments(), limits).await;
    let mut client = server.connect().await;
    client.send("GET /events HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut read = String::new();
    while read.matches("still here").count() < 3 {
        let mut bytes = [0; 1000];
        let count = in_time(client.0.read(&mut bytes)).await.unwrap();
        assert!(count > 0, "closed after {read:?}");
        read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    server.shutdown.cancel();
    let rest = client.read_all().await;
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?} is no end");
    server.ends().await;
}

#[tokio::test]
async fn a_fallback_of_the_routers_own_stays() {
    let router = Router::new().fallback(async || "forwarded");
    let server = Server::start(router, Limits::default()).await;
    assert!(server.get("/nonsense").await.ends_with("forwarded"));
}

#[tokio::test]
async fn what_extractors_refuse_is_a_problem_that_says_why() {
    let server = Server::start(echo(), Limits::default()).await;
    let json = "content-type: application/json";
    let form = "content-type: application/x-www-form-urlencoded";
    let long = "x".repeat(3_000_000);
    for (method_and_path, header, body, status, why) in [
        ("POST /json", json, "{", 400, "EOF while parsing"),
        ("POST /json", json, r#"["x"]"#, 422, "invalid type: sequence, expected a JSON object"),
        ("POST /json", json, r#"{"name": 7}"#, 422, "name: invalid type: integer `7`, expected a string"),
        ("POST /json", "x: y", "{}", 415, r#""accepted":["application/json"]"#),
        ("POST /json", json, &long, 413, "longer than is accepted"),
        ("POST /form", form, "nome=x", 422, "missing field `name`"),
        ("POST /form", json, "{}", 415, "application/x-www-form-urlencoded"),
        ("POST /echo", json, &long, 413, "longer than is accepted"),
        ("GET /items/seven", "x: y", "", 400, "Cannot parse `seven` to a `u32`"),
        ("GET /items/7?limit=many", "x: y", "", 400, "limit: invalid digit found in string"),
    ] {
        let answer = server.request(method_and_path, header, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method_and_path}: {answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{method_and_path}: {answer}");
        assert!(answer.contains(&serde_free(why)), "{method_and_path}: {answer}");
    }
    let answer = server.request("POST /json", json, r#"{"name": "x"}"#).await;
    assert!(answer.ends_with("\"x\""), "{answer}");
}

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

#[derive(serde::Deserialize)]
struct Named {
    name: String,
}

#[derive(serde::Deserialize)]
struct Limit {
    #[serde(rename = "limit")]
    _limit: Option<u32>,
}

/// One route an extractor.
fn echo() -> Router {
    Router::new()
        .route("/echo", post(async |Raw(body): Raw| body))
        .route("/json", post(async |Json(named): Json<Named>| Json(named.name)))
        .route("/form", post(async |Form(named): Form<Named>| named.name))
        .route("/items/{id}", get(item))
        .route("/pieces", post(async |pieces: Pieces| count(pieces, true).await))
        .route("/pieces/without-progress", post(async |pieces: Pieces| count(pieces, false).await))
}

/// How many bytes come.
async fn count(mut pieces: Pieces, is_progress: bool) -> Result<String, Problem> {
    let mut count = 0;
    while let Some(piece) = pieces.next().await? {
        count += piece.len();
        if is_progress {
            pieces.progress();
        }
    }
    Ok(count.to_string())
}

async fn item(Path(id): Path<u32>, Query(_): Query<Limit>) -> Result<String, Problem> {
    Ok(id.to_string())
}

/// A route whose handler the test holds up.
fn gated() -> (Router, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let inside = gate.clone();
    let handler = async move || {
        inside.entered.notify_one();
        inside.leave.notified().await;
        "done"
    };
    (Router::new().route("/gated", get(handler)), gate)
}

#[derive(Default)]
struct Gate {
    entered: Notify,
    leave: Notify,
}

/// `text` as it stands in a JSON string, unless it is JSON itself.
fn serde_free(text: &str) -> String {
    if text.starts_with('"') { text.to_owned() } else { text.replace('"', "\\\"") }
}

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, limits: Limits) -> Self {
        Self::start_with(OpenApiRouter::from(router), Readiness::new(), limits).await
    }

    async fn start_with(interface: impl Into<Interface>, readiness: Readiness, limits: Limits) -> Self {
        let metrics = metrics::install("test", "1.2.3").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = operational(interface, readiness, metrics);
        let serving = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    async fn get(&self, path: &str) -> String {
        self.request(&format!("GET {path}"), "x: y", "").await
    }

    async fn request(&self, method_and_path: &str, header: &str, body: &str) -> String {
        let mut client = self.connect().await;
        let length = body.len();
        let head = format!("{method_and_path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        client.send(&format!("{head}content-length: {length}\r\n{header}\r\n\r\n{body}")).await;
        client.read_all().await
    }

    async fn ask(&self, method: &str, path: &str, accepted: &str) -> Answer {
        let mut client = self.connect().await;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n");
        client.send(&format!("{head}accept-encoding: {accepted}\r\n\r\n")).await;
        Answer::parse(&client.read_bytes().await)
    }

    async fn eventually_refuses(&self) {
        in_time(async { while TcpStream::connect(self.address).await.is_ok() {} }).await;
    }

    async fn ends(&mut self) {
        in_time(&mut self.serving).await.unwrap();
    }
}

/// An answer of HTTP 1.1, as it came.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let mut answer =
            Self { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body);
        }
        answer
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 2 + length + 2..];
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        // A server that refuses a body closes before it has read all of it.
        let _ = in_time(self.0.write_all(text.as_bytes())).await;
    }

    /// Until the server closes.
    async fn read_all(&mut self) -> String {
        String::from_utf8(self.read_bytes().await).unwrap()
    }

    async fn read_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = in_time(self.0.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Sends `more` again and again; whether the server has had enough of it within a hundred times [`SHORT`].
    async fn dribble(&mut self, start: &str, more: &str) -> bool {
        self.send(start).await;
        for _ in 0..1000 {
            let mut byte = [0];
            let read = tokio::time::timeout(SHORT / 10, self.0.read(&mut byte)).await;
            if read.is_ok() || self.0.write_all(more.as_bytes()).await.is_err() {
                return true;
            }
        }
        false
    }
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("takes too long")
}
