//! Each event's JSON, as it stands in a file: a change of the contract is a change of the file.

use std::{fs, path::PathBuf, time::Duration};

use bus::{
    AnyEvent, decode_any, encode,
    events::{
        Event, Json, Milliseconds, ObjectFinished, ObjectId, ObjectOutcome, ObjectResult, TaskError, TaskFinished,
        TaskOutcome, TaskStarted,
    },
};
use serde_json::Value;

use crate::{
    events::{attempt, object},
    kit::task,
};

fn id() -> ObjectId {
    "01970000-0000-7000-8000-000000000001".parse().unwrap()
}

fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The event is written as the file says, headers and body, and read from it as the same event.
fn check<E: Event + PartialEq + std::fmt::Debug>(name: &str, event: &E, wrap: impl Fn(E) -> AnyEvent) {
    let time = "2026-01-02T03:04:06.5Z".parse().unwrap();
    let message = encode(event, "ebs", "test", time, None).unwrap();
    let written = serde_json::json!({
        "routing_key": message.routing_key,
        "headers": message.headers,
        "body": serde_json::from_slice::<Value>(&message.body).unwrap(),
    });
    let expected: Value = serde_json::from_str(&golden(name)).unwrap();
    assert_eq!(written, expected, "{name}: {}", serde_json::to_string_pretty(&written).unwrap());

    let mut read = message.clone();
    read.headers = expected["headers"].as_object().unwrap().clone();
    // As a newer version may write it, with a field that this one does not know.
    let mut body = expected["body"].clone();
    body["added_later"] = Value::from(true);
    read.body = body.to_string().into();
    // Number formatting survives in the file's text, not in a parsed value; so compare what was parsed.
    let received = decode_any(&read, usize::MAX).unwrap();
    let original = decode_any(&message, usize::MAX).unwrap();
    assert_eq!(received.envelope, original.envelope);
    assert_eq!(original.event, wrap(serde_json::from_slice(&message.body).unwrap()));
    assert_eq!(serde_json::to_value(event).unwrap(), expected["body"]);
}

#[test]
fn object_created_is_written_and_read_as_the_file_says() {
    check("object_created.json", &object(id(), "pow"), AnyEvent::ObjectCreated);
}

#[test]
fn task_created_is_written_and_read_as_the_file_says() {
    check("task_created.json", &task(id(), 1), AnyEvent::TaskCreated);
}

#[test]
fn task_started_is_written_and_read_as_the_file_says() {
    check("task_started.json", &TaskStarted(attempt(id())), AnyEvent::TaskStarted);
}

#[test]
fn task_finished_is_written_and_read_as_the_file_says() {
    let finished = |outcome| TaskFinished {
        attempt: attempt(id()),
        outcome,
        duration_ms: Milliseconds::from(Duration::from_micros(12_345)),
    };
    let succeeded = finished(TaskOutcome::Succeeded("[1,8]".parse().unwrap()));
    check("task_finished.json", &succeeded, AnyEvent::TaskFinished);
    let null = finished(TaskOutcome::Succeeded("null".parse().unwrap()));
    check("task_finished_null.json", &null, AnyEvent::TaskFinished);
    let failed = finished(TaskOutcome::Failed("too large".to_owned()));
    check("task_finished_failed.json", &failed, AnyEvent::TaskFinished);
}

#[test]
fn object_finished_is_written_and_read_as_the_file_says() {
    let finished = |outcome, revision| ObjectFinished {
        object_id: id(),
        operation: "pow".parse().unwrap(),
        outcome,
        duration_ms: Milliseconds::from(Duration::from_millis(1500)),
        revision,
    };
    let inline = ObjectOutcome::Succeeded(ObjectResult::Inline(Json::of(&[0, 1, 8]).unwrap()));
    check("object_finished.json", &finished(inline, 0), AnyEvent::ObjectFinished);
    let location = "/api/objects/01970000-0000-7000-8000-000000000001".to_owned();
    let stored = ObjectOutcome::Succeeded(ObjectResult::Stored { bytes: 70_000, location });
    check("object_finished_stored.json", &finished(stored, 1), AnyEvent::ObjectFinished);
    let errors = vec![TaskError { part: Some(1), error: "too large".to_owned() }];
    check("object_finished_failed.json", &finished(ObjectOutcome::Failed(errors.clone()), 0), AnyEvent::ObjectFinished);
    check("object_finished_timed_out.json", &finished(ObjectOutcome::TimedOut(errors), 0), AnyEvent::ObjectFinished);
}
