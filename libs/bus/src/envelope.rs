//! CloudEvents 1.0 out and in: [binary mode](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md)
//! out, binary and [structured mode](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md) in.
//!
//! The binding is of AMQP 1.0; RabbitMQ maps headers of 0-9-1 to application properties, so a reader
//! of either version sees a CloudEvent.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    events::{Event, InvalidEvent, ObjectCreated, ObjectFinished, TaskCreated, TaskFinished, TaskStarted},
    headers::attempt,
    message::{Headers, Message},
    outcome::{Cause, Failure},
};

/// The prefix of an attribute's header. `cloudEvents_`, which later drafts prefer, is read too.
const PREFIX: &str = "cloudEvents:";
const OTHER_PREFIX: &str = "cloudEvents_";
const SPEC_VERSION: &str = "1.0";
/// The longest attribute that is read, in bytes. Some travel on in the headers of the events that this one causes, and a
/// broker that is sent more headers than fit into one frame (128 KiB) closes the connection, again and again.
const MAX_ATTRIBUTE_BYTES: usize = 1024;
const JSON: &str = "application/json";
/// The type of a fence: no fact about anything, but a mark in a queue.
const FENCE: &str = "FENCE";
const STRUCTURED: &str = "application/cloudevents+json";

/// What is said of an event beside the event itself: the attributes of CloudEvents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The event's id; of our own events a UUID.
    pub id: String,
    /// Who says so, such as `/ebs/datagen`.
    pub source: String,
    /// The type, such as `OBJECT_CREATED`.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened, to the microsecond. CloudEvents lets it be absent; here it decides between
    /// repeated starts and ends, so it must not.
    pub time: Timestamp,
    /// The id of the object that it belongs to.
    pub correlation_id: Option<String>,
    /// The id of the event that caused it.
    pub causation_id: Option<String>,
    /// The trace that it belongs to ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
    pub traceparent: Option<String>,
}

/// An event that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<E> {
    /// What was said of it.
    pub envelope: Envelope,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The event.
    pub event: E,
}

/// Any of the events.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum AnyEvent {
    ObjectCreated(ObjectCreated),
    TaskCreated(TaskCreated),
    TaskStarted(TaskStarted),
    TaskFinished(TaskFinished),
    ObjectFinished(ObjectFinished),
    /// A [fence](crate::Bus::fence).
    Fence,
    /// A CloudEvent of a type that is not ours, or not yet.
    Unknown,
}

/// Why a message is not the event that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// An attribute is missing or cannot be read.
    #[error("not a CloudEvent: {0}")]
    NotACloudEvent(String),
    /// It is an event of another type.
    #[error("an event of type {got:?} where {expected} is expected")]
    WrongType {
        /// The type that it says.
        got: String,
        /// The type that the queue is for.
        expected: &'static str,
    },
    /// The body does not have the event's fields.
    #[error("not a valid {kind}: {reason}")]
    InvalidBody {
        /// The type that it says.
        kind: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// The body is longer than any event may be.
    #[error("{bytes} bytes long: at most {max} are allowed")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The bound, `MAX_EVENT_BYTES`.
        max: usize,
    },
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let cause = match error {
            DecodeError::TooLarge { .. } => Cause::TooLarge,
            _ => Cause::Undecodable,
        };
        Self::new(cause, error.to_string())
    }
}

/// Now, to the microsecond, which is what the record keeps.
pub fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default()
}

// `CloudEvent` by its path: were it in scope beside `Event`, the `TYPE` of one of our events would be ambiguous.

