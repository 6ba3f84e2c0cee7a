//! The service as a whole, as far as it goes without a broker.

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use bus::{
    AnyEvent, Bus, Settings, Transport,
    amqp::Address,
    embedded::{Embedded, Limits, Memory},
    events::{ObjectCreated, TaskFinished},
};
use chassis::{Context, Service};
use operations::Catalogue;
use statistics::{Config, Statistics};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{Execution, Fixture, Work, eventually};

/// A bus whose broker is not there.
fn lone_bus() -> Bus {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = Address::parse(&nobody.to_string()).unwrap();
    Bus::connect(&broker, settings())
}

fn settings() -> Settings {
    Settings { exchange: "test".to_owned(), app: "statistics".to_owned(), max_event_bytes: 1 << 20 }
}

async fn service(database_url: &str) -> Statistics {
    service_on(lone_bus(), database_url).await
}

async fn service_on(bus: Bus, database_url: &str) -> Statistics {
    let config = Config { database_url: database_url.parse().unwrap(), ..Config::default() };
    let context = Context { bus, catalogue: Catalogue::built_in(), grace: Duration::from_secs(1) };
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
    let (readiness, router) = (second.readiness(), Router::from(second.router()));
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

/// Statistics on a bus in memory, and what others have to say there.
struct OnABus {
    transport: Arc<dyn Transport>,
    file: String,
    _folder: tempfile::TempDir,
}

struct Running {
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl OnABus {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stats.db").to_str().unwrap().to_owned();
        let transport = Arc::new(Embedded::in_memory(&Memory::default(), Limits::default()));
        Self { transport, file, _folder: folder }
    }

    fn bus(&self) -> Bus {
        Bus::over(self.transport.clone(), settings())
    }

    async fn start(&self) -> Running {
        let service = service_on(self.bus(), &self.file).await;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(service.run(shutdown.clone()));
        Running { shutdown, task }
    }

    /// Publishes the creation of the object, which may take so long.
    async fn create(&self, work: &Work, deadline: Duration) {
        let AnyEvent::ObjectCreated(ObjectCreated { mut object }) = work.created(1000).event else { panic!("it is") };
        object.deadline_ms = deadline.into();
        self.bus().publish(&ObjectCreated { object }, None, bus::PATIENCE).await.unwrap();
    }

    async fn finish(&self, work: &Work, part: u32, execution: &Execution) {
        let AnyEvent::TaskFinished(event) = work.finished(part, execution).event else { panic!("it is") };
        self.bus().publish::<TaskFinished>(&event, None, bus::PATIENCE).await.unwrap();
    }

    /// The status and revision of the one object.
    async fn status(&self) -> Option<(String, i64)> {
        use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
        let path = Path::new(&self.file);
        let mut reader = SqliteConnectOptions::new().filename(path).read_only(true).connect().await.ok()?;
        sqlx::query_as("SELECT status, revision FROM objects").fetch_optional(&mut reader).await.ok()?
    }

    async fn has_status(&self, status: &str) {
        eventually(status, async || self.status().await.is_some_and(|(now, _)| now == status)).await;
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_object_that_nobody_finishes_times_out_at_its_deadline() {
    let system = OnABus::new();
    let running = system.start().await;
    let work = Work::words("a b", 2);
    system.create(&work, Duration::from_millis(300)).await;
    system.finish(&work, 0, &Execution::ok()).await;
    system.has_status("timed_out").await;
    system.finish(&work, 1, &Execution::ok()).await;
    let last = Work::nop(1.into(), 1);
    // What comes behind it says that it has been merged.
    system.finish(&last, 0, &Execution::ok()).await;
    let folder = system.file.clone();
    eventually("all was merged", async || {
        use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};
        let options = SqliteConnectOptions::new().filename(&folder).read_only(true);
        let mut reader = options.connect().await.unwrap();
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM tasks WHERE outcome IS NOT NULL")
            .fetch_one(&mut reader)
            .await
            .unwrap();
        count == 3
    })
    .await;
    assert_eq!(system.status().await, Some(("timed_out".to_owned(), 0)));
    running.stop().await;
}

#[tokio::test]
async fn what_was_finished_while_nobody_looked_is_not_judged_before_it_is_known() {
    const DEADLINE: Duration = Duration::from_secs(5);
    let system = OnABus::new();
    let work = Work::words("a b", 2);
    let first = system.start().await;
    system.create(&work, DEADLINE).await;
    system.has_status("open").await;
    first.stop().await;
    // A fence takes a second at least.
    assert_eq!(system.status().await, Some(("open".to_owned(), 0)));
    for part in 0..2 {
        system.finish(&work, part, &Execution::ok()).await;
    }
    let due = std::time::Instant::now() + DEADLINE;
    eventually("it is due", async || std::time::Instant::now() >= due).await;
    let second = system.start().await;
    system.has_status("succeeded").await;
    assert_eq!(system.status().await, Some(("succeeded".to_owned(), 0)), "nobody was ever told otherwise");
    second.stop().await;
}
