//! Whatever others send, a line of a log is a line of the log, and no longer than bearable.

use std::collections::BTreeSet;

use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use testkit::{Options, System, eventually, shared_broker_url};

/// Begins lines, steers terminals, turns the direction of writing.
const NASTY: &str = "a\nb\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{9b}31m\u{85}\u{2028}\u{2029}\u{202e}\u{0}z";
/// The characters of it that do something, but for the line break.
const ACTING: [char; 8] = ['\r', '\u{1b}', '\u{9b}', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{0}'];
/// Longer than any line of ours has to be, in bytes.
const BEARABLE: usize = 80_000;

#[tokio::test(flavor = "multi_thread")]
async fn foreign_messages_and_requests_forge_no_line_of_text() {
    let lines = lines_about_foreign_input("text").await;
    for line in &lines {
        let time = line.split_whitespace().next().unwrap_or_default();
        assert!(time.len() > 20 && time.starts_with("20") && time.ends_with('Z'), "no line of ours: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_messages_and_requests_forge_no_line_of_json() {
    let lines = lines_about_foreign_input("json").await;
    for line in &lines {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no line of ours: {line:?}"));
        assert!(event["timestamp"].is_string() && event["target"].is_string(), "{line:?}");
    }
}

/// What every service logged about a system that was sent nonsense.
async fn lines_about_foreign_input(format: &str) -> Vec<String> {
    let options = Options::on(shared_broker_url()).set("LOG_FORMAT", format).set("RUST_LOG", "debug,lapin=off");
    let system = System::start(options).await.unwrap();
    let sent = send_nonsense(&system).await;
    let client = system.client();
    for path in ["/api/objects/%0A%1B%5B2J%E2%80%A8", "/%0d%0aforged", "/api/totals/%0a%c2%9b"] {
        client.get(system.url_of("datagen", path)).header("traceparent", "x").send().await.unwrap();
    }
    let name = serde_json::json!({"name": "seen \u{2028}\u{202e} as a name"});
    client.post(system.url_of("datagen", "/api/objects")).json(&name).send().await.unwrap();

    // Only the last lines of a process are kept, and at this level there are many.
    let mut lines = BTreeSet::new();
    eventually(async || {
        lines.extend(system.names().into_iter().flat_map(|name| system.process(&name).lines()));
        let logged = lines.iter().filter(|line| line.contains("set aside")).count();
        if logged >= sent { Ok(()) } else { Err(format!("{logged} of {sent} were set aside")) }
    })
    .await;
    // Of statistics' own on standard output.
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    for line in &lines {
        assert!(!line.contains(ACTING), "{line:?}");
        assert!(line.len() < BEARABLE, "{} bytes: {}", line.len(), line.chars().take(200).collect::<String>());
    }
    assert!(lines.iter().any(|line| line.contains("a\\nb") || line.contains("a\\\\nb")), "nothing of it was logged");
    lines
}

/// Sends messages that nobody understands to two work queues; tells how many of them will be set aside.
async fn send_nonsense(system: &System) -> usize {
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&shared_broker_url(), properties).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let short = |text: &str| text.chars().take(60).collect::<String>().as_str().into();
    let mut headers = FieldTable::default();
    headers.insert(
        "cloudEvents:specversion".into(),
        AMQPValue::LongString(format!("{NASTY}{}", "x".repeat(125_000)).into()),
    );
    headers.insert(short(NASTY), AMQPValue::LongString(NASTY.into()));
    let nonsense =
        BasicProperties::default().with_message_id(short(NASTY)).with_type(short(NASTY)).with_delivery_mode(2);
    let mut count = 0;
    for key in ["object.created.nop", "task.created.nop"] {
        for properties in [
            nonsense.clone(),
            nonsense.clone().with_content_type(short(NASTY)),
            nonsense.clone().with_content_type("application/json".into()).with_headers(headers.clone()),
        ] {
            let options = BasicPublishOptions::default();
            let exchange = system.exchange().into();
            channel
                .basic_publish(exchange, key.into(), options, NASTY.as_bytes(), properties)
                .await
                .unwrap()
                .await
                .unwrap();
            // The work queue's consumer and the record each set theirs aside.
            count += 2;
        }
    }
    connection.close(200, "bye".into()).await.unwrap();
    count
}
