//! Messages for the cases, and taking them without waiting for ever.

use std::{collections::BTreeSet, slice, sync::Arc, time::Duration};

use bus::{
    Acknowledge, Binding, Bus, Delivery, Exchange, ExchangeKind, Message, PublishError, Queue, QueueKind, Settings,
    Source, Subscription, Topology, Transport,
};
use testkit::unique_name;
use tokio::time::timeout;

use crate::subject::Subject;

/// Longer than any publish of a case takes on a slow machine: one that ends by it is a defect.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The same for a delivery.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(60);
/// More than any case publishes to one queue.
const EVERYTHING: u16 = 10_000;
/// The longest event, unless a case is about it.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// A transport, a queue of it that gets `a.#`, and nothing in it yet.
pub async fn work_queue<S: Subject>(subject: &S) -> (Arc<dyn Transport>, Queue) {
    let (transport, exchange) = (subject.transport(), subject.exchange());
    let queue = queue(exchange, "work", "a.#");
    ensure(&*transport, exchange, slice::from_ref(&queue)).await;
    (transport, queue)
}

/// The same with the messages 0, 1, … in it.
pub async fn with_messages<S: Subject>(subject: &S, count: usize) -> (Arc<dyn Transport>, Queue) {
    let (transport, queue) = work_queue(subject).await;
    publish(&*transport, (0..count).map(|id| message(subject.exchange(), "a.b", id)).collect()).await;
    (transport, queue)
}

/// A bus of its own on the subject.
pub fn bus<S: Subject>(subject: &S) -> Bus {
    bus_over(subject.transport(), subject)
}

/// A bus over a transport that may do harm.
pub fn bus_over<S: Subject>(transport: Arc<dyn Transport>, subject: &S) -> Bus {
    bus_of(transport, subject, MAX_EVENT_BYTES)
}

pub fn bus_of<S: Subject>(transport: Arc<dyn Transport>, subject: &S, max_event_bytes: usize) -> Bus {
    let exchange = subject.exchange().to_owned();
    Bus::over(transport, Settings { exchange, app: "test".to_owned(), max_event_bytes })
}

/// A queue of the exchange that gets what matches the pattern.
pub fn queue(exchange: &str, name: &str, pattern: &str) -> Queue {
    Queue {
        name: format!("{exchange}.{name}"),
        kind: QueueKind::Work { dead_letters: Topology::new(exchange).dead_letters_exchange() },
        bindings: vec![Binding { exchange: topic(exchange), pattern: pattern.to_owned() }],
    }
}

pub fn topic(name: &str) -> Exchange {
    Exchange { name: name.to_owned(), kind: ExchangeKind::Topic }
}

pub fn message(exchange: &str, routing_key: &str, id: impl ToString) -> Message {
    Message {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        id: id.to_string(),
        body: format!("body of {}", id.to_string()).into(),
        ..Message::default()
    }
}

/// Makes queues, and waits until they are there and take messages: what is published after them is answered after them.
/// RabbitMQ 3.10 says of a queue that another connection just declares that it is there before it can take anything. Then it
/// refuses what is published, and ends the connection of who consumes.
pub async fn ensure(transport: &dyn Transport, exchange: &str, queues: &[Queue]) {
    transport.ensure(topic(exchange), queues.to_vec()).await;
    let nowhere = message("", &unique_name(), "nowhere");
    let results = transport.publish(vec![nowhere], PATIENCE).await;
    assert!(matches!(results[..], [Err(PublishError::Unroutable { .. })]), "{results:?}");
}

/// Publishes and expects every message to be taken.
pub async fn publish(transport: &dyn Transport, messages: Vec<Message>) {
    for result in transport.publish(messages, PATIENCE).await {
        result.unwrap();
    }
}

/// The next delivery.
pub async fn next(subscription: &mut dyn Subscription) -> Delivery {
    let delivery = timeout(DELIVERY_PATIENCE, subscription.next()).await;
    delivery.expect("a delivery in time").expect("an open transport")
}

/// The next deliveries, none of them acknowledged.
pub async fn take(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::with_capacity(count);
    for number in 0..count {
        let delivery = timeout(DELIVERY_PATIENCE, subscription.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{number} of {count} deliveries came"));
        deliveries.push(delivery.expect("an open transport"));
    }
    deliveries
}

/// Takes deliveries, none of them acknowledged, until all of these ids are among them.
pub async fn take_until(subscription: &mut dyn Subscription, ids: &BTreeSet<String>) -> Vec<Delivery> {
    let mut missing = ids.clone();
    let mut deliveries = Vec::new();
    while !missing.is_empty() {
        let delivery = timeout(DELIVERY_PATIENCE, subscription.next()).await;
        let delivery =
            delivery.unwrap_or_else(|_| panic!("{} of {} did not come: {missing:?}", missing.len(), ids.len()));
        let delivery = delivery.expect("an open transport");
        missing.remove(&delivery.message.id);
        deliveries.push(delivery);
    }
    deliveries
}

/// What [`drain`] puts behind everything else.
const LAST: &str = "the last one";

/// Takes everything out of a queue in which nothing else arrives. It is known to be all of it because the last
/// message is one that is put behind them, with the routing key.
pub async fn drain(transport: &dyn Transport, queue: &Queue, routing_key: &str) -> Vec<Delivery> {
    let last = format!("{LAST} {}", unique_name());
    let mut subscription = transport.subscribe(Source::Shared(queue.clone()), EVERYTHING);
    publish(transport, vec![message(&queue.bindings[0].exchange.name, routing_key, &last)]).await;
    let mut deliveries = take_until(&mut *subscription, &BTreeSet::from([last.clone()])).await;
    let end = deliveries.last().expect("the last one").receipt;
    subscription.acknowledge(end, Acknowledge::UpTo).await.unwrap();
    // Other queues that were emptied have put theirs here too.
    deliveries.retain(|delivery| !delivery.message.id.starts_with(LAST));
    deliveries
}

pub fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.id.as_str()).collect()
}

/// As [`ids`], where their order does not count. None is there twice.
pub fn id_set(deliveries: &[Delivery]) -> BTreeSet<String> {
    let set: BTreeSet<_> = ids(deliveries).into_iter().map(str::to_owned).collect();
    assert_eq!(set.len(), deliveries.len(), "none came twice");
    set
}

/// The messages 0, 1, … as [`id_set`] tells them.
pub fn numbered(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|number| number.to_string()).collect()
}

/// Lets a test that fails show what the transport said; its own thread and those of its runtime keep it until then.
pub fn show_log_of_failures() {
    let log = tracing_subscriber::fmt().with_env_filter("warn,bus=info,lapin=off").with_test_writer();
    // Another test of this process has done it already.
    let _ = log.try_init();
}
