//! Whether the system comes to rest when it is left alone: every object ended, every queue empty.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, bail, ensure};
use bus::{
    Queue, RETRY_DELAYS, Source, Topology, Transport,
    embedded::{Embedded, Limits},
};
use testkit::Broker;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    follower::{self, Heard},
    record::Record,
    stage::Stage,
};

/// The longest retry delay and a minute more.
pub const PATIENCE: Duration = Duration::from_secs(30 + 60);
const POLL: Duration = Duration::from_millis(500);
/// Empty once is not enough: a message may be between two queues.
const TIMES_EMPTY: u32 = 3;
/// What waits inside this process is delivered sooner.
const NO_MORE: Duration = Duration::from_millis(100);

/// How it ended. Nothing runs any more.
#[derive(Debug, Default)]
pub struct Rest {
    /// How long it took; none if it did not come to rest in time, for this reason.
    pub took: Option<Duration>,
    pub reason: String,
    /// What was left, or went wrong, at the end.
    pub left: Vec<String>,
    /// What was announced.
    pub heard: Heard,
}

/// Waits until the system is at rest, at the latest until `end`, and stops it.
pub async fn come_to_rest(stage: &mut Stage, accepted: usize, since: Instant, end: Instant) -> Rest {
    let mut rest = Rest::default();
    let mut times_empty = 0;
    loop {
        let at_rest = is_at_rest(stage, accepted, &mut rest.heard).await;
        times_empty = if at_rest.is_ok() { times_empty + 1 } else { 0 };
        // Of the embedded bus nothing is on its way while it is looked into.
        if times_empty >= if stage.broker.is_some() { TIMES_EMPTY } else { 1 } {
            rest.took = Some(since.elapsed());
            break;
        }
        if let Err(error) = at_rest {
            rest.reason = format!("{error:#}");
        }
        if Instant::now() > end {
            break;
        }
        sleep(POLL).await;
    }
    stop(stage, &mut rest).await;
    rest
}

/// Why it is not.
async fn is_at_rest(stage: &mut Stage, accepted: usize, heard: &mut Heard) -> anyhow::Result<()> {
    let progress = Record::open(&stage.system.database()).await?.progress().await?;
    let done = progress.created == progress.finished && progress.outbox == 0;
    ensure!(done && progress.created >= i64::try_from(accepted)?, "{accepted} objects were accepted, {progress:?}");
    let left = match &stage.broker {
        Some(broker) => not_empty(broker).await?,
        None => look_into_bus(stage, heard).await?,
    };
    ensure!(left.is_empty(), "not empty: {}", left.join(", "));
    Ok(())
}

/// Nobody else may have the file open, so that the process stops first; it goes on if it was too early.
async fn look_into_bus(stage: &mut Stage, heard: &mut Heard) -> anyhow::Result<Vec<String>> {
    for member in &mut stage.members {
        member.stop().await?;
    }
    let left = bus_not_empty(stage, heard).await?;
    if !left.is_empty() {
        for member in &mut stage.members {
            member.start_again()?;
        }
    }
    Ok(left)
}

/// Stops every process, each of which must end well; what is then left is left for good.
async fn stop(stage: &mut Stage, rest: &mut Rest) {
    for member in &mut stage.members {
        let is_stopped = stage.broker.is_none() && rest.took.is_some();
        if !is_stopped && let Err(error) = member.stop().await {
            rest.left.push(format!("{error:#}"));
        }
    }
    if let Some(follower) = stage.follower.take() {
        rest.heard.join(follower.stop().await);
    }
    let left = match &stage.broker {
        Some(broker) => not_empty(broker).await,
        None => bus_not_empty(stage, &mut rest.heard).await,
    };
    match left {
        Ok(left) => rest.left.extend(left),
        Err(error) => rest.left.push(format!("{error:#}")),
    }
}

/// The queues of a broker that are not empty, whatever they are called.
async fn not_empty(broker: &Broker) -> anyhow::Result<Vec<String>> {
    let listed = broker.ctl(&["--quiet", "list_queues", "--no-table-headers", "name", "messages"]).await?;
    let mut left = Vec::new();
    for line in listed.lines() {
        let (name, messages) = line.rsplit_once('\t').with_context(|| format!("rabbitmqctl says {line:?}"))?;
        if messages != "0" {
            left.push(format!("{messages} messages in {name}"));
        }
    }
    ensure!(listed.lines().count() > 1, "rabbitmqctl lists no queues: {listed:?}");
    Ok(left)
}

/// The queues of an embedded bus that are not empty.
async fn bus_not_empty(stage: &Stage, heard: &mut Heard) -> anyhow::Result<Vec<String>> {
    let bus = Embedded::open(&stage.system.bus_file(), Limits::default()).await?;
    let topology = Topology::new(stage.system.exchange());
    let mut left = Vec::new();
    for queue in queues(&topology)? {
        let count = waiting(&bus, &queue).await;
        if count > 0 {
            left.push(format!("{count} messages in {}", queue.name));
        }
    }
    heard.join(follower::drain(&bus, &topology).await);
    bus.close().await;
    Ok(left)
}

/// Every queue of the system.
fn queues(topology: &Topology) -> anyhow::Result<Vec<Queue>> {
    let mut queues = vec![topology.distributor(), topology.statistics(), topology.dead_letters()];
    for operation in ["nop", "plusone", "pow", "word-frequencies"] {
        queues.push(topology.processor(&operation.parse()?));
    }
    queues.extend(RETRY_DELAYS.map(|delay| topology.retry(delay)));
    let names: BTreeSet<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
    if names.len() != queues.len() {
        bail!("a queue is named twice: {names:?}");
    }
    Ok(queues)
}

/// How many messages a queue of the embedded bus delivers; they stay in it.
async fn waiting(bus: &Embedded, queue: &Queue) -> usize {
    let mut subscription = bus.subscribe(Source::Shared(queue.clone()), u16::MAX);
    let mut count = 0;
    while let Ok(Some(_)) = timeout(NO_MORE, subscription.next()).await {
        count += 1;
    }
    count
}
