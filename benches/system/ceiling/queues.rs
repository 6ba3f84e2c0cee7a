//! The system's queues, declared without any code of ours.

use anyhow::ensure;
use lapin::{
    Channel, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};

/// A queue of the system.
pub struct Queue {
    /// Its name.
    pub name: String,
    /// What it gets.
    pub pattern: String,
    /// How many messages of an object.
    pub an_object: usize,
}

/// Declares the exchange, and the queues with what they get.
pub async fn declare(channel: &Channel, exchange: &str, queues: &[Queue]) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let dead = format!("{exchange}.dead");
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    channel.exchange_declare(dead.as_str().into(), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
    for Queue { name, pattern, .. } in queues {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.as_str().into(), durable, arguments(&dead)).await?;
        let options = QueueBindOptions::default();
        let pattern = pattern.as_str().into();
        channel.queue_bind(name.as_str().into(), exchange.into(), pattern, options, FieldTable::default()).await?;
    }
    Ok(())
}

/// Those of the system's work queues.
fn arguments(dead_letters: &str) -> FieldTable {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), 1_000_000_i32.into());
    arguments.insert("x-dead-letter-exchange".into(), text(dead_letters));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

/// Leaves the broker as it was, and sees that nothing stayed in a queue.
pub async fn remove(channel: &Channel, exchange: &str, queues: &[Queue]) -> anyhow::Result<()> {
    for Queue { name, .. } in queues {
        let left = channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await?;
        ensure!(left == 0, "{left} messages stayed in {name}");
    }
    for name in [exchange.to_owned(), format!("{exchange}.dead")] {
        channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await?;
    }
    Ok(())
}
