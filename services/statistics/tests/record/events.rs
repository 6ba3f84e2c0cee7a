//! What happens, as those see it who look on over HTTP.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::Request,
};
use bus::{HandleBatch, Headers, Item, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use statistics::{Heard, router};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::{
    http::{Site, ask},
    support::{Execution, Work, heard},
};

/// A message of the stream: its fields by name, without those that it does not have.
struct Told {
    id: String,
    kind: String,
    data: Value,
    comment: bool,
}

/// Whoever looks on.
struct Onlooker {
    body: BodyDataStream,
    read: String,
}

impl Onlooker {
    async fn of(site: &Site, query: &str, last_event_id: Option<&str>) -> Self {
        let mut request = Request::get(format!("/api/events{query}"));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = Router::from(router(site.api.clone())).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body().into_data_stream(), read: String::new() }
    }

    async fn next(&mut self) -> Told {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let (message, rest) = (message.to_owned(), rest.to_owned());
                self.read = rest;
                return Told::parse(&message);
            }
            let bytes = self.body.next().await.expect("it has no end").unwrap();
            self.read.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

impl Told {
    fn parse(message: &str) -> Self {
        let mut told = Self { id: String::new(), kind: String::new(), data: Value::Null, comment: false };
        for line in message.split('\n') {
            match line.split_once(':').unwrap() {
                ("", _) => told.comment = true,
                ("id", id) => told.id = id.trim_start().to_owned(),
                ("event", kind) => told.kind = kind.trim_start().to_owned(),
                ("data", data) => told.data = serde_json::from_str(data).unwrap(),
                _ => panic!("{line}"),
            }
        }
        told
    }
}

#[tokio::test]
async fn whoever_looks_on_sees_each_event_as_a_cloud_event_when_the_record_has_it() {
    let site = Site::new().await;
    let (before, work) = (Work::words("b", 1), Work::words("a", 1));
    site.merge(&before.life()).await;
    let mut onlooker = Onlooker::of(&site, "", None).await;
    let position = onlooker.next().await;
    assert!(!position.id.is_empty() && position.kind.is_empty(), "whoever breaks off now knows where to go on");

    site.merge(&work.life()).await;
    let created = onlooker.next().await;
    assert_eq!(created.kind, "OBJECT_CREATED");
    let (id, time) = (created.data["id"].clone(), created.data["time"].clone());
    assert_eq!(time, "1970-01-01T00:00:01Z");
    let object = created.data["data"]["object"].clone();
    assert_eq!(object["data"], "a");
    assert_eq!(
        created.data,
        json!({
            "specversion": "1.0", "id": id, "source": "/ebs/test", "type": "OBJECT_CREATED", "subject": work.id,
            "time": time, "datacontenttype": "application/json", "correlationid": work.id,
            "routingkey": "object.created.word-frequencies", "data": {"object": object},
        })
    );
    for kind in ["TASK_CREATED", "TASK_STARTED", "TASK_FINISHED"] {
        let told = onlooker.next().await;
        assert_eq!((told.kind.as_str(), &told.data["type"]), (kind, &json!(kind)));
        assert_ne!(told.id, created.id);
    }
}

#[tokio::test]
async fn a_pattern_lets_through_what_matches_it() {
    let site = Site::new().await;
    let mut onlooker = Onlooker::of(&site, "?pattern=task.*.word-frequencies", None).await;
    onlooker.next().await;
    let (nop, work) = (Work::nop(json!([1]), 1), Work::words("a", 1));
    site.merge(&[nop.life(), work.life()].concat()).await;
    let kinds = [onlooker.next().await.kind, onlooker.next().await.kind, onlooker.next().await.kind];
    assert_eq!(kinds, ["TASK_CREATED", "TASK_STARTED", "TASK_FINISHED"]);
    for bad in ["?pattern=a..b", "?pattern=a%20b", "?pattern=", "?pattern=a*", "?patern=a"] {
        let (status, problem) = site.get(&format!("/api/events{bad}")).await;
        assert_eq!(status, 400, "{bad}");
        assert!(problem["detail"].as_str().unwrap().contains("pattern"), "{problem}");
    }
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_and_is_told_what_is_missing() {
    let site = Site::new().await;
    let position = Onlooker::of(&site, "", None).await.next().await.id;
    let work = Work::words("a", 1);
    site.merge(&work.life()).await;

    let mut back = Onlooker::of(&site, "", Some(&position)).await;
    assert_eq!(back.next().await.id, position);
    let first = back.next().await;
    assert_eq!(first.kind, "OBJECT_CREATED");
    // The header is newer than the address of a page that was opened with it.
    let mut later = Onlooker::of(&site, &format!("?after={position}"), Some(&first.id)).await;
    later.next().await;
    assert_eq!(later.next().await.kind, "TASK_CREATED");
    let mut by_query = Onlooker::of(&site, &format!("?after={}", first.id), Some("")).await;
    by_query.next().await;
    assert_eq!(by_query.next().await.kind, "TASK_CREATED");

    let other = Site::new().await;
    for (site, id, reason) in [(&other, position.as_str(), "restarted"), (&site, "whatever", "unknown_id")] {
        let mut onlooker = Onlooker::of(site, "", Some(id)).await;
        onlooker.next().await;
        let gap = onlooker.next().await;
        assert_eq!((gap.kind.as_str(), &gap.data["reason"]), ("gap", &json!(reason)));
        assert!(gap.data["detail"].as_str().unwrap().contains("id"), "{}", gap.data);
    }
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_is_seen_twice_with_one_id_of_its_own() {
    let site = Site::new().await;
    let mut onlooker = Onlooker::of(&site, "", None).await;
    onlooker.next().await;
    let work = Work::words("a", 1);
    let started = [work.started(0, &Execution::ok())];
    site.merge(&started).await;
    site.merge(&started).await;
    let (first, second) = (onlooker.next().await, onlooker.next().await);
    assert_eq!(first.data, second.data);
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn what_is_not_committed_is_not_seen() {
    let site = Site::new().await;
    let mut onlooker = Onlooker::of(&site, "", None).await;
    onlooker.next().await;
    let work = Work::words("a", 1);
    crate::file::change(&site.fixture.path(), "ALTER TABLE outbox RENAME TO gone").await;
    site.on_events.handle(&heard(&work.life())).await.unwrap_err();
    crate::file::change(&site.fixture.path(), "ALTER TABLE gone RENAME TO outbox").await;
    site.merge(&work.life()[3..]).await;
    assert_eq!(onlooker.next().await.kind, "TASK_FINISHED");
}

/// An event from elsewhere, with whatever in it.
fn foreign(content_type: &str, kind: &str, body: &str) -> Message {
    let attributes =
        [("specversion", "1.0"), ("id", "x"), ("source", "/y"), ("time", "2026-01-01T00:00:00Z"), ("type", kind)];
    let headers: Headers =
        attributes.map(|(name, value)| (format!("cloudEvents:{name}"), value.into())).into_iter().collect();
    Message {
        exchange: "ebs".to_owned(),
        routing_key: "like.given".to_owned(),
        id: "x".to_owned(),
        content_type: Some(content_type.to_owned()),
        headers,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Message::default()
    }
}

#[tokio::test]
async fn events_of_others_are_shown_in_a_line_whatever_they_contain() {
    let site = Site::new().await;
    let mut onlooker = Onlooker::of(&site, "?pattern=like.%23", None).await;
    onlooker.next().await;
    let structured = r#"{"specversion":"1.0","id":"x","source":"/y","type":"LIKE","time":"2026-01-01T00:00:00Z","data":[1,
        2]}"#;
    let events = [
        foreign("application/json", "LIKE", "{\r\n  \"a\": 12345678901234567890123,\n\"b\":\"\\n\"}"),
        foreign("application/json", "LIKE\nevent: forged", "not JSON\n\n"),
        foreign("application/cloudevents+json", "", structured),
    ]
    .map(|message| Heard::read(&message, 1000).unwrap());
    site.on_events.handle(&events).await.unwrap();
    let first = onlooker.next().await;
    assert_eq!((first.kind.as_str(), &first.data["data"]["b"]), ("LIKE", &json!("\n")));
    assert!(first.data["subject"].is_null() && first.data["routingkey"] == "like.given", "{}", first.data);
    let second = onlooker.next().await;
    assert_eq!((second.kind.as_str(), &second.data["data_base64"]), ("LIKE event: forged", &json!("bm90IEpTT04KCg==")));
    assert_eq!(onlooker.next().await.data["data"], json!([1, 2]));
}

#[tokio::test]
async fn a_silence_is_broken_by_a_comment_that_says_where_to_go_on() {
    let site = Site::new().await;
    let mut onlooker = Onlooker::of(&site, "?pattern=object.finished.%23", None).await;
    let position = onlooker.next().await.id;
    site.merge(&Work::words("a", 1).life()[..2]).await;
    tokio::time::pause();
    let began = Instant::now();
    let told = onlooker.next().await;
    let silence = began.elapsed();
    // The clock of tokio counts milliseconds.
    assert!(silence >= Duration::from_secs(15) && silence < Duration::from_secs(16), "{silence:?}");
    assert!(told.comment && told.kind.is_empty());
    assert_ne!(told.id, position, "what has happened meanwhile did not match, and is done with");
}

#[tokio::test]
async fn only_so_many_look_on_and_only_at_an_open_record() {
    let site = Site::new().await;
    let mut all = Vec::new();
    for _ in 0..64 {
        all.push(Onlooker::of(&site, "", None).await);
    }
    let (status, problem) = site.get("/api/events").await;
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().unwrap().contains("64"), "{problem}");
    all.pop();
    drop(Onlooker::of(&site, "", None).await);

    let closed = statistics::Api::default();
    assert_eq!(ask(&closed, Request::get("/api/events").body(Body::empty()).unwrap()).await.0, 503);
}
