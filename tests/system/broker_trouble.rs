//! A broker that is gone, silent, or takes no more: the door says so in time, memory stays as it is, and afterwards
//! everything goes on.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Broker, Options, System, eventually, eventually_within};
use tokio::time::{Instant, timeout};

use crate::kit::{figure, stopped_with_empty_queues};

/// In which a refusal must have come: the five seconds that the door waits for the bus, and some for a slow machine.
const IN_TIME: Duration = Duration::from_secs(10);
/// How long the trouble lasts, at least: longer than three heartbeats, and than a window of publishes is waited for.
const TROUBLE: Duration = Duration::from_secs(40);
/// Until everything goes on: the longest wait before a connection is tried again, and some for a slow machine.
const RECOVERY: Duration = Duration::from_secs(120);
/// Who knocks all the time. Of the bodies of all of them in a minute of trouble several times [`MAX_GROWTH`] would be kept.
const CLIENTS: usize = 40;
const BODY_BYTES: usize = 200_000;
const MAX_GROWTH: u64 = 250 << 20;

/// What the clients were told.
#[derive(Default)]
struct Told {
    accepted: HashSet<String>,
    refused: usize,
    /// By its key: what may have been accepted, or not.
    unknown: Vec<(String, Value)>,
}

/// Submits once.
async fn knock(system: &System, key: &str, body: &Value) -> Result<String, String> {
    let request = system.client().post(system.url_of("datagen", "/api/objects")).header("idempotency-key", key);
    let began = Instant::now();
    let answer = timeout(IN_TIME, request.json(body).send()).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer within {IN_TIME:?}")).unwrap();
    let (status, comes_again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    let text = answer.text().await.unwrap();
    assert!(began.elapsed() < IN_TIME);
    match status {
        201 => Ok(serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()),
        503 if comes_again => Err(text),
        _ => panic!("{status}: {text}"),
    }
}

fn object(number: usize) -> Value {
    json!({"operation": "nop", "tasks": 2, "data": [number, "x".repeat(BODY_BYTES)]})
}

/// Knocks from many sides until the time is over.
async fn knock_for(system: &System, time: Duration, name: &str) -> Told {
    let end = Instant::now() + time;
    let clients = (0..CLIENTS).map(async |client| {
        let mut told = Told::default();
        for number in 0.. {
            if Instant::now() >= end {
                break;
            }
            let (key, body) = (format!("{name}-{client}-{number}"), object(number));
            match knock(system, &key, &body).await {
                Ok(id) => _ = told.accepted.insert(id),
                Err(_) => {
                    told.refused += 1;
                    told.unknown.push((key, body));
                }
            }
        }
        told
    });
    let mut all = Told::default();
    for told in futures_util::future::join_all(clients).await {
        all.accepted.extend(told.accepted);
        all.refused += told.refused;
        all.unknown.extend(told.unknown);
    }
    all
}

fn resident(system: &System) -> BTreeMap<String, u64> {
    let names = system.names().into_iter();
    names.map(|name| (name.clone(), system.process(&name).memory().unwrap().resident)).collect()
}

/// Objects before the trouble, clients that knock while it lasts, objects after it: those that were accepted, and no others
/// but what was told to be unknown, are finished, each once.
async fn goes_on_after<B, E>(options: Options, begin: B, end: E)
where
    B: AsyncFnOnce(),
    E: AsyncFnOnce(),
{
    let mut system = System::start(options.processors(2)).await.unwrap();
    let mut accepted = HashSet::new();
    for number in 0..20 {
        let (key, object) = (format!("before-{number}"), object(number));
        accepted.insert(eventually(async || knock(&system, &key, &object).await).await);
    }
    let before = resident(&system);
    begin().await;
    let told = knock_for(&system, TROUBLE, "during").await;
    let during = resident(&system);
    end().await;
    assert!(told.refused > 0, "nothing was refused");
    for (name, bytes) in &during {
        let grown = bytes.saturating_sub(before[name]);
        assert!(grown <= MAX_GROWTH, "{name} has grown by {} MiB", grown >> 20);
    }
    let most = accepted.len() + 1 + told.accepted.len() + told.unknown.len();
    eventually_within(RECOVERY, async || knock(&system, "after", &object(0)).await.map(|id| accepted.insert(id))).await;
    accepted.extend(told.accepted);
    // Whoever was refused tries again, with the same key; whether it had been taken makes no difference.
    for (key, body) in told.unknown.iter().take(50) {
        accepted.insert(eventually_within(RECOVERY, async || knock(&system, key, body).await).await);
    }
    eventually_within(RECOVERY, async || {
        let (created, succeeded) =
            (figure(&system, "objects created").await, figure(&system, "objects succeeded").await);
        let settled = created == succeeded && created >= accepted.len() as f64;
        if settled { Ok(()) } else { Err(format!("{succeeded} of {created} finished, {} accepted", accepted.len())) }
    })
    .await;
    let finished = system.sqlite3("select id from objects where status = 'succeeded'").await.unwrap();
    let finished: HashSet<String> = finished.lines().map(str::to_owned).collect();
    assert!(finished.is_superset(&accepted), "lost: {:?}", accepted.difference(&finished));
    assert!(finished.len() <= most, "{} finished, of {most} that were asked for", finished.len());
    let tasks = "select min(n), max(n) from (select count(*) n from tasks group by object_id)";
    assert_eq!(system.sqlite3(tasks).await.unwrap().trim(), "2|2");
    system.all_ready().await;
    stopped_with_empty_queues(&mut system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_has_no_memory_the_door_refuses_and_consumers_go_on() {
    let broker = Broker::start().await.unwrap();
    let options = Options::on(broker.url());
    let alarm = async |watermark: &str| {
        broker.ctl(&["set_vm_memory_high_watermark", watermark]).await.unwrap();
    };
    goes_on_after(options, async || alarm("0").await, async || alarm("0.4").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_silent_the_door_refuses() {
    let broker = Broker::start().await.unwrap();
    let (pause, go_on) = (async || broker.pause().await.unwrap(), async || broker.unpause().await.unwrap());
    goes_on_after(Options::on(broker.url()), pause, go_on).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_gone_the_door_refuses() {
    let broker = tokio::sync::Mutex::new(Broker::start().await.unwrap());
    let options = Options::on(broker.lock().await.url());
    let kill = async || broker.lock().await.kill().await.unwrap();
    let resume = async || broker.lock().await.resume().await.unwrap();
    goes_on_after(options, kill, resume).await;
}