/// Writes an event as a message in binary mode.
///
/// # Errors
/// If the event cannot be written as JSON, which is a defect of its type.
pub fn encode<E: crate::CloudEvent>(
    event: &E,
    exchange: &str,
    app: &str,
    time: Timestamp,
    cause: Option<&Envelope>,
) -> serde_json::Result<Message> {
    let (id, correlation_id) = (event.id().to_string(), event.correlation_id());
    let mut headers = Headers::new();
    let mut attribute = |name: &str, value: String| {
        headers.insert(format!("{PREFIX}{name}"), Value::String(value));
    };
    attribute("specversion", SPEC_VERSION.to_owned());
    attribute("id", id.clone());
    attribute("source", format!("/{exchange}/{app}"));
    attribute("type", E::TYPE.to_owned());
    if let Some(subject) = event.subject() {
        attribute("subject", subject);
    }
    attribute("time", time.to_string());
    if let Some(id) = &correlation_id {
        attribute("correlationid", id.clone());
    }
    if let Some(cause) = cause {
        attribute("causationid", cause.id.clone());
        if let Some(traceparent) = &cause.traceparent {
            attribute("traceparent", traceparent.clone());
        }
    }
    Ok(Message {
        exchange: exchange.to_owned(),
        routing_key: event.routing_key(),
        id,
        correlation_id,
        kind: Some(E::TYPE.to_owned()),
        app_id: Some(app.to_owned()),
        timestamp: Some(time),
        content_type: Some(JSON.to_owned()),
        headers,
        body: Bytes::from(serde_json::to_vec(event)?),
    })
}

/// A fence of this id. Its routing key is nobody's: it goes to one queue at a time.
pub(crate) fn fence(id: &str, exchange: &str, app: &str) -> Message {
    let time = now();
    let attributes = [
        ("specversion", SPEC_VERSION.to_owned()),
        ("id", id.to_owned()),
        ("source", format!("/{exchange}/{app}")),
        ("type", FENCE.to_owned()),
        ("time", time.to_string()),
    ];
    Message {
        exchange: exchange.to_owned(),
        routing_key: FENCE.to_lowercase(),
        id: id.to_owned(),
        kind: Some(FENCE.to_owned()),
        app_id: Some(app.to_owned()),
        timestamp: Some(time),
        content_type: Some(JSON.to_owned()),
        headers: attributes
            .map(|(name, value)| (format!("{PREFIX}{name}"), Value::String(value)))
            .into_iter()
            .collect(),
        body: Bytes::from_static(b"{}"),
        ..Message::default()
    }
}

/// Reads a message as an event of type `E`.
///
/// # Errors
/// If it is not one; the reason is for people.
pub fn decode<E: crate::CloudEvent>(message: &Message, max_bytes: usize) -> Result<Received<E>, DecodeError> {
    let (envelope, body) = open(message, max_bytes)?;
    if envelope.kind != E::TYPE {
        return Err(DecodeError::WrongType { got: envelope.kind, expected: E::TYPE });
    }
    let event = parse::<E>(&body)?;
    Ok(Received { envelope, attempt: attempt(message), event })
}

/// Reads a message as whatever event it says it is.
///
/// # Errors
/// If it is not a CloudEvent, or not what it says it is. A type that is not ours is no error.
pub fn decode_any(message: &Message, max_bytes: usize) -> Result<Received<AnyEvent>, DecodeError> {
    let (envelope, body) = open(message, max_bytes)?;
    let event = match envelope.kind.as_str() {
        ObjectCreated::TYPE => AnyEvent::ObjectCreated(parse(&body)?),
        TaskCreated::TYPE => AnyEvent::TaskCreated(parse(&body)?),
        TaskStarted::TYPE => AnyEvent::TaskStarted(parse(&body)?),
        TaskFinished::TYPE => AnyEvent::TaskFinished(parse(&body)?),
        ObjectFinished::TYPE => AnyEvent::ObjectFinished(parse(&body)?),
        FENCE => AnyEvent::Fence,
        _ => AnyEvent::Unknown,
    };
    Ok(Received { envelope, attempt: attempt(message), event })
}

/// The bytes of the event itself, as they came: the body, or in structured mode what stands under `data` there.
pub fn data(message: &Message) -> Bytes {
    let structured = message.content_type.as_deref().is_some_and(|media_type| is(media_type, STRUCTURED));
    let inner = structured.then(|| open_structured(&message.body).ok()).flatten();
    match inner {
        Some((_, Cow::Borrowed(data))) => message.body.slice_ref(data),
        _ => message.body.clone(),
    }
}

fn parse<E: crate::CloudEvent>(body: &[u8]) -> Result<E, DecodeError> {
    let invalid = |reason: String| DecodeError::InvalidBody { kind: E::TYPE.to_owned(), reason };
    let event: E = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    // serde takes an array for an object, by the order of its fields.
    let is_array = |json: &[u8]| json.trim_ascii_start().first() == Some(&b'[');
    if is_array(body) && !serde_json::to_vec(&event).is_ok_and(|json| is_array(&json)) {
        return Err(invalid("a JSON object is expected, not an array".to_owned()));
    }
    event.validate().map_err(|InvalidEvent(reason)| invalid(reason))?;
    Ok(event)
}

