//! The bus as an AsyncAPI document.

use std::collections::{BTreeMap, BTreeSet};

use bus::{Exchange, ExchangeKind, Pattern, QueueKind, Topology, amqp::arguments, events::OperationName};
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::{
    event_types::{EVENT_TYPES, EventType, schemas},
    examples::examples,
    flow::{EXCHANGE, Flow},
    headers,
    places::{Place, in_general, places},
};

/// Of AsyncAPI.
const VERSION: &str = "3.1.0";
/// Of the [AMQP bindings](https://github.com/asyncapi/bindings/tree/master/amqp).
const BINDINGS: &str = "0.3.0";
/// What it says at its beginning.
const ABOUT: &str = include_str!("about.md");
/// The virtual host of `QUEUE_URL`'s default.
const VHOST: &str = "/";

/// The message that waits to be tried again, and the one that was set aside.
const RETRIED: &str = "RETRIED";
const DEAD_LETTER: &str = "DEAD_LETTER";

/// The document as JSON text, the same at each time.
///
/// # Errors
/// If the examples cannot be read.
pub fn asyncapi(flow: &Flow) -> anyhow::Result<String> {
    let topology = Topology::new(EXCHANGE);
    let places = places(&topology);
    let (bodies, schemas) = schemas();
    let mut messages = Map::new();
    for (event, body) in EVENT_TYPES.iter().zip(&bodies) {
        messages.insert(event.name.to_owned(), message(event, body, &schemas)?);
    }
    let retried = "is to be tried again in the one queue that its routing key names";
    let set_aside = "was set aside in the queue that its routing key names";
    for (name, what, headers, example) in [
        (RETRIED, retried, headers::of_retry(), headers::example_of_retry()),
        (DEAD_LETTER, set_aside, headers::of_dead_letter(), headers::example_of_dead_letter()),
    ] {
        messages.insert(name.to_owned(), copy(name, what, headers, example)?);
    }
    let mut channels: Map<String, Value> = EVENT_TYPES
        .iter()
        .zip(&bodies)
        .map(|(event, body)| of_event(&topology, event, description(body, &schemas)))
        .collect();
    channels.extend(places.iter().map(|place| of_queue(&topology, place)));
    let document = json!({
        "asyncapi": VERSION,
        "info": {
            "title": "EBS: the bus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": env!("CARGO_PKG_LICENSE")},
        },
        "defaultContentType": "application/json",
        "servers": {"rabbitmq": {
            "host": "localhost:5672",
            "pathname": VHOST,
            "protocol": "amqp",
            "protocolVersion": "0-9-1",
            "description": "RabbitMQ, 3.10 or later; `QUEUE_URL` says where. Over TLS it is `amqps`.",
            "security": [{"$ref": "#/components/securitySchemes/user"}],
        }},
        "channels": channels,
        "operations": operations(flow, &places),
        "components": {
            "messages": messages,
            "schemas": schemas,
            "correlationIds": {"object": {
                "location": "$message.header#/cloudEvents:correlationid",
                "description": "The id of the object: all that happens to an object and to its tasks has it.",
            }},
            "securitySchemes": {"user": {"type": "userPassword"}},
        },
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// An event's channel: the routing key.
fn of_event(topology: &Topology, event: &EventType, description: String) -> (String, Value) {
    let any: OperationName = "operation".parse().expect("it is the name of an operation");
    let reached: Vec<String> = (event.must_reach)(topology, &any)
        .iter()
        .map(|queue| format!("`{}`", in_general(topology, &queue.name)))
        .collect();
    let channel = json!({
        "address": format!("{}.{{operation}}", event.key),
        "title": event.name,
        "description": format!(
            "{description}\n\nWhoever publishes it makes sure of the queues that it must reach: {}.", reached.join(", ")
        ),
        "parameters": parameter("operation", &[]),
        "messages": {event.name: reference("components/messages", event.name)},
        "bindings": amqp(json!({"is": "routingKey", "exchange": exchange(&topology.events())})),
    });
    (event.name.to_owned(), channel)
}

/// A queue's channel.
fn of_queue(topology: &Topology, place: &Place) -> (String, Value) {
    let kinds: Vec<&str> = match place.sample.kind {
        QueueKind::Work { .. } => {
            EVENT_TYPES.iter().filter(|event| gets(place, event)).map(|event| event.name).collect()
        }
        QueueKind::Retry { .. } => vec![RETRIED],
        QueueKind::DeadLetters => vec![DEAD_LETTER],
    };
    let messages: Map<String, Value> =
        kinds.iter().map(|kind| ((*kind).to_owned(), reference("components/messages", kind))).collect();
    let name = address(&place.name);
    let mut channel = json!({
        "address": name,
        "title": place.name,
        "description": about_queue(topology, place),
        "messages": messages,
        "bindings": amqp(json!({
            "is": "queue",
            "queue": {"name": name, "durable": true, "exclusive": false, "autoDelete": false, "vhost": VHOST},
        })),
    });
    if let Some(name) = place.parameter {
        channel["parameters"] = parameter(name, &place.values);
    }
    (id(place), channel)
}

/// What the binding has no field for.
fn about_queue(topology: &Topology, place: &Place) -> String {
    let bindings = place.sample.bindings.iter().map(|binding| {
        let kind = kind(binding.exchange.kind);
        let name = in_general(topology, &binding.exchange.name);
        match place.patterns.first() {
            Some(pattern) => format!("Bound to the {kind} exchange `{name}` by `{pattern}`."),
            None => format!("Bound to the {kind} exchange `{name}`."),
        }
    });
    let purpose = match place.sample.kind {
        QueueKind::Work { .. } => "Work: each message is for one of its consumers.",
        QueueKind::Retry { .. } => {
            "Messages that are to be tried again. They stay for the delay and then go to the queue that their routing key \
             names. Nobody consumes here."
        }
        QueueKind::DeadLetters => "What was set aside.",
    };
    let arguments = arguments(&place.sample.kind).into_iter().map(|(name, value)| match place.sample.kind {
        QueueKind::Retry { delay } if value == u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) => {
            format!("- `{name}`: the delay in milliseconds, such as `{value}`")
        }
        _ if value == "" => format!("- `{name}`: the default exchange"),
        _ => format!("- `{name}`: `{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
    });
    format!(
        "{purpose} {}\n\nA quorum queue. Whoever declares it does so with these arguments, or passively:\n\n{}",
        bindings.collect::<Vec<_>>().join(" "),
        arguments.collect::<Vec<_>>().join("\n")
    )
}

/// Whether a queue gets events of a type.
fn gets(place: &Place, event: &EventType) -> bool {
    let key = format!("{}.operation", event.key);
    place.sample.bindings.iter().any(|binding| Pattern::new(&binding.pattern).matches(&key))
}

fn message(event: &EventType, body: &Schema, schemas: &Map<String, Value>) -> anyhow::Result<Value> {
    let examples = examples(event)?.into_iter();
    let examples: Vec<Value> = examples
        .map(|example| json!({"name": example.name, "headers": example.headers, "payload": example.body}))
        .collect();
    Ok(json!({
        "name": event.name,
        "title": event.name,
        "summary": description(body, schemas),
        "contentType": "application/json",
        "headers": headers::of_event(event.name),
        "payload": body,
        "correlationId": reference("components/correlationIds", "object"),
        "examples": examples,
        "bindings": amqp(json!({"messageType": event.name})),
    }))
}

/// A copy of a message, with more headers.
fn copy(name: &str, what: &str, headers: Value, example: Value) -> anyhow::Result<Value> {
    let examples = examples(&EVENT_TYPES[1])?.into_iter().map(|original| {
        let mut headers = original.headers;
        headers.extend(example.as_object().cloned().unwrap_or_default());
        json!({"name": name.to_lowercase(), "headers": headers, "payload": original.body})
    });
    Ok(json!({
        "name": name,
        "title": name,
        "summary": format!("A copy of a message that {what}: its properties, headers and bytes, and these headers."),
        "headers": headers,
        "payload": {"description": "The bytes, as they were."},
        "examples": examples.collect::<Vec<_>>(),
    }))
}

/// Who sends and receives: the flow.
fn operations(flow: &Flow, places: &[Place]) -> Map<String, Value> {
    let mut operations = Map::new();
    for published in &flow.published {
        let (kind, service) = (&published.kind, published.service);
        let operation = json!({
            "action": "send",
            "title": format!("{service} publishes {kind}"),
            "channel": reference("channels", kind),
            "messages": [reference(&format!("channels/{kind}/messages"), kind)],
            "tags": [{"name": service}],
            "bindings": amqp(json!({"deliveryMode": 2, "mandatory": true, "timestamp": true})),
        });
        operations.insert(format!("{service}.publishes.{kind}"), operation);
    }
    let mut received: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for consumed in &flow.consumed {
        let place = places.iter().find(|place| place.name == consumed.queue);
        let kind = match place.map(|place| &place.sample.kind) {
            Some(QueueKind::DeadLetters) => DEAD_LETTER,
            _ => consumed.kind.as_str(),
        };
        // A fence is a mark of statistics to itself, and no part of the contract.
        let known = kind == DEAD_LETTER || EVENT_TYPES.iter().any(|event| event.name == kind);
        if let Some(place) = place.filter(|_| known) {
            received.entry((consumed.service, id(place))).or_default().insert(kind);
        }
    }
    for ((service, queue), kinds) in received {
        let path = format!("channels/{queue}/messages");
        let operation = json!({
            "action": "receive",
            "title": format!("{service} consumes {queue}"),
            "channel": reference("channels", &queue),
            "messages": kinds.iter().map(|kind| reference(&path, kind)).collect::<Vec<_>>(),
            "tags": [{"name": service}],
            "bindings": amqp(json!({"ack": true})),
        });
        operations.insert(format!("{service}.consumes.{queue}"), operation);
    }
    operations
}

fn amqp(mut binding: Value) -> Value {
    binding["bindingVersion"] = BINDINGS.into();
    json!({"amqp": binding})
}

fn exchange(exchange: &Exchange) -> Value {
    json!({"name": exchange.name, "type": kind(exchange.kind), "durable": true, "autoDelete": false, "vhost": VHOST})
}

fn kind(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Topic => "topic",
        ExchangeKind::Fanout => "fanout",
    }
}

fn parameter(name: &str, values: &[String]) -> Value {
    let mut parameter = match name {
        "operation" => {
            json!({"description": "The operation's name: 1 to 64 of a-z, 0-9, - and _, a letter or digit first."})
        }
        _ => json!({"description": "How long messages stay."}),
    };
    if !values.is_empty() {
        parameter["enum"] = json!(values);
    }
    json!({name: parameter})
}

fn reference(path: &str, name: &str) -> Value {
    json!({"$ref": format!("#/{path}/{name}")})
}

/// The name of a queue's channel: that of the queue, without the word that differs.
fn id(place: &Place) -> String {
    place.name.split(".<").next().unwrap_or(&place.name).to_owned()
}

/// A name with its parameter as AsyncAPI writes it.
fn address(name: &str) -> String {
    name.replace('<', "{").replace('>', "}")
}

/// What a schema says of itself, there or where it refers to.
fn description(schema: &Schema, schemas: &Map<String, Value>) -> String {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| schemas.get(path.rsplit('/').next()?));
    let schema = target.unwrap_or_else(|| schema.as_value());
    schema["description"].as_str().unwrap_or_default().to_owned()
}
