//! The topology as declarations of AMQP 0-9-1.

use std::collections::BTreeMap;

use lapin::{
    Channel, ErrorKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::Value;

use super::{convert::to_amqp, link::LinkError};
use crate::topology::{Binding, Exchange, ExchangeKind, Queue, QueueKind};

/// Out of reach on purpose: the default of RabbitMQ 4 is 20 and then deletes, hand-backs included; -1
/// deletes on 3.10. Who crashes on a message again and again is the consumers' business.
const DELIVERY_LIMIT: i32 = 1_000_000;

pub(super) async fn exchange(channel: &Channel, exchange: &Exchange) -> lapin::Result<()> {
    let kind = match exchange.kind {
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
    };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.name.as_str().into(), kind, durable, FieldTable::default()).await
}

/// Declares a queue with all that it needs: its exchanges, its bindings, where its dead letters go.
pub(super) async fn queue(channel: &Channel, queue: &Queue) -> lapin::Result<()> {
    if let QueueKind::Work { dead_letters } = &queue.kind {
        exchange(channel, dead_letters).await?;
    }
    queue_alone(channel, queue).await?;
    bind(channel, &queue.name, &queue.bindings).await
}

/// Declares a queue without anything around it.
pub(super) async fn queue_alone(channel: &Channel, queue: &Queue) -> lapin::Result<()> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let arguments: BTreeMap<ShortString, AMQPValue> =
        arguments(&queue.kind).iter().map(|(name, value)| ((*name).into(), to_amqp(value))).collect();
    channel.queue_declare(queue.name.as_str().into(), durable, arguments.into()).await.map(drop)
}

/// Declares a queue that goes with the connection, and tells its name.
pub(super) async fn broadcast(channel: &Channel, bindings: &[Binding]) -> lapin::Result<String> {
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare("".into(), own, FieldTable::default()).await?;
    let name = declared.name().to_string();
    bind(channel, &name, bindings).await?;
    Ok(name)
}

/// Becomes the one holder of `name` for as long as the connection lasts.
pub(super) async fn ownership(channel: &Channel, name: &str) -> Result<(), LinkError> {
    let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(name.into(), exclusive, FieldTable::default()).await;
    match declared {
        Ok(_) => Ok(()),
        Err(error) if is_locked(&error) => Err(LinkError::OwnedElsewhere),
        Err(error) => Err(error.into()),
    }
}

fn is_locked(error: &lapin::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ProtocolError(error)
            if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED)
    )
}

async fn bind(channel: &Channel, queue: &str, bindings: &[Binding]) -> lapin::Result<()> {
    for binding in bindings {
        exchange(channel, &binding.exchange).await?;
        channel
            .queue_bind(
                queue.into(),
                binding.exchange.name.as_str().into(),
                binding.pattern.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}

/// The arguments of a queue: everything that correctness needs. At-least-once dead-lettering takes all three of an exchange,
/// the strategy and reject-publish, else it is silently at-most-once
/// ([quorum queues](https://www.rabbitmq.com/docs/quorum-queues#dead-lettering)).
pub fn arguments(kind: &QueueKind) -> Vec<(&'static str, Value)> {
    let mut arguments = vec![("x-queue-type", Value::from("quorum")), ("x-delivery-limit", DELIVERY_LIMIT.into())];
    let mut dead_letters_go_to = |exchange: &str| {
        arguments.extend([
            ("x-dead-letter-exchange", exchange.into()),
            ("x-dead-letter-strategy", "at-least-once".into()),
            ("x-overflow", "reject-publish".into()),
        ]);
    };
    match kind {
        QueueKind::Work { dead_letters } => dead_letters_go_to(&dead_letters.name),
        QueueKind::Retry { delay } => {
            // The exchange that knows every queue by its name.
            dead_letters_go_to("");
            let milliseconds = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            arguments.push(("x-message-ttl", milliseconds.into()));
        }
        QueueKind::DeadLetters => {}
    }
    arguments
}