fn open(message: &Message, max_bytes: usize) -> Result<(Envelope, Cow<'_, [u8]>), DecodeError> {
    let bytes = message.body.len();
    if bytes > max_bytes {
        return Err(DecodeError::TooLarge { bytes, max: max_bytes });
    }
    match message.content_type.as_deref() {
        Some(media_type) if is(media_type, STRUCTURED) => open_structured(&message.body),
        Some(media_type) if is(media_type, JSON) => {
            Ok((open_binary(&message.headers)?, Cow::Borrowed(&message.body[..])))
        }
        other => Err(DecodeError::NotACloudEvent(format!(
            "content type {:?}: {JSON} (binary mode) and {STRUCTURED} (structured mode) are read",
            other.unwrap_or_default()
        ))),
    }
}

/// Whether a media type is this one, parameters such as the character set left aside.
fn is(media_type: &str, wanted: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(wanted)
}

fn open_binary(headers: &Headers) -> Result<Envelope, DecodeError> {
    let attribute = |name: &str| {
        [PREFIX, OTHER_PREFIX]
            .iter()
            .find_map(|prefix| headers.get(&format!("{prefix}{name}")))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Attributes {
        specversion: attribute("specversion"),
        id: attribute("id"),
        source: attribute("source"),
        kind: attribute("type"),
        subject: attribute("subject"),
        time: attribute("time"),
        correlationid: attribute("correlationid"),
        causationid: attribute("causationid"),
        traceparent: attribute("traceparent"),
    }
    .into_envelope()
}

fn open_structured(body: &[u8]) -> Result<(Envelope, Cow<'_, [u8]>), DecodeError> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let invalid = |error: serde_json::Error| DecodeError::NotACloudEvent(error.to_string());
    let attributes: Attributes = serde_json::from_slice(body).map_err(invalid)?;
    let Data { data } = serde_json::from_slice(body).map_err(invalid)?;
    let data = data.ok_or_else(|| DecodeError::NotACloudEvent("data is missing".to_owned()))?;
    Ok((attributes.into_envelope()?, Cow::Borrowed(data.get().as_bytes())))
}

/// The attributes as they are written.
#[derive(Deserialize)]
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    correlationid: Option<String>,
    causationid: Option<String>,
    traceparent: Option<String>,
}

impl Attributes {
    /// The first attribute that is longer than any has to be.
    fn too_long(&self) -> Option<&'static str> {
        [
            ("specversion", &self.specversion),
            ("id", &self.id),
            ("source", &self.source),
            ("type", &self.kind),
            ("subject", &self.subject),
            ("time", &self.time),
            ("correlationid", &self.correlationid),
            ("causationid", &self.causationid),
            ("traceparent", &self.traceparent),
        ]
        .into_iter()
        .find_map(|(name, value)| (value.as_ref()?.len() > MAX_ATTRIBUTE_BYTES).then_some(name))
    }

    fn into_envelope(self) -> Result<Envelope, DecodeError> {
        if let Some(name) = self.too_long() {
            let reason = format!("{name} is longer than {MAX_ATTRIBUTE_BYTES} bytes");
            return Err(DecodeError::NotACloudEvent(reason));
        }
        let required = |name: &str, value: Option<String>| {
            value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| DecodeError::NotACloudEvent(format!("{name} is missing")))
        };
        let version = required("specversion", self.specversion)?;
        if version != SPEC_VERSION {
            return Err(DecodeError::NotACloudEvent(format!("specversion {version:?}: {SPEC_VERSION} is read")));
        }
        let time = required("time", self.time)?;
        let time: Timestamp =
            time.parse().map_err(|error| DecodeError::NotACloudEvent(format!("time {time:?}: {error}")))?;
        Ok(Envelope {
            id: required("id", self.id)?,
            source: required("source", self.source)?,
            kind: required("type", self.kind)?,
            subject: self.subject,
            time,
            correlation_id: self.correlationid,
            causation_id: self.causationid,
            traceparent: self.traceparent,
        })
    }
}
