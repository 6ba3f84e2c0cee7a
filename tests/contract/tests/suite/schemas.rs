//! The schemas refuse what the decoder refuses: each golden event is changed in every place in many ways, and both are asked.

use bus::{DecodeError, Headers, Message};
use contract::{EVENT_TYPES, EventType, Example, examples};
use serde_json::{Map, Value, json};

use crate::kit::{document, errors, validator};

/// What a schema cannot say, as the decoder says it, and as the document says it in words.
const IN_WORDS: [&str; 3] = ["its id must be UUIDv5", "parts count from 0", "floating point `3155760000000.0`"];

/// What takes the place of a value.
fn others() -> Vec<Value> {
    let mut others = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(9_999),
        json!(10_000),
        json!(10_001),
        json!(u32::MAX),
        json!(u64::from(u32::MAX) + 1),
        json!(u64::MAX),
        json!(3_155_760_000_000.0),
        json!(3_155_760_000_000.5),
        json!(1e300),
        json!([]),
        json!([null]),
        json!([{}]),
        json!([{"error": "a"}]),
        json!([{"error": 1}]),
        json!([{"part": -1, "error": "a"}]),
        json!({}),
        json!({"a": 1}),
    ];
    let texts = [
        "",
        "a",
        "A",
        "a.b",
        "#",
        "-a",
        "succeeded",
        "failed",
        "timed_out",
        "lost",
        "1.0",
        "0.3",
        "yesterday",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.678901+01:00",
        "2026-13-02T03:04:05Z",
        "01970000-0000-7000-8000-000000000001",
        "01970000-0000-7000-8000-00000000000",
        "01970000-0000-7000-8000-00000000000g",
        "OBJECT_CREATED",
        "TASK_CREATED",
    ];
    others.extend(texts.map(Value::from));
    others.extend([64, 65, 1024, 1025].map(|length| Value::from("a".repeat(length))));
    others
}

/// Every value with one place changed, and how.
fn changed(value: &Value) -> Vec<(String, Value)> {
    fn places(value: &Value, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        if let Value::Object(fields) = value {
            for (name, value) in fields {
                places(value, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
    }
    let mut found = Vec::new();
    places(value, "", &mut found);
    let mut changed = Vec::new();
    for path in &found {
        for other in others() {
            let mut copy = value.clone();
            *copy.pointer_mut(path).unwrap() = other.clone();
            changed.push((format!("{path} is {other}"), copy));
        }
        let Some((parent, name)) = path.rsplit_once('/') else { continue };
        let mut copy = value.clone();
        copy.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&name.replace("~1", "/").replace("~0", "~"));
        changed.push((format!("{path} is missing"), copy));
    }
    changed
}

fn message(headers: &Headers, body: &Value) -> Message {
    Message {
        content_type: Some("application/json".to_owned()),
        headers: headers.clone(),
        body: body.to_string().into(),
        ..Message::default()
    }
}

/// What both refuse, both take, the decoder alone refuses, and the schema alone.
#[derive(Debug, Default)]
struct Counts {
    refused: usize,
    taken: usize,
    in_words: usize,
    stricter: Vec<String>,
}

impl Counts {
    /// Compares what the decoder says with the errors of the schema.
    fn count(&mut self, what: &str, decoded: Result<(), DecodeError>, errors: &[String]) {
        match decoded {
            Err(_) if !errors.is_empty() => self.refused += 1,
            Err(error) => {
                let is_known = IN_WORDS.iter().any(|words| error.to_string().contains(words));
                assert!(is_known, "{what}: the schema takes what the decoder refuses ({error})");
                self.in_words += 1;
            }
            Ok(()) if errors.is_empty() => self.taken += 1,
            Ok(()) => self.stricter.push(what.to_owned()),
        }
    }
}

fn each_example(may_be_stricter: fn(&str) -> bool, mut check: impl FnMut(&EventType, &Example, &mut Counts)) {
    for event in EVENT_TYPES {
        let mut counts = Counts::default();
        for example in examples(&event).unwrap() {
            check(&event, &example, &mut counts);
        }
        counts.stricter.retain(|what| !may_be_stricter(what));
        assert!(counts.stricter.is_empty(), "the schema refuses what the decoder takes: {:?}", counts.stricter);
        assert!(counts.refused > 50 && counts.taken > 10, "{}: {counts:?}", event.name);
    }
}

#[tokio::test]
async fn what_the_decoder_refuses_of_a_body_its_schema_refuses_and_nothing_else() {
    let document = document().await;
    each_example(
        |_| false,
        |event, example, counts| {
            let schema = validator(&document, &document["components"]["messages"][event.name]["payload"]);
            for (change, body) in changed(&example.body) {
                let decoded = (event.check)(&message(&example.headers, &body));
                counts.count(&format!("{}: {change}", example.name), decoded, &errors(&schema, &body));
            }
        },
    );
}

#[tokio::test]
async fn what_the_decoder_refuses_of_the_headers_their_schema_refuses_and_next_to_nothing_else() {
    let document = document().await;
    // What need not be there, and is no text, is read as if it were not there.
    let is_ignored =
        |what: &str| ["/cloudEvents:subject", "/cloudEvents:correlationid"].iter().any(|name| what.contains(name));
    each_example(is_ignored, |event, example, counts| {
        let schema = validator(&document, &document["components"]["messages"][event.name]["headers"]);
        for (change, headers) in changed(&Value::Object(example.headers.clone())) {
            let table: &Map<String, Value> = match headers.as_object() {
                Some(table) => table,
                // Headers are a table always.
                None => continue,
            };
            let decoded = (event.check)(&message(table, &example.body));
            counts.count(&format!("{}: {change}", example.name), decoded, &errors(&schema, &headers));
        }
    });
}
