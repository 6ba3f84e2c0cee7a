//! What has no like inside one process: others may have declared the queue, and it stands there from then on.

use bus::{Queue, Source, Transport};
use lapin::{
    Channel,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use testkit::eventually;

use crate::{
    kit::{message, publish, queue, topic},
    subject::{Foreign, RabbitMq, Subject},
};

/// Declares a queue of that name as we never would.
async fn declare_otherwise(channel: &Channel, queue: &Queue) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.name.as_str().into(), durable, arguments).await.unwrap();
}

async fn is_refused(transport: &dyn Transport, queue: &Queue) {
    eventually(async || match transport.status() {
        Err(reason) if reason.contains("PRECONDITION_FAILED") && reason.contains(&queue.name) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_an_error_that_names_it() {
    let subject = RabbitMq::fresh().await;
    let queue = queue(subject.exchange(), "work", "#");
    declare_otherwise(&subject.foreign_client().await, &queue).await;
    let transport = subject.transport();
    let _subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
    is_refused(&*transport, &queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_be_declared_when_the_channel_broke_is_declared_by_the_next_session() {
    let subject = RabbitMq::fresh().await;
    let foreign = subject.foreign_client().await;
    let queues = ["first", "second", "third"].map(|name| queue(subject.exchange(), name, &format!("{name}.#")));
    declare_otherwise(&foreign, &queues[1]).await;
    let transport = subject.transport();
    transport.ensure(topic(subject.exchange()), queues.to_vec()).await;
    is_refused(&*transport, &queues[1]).await;
    foreign.queue_delete(queues[1].name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let to_each = ["first", "second", "third"].map(|name| message(subject.exchange(), name, name));
    publish(&*transport, to_each.to_vec()).await;
}
