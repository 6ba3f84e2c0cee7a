//! The service as a whole, as far as it goes without a broker.

use std::{net::TcpListener, time::Duration};

use axum::{body::Body, http::Request};
use bus::{Bus, Settings, amqp::Address};
use chassis::{Context, Service};
use statistics::{Config, Statistics};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{Fixture, eventually};

/// A bus whose broker is not there.
fn lone_bus() -> Bus {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = Address::parse(&nobody.to_string()).unwrap();
    let settings = Settings { exchange: "test".to_owned(), app: "statistics".to_owned(), max_event_bytes: 1 << 20 };
    Bus::connect(&broker, settings)
}

async fn service(database_url: &str) -> Statistics {
    let config = Config { database_url: database_url.parse().unwrap() };
    let context = Context { bus: lone_bus(), grace: Duration::from_secs(1) };
    Statistics::build(config, context).await.unwrap()
}

#[tokio::test]
async fn one_that_cannot_open_its_file_ends_and_names_it() {
    let service = service("/nowhere/at/all/stats.db").await;
    let error = format!("{:#}", service.run(CancellationToken::new()).await.unwrap_err());
    assert!(error.contains("/nowhere/at/all/stats.db"), "{error}");
}

#[tokio::test]
async fn a_second_one_waits_for_the_file_not_ready_and_takes_over_when_the_first_is_gone() {
    let first = Fixture::new().await;
    let second = service(first.path().to_str().unwrap()).await;
    let (readiness, router) = (second.readiness(), second.router());
    let status = async || {
        let request = Request::get("/api/statistics").body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(second.run(shutdown.clone()));

    let waits = async || readiness.ready().is_err_and(|missing| missing.contains("another process owns"));
    eventually("it waits and says so", waits).await;
    assert_eq!(status().await, 503);

    let directory = first.leave().await;
    eventually("it takes over", async || readiness.ready().is_ok()).await;
    assert_eq!(status().await, 200);

    shutdown.cancel();
    running.await.unwrap().unwrap();
    drop(directory);
}
