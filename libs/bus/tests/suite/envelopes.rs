//! CloudEvents as others write them.

use bus::{
    AnyEvent, DecodeError, Message, decode, decode_any, encode,
    events::{Event, ObjectCreated, ObjectId, TaskCreated, TaskFinished, TaskStarted},
    now,
};
use serde_json::{Value, json};

use crate::{
    events::{attempt, object},
    kit::task,
};

const ANY_SIZE: usize = usize::MAX;

fn binary() -> Message {
    encode(&object(ObjectId::new(), "nop"), "ebs", "test", now(), None).unwrap()
}

fn structured(body: &Value) -> Message {
    Message {
        content_type: Some("application/cloudevents+json; charset=utf-8".to_owned()),
        body: body.to_string().into(),
        ..Message::default()
    }
}

#[test]
fn structured_mode_is_read_as_binary_mode_is() {
    let event = object(ObjectId::new(), "nop");
    let time = now();
    let message = structured(&json!({
        "specversion": "1.0", "id": "x-1", "source": "/somewhere/else", "type": "OBJECT_CREATED",
        "time": time.to_string(), "datacontenttype": "application/json", "unknown": {"a": [1]}, "data": event,
    }));
    let received = decode::<ObjectCreated>(&message, ANY_SIZE).unwrap();
    assert_eq!(received.envelope.id, "x-1");
    assert_eq!(received.envelope.time, time);
    assert_eq!(received.event.object.id, event.object.id);
}

#[test]
fn an_attribute_that_would_not_fit_into_the_headers_of_what_it_causes_is_refused() {
    let event = object(ObjectId::new(), "nop");
    for name in ["id", "source", "type", "subject", "correlationid", "causationid", "traceparent"] {
        let mut body = json!({
            "specversion": "1.0", "id": "x-1", "source": "/somewhere/else", "type": "OBJECT_CREATED",
            "time": now().to_string(), "data": event,
        });
        body[name] = Value::from("x".repeat(1025));
        let error = decode_any(&structured(&body), ANY_SIZE).unwrap_err();
        assert!(matches!(&error, DecodeError::NotACloudEvent(reason) if reason.contains(name)), "{error}");
        let mut message = binary();
        message.headers.insert(format!("cloudEvents:{name}"), Value::from("x".repeat(1025)));
        assert!(matches!(decode_any(&message, ANY_SIZE), Err(DecodeError::NotACloudEvent(_))), "{name}");
    }
}

#[test]
fn the_other_prefix_of_the_draft_is_read_too() {
    let mut message = binary();
    message.headers = message
        .headers
        .into_iter()
        .map(|(name, value)| (name.replace("cloudEvents:", "cloudEvents_"), value))
        .collect();
    decode::<ObjectCreated>(&message, ANY_SIZE).unwrap();
}

#[test]
fn what_is_not_a_cloud_event_is_told_apart_from_a_bad_body() {
    for name in ["specversion", "id", "source", "type", "time"] {
        let mut message = binary();
        message.headers.remove(&format!("cloudEvents:{name}"));
        let error = decode::<ObjectCreated>(&message, ANY_SIZE).unwrap_err();
        assert!(matches!(&error, DecodeError::NotACloudEvent(reason) if reason.contains(name)), "{error}");
    }
    let mut message = binary();
    message.content_type = Some("text/plain".to_owned());
    assert!(matches!(decode::<ObjectCreated>(&message, ANY_SIZE), Err(DecodeError::NotACloudEvent(_))));
    let in_order_of_the_fields = json!([object(ObjectId::new(), "nop").object]).to_string();
    for body in ["{", "", "null", &in_order_of_the_fields] {
        let message = Message { body: body.to_owned().into(), ..binary() };
        let decoded = decode::<ObjectCreated>(&message, ANY_SIZE);
        assert!(matches!(decoded, Err(DecodeError::InvalidBody { .. })), "{body}: {decoded:?}");
    }
    assert!(matches!(decode::<TaskCreated>(&binary(), ANY_SIZE), Err(DecodeError::WrongType { .. })));
    assert!(matches!(decode::<ObjectCreated>(&binary(), 10), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn an_unknown_type_is_no_error_but_unknown() {
    let mut message = binary();
    message.headers.insert("cloudEvents:type".to_owned(), json!("COFFEE_SPILLED"));
    let received = decode_any(&message, ANY_SIZE).unwrap();
    assert_eq!(received.event, AnyEvent::Unknown);
    assert_eq!(received.envelope.kind, "COFFEE_SPILLED");
}

#[test]
fn an_event_that_contradicts_itself_is_refused() {
    fn refused<E: Event + std::fmt::Debug>(event: &E) {
        let message = encode(event, "ebs", "test", now(), None).unwrap();
        let error = decode::<E>(&message, ANY_SIZE).unwrap_err();
        assert!(matches!(error, DecodeError::InvalidBody { .. }), "{error}");
    }
    let mut wrong_part = task(ObjectId::new(), 1);
    wrong_part.task.part = 3;
    refused(&wrong_part);
    let mut wrong_id = attempt(ObjectId::new());
    wrong_id.part = 0;
    refused(&TaskStarted(wrong_id));
    let mut no_tasks = object(ObjectId::new(), "nop");
    no_tasks.object.tasks = 0;
    refused(&no_tasks);
    let attempt = attempt(ObjectId::new());
    let mut body = serde_json::to_value(TaskStarted(attempt)).unwrap();
    body["outcome"] = json!("succeeded");
    body["duration_ms"] = json!(1);
    assert!(serde_json::from_value::<TaskFinished>(body).is_err(), "succeeded without a result");
}

#[test]
fn the_cause_and_its_trace_travel_on() {
    let mut first = binary();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    first.headers.insert("cloudEvents:traceparent".to_owned(), json!(trace));
    let cause = decode_any(&first, ANY_SIZE).unwrap().envelope;
    let second = encode(&task(ObjectId::new(), 0), "ebs", "test", now(), Some(&cause)).unwrap();
    let envelope = decode_any(&second, ANY_SIZE).unwrap().envelope;
    assert_eq!(envelope.causation_id.as_deref(), Some(cause.id.as_str()));
    assert_eq!(envelope.traceparent.as_deref(), Some(trace));
}
