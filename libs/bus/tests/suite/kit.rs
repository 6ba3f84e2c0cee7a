//! Events, transports and foreign clients for the tests.

use std::time::Duration;

use bus::{
    Binding, Bus, Exchange, ExchangeKind, Message, Queue, QueueKind, Settings, Topology, Transport,
    amqp::{Address, Amqp},
    events::{Attempt, Json, Milliseconds, Object, ObjectCreated, ObjectId, Task, TaskCreated, TaskId},
};
use bytes::Bytes;
use testkit::{shared_broker_url, unique_name};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn address() -> Address {
    Address::parse(&shared_broker_url()).unwrap()
}

pub fn transport() -> Amqp {
    Amqp::connect(&address(), "test")
}

pub fn bus() -> Bus {
    bus_at(address(), &unique_name())
}

pub fn bus_at(address: Address, exchange: &str) -> Bus {
    bus_of(address, exchange, 4 * 1024 * 1024)
}

pub fn bus_of(address: Address, exchange: &str, max_event_bytes: usize) -> Bus {
    Bus::connect(&address, Settings { exchange: exchange.to_owned(), app: "test".to_owned(), max_event_bytes })
}

/// A topic exchange, and a queue on it that gets what matches the pattern.
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
        body: Bytes::from(format!("body of {}", id.to_string())),
        ..Message::default()
    }
}

/// Publishes and expects every message to be taken.
pub async fn publish(transport: &dyn Transport, messages: Vec<Message>) {
    for result in transport.publish(messages, PATIENCE).await {
        result.unwrap();
    }
}

pub fn object(id: ObjectId, operation: &str) -> ObjectCreated {
    ObjectCreated {
        object: Object {
            id,
            name: "test".to_owned(),
            operation: operation.parse().unwrap(),
            parameters: serde_json::from_str(r#"{"exponent": 3}"#).unwrap(),
            data: "[0, 1, 2.50, \"é\"]".parse().unwrap(),
            tasks: 3,
            deadline_ms: Milliseconds::from(Duration::from_secs(86_400)),
            created_at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        },
    }
}

pub fn task(object_id: ObjectId, part: u32) -> TaskCreated {
    TaskCreated {
        task: Task {
            id: TaskId::of(object_id, 3, part),
            object_id,
            part,
            parts: 3,
            operation: "pow".parse().unwrap(),
            parameters: serde_json::from_str(r#"{"exponent": 3}"#).unwrap(),
            data: Json::of(&[1, 2]).unwrap(),
            round: 0,
        },
    }
}

pub fn attempt(object_id: ObjectId) -> Attempt {
    Attempt {
        task_id: TaskId::of(object_id, 3, 1),
        object_id,
        part: 1,
        parts: 3,
        operation: "pow".parse().unwrap(),
        round: 0,
        attempt: 1,
        processor: "processor-0".to_owned(),
    }
}

/// lapin as a foreign client, without anything of ours.
pub async fn foreign_client() -> lapin::Channel {
    let url = shared_broker_url();
    let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}
