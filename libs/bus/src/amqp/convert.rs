//! Our messages as AMQP's, and back.

use bytes::Bytes;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::Value;

use crate::message::{Headers, Message};

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// How often a quorum queue has delivered the message before.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// What else the broker writes into headers, or the beginnings of it: how a message died, where first and last, how often it
/// was acquired.
const BROKERS_OWN: [&str; 4] = ["x-death", "x-first-death-", "x-last-death-", "x-acquired-count"];

pub(super) fn properties(message: &Message) -> BasicProperties {
    let headers: FieldTable = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().into(), to_amqp(value)))
        .collect::<std::collections::BTreeMap<ShortString, AMQPValue>>()
        .into();
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(message.id.as_str().into())
        .with_headers(headers);
    if let Some(id) = &message.correlation_id {
        properties = properties.with_correlation_id(id.as_str().into());
    }
    if let Some(kind) = &message.kind {
        properties = properties.with_type(kind.as_str().into());
    }
    if let Some(app) = &message.app_id {
        properties = properties.with_app_id(app.as_str().into());
    }
    if let Some(seconds) = message.timestamp.and_then(|time| u64::try_from(time.as_second()).ok()) {
        properties = properties.with_timestamp(seconds);
    }
    if let Some(media_type) = &message.content_type {
        properties = properties.with_content_type(media_type.as_str().into());
    }
    properties
}

/// The message, and how often it was delivered before.
pub(super) fn message(
    exchange: &ShortString,
    routing_key: &ShortString,
    redelivered: bool,
    properties: &BasicProperties,
    body: Vec<u8>,
) -> (Message, u64) {
    let mut headers = properties.headers().as_ref().map(to_headers).unwrap_or_default();
    let text = |field: &Option<ShortString>| field.as_ref().map(ToString::to_string);
    // The broker's word, and only as long as it says it: a copy would carry it on as if it were ours.
    let count = headers.remove(DELIVERY_COUNT).and_then(|count| count.as_u64());
    headers.retain(|name, _| !BROKERS_OWN.iter().any(|own| name.starts_with(own)));
    let message = Message {
        exchange: exchange.to_string(),
        routing_key: routing_key.to_string(),
        id: text(properties.message_id()).unwrap_or_default(),
        correlation_id: text(properties.correlation_id()),
        kind: text(properties.kind()),
        app_id: text(properties.app_id()),
        timestamp: properties
            .timestamp()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        content_type: text(properties.content_type()),
        headers,
        body: Bytes::from(body),
    };
    (message, count.unwrap_or(u64::from(redelivered)))
}

fn to_headers(table: &FieldTable) -> Headers {
    table.inner().iter().map(|(name, value)| (name.to_string(), to_json(value))).collect()
}

fn to_amqp(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => AMQPValue::LongLongInt(integer),
            None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => AMQPValue::FieldArray(values.iter().map(to_amqp).collect::<Vec<_>>().into()),
        Value::Object(fields) => AMQPValue::FieldTable(
            fields
                .iter()
                .map(|(name, value)| (name.as_str().into(), to_amqp(value)))
                .collect::<std::collections::BTreeMap<ShortString, AMQPValue>>()
                .into(),
        ),
    }
}

fn to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => Value::from(*value),
        AMQPValue::ShortShortInt(value) => Value::from(*value),
        AMQPValue::ShortShortUInt(value) => Value::from(*value),
        AMQPValue::ShortInt(value) => Value::from(*value),
        AMQPValue::ShortUInt(value) => Value::from(*value),
        AMQPValue::LongInt(value) => Value::from(*value),
        AMQPValue::LongUInt(value) => Value::from(*value),
        AMQPValue::LongLongInt(value) => Value::from(*value),
        AMQPValue::Float(value) => Value::from(*value),
        AMQPValue::Double(value) => Value::from(*value),
        AMQPValue::DecimalValue(value) => Value::from(f64::from(value.value) / 10f64.powi(i32::from(value.scale))),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::from(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(to_json).collect(),
        AMQPValue::Timestamp(seconds) => Value::from(*seconds),
        AMQPValue::FieldTable(table) => Value::Object(to_headers(table)),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().iter().copied().map(Value::from).collect(),
        AMQPValue::Void => Value::Null,
    }
}
