//! The end of a server: what was begun is finished, in bounded time.

use axum::{Router, body::Body, routing::get};
use chassis::http::Limits;
use http::header::CONTENT_TYPE;
use tokio::io::AsyncReadExt;

use crate::kit::{SHORT, Server, gated, in_time};

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
