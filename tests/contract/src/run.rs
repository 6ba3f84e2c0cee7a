//! The four services in one process for some seconds, with something to do of each kind.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axum::{Router, body::Body};
use bus::{
    Bus, Message, PublishError, Settings, Topology, Transport,
    embedded::{Embedded, Limits, Memory},
    events::{Event, ObjectCreated},
};
use chassis::{Context, Service};
use datagen::Datagen;
use distributor::Distributor;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use operations::Catalogue;
use processor::Processor;
use serde_json::{Value, json};
use statistics::Statistics;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    flow::{EXCHANGE, Flow},
    recorder::Recorder,
};

/// How long anything may take. All of it takes three seconds, most of them waits before something is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(5);
const MAX_EVENT_BYTES: usize = 1 << 20;

/// Runs the services and has them do all that leads to messages: objects that succeed, fail, are tried again and run into
/// their deadlines, garbage, and dead letters that are replayed. What they do with the bus is the flow.
///
/// # Errors
/// If a service ends by itself, or something does not come to its end in a minute.
pub async fn flow() -> anyhow::Result<Flow> {
    let recorder = Recorder::default();
    let folder = tempfile::tempdir()?;
    let transport: Arc<dyn Transport> = Arc::new(Embedded::in_memory(&Memory::default(), Limits::default()));
    let mut services = Services { recorder: recorder.clone(), transport, running: JoinSet::new() };
    let shutdown = CancellationToken::new();

    let door = services.run::<Datagen>(json!({}), &shutdown).await?;
    let _ = services.run::<Distributor>(json!({}), &shutdown).await?;
    let _ = services.run::<Processor>(json!({"operations": "nop,flaky", "max_attempts": "100"}), &shutdown).await?;
    let database = folder.path().join("stats.db");
    let record = services.run::<Statistics>(json!({"database_url": database}), &shutdown).await?;

    publish_garbage(&*services.transport).await?;
    tokio::select! {
        done = everything(&door, &record) => done?,
        ended = services.running.join_next() => bail!("a service ended by itself: {ended:?}"),
    }
    shutdown.cancel();
    while let Some(ended) = services.running.join_next().await {
        ended??;
    }
    Ok(recorder.flow())
}

struct Services {
    recorder: Recorder,
    transport: Arc<dyn Transport>,
    running: JoinSet<anyhow::Result<()>>,
}

impl Services {
    async fn run<S: Service>(&mut self, config: Value, shutdown: &CancellationToken) -> anyhow::Result<Router> {
        let settings =
            Settings { exchange: EXCHANGE.to_owned(), app: S::NAME.to_owned(), max_event_bytes: MAX_EVENT_BYTES };
        let transport = self.recorder.of(S::NAME, self.transport.clone());
        let bus = Bus::over(Arc::new(transport), settings);
        let context = Context { bus, catalogue: Catalogue::built_in(), grace: GRACE };
        let service = S::build(serde_json::from_value(config)?, context).await?;
        let router = Router::from(service.router());
        self.running.spawn(service.run(shutdown.clone()));
        Ok(router)
    }
}

/// Sends to whoever gets objects what is none.
async fn publish_garbage(transport: &dyn Transport) -> anyhow::Result<()> {
    let topology = Topology::new(EXCHANGE);
    transport.ensure(topology.events(), vec![topology.distributor(), topology.statistics()]).await;
    let garbage = Message {
        exchange: EXCHANGE.to_owned(),
        routing_key: format!("{}.nop", ObjectCreated::KEY),
        id: "garbage".to_owned(),
        ..Message::default()
    };
    let published: Result<(), PublishError> = transport.publish(vec![garbage], PATIENCE).await.into_iter().collect();
    Ok(published?)
}

/// Does something of each kind, and waits until all that follows from it has been published and consumed.
async fn everything(door: &Router, record: &Router) -> anyhow::Result<()> {
    let flaky = |parameters: Value| json!({"operation": "flaky", "parameters": parameters, "data": [1], "tasks": 1});
    let refused = submit(door, flaky(json!({"permanent": 1}))).await?;
    let mut tried_again = flaky(json!({"transient": 1}));
    // The least there is; it is judged by the way of a fence.
    tried_again["deadline_ms"] = 1000.into();
    let late = submit(door, tried_again).await?;
    finished(record, &refused, "failed").await?;
    // The task, and the garbage of two queues.
    let first = dead_letters(record, 3).await?;
    call(record, Method::POST, "/api/dead-letters/replay", Some(json!({"all": true})), StatusCode::ACCEPTED).await?;
    let second = dead_letters(record, 6).await?;
    ensure!(first.is_subset(&second), "{first:?} and then {second:?}");
    finished(record, &late, "timed_out").await?;
    // Statistics consumes in order: when it knows how this one ended, it has met all that was published before.
    let last = submit(door, json!({"operation": "nop", "data": [1], "tasks": 1})).await?;
    finished(record, &last, "succeeded").await
}

async fn submit(door: &Router, object: Value) -> anyhow::Result<String> {
    // At first the door does not know yet how much waits behind it.
    let answer =
        until(async || call(door, Method::POST, "/api/objects", Some(object.clone()), StatusCode::CREATED).await);
    let answer = answer.await?;
    Ok(answer["id"].as_str().context("an object without an id")?.to_owned())
}

async fn finished(record: &Router, id: &str, expected: &str) -> anyhow::Result<()> {
    let path = format!("/api/objects/{id}?wait=60");
    let object = until(async || call(record, Method::GET, &path, None, StatusCode::OK).await).await?;
    ensure!(object["status"] == expected, "{expected} is expected: {object}");
    Ok(())
}

/// The ids of the dead letters, as soon as there are so many.
async fn dead_letters(record: &Router, count: usize) -> anyhow::Result<BTreeSet<String>> {
    until(async || {
        let listed = call(record, Method::GET, "/api/dead-letters", None, StatusCode::OK).await?;
        let letters = listed["dead_letters"].as_array().context("no list of dead letters")?;
        ensure!(letters.len() >= count, "{} dead letters", letters.len());
        Ok(letters.iter().map(|letter| letter["id"].to_string()).collect())
    })
    .await
}

/// Asks again until there is an answer, or [`PATIENCE`] is at its end.
async fn until<T>(mut ask: impl AsyncFnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        match ask().await {
            Err(_) if began.elapsed() < PATIENCE => sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

async fn call(
    router: &Router,
    method: Method,
    path: &str,
    body: Option<Value>,
    expected: StatusCode,
) -> anyhow::Result<Value> {
    let request = Request::builder().method(method.clone()).uri(path).header(CONTENT_TYPE, "application/json");
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let answer = router.clone().oneshot(request.body(body)?).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    ensure!(status == expected, "{method} {path}: {status} {text}");
    Ok(serde_json::from_str(&text)?)
}
