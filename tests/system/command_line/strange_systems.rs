//! Systems that lose answers, are busy, or stop in the middle, as a real one does too seldom to test it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use testkit::{Process, Signal, eventually};
use tokio::{net::TcpListener, task::yield_now};

use super::kit::{command_at, ebs_at};

/// Serves until the test is over; its address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// An answer that breaks off after these pieces.
fn broken(pieces: &[&str]) -> Response {
    let pieces = pieces.iter().map(|piece| Ok(Bytes::from((*piece).to_owned())));
    let pieces: Vec<_> = pieces.chain([Err(std::io::Error::other("broken"))]).collect();
    // A pause before each: what was sent without one is thrown away when it breaks.
    let pieces = stream::iter(pieces).then(async |piece| {
        yield_now().await;
        piece
    });
    Body::from_stream(pieces).into_response()
}

fn busy() -> Response {
    let problem = json!({"status": 503, "detail": "Too much waits."}).to_string();
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], problem).into_response()
}

#[tokio::test]
async fn an_object_is_submitted_again_as_the_same_one_when_the_answer_is_lost_or_the_system_busy() {
    let seen: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
    let requests = seen.clone();
    let create = async move |headers: HeaderMap, body: Bytes| {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        let mut requests = requests.lock().unwrap();
        requests.push((key, body));
        match requests.len() {
            1 => broken(&["{\"id\":"]),
            2 => busy(),
            3 => StatusCode::REQUEST_TIMEOUT.into_response(),
            _ => (StatusCode::CREATED, json!({"id": "the one"}).to_string()).into_response(),
        }
    };
    let url = serve(Router::new().route("/api/objects", post(create))).await;
    assert_eq!(ebs_at(&url, &["submit", "--data", "a"]).await.ok(), "the one\n");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|request| *request == seen[0] && request.0.len() == 36), "{seen:?}");
    assert_eq!(seen[0].1, r#"{"data":"a"}"#);
}

#[tokio::test]
async fn what_is_no_such_system_is_told_apart() {
    let url = serve(Router::new().route("/api/objects", post(async || "<html>"))).await;
    let ran = ebs_at(&url, &["submit"]).await;
    assert!(ran.code == 1 && ran.told.contains("another program"), "{ran:?}");
    let ran = ebs_at(&url, &["statistics"]).await;
    assert!(ran.code == 1 && ran.told.contains("404"), "{ran:?}");
}

#[tokio::test]
async fn what_a_hostile_system_says_steers_no_terminal() {
    // Each time, `Ran` sees to it that nothing does.
    const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}hostile";
    let refuse = async || (StatusCode::FORBIDDEN, json!({"detail": HOSTILE}).to_string());
    let refuses = serve(Router::new().fallback(any(refuse))).await;
    let figures = async || json!({"operations": {}}).to_string();
    let listens = Router::new().route("/api/statistics", get(figures)).fallback(any(refuse));
    let alive = async || json!({"status": "alive"}).to_string();
    let ready = async || (StatusCode::SERVICE_UNAVAILABLE, json!({"checks": {"bus": HOSTILE}}).to_string());
    let lives = Router::new().route("/livez", get(alive)).route("/readyz", get(ready)).fallback(any(refuse));
    let (listens, lives) = (serve(listens).await, serve(lives).await);
    for (url, arguments) in [
        (&refuses, &["spam", "--count", "1"][..]),
        (&listens, &["spam", "--count", "1"]),
        (&listens, &["spam", "--count", "1", "--json"]),
        (&lives, &["doctor"]),
        (&lives, &["doctor", "--json"]),
        (&refuses, &["result", ID]),
    ] {
        let ran = ebs_at(url, arguments).await;
        assert!(ran.code == 1 && format!("{}{}", ran.said, ran.told).contains("hostile"), "{arguments:?}: {ran:?}");
    }
}

/// Of an object that a strange system has, or has not.
const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Knows an object from the third question on.
async fn late() -> String {
    let count = Arc::new(AtomicUsize::new(0));
    let object = async move || match count.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => {
            (StatusCode::NOT_FOUND, json!({"detail": format!("There is no object {ID}, or not yet.")}).to_string())
        }
        _ => (StatusCode::OK, json!({"id": ID, "status": "succeeded", "result": [8]}).to_string()),
    };
    serve(Router::new().route(&format!("/api/objects/{ID}"), get(object))).await
}

#[tokio::test]
async fn an_object_that_the_record_does_not_know_yet_is_waited_for_as_long_as_is_said() {
    assert_eq!(ebs_at(&late().await, &["result", ID, "--timeout", "60"]).await.ok(), "[8]\n");
    let ran = ebs_at(&late().await, &["result", ID, "--timeout", "0"]).await;
    assert!(ran.code == 75 && ran.told.contains(&format!("does not know {ID}")), "{ran:?}");
    // Nothing was said: it may be a slip of the pen, or not.
    let ran = ebs_at(&late().await, &["result", ID]).await;
    assert!(ran.code == 1 && ran.told.contains("--timeout 5m"), "{ran:?}");
}

