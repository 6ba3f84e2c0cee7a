//! The AsyncAPI document.

use std::collections::BTreeSet;

use bus::{
    encode,
    events::{MAX_PARAMETERS_BYTES, ObjectCreated},
    now,
};
use contract::{EVENT_TYPES, examples};
use serde_json::Value;

use crate::kit::{document, errors, file, flow, validator};

#[tokio::test]
async fn the_committed_document_is_what_the_code_makes() {
    let committed = file("asyncapi.json");
    let generated = contract::asyncapi(flow().await).unwrap();
    let difference = committed.lines().zip(generated.lines()).find(|(committed, generated)| committed != generated);
    assert!(
        committed == generated,
        "asyncapi.json is not up to date: run `make asyncapi`. First difference: {difference:?}"
    );
}

#[tokio::test]
async fn it_is_a_valid_asyncapi_document() {
    let schema: Value = serde_json::from_str(&file("tests/contract/tests/asyncapi-3.1.0.json")).unwrap();
    let asyncapi = jsonschema::validator_for(&schema).unwrap();
    let mut document = document().await;
    assert_eq!(errors(&asyncapi, &document), [""; 0]);
    // It is not just any that passes.
    document["channels"]["ebs.distributor"]["bindings"]["amqp"]["queue"]["durable"] = "yes".into();
    assert_ne!(errors(&asyncapi, &document), [""; 0]);
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn what_it_refers_to_is_there() {
    let document = document().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for reference in found {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn every_kind_of_event_that_is_published_is_in_it_with_who_publishes_and_consumes_it() {
    let (flow, document) = (flow().await, document().await);
    let published: BTreeSet<&str> = flow.published.iter().map(|published| published.kind.as_str()).collect();
    assert_eq!(published, EVENT_TYPES.iter().map(|event| event.name).collect::<BTreeSet<_>>());
    let operations = document["operations"].as_object().unwrap();
    for event in EVENT_TYPES {
        assert_eq!(document["components"]["messages"][event.name]["name"], event.name);
        for published in flow.writers(event.name) {
            let operation = &operations[&format!("{}.publishes.{}", published.service, event.name)];
            assert_eq!(
                (&operation["action"], published.routing_key.as_str()),
                (&"send".into(), &*format!("{}.<operation>", event.key))
            );
        }
        let readers = flow.readers(event.name);
        assert!(!readers.is_empty(), "{}", event.name);
        for (queue, service) in readers {
            let channel = queue.split(".<").next().unwrap();
            let operation = &operations[&format!("{service}.consumes.{channel}")];
            let message = format!("#/channels/{channel}/messages/{}", event.name);
            let messages = operation["messages"].as_array().unwrap();
            assert!(messages.iter().any(|reference| reference["$ref"] == *message), "{operation}");
        }
    }
}

#[tokio::test]
async fn every_golden_event_is_valid_and_an_example() {
    let document = document().await;
    let mut count = 0;
    for event in EVENT_TYPES {
        let message = &document["components"]["messages"][event.name];
        let (headers, payload) = (validator(&document, &message["headers"]), validator(&document, &message["payload"]));
        let shown = message["examples"].as_array().unwrap();
        for example in examples(&event).unwrap() {
            assert_eq!(errors(&headers, &Value::Object(example.headers.clone())), [""; 0], "{}", example.name);
            assert_eq!(errors(&payload, &example.body), [""; 0], "{}", example.name);
            assert!(shown.iter().any(|shown| shown["payload"] == example.body), "{} is not shown", example.name);
            count += 1;
        }
    }
    let golden = std::fs::read_dir(testkit::repository().join("libs/bus/tests/golden")).unwrap().count();
    assert_eq!(count, golden, "golden events that are of no type");
}

#[tokio::test]
async fn the_headers_of_what_is_retried_and_set_aside_are_as_it_says() {
    let (flow, document) = (flow().await, document().await);
    for (queue, name) in [("ebs.retry.<delay>", "RETRIED"), ("ebs.dead", "DEAD_LETTER")] {
        let message = &document["components"]["messages"][name];
        let headers = validator(&document, &message["headers"]);
        let copies: Vec<_> = flow.headers_of_copies.iter().filter(|(through, _)| through == queue).collect();
        assert!(copies.len() > 3, "{queue}: {copies:?}");
        let examples = message["examples"].as_array().unwrap().iter().map(|example| example["headers"].clone());
        for copy in copies.into_iter().map(|(_, headers)| Value::Object(headers.clone())).chain(examples) {
            assert_eq!(errors(&headers, &copy), [""; 0], "{name}: {copy}");
        }
    }
}

#[tokio::test]
async fn what_it_says_in_words_of_properties_and_bounds_is_so() {
    let document = document().await;
    let words = document["info"]["description"].as_str().unwrap();
    let example = examples(&EVENT_TYPES[0]).unwrap().remove(0);
    let event: ObjectCreated = serde_json::from_value(example.body).unwrap();
    let message = encode(&event, "ebs", "test", now(), None).unwrap();
    for (property, said, value) in [
        ("message_id", "the event's id", message.headers["cloudEvents:id"] == message.id.as_str()),
        ("correlation_id", "the object's id", message.correlation_id == Some(event.object.id.to_string())),
        ("type", "the event's type", message.kind.as_deref() == Some(EVENT_TYPES[0].name)),
        ("app_id", "the service", message.app_id.as_deref() == Some("test")),
    ] {
        assert!(words.contains(&format!("`{property}` ({said})")) && value, "{property}: {message:?}");
    }
    let known = &document["components"]["messages"][EVENT_TYPES[0].name];
    assert_eq!(known["contentType"], message.content_type.unwrap());
    assert!(words.contains(&format!("{MAX_PARAMETERS_BYTES} bytes")), "{words}");
}
