//! Clients that are slow, greedy or many.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use chassis::http::{Limits, Pieces, Problem};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::kit::{SHORT, SOON, Server, echo, in_time};

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
    const PIECES: u32 = 30;
    const LIMIT: Duration = Duration::from_secs(2);
    let limits = Limits { body_stall: SOON, body_timeout: LIMIT, ..Limits::default() };
    let server = Server::start(echo(), limits).await;
    for (path, status) in [("/pieces", "200"), ("/pieces/without-progress", "408")] {
        let mut client = server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {PIECES}\r\n\r\n");
        client.send(&head).await;
        let mut ticks = tokio::time::interval(LIMIT / 20);
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
    let limits = Limits { connections: 1, spare_connections: 0, linger: SHORT, ..Limits::default() };
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
    let limits = Limits { write_stall: SHORT, connections: 1, spare_connections: 0, ..Limits::default() };
    let server = Server::start(Router::new().route("/endless", get(endless)), limits).await;
    let mut greedy = server.connect().await;
    greedy.send("GET /endless HTTP/1.1\r\nhost: h\r\n\r\n").await;

    // The only connection there may be is free again.
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 "));
}

/// A client that does not read before it has sent all is held up by a handler that is busy.
#[tokio::test]
async fn a_client_that_has_to_wait_before_it_can_send_more_need_not_read_meanwhile() {
    const STALL: Duration = Duration::from_millis(500);
    /// More than both ends' buffers take.
    const CHUNKS: usize = 512;
    let both_ways = async |mut pieces: Pieces| {
        let (done, last_words) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            pieces.next().await.unwrap();
            tokio::time::sleep(4 * STALL).await;
            while let Ok(Some(_)) = pieces.next().await {}
            let _ = done.send("The end.");
        });
        let chunks = (0..CHUNKS).map(|_| Ok(Bytes::from_static(&[b'x'; 65_536])));
        let end = last_words.into_stream().map_ok(|words| Bytes::from_static(words.as_bytes()));
        Body::from_stream(stream::iter(chunks).chain(end))
    };
    let limits = Limits { write_stall: STALL, ..Limits::default() };
    let server = Server::start(Router::new().route("/both", post(both_ways)), limits).await;
    let mut client = server.connect().await;
    let body = "x".repeat(CHUNKS * 65_536);
    let head = format!("POST /both HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    client.send(&head).await;
    client.send(&body).await;
    let answer = client.read_all().await;
    assert!(answer.contains("The end."), "it was cut off after {} bytes", answer.len());
}

#[tokio::test]
async fn over_the_limit_probes_are_answered_and_all_others_are_told_to_come_back() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = Server::start(echo(), limits).await;
    let (first, _second) = (server.connect().await, server.connect().await);
    for path in ["/livez", "/readyz", "/readyz/", "/health", "/metrics"] {
        let mut client = server.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{path}: {answer}");
    }
    for request in ["GET /items/1", "POST /echo", "GET /docs", "GET /openapi.json"] {
        let mut client = server.connect().await;
        client.send(&format!("{request} HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\nhalf")).await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("retry-after: 1") && answer.contains("connection: close"), "{answer}");
    }
    drop(first);
    in_time(async { while !server.get("/items/1").await.starts_with("HTTP/1.1 200 ") {} }).await;
}

#[tokio::test]
async fn a_spare_connection_is_not_kept_and_beyond_those_connections_wait() {
    let limits = Limits { connections: 1, spare_connections: 1, header_timeout: SOON, ..Limits::default() };
    let server = Server::start(Router::new(), limits).await;
    let _first = server.connect().await;
    let mut spare = server.connect().await;
    let next = server.get("/livez");
    tokio::pin!(next);
    assert!(tokio::time::timeout(SHORT, &mut next).await.is_err(), "served beyond the limit");
    let began = Instant::now();
    assert_eq!(spare.read_all().await, "");
    assert!(began.elapsed() < SOON / 2, "it sends nothing, and is kept");
    assert!(next.await.starts_with("HTTP/1.1 200 "));
}