/// What was sent: keys and bodies.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// Takes lines of a bulk upload as the system does: first it is busy, then it stops after the second line, then before the next, then it does all.
fn bulk() -> (Router, Seen) {
    let seen = Seen::default();
    let requests = seen.clone();
    let create = async move |headers: HeaderMap, body: Bytes| {
        assert_eq!(headers["content-type"], "application/x-ndjson");
        let mut requests = requests.lock().unwrap();
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        requests.push((key, String::from_utf8(body.to_vec()).unwrap()));
        let lines: &[Value] = match requests.len() {
            1 => return busy(),
            2 => &[
                json!({"accepted": 1, "lines": [1, 1], "ids": ["a"]}),
                json!({"line": 2, "error": {"status": 422, "detail": "no\u{1b}such operation"}}),
                json!({"done": false, "error": {"status": 503, "detail": "Too much waits."}, "next_line": 3}),
            ],
            3 => &[json!({"done": false, "error": {"status": 408, "detail": "No byte came."}, "next_line": 3})],
            _ => &[
                json!({"accepted": 2, "lines": [3, 4], "ids": ["c", "d"]}),
                json!({"done": true, "accepted": 2, "refused": 0, "lines": 4}),
            ],
        };
        lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_response()
    };
    (Router::new().route("/api/objects", post(create)), seen)
}

#[tokio::test]
async fn many_objects_go_on_where_the_system_had_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.ndjson");
    std::fs::write(&file, "1\n2\n3\n4\n").unwrap();
    let file = file.display().to_string();

    let (router, seen) = bulk();
    let ran = ebs_at(&serve(router).await, &["submit", &file, "--key", "k"]).await;
    assert_eq!((ran.code, ran.said.as_str()), (1, "3 accepted, 1 refused, of 4 lines\n"), "{ran:?}");
    assert!(ran.told.contains("line 2: no\u{fffd}such operation"), "{ran:?}");
    let sent = |body: &str| ("k.1".to_owned(), body.to_owned());
    // What is settled is blank, so that the others keep their numbers, and with the key are the same objects.
    assert_eq!(*seen.lock().unwrap(), ["1\n2\n3\n4\n", "1\n2\n3\n4\n", "\n\n3\n4\n", "\n\n3\n4\n"].map(sent));

    let (router, _) = bulk();
    let ran = ebs_at(&serve(router).await, &["submit", &file, "--json"]).await;
    let lines = ran.json_lines();
    assert_eq!(lines[2], json!({"accepted": 3, "lines": [3, 4], "ids": ["c", "d"]}));
    assert_eq!(lines[3], json!({"done": true, "accepted": 3, "refused": 1, "lines": 4}));
    assert_eq!((ran.code, lines.len(), ran.told.as_str()), (1, 4, ""), "{ran:?}");
}

#[tokio::test]
async fn of_many_objects_whose_answer_is_lost_the_rest_is_sent_again_and_a_stop_for_good_says_what_is_known() {
    let count = Arc::new(AtomicUsize::new(0));
    let create = async move |body: Bytes| match count.fetch_add(1, Ordering::Relaxed) {
        0 => broken(&["{\"accepted\": 1, \"lines\": [2, 2], \"ids\": [\"b\"]}\n", "{\"acc"]),
        1 => {
            assert_eq!(body, "1\n\n3\n");
            let stopped = json!({"done": false, "error": {"status": 400, "detail": "Never."}, "next_line": 1});
            format!("{stopped}\n").into_response()
        }
        unexpected => panic!("{unexpected}"),
    };
    let url = serve(Router::new().route("/api/objects", post(create))).await;
    let ran = ebs_at(&url, &["submit", "--format", "ndjson", "--data", "1\n2\n3\n", "--key", "k"]).await;
    assert_eq!((ran.code, ran.said.as_str()), (1, ""), "{ran:?}");
    for told in ["Never.", "1 accepted", "first 0 lines", "--key k"] {
        assert!(ran.told.contains(told), "{told}: {ran:?}");
    }
}

#[tokio::test]
async fn events_go_on_after_the_last_one_and_gaps_are_told() {
    let count = Arc::new(AtomicUsize::new(0));
    let events = async move |headers: HeaderMap| {
        let last = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        let event = |part: u32| {
            let data = json!({"type": "TASK_FINISHED", "correlationid": "o", "data": {"part": part, "parts": 3, "outcome": "succeeded"}});
            format!("id: {part}\nevent: TASK_FINISHED\ndata: {data}\n\n")
        };
        match (count.fetch_add(1, Ordering::Relaxed), last.as_deref()) {
            (0, None) => broken(&[": idle\n\n", &event(0), &event(1)[..20], &event(1)[20..]]),
            (1, Some("1")) => busy(),
            (2, Some("1")) => {
                let gap = "event: gap\ndata: {\"reason\": \"too long ago\"}\n\n";
                let first = [gap.to_owned(), event(2)].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
                Body::from_stream(stream::iter(first).chain(stream::pending())).into_response()
            }
            unexpected => panic!("{unexpected:?}"),
        }
    };
    let url = serve(Router::new().route("/api/events", get(events))).await;
    let mut following = Process::start("ebs", command_at(&url, &["events", "--json"])).unwrap();
    let lines = eventually(async || {
        let lines = following.lines();
        if lines.iter().any(|line| line.contains("\"part\":2")) { Ok(lines) } else { Err(format!("{lines:?}")) }
    })
    .await;
    let parts: Vec<&String> = lines.iter().filter(|line| line.contains("TASK_FINISHED")).collect();
    assert_eq!(parts.len(), 3, "{lines:?}");
    assert!(lines.contains(&r#"{"reason":"too long ago","type":"gap"}"#.to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("ebs: ") && line.contains("too long ago")), "{lines:?}");
    following.signal(Signal::SIGINT).unwrap();
    assert_eq!(following.ended(std::time::Duration::from_secs(10)).await.unwrap().code(), Some(0));
}
