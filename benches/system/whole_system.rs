//! The whole system: objects are posted over HTTP, and the clock stops when statistics has finished the last of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    client::Client,
    deployment::Deployment,
    proc::Watch,
    workload::{self, OPERATION, TASKS},
};

/// Connections of the client, each with one request at a time: enough that publishes share a window of confirms.
const CONNECTIONS: usize = 64;
/// How exactly the end is seen.
const POLL: Duration = Duration::from_millis(20);
/// How long the objects of a round may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a round of load gave.
pub struct Round {
    /// From the first POST to the last object's finish.
    pub objects_per_s: f64,
    /// From the first POST to the last 201, which is when the client is done.
    pub accepted_per_s: f64,
    /// Processor time for an object, in microseconds, by process; the client and the broker are among them.
    pub cpu_us: BTreeMap<String, f64>,
}

/// Posts every text and waits until all objects have finished; `before` have finished already.
pub async fn load(
    deployment: &Deployment,
    texts: &[String],
    before: usize,
    broker: Option<u32>,
) -> anyhow::Result<Round> {
    let parts = deployment.parts.iter().map(|part| Ok((part.name.to_owned(), part.id()?)));
    let mut processes = parts.collect::<anyhow::Result<Vec<_>>>()?;
    processes.extend(broker.map(|id| ("broker".to_owned(), id)));
    let mut watching = Client::connect(deployment.port).await?;
    let cpu = Watch::begin(processes)?;
    let began = Instant::now();
    post_all(deployment.port, texts).await?;
    let accepted = began.elapsed();
    let count = before + texts.len();
    while finished(&watching.get("/api/statistics").await?)? < count {
        ensure!(began.elapsed() < PATIENCE, "not all objects have finished after {PATIENCE:?}");
        sleep(POLL).await;
    }
    let elapsed = began.elapsed();
    let objects = texts.len() as f64;
    Ok(Round {
        objects_per_s: objects / elapsed.as_secs_f64(),
        accepted_per_s: objects / accepted.as_secs_f64(),
        cpu_us: cpu.end(texts.len())?,
    })
}

async fn post_all(port: u16, texts: &[String]) -> anyhow::Result<()> {
    let texts: Arc<[String]> = texts.into();
    let next = Arc::new(AtomicUsize::new(0));
    let posting = (0..CONNECTIONS).map(|_| {
        let (texts, next) = (Arc::clone(&texts), Arc::clone(&next));
        tokio::spawn(async move {
            let mut client = Client::connect(port).await?;
            while let Some(text) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
                client.post(text).await?;
            }
            anyhow::Ok(())
        })
    });
    try_join_all(posting).await?.into_iter().collect()
}

fn finished(statistics: &Value) -> anyhow::Result<usize> {
    let objects = &statistics["objects"];
    let number = |name: &str| objects[name].as_u64().with_context(|| format!("no {name} in {statistics}"));
    Ok(usize::try_from(number("succeeded")? + number("failed")? + number("timed_out")?)?)
}

/// Fails unless exactly these texts were counted: every object and task succeeded, once, and every word is in the totals.
pub async fn check<'a>(deployment: &Deployment, texts: impl Iterator<Item = &'a str> + Clone) -> anyhow::Result<()> {
    let objects = texts.clone().count() as u64;
    let tasks = objects * u64::from(TASKS);
    let mut client = Client::connect(deployment.port).await?;
    let statistics = client.get("/api/statistics").await?;
    for (of, name, expected) in [
        ("objects", "created", objects),
        ("objects", "succeeded", objects),
        ("objects", "failed", 0),
        ("objects", "timed_out", 0),
        ("tasks", "distributed", tasks),
        ("tasks", "processed", tasks),
        ("tasks", "failed", 0),
    ] {
        let figure = &statistics[of][name];
        ensure!(figure.as_u64() == Some(expected), "{of} {name}: {expected} expected, {figure} counted");
    }
    let totals = client.get(&format!("/api/totals/{OPERATION}?limit=1000")).await?;
    let totals = totals["totals"].as_array().context("no totals")?;
    let counted = totals.iter().map(|total| Some((total["name"].as_str()?.to_owned(), total["count"].as_u64()?)));
    workload::ensure_same(&workload::count(texts), &counted.collect::<Option<_>>().context("the totals' form")?)
}
