//! What has no like inside one process: others may have declared the queue, and it stands there from then on.

use bus::Source;
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use testkit::eventually;

use crate::{
    kit::queue,
    subject::{Foreign, RabbitMq, Subject},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_an_error_that_names_it() {
    let subject = RabbitMq::fresh().await;
    let queue = queue(subject.exchange(), "work", "#");
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    subject.foreign_client().await.queue_declare(queue.name.as_str().into(), durable, arguments).await.unwrap();
    let transport = subject.transport();
    let _subscription = transport.subscribe(Source::Shared(queue.clone()), 1);
    eventually(async || match transport.status() {
        Err(reason) if reason.contains("PRECONDITION_FAILED") && reason.contains(&queue.name) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
