//! What these tests share.

use std::time::{Duration, Instant};

use bus::{
    Topology, Transport,
    embedded::{Embedded, Limits},
};
use serde_json::Value;
use testkit::{System, eventually, waiting_messages};

/// Makes each test two: of the four services over RabbitMQ, and of the one process on the embedded bus. The tests are
/// functions of the [`testkit::Options`] of the system.
macro_rules! everywhere {
    ($($test:ident),+ $(,)?) => {
        mod four_services {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(testkit::Options::on(testkit::shared_broker_url())).await;
                }
            )+
        }

        mod one_process {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(testkit::Options::embedded()).await;
                }
            )+
        }
    };
}
pub(crate) use everywhere;

/// The headline figures, as the view shows them: name and value.
pub async fn figure(system: &System, name: &str) -> f64 {
    let value = system.sqlite3(&format!("select value from statistics where figure = '{name}'")).await.unwrap();
    value.trim().parse().unwrap_or_else(|_| panic!("the view says {value:?} for {name:?}"))
}

/// Submits an object until it is accepted; its id.
pub async fn accepted(system: &System, key: &str, body: &Value) -> String {
    eventually(async || {
        let request = system.client().post(system.url_of("datagen", "/api/objects")).header("idempotency-key", key);
        let answer = request.json(body).send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let object: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        object["id"].as_str().filter(|_| status == 201).map(str::to_owned).ok_or(text)
    })
    .await
}

/// A request with a form that has a text.
pub fn form(request: reqwest::RequestBuilder, text: &str) -> reqwest::RequestBuilder {
    let encoded = reqwest::Url::parse_with_params("form:", [("text", text)]).unwrap();
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(encoded.query().unwrap().to_owned())
}

/// Whether a process says that it is ready.
pub async fn is_ready(system: &System, name: &str) -> bool {
    let asked = system.client().get(system.url_of(name, "/readyz")).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

/// Waits until so many objects have finished, for as long as there is always one more within the usual patience: how fast
/// they do depends on the machine.
pub async fn all_finished(system: &System, count: usize) {
    let mut finished = 0;
    while finished < count as u64 {
        finished = eventually(async || {
            let statistics = system.get("/api/statistics").await.map_err(|error| format!("{error:#}"))?;
            let objects = &statistics["objects"];
            let number = |name: &str| objects[name].as_u64().unwrap_or_default();
            let now = number("succeeded") + number("failed") + number("timed_out");
            if now > finished { Ok(now) } else { Err(format!("{now} of {count} finished: {statistics}")) }
        })
        .await;
    }
}

/// The totals of word-frequencies: word and count.
pub async fn totals(system: &System) -> std::collections::BTreeMap<String, u64> {
    let totals = system.get("/api/totals/word-frequencies?limit=1000").await.unwrap();
    let totals = totals["totals"].as_array().unwrap().iter();
    totals.map(|total| (total["name"].as_str().unwrap().to_owned(), total["count"].as_u64().unwrap())).collect()
}

/// Waits until nothing is on its way, stops every process and sees that no message was left anywhere, set aside ones
/// included.
pub async fn stopped_with_empty_queues(system: &mut System) {
    if system.broker().is_none() {
        return stopped_with_empty_bus(system).await;
    }
    // Empty once is not enough: what was delivered a moment ago is not in the queue, and would go back into it.
    const LONG_EMPTY: Duration = Duration::from_secs(1);
    let mut empty_since = None;
    eventually(async || {
        let outbox = outbox(system).await;
        let waiting = waiting(system).await;
        if outbox != "0" || !waiting.is_empty() {
            empty_since = None;
            return Err(format!("in the outbox {outbox}, waiting {waiting:?}"));
        }
        let since = *empty_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= LONG_EMPTY { Ok(()) } else { Err("not for long enough".to_owned()) }
    })
    .await;
    stop_all(system).await;
    assert_eq!(waiting(system).await, [], "messages are left");
}

/// Only whoever has the file can look into it, so that the process stops first, and goes on if it was too early.
async fn stopped_with_empty_bus(system: &mut System) {
    eventually(async || {
        let outbox = outbox(system).await;
        stop_all(system).await;
        let waiting = waiting(system).await;
        if outbox == "0" && waiting.is_empty() {
            return Ok(());
        }
        system.start_all().unwrap();
        system.all_ready().await;
        nothing_waits(system).await;
        Err(format!("{outbox} and {waiting:?} are left"))
    })
    .await;
}

/// Waits until a process has seen that no more waits in the queues behind its door. Each stop counts as one more delivery
/// of what is still there, and what was delivered too often is set aside.
async fn nothing_waits(system: &System) {
    eventually(async || {
        let asked = system.client().get(system.url_of("datagen", "/metrics")).send().await;
        let metrics = asked.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        let depths: Vec<_> = metrics.lines().filter(|line| line.starts_with("ebs_queue_messages{")).collect();
        if !depths.is_empty() && depths.iter().all(|line| line.ends_with(" 0")) {
            Ok(())
        } else {
            Err(depths.join("\n"))
        }
    })
    .await;
}

async fn stop_all(system: &mut System) {
    for name in system.names() {
        system.stop(&name).await.unwrap();
    }
}

async fn outbox(system: &System) -> String {
    system.sqlite3("select count(*) from outbox").await.unwrap_or_else(|error| format!("{error:#}")).trim().to_owned()
}

/// The queues that are not empty, and how many messages wait in them.
async fn waiting(system: &System) -> Vec<(String, u64)> {
    let topology = Topology::new(system.exchange().to_owned());
    let operations = ["flaky", "nop", "plusone", "pow", "word-frequencies"].map(|name| name.parse().unwrap());
    let mut queues = vec![topology.distributor(), topology.statistics(), topology.dead_letters()];
    queues.extend(operations.iter().map(|operation| topology.processor(operation)));
    let bus = match system.broker() {
        Some(_) => None,
        None => Some(Embedded::open(&system.bus_file(), Limits::default()).await.unwrap()),
    };
    let mut waiting = Vec::new();
    for queue in queues {
        let count = match &bus {
            Some(bus) => bus.depth(&queue).await.unwrap(),
            None => waiting_messages(system.broker().unwrap(), &queue.name).await.unwrap().unwrap_or_default().into(),
        };
        if count > 0 {
            waiting.push((queue.name, count));
        }
    }
    if let Some(bus) = bus {
        bus.close().await;
    }
    waiting
}

/// The results of an object's tasks, in order.
pub fn partials(object: &Value) -> Vec<&Value> {
    object["tasks"].as_array().unwrap().iter().map(|task| &task["result"]).collect()
}
