//! Any request to `POST /api/objects`.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body};
use bus::{
    Bus, DepthError, Exchange, Message, PublishError, Queue, Settings, Source, Subscription, Transport, decode,
    events::{Object, ObjectCreated},
};
use chassis::{Context, Service};
use datagen::Datagen;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use operations::Catalogue;
use tokio::{
    runtime::{self, Runtime},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::line;

/// As short as makes sense, so that the bound is reached.
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// Three parts: the content type in a line, the idempotency key in a line, the body. An empty line stands for none.
///
/// # Panics
/// If answering it panics; if the answer is neither 201 and an object that is on the bus as it was asked for, nor 200 and lines
/// that tell of those that are, nor a problem that says what is wrong with the request.
pub fn create_object(input: &[u8]) {
    thread_local! {
        static DOOR: (Runtime, Router, Arc<Confirming>) = door();
    }
    DOOR.with(|(runtime, router, bus)| runtime.block_on(answered(router, bus, input)));
}

async fn answered(router: &Router, bus: &Confirming, input: &[u8]) {
    let (content_type, rest) = line(input);
    let (key, body) = line(rest);
    let mut request = Request::post("/api/objects");
    for (name, value) in [(CONTENT_TYPE.as_str(), content_type), ("idempotency-key", key)] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    // What is no header does not come this far.
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    let Ok(Some((object, answer))) = ask(router, bus, request).await else { return };
    assert_eq!(answer["id"], object.id.to_string());
    assert_eq!(answer["name"], object.name);
    assert_eq!(answer["operation"], object.operation.as_str());
    if !key.is_empty() {
        let mut again = Request::post("/api/objects").header("idempotency-key", key);
        if !content_type.is_empty() {
            again = again.header(CONTENT_TYPE, content_type);
        }
        let again = again.body(Body::from(body.to_vec())).expect("it was one before");
        let Ok(again) = ask(router, bus, again).await else { return };
        let (same, _) = again.expect("it was accepted before");
        assert_eq!(Object { created_at: object.created_at, ..same }, object, "the same request is the same object");
    }
}

/// More comes at a time than any queue would take: that says nothing about the request.
struct TooMuch;

/// What came onto the bus and what was answered, if it was accepted.
async fn ask(
    router: &Router,
    bus: &Confirming,
    request: Request<Body>,
) -> Result<Option<(Object, serde_json::Value)>, TooMuch> {
    let answer = router.clone().oneshot(request).await.expect("a router always answers");
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("an answer has its body").to_bytes();
    let text = String::from_utf8_lossy(&body);
    let published = std::mem::take(&mut *bus.0.lock().unwrap_or_else(PoisonError::into_inner));
    let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if parts.status == 200 {
        assert_eq!(media_type, Some("application/x-ndjson"), "{text}");
        answered_in_lines(&text, &published);
        return Ok(None);
    }
    let value: serde_json::Value = serde_json::from_slice(&body).expect("an answer is JSON");
    if parts.status == 201 {
        let [message] = published.as_slice() else { panic!("{} messages for one object", published.len()) };
        let event = decode::<ObjectCreated>(message, MAX_EVENT_BYTES).expect("what datagen says can be read").event;
        assert!(parts.headers["location"].to_str().is_ok_and(|path| path.ends_with(&event.object.id.to_string())));
        return Ok(Some((event.object, value)));
    }
    assert!(published.is_empty(), "refused and published");
    if parts.status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(TooMuch);
    }
    assert!(parts.status.is_client_error(), "{}: {text}", parts.status);
    assert_eq!(media_type, Some("application/problem+json"), "{text}");
    assert_eq!(value["status"], parts.status.as_u16());
    let detail = value["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty() && detail.len() < 3000, "{} bytes: {text}", detail.len());
    Ok(None)
}

/// Of many objects, each that was accepted is on the bus, and nothing else is.
fn answered_in_lines(answer: &str, published: &[Message]) {
    let lines: Vec<serde_json::Value> =
        answer.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let last = lines.last().expect("there is a last line");
    assert!(last["done"].is_boolean() && last["accepted"] == published.len(), "{answer}");
    let ids = lines.iter().filter_map(|line| line["ids"].as_array()).flatten();
    for (id, message) in ids.zip(published) {
        let event = decode::<ObjectCreated>(message, MAX_EVENT_BYTES).expect("what datagen says can be read").event;
        assert_eq!(*id, event.object.id.to_string());
    }
}

/// datagen without the rest of the world.
fn door() -> (Runtime, Router, Arc<Confirming>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let transport = Arc::new(Confirming::default());
    let settings = Settings { exchange: "ebs".to_owned(), app: "datagen".to_owned(), max_event_bytes: MAX_EVENT_BYTES };
    let context = Context {
        bus: Bus::over(transport.clone(), settings),
        catalogue: Catalogue::built_in(),
        grace: Duration::ZERO,
    };
    let datagen = runtime.block_on(Datagen::build(Default::default(), context)).expect("datagen");
    let router: Router = datagen.router().into();
    runtime.spawn(datagen.run(CancellationToken::new()));
    // It lets nobody in before it knows how much waits behind it.
    runtime.block_on(async {
        let knows = async || {
            let request = Request::post("/api/objects").body(Body::empty()).expect("a request");
            router.clone().oneshot(request).await.expect("a router always answers").status() == StatusCode::CREATED
        };
        while !knows().await {
            sleep(Duration::from_millis(1)).await;
        }
    });
    transport.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    (runtime, router, transport)
}

/// A bus that takes everything, and keeps it to be looked at.
#[derive(Default)]
struct Confirming(Mutex<Vec<Message>>);

#[async_trait]
impl Transport for Confirming {
    async fn ensure(&self, _: Exchange, _: Vec<Queue>) {}

    async fn publish(&self, messages: Vec<Message>, _: Duration) -> Vec<Result<(), PublishError>> {
        let results = vec![Ok(()); messages.len()];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
        results
    }

    fn subscribe(&self, _: Source, _: u16) -> Box<dyn Subscription> {
        unreachable!("datagen consumes nothing")
    }

    async fn depth(&self, _: &Queue) -> Result<u64, DepthError> {
        Ok(0)
    }

    fn status(&self) -> Result<(), String> {
        Ok(())
    }

    async fn failed(&self) -> String {
        pending().await
    }

    async fn close(&self) {}
}
