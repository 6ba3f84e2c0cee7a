//! Our messages as AMQP's, and back.

use std::{borrow::Cow, cmp::Reverse};

use bytes::Bytes;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::Value;
use tracing::warn;

use crate::{
    headers::{DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME},
    message::{Headers, Message},
    outcome::Cause,
};

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;
/// How often a quorum queue has delivered the message before.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// How it died, if it came from another queue.
const DEATHS: &str = "x-death";
/// The broker's reason for giving up a message that was delivered more often than the queue allows.
const GIVEN_UP: &str = "delivery_limit";
/// What else the broker writes into headers, or the beginnings of it: how a message died, where first and last, how often it
/// was acquired.
const BROKERS_OWN: [&str; 4] = [DEATHS, "x-first-death-", "x-last-death-", "x-acquired-count"];

/// The most headers that are sent, in bytes as they travel: they have to fit into one frame, which RabbitMQ makes 128 KiB
/// long, or the broker closes the connection, and again each time the message is sent again. A message of a foreign client
/// may have nearly that much, and ours come on top when it is sent on.
const MAX_HEADER_BYTES: usize = 96 * 1024;
/// Says which headers were left out.
const LEFT_OUT: &str = "ebs-left-out";
/// The most names that it says.
const MAX_LEFT_OUT: usize = 20;

pub(super) fn properties(message: &Message) -> BasicProperties {
    let headers: FieldTable = fitting(&message.headers)
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

/// The headers without the longest, if all would be too many.
fn fitting(headers: &Headers) -> Cow<'_, Headers> {
    let mut left: usize = headers.iter().map(|(name, value)| entry_bytes(name, value)).sum();
    if left <= MAX_HEADER_BYTES {
        return Cow::Borrowed(headers);
    }
    let mut longest: Vec<&String> = headers.keys().collect();
    longest.sort_by_key(|name| Reverse(entry_bytes(name, &headers[*name])));
    let mut fitting = headers.clone();
    let mut left_out = Vec::new();
    for name in longest {
        if left <= MAX_HEADER_BYTES {
            break;
        }
        left -= entry_bytes(name, &headers[name]);
        fitting.remove(name);
        left_out.push(name.as_str());
    }
    left_out.truncate(MAX_LEFT_OUT);
    warn!(message.headers = ?left_out, "left out, as they are too long to be sent on");
    fitting.insert(LEFT_OUT.to_owned(), Value::from(left_out));
    Cow::Owned(fitting)
}

/// How long a header is as it travels.
fn entry_bytes(name: &str, value: &Value) -> usize {
    1 + name.len() + value_bytes(value)
}

fn value_bytes(value: &Value) -> usize {
    let kind = 1;
    kind + match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 8,
        Value::String(text) => 4 + text.len(),
        Value::Array(values) => 4 + values.iter().map(value_bytes).sum::<usize>(),
        Value::Object(fields) => 4 + fields.iter().map(|(name, value)| entry_bytes(name, value)).sum::<usize>(),
    }
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
    translate_death(&mut headers);
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

/// Says in our own headers what the broker says of a message that it has given up itself.
fn translate_death(headers: &mut Headers) {
    // The last death comes first. A message that only came by way of a retry queue has expired there.
    let Some(death) = headers.get(DEATHS).and_then(|deaths| deaths.get(0)).filter(|death| death["reason"] == GIVEN_UP)
    else {
        return;
    };
    let time = death["time"].as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let said = [
        (DEAD_REASON, Value::from("the broker gave it up: it was delivered too often and never done")),
        (DEAD_CAUSE, Value::from(Cause::DeliveryLimit.as_str())),
        (DEAD_QUEUE, death["queue"].clone()),
        (DEAD_EXCHANGE, death["exchange"].clone()),
        (DEAD_ROUTING_KEY, death["routing-keys"][0].clone()),
        (DEAD_TIME, time.map_or(Value::Null, |time| Value::from(time.to_string()))),
    ];
    headers
        .extend(said.into_iter().filter(|(_, value)| value.is_string()).map(|(name, value)| (name.to_owned(), value)));
}

fn to_headers(table: &FieldTable) -> Headers {
    table.inner().iter().map(|(name, value)| (name.to_string(), to_json(value))).collect()
}

pub(super) fn to_amqp(value: &Value) -> AMQPValue {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn delivered(deaths: &str) -> Message {
        let headers: Headers =
            serde_json::from_str(&format!(r#"{{"x-death":{deaths},"x-first-death-queue":"a"}}"#)).unwrap();
        let sent = Message { headers, ..Message::default() };
        message(&"ebs.dead".into(), &"".into(), false, &properties(&sent), Vec::new()).0
    }

    #[test]
    fn what_the_broker_gives_up_itself_says_so_as_what_a_consumer_sets_aside() {
        let death = r#"{"reason":"delivery_limit","queue":"ebs.work","exchange":"ebs","routing-keys":["a.b"],"time":1,"count":1}"#;
        let earlier =
            r#"{"reason":"expired","queue":"ebs.retry.1s","exchange":"ebs.retry.1s","routing-keys":["ebs.work"]}"#;
        let headers = delivered(&format!("[{death},{earlier}]")).headers;
        let said = |name: &str| headers[name].as_str().unwrap();
        assert_eq!((said(DEAD_QUEUE), said(DEAD_EXCHANGE), said(DEAD_ROUTING_KEY)), ("ebs.work", "ebs", "a.b"));
        assert_eq!((said(DEAD_CAUSE), said(DEAD_TIME)), ("delivery-limit", "1970-01-01T00:00:01Z"));
        assert_eq!(headers.len(), 6, "{headers:?}");
        assert!(delivered(&format!("[{earlier}]")).headers.is_empty());
        assert!(delivered(r#"[{"reason":"delivery_limit","queue":7}]"#).headers.get(DEAD_QUEUE).is_none());
    }

    #[test]
    fn headers_that_would_not_fit_are_left_out_the_longest_first_and_named() {
        let mut headers = Headers::new();
        headers.insert("ours".to_owned(), "a reason".into());
        headers.insert("short".to_owned(), "x".repeat(40_000).into());
        // Short as it came, with a byte for each; long as it goes, with nine.
        headers.insert("many".to_owned(), vec![1; 20_000].into());
        assert_eq!(fitting(&headers).as_ref()[LEFT_OUT], serde_json::json!(["many"]));
        assert_eq!(fitting(&headers).len(), 3);
        headers.remove("many");
        assert_eq!(fitting(&headers).as_ref(), &headers);
    }
}
