//! The broker's own ceiling: plain lapin moves the same eleven messages an object over the same queues, with the same
//! arguments and the same durability, and does nothing else. No code of the bus is in it.
//!
//! It is a ceiling and not a model: no message waits for what causes it, one process holds all clients, and windows,
//! prefetch and acknowledgements are as large as helps. Of 1, 2 and 4 publishing connections, windows of 64, 256 and 1024 and a
//! prefetch of 300, 1000 and 4000 none was faster than these by more than the rounds differ; much more of everything is slower.

mod queues;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use anyhow::{Context, ensure};
use bus::Message;
use futures_util::{StreamExt, future::try_join_all};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use testkit::Broker;
use tokio::time::{Duration, sleep};

use self::queues::{Queue, declare, remove};
use crate::{
    proc::Watch,
    workload::{self, EVENTS, OPERATION, TASKS},
};

/// Connections that publish, each with one channel.
const PUBLISHERS: usize = 2;
/// Unconfirmed messages of a channel.
const WINDOW: usize = 256;
/// Unacknowledged messages of a consumer; half of them are acknowledged together.
const PREFETCH: u16 = 1000;
/// RabbitMQ 3.10 writes the place of a new quorum queue to disk a while after it was declared; the system waits as long.
const NEW_QUEUES: Duration = Duration::from_secs(2);

/// A message that lapin can send without any more work.
struct Ready {
    routing_key: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
}

/// What a round gave.
pub struct Round {
    /// From the first publish to the last acknowledgement.
    pub objects_per_s: f64,
    /// Processor time for an object, in microseconds, of the broker and of the client.
    pub cpu_us: BTreeMap<String, f64>,
}

/// Moves the messages of these texts' objects.
pub async fn round(broker: &Broker, texts: &[String]) -> anyhow::Result<Round> {
    let url = &broker.url();
    let exchange = testkit::unique_name();
    let queue = |role: &str, pattern: &str, an_object| Queue {
        name: format!("{exchange}.{role}"),
        pattern: pattern.to_owned(),
        an_object,
    };
    let queues = [
        queue("distributor", "object.created.#", 1),
        queue(&format!("processor.{OPERATION}"), &format!("task.created.{OPERATION}"), TASKS as usize),
        queue("statistics", "#", EVENTS),
    ];
    let declaring = connect(url).await?;
    let channel = declaring.create_channel().await?;
    declare(&channel, &exchange, &queues).await?;
    let mut shares: Vec<Vec<Ready>> = (0..PUBLISHERS).map(|_| Vec::new()).collect();
    for (number, text) in texts.iter().enumerate() {
        let messages = workload::messages(&exchange, text)?;
        shares[number % PUBLISHERS].extend(messages.into_iter().map(Ready::from));
    }
    sleep(NEW_QUEUES).await;

    let consuming = connect(url).await?;
    let mut work = Vec::new();
    for Queue { name, an_object, .. } in &queues {
        let channel = consuming.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (name, expected) = (name.clone(), an_object * texts.len());
        work.push(tokio::spawn(async move { consume(channel, &name, expected).await }));
    }
    let mut publishing = Vec::new();
    for share in shares {
        publishing.push((connect(url).await?, share));
    }
    let cpu = Watch::begin([("broker".to_owned(), broker.id().context("the broker has ended")?)])?;
    let began = Instant::now();
    for (connection, share) in publishing {
        let exchange = ShortString::from(exchange.as_str());
        work.push(tokio::spawn(async move { publish(connection, exchange, share).await }));
    }
    for ended in try_join_all(work).await? {
        ended?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu_us = cpu.end(texts.len())?;
    remove(&channel, &exchange, &queues).await?;
    Ok(Round { objects_per_s: texts.len() as f64 / seconds, cpu_us })
}

async fn connect(url: &str) -> anyhow::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await.context("cannot connect")
}

async fn publish(connection: Connection, exchange: ShortString, messages: Vec<Ready>) -> anyhow::Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut unconfirmed = VecDeque::with_capacity(WINDOW);
    for message in messages {
        if unconfirmed.len() >= WINDOW
            && let Some(oldest) = unconfirmed.pop_front()
        {
            taken(oldest).await?;
        }
        let Ready { routing_key, properties, body } = message;
        unconfirmed.push_back(channel.basic_publish(exchange.clone(), routing_key, options, &body, properties).await?);
    }
    for confirm in unconfirmed {
        taken(confirm).await?;
    }
    Ok(())
}

async fn taken(confirm: impl Future<Output = lapin::Result<Confirmation>>) -> anyhow::Result<()> {
    let confirmation = confirm.await?;
    ensure!(matches!(&confirmation, Confirmation::Ack(None)), "the broker refused or returned one: {confirmation:?}");
    Ok(())
}

async fn consume(channel: Channel, queue: &str, expected: usize) -> anyhow::Result<()> {
    let any_tag = ShortString::from("");
    let mut deliveries =
        channel.basic_consume(queue.into(), any_tag, BasicConsumeOptions::default(), FieldTable::default()).await?;
    for received in 1..=expected {
        let delivery = deliveries.next().await.context("the broker ended the consumer")??;
        if received % (usize::from(PREFETCH) / 2) == 0 || received == expected {
            delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    // Answered after the acknowledgements that were sent before it.
    channel.close(200, "done".into()).await?;
    Ok(())
}

impl From<Message> for Ready {
    fn from(message: Message) -> Self {
        let text = |text: Option<String>| ShortString::from(text.unwrap_or_default());
        let mut headers = FieldTable::default();
        for (name, value) in &message.headers {
            headers.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().unwrap_or_default().into()));
        }
        let seconds = message.timestamp.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or_default();
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(message.id.into())
            .with_correlation_id(text(message.correlation_id))
            .with_type(text(message.kind))
            .with_app_id(text(message.app_id))
            .with_timestamp(seconds)
            .with_content_type(text(message.content_type))
            .with_headers(headers);
        Self { routing_key: message.routing_key.into(), properties, body: message.body.to_vec() }
    }
}
