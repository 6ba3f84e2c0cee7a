//! The embedded bus alone: the eleven messages of an object, published as the services do and consumed from the same
//! queues, with a file on disk and no work.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use bus::{
    Acknowledge, Message, PATIENCE, Queue, Source, Topology, Transport,
    embedded::{Embedded, Limits},
};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::Semaphore;

use crate::workload::{self, EVENTS, OPERATION, TASKS};

/// Objects that are published at the same time: as many as the client of the whole system has connections.
const AT_A_TIME: usize = 64;
/// Unacknowledged messages of a consumer, as statistics has; half of them are acknowledged together.
const PREFETCH: u16 = 1000;
/// Names everything.
const EXCHANGE: &str = "bench";

/// Moves the messages of these texts' objects; how many events a second.
pub async fn round(texts: &[String]) -> anyhow::Result<f64> {
    let objects = texts.iter().map(|text| workload::messages(EXCHANGE, text)).collect::<anyhow::Result<Vec<_>>>()?;
    let folder = tempfile::tempdir()?;
    let bus = Arc::new(Embedded::open(&folder.path().join("bus.db"), Limits::default()).await?);
    let topology = Topology::new(EXCHANGE);
    let queues = [
        (topology.distributor(), 1),
        (topology.processor(&OPERATION.parse()?), TASKS as usize),
        (topology.statistics(), EVENTS),
    ];
    bus.ensure(topology.events(), queues.iter().map(|(queue, _)| queue.clone()).collect()).await;
    let began = Instant::now();
    let mut work: Vec<_> = queues
        .into_iter()
        .map(|(queue, an_object)| tokio::spawn(consume(Arc::clone(&bus), queue, an_object * texts.len())))
        .collect();
    work.push(tokio::spawn(publish_all(Arc::clone(&bus), objects)));
    for ended in try_join_all(work).await? {
        ended?;
    }
    let seconds = began.elapsed().as_secs_f64();
    bus.close().await;
    Ok((texts.len() * EVENTS) as f64 / seconds)
}

async fn publish_all(bus: Arc<Embedded>, objects: Vec<Vec<Message>>) -> anyhow::Result<()> {
    let room = Arc::new(Semaphore::new(AT_A_TIME));
    let mut publishing = Vec::with_capacity(objects.len());
    for messages in objects {
        let slot = Arc::clone(&room).acquire_owned().await?;
        let bus = Arc::clone(&bus);
        publishing.push(tokio::spawn(async move {
            let published = publish(&bus, messages).await;
            drop(slot);
            published
        }));
    }
    try_join_all(publishing).await?.into_iter().collect()
}

/// In the steps of the services: the object, its tasks together, each start and end for itself, the object's end.
async fn publish(bus: &Embedded, messages: Vec<Message>) -> anyhow::Result<()> {
    ensure!(messages.len() == EVENTS, "{} messages", messages.len());
    let mut rest = messages.into_iter();
    let mut next = |count: usize| -> Vec<Message> { rest.by_ref().take(count).collect() };
    let (created, tasks, runs, finished) = (next(1), next(TASKS as usize), next(2 * TASKS as usize), next(1));
    taken(bus.publish(created, PATIENCE).await)?;
    taken(bus.publish(tasks, PATIENCE).await)?;
    let runs = runs.into_iter().map(|message| bus.publish(vec![message], PATIENCE));
    taken(join_all(runs).await.into_iter().flatten().collect())?;
    taken(bus.publish(finished, PATIENCE).await)
}

fn taken(results: Vec<Result<(), bus::PublishError>>) -> anyhow::Result<()> {
    Ok(results.into_iter().collect::<Result<(), _>>()?)
}

async fn consume(bus: Arc<Embedded>, queue: Queue, expected: usize) -> anyhow::Result<()> {
    let mut subscription = bus.subscribe(Source::Shared(queue), PREFETCH);
    for received in 1..=expected {
        let delivery = subscription.next().await.context("the bus was closed")?;
        if received % (usize::from(PREFETCH) / 2) == 0 || received == expected {
            subscription.acknowledge(delivery.receipt, Acknowledge::UpTo).await?;
        }
    }
    Ok(())
}
