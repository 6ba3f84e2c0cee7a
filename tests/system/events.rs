//! Whoever follows the events sees everything, once for each delivery, and goes on where it stopped.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Value, json};
use testkit::{Options, System, eventually};
use tokio::time::timeout;

use crate::kit::everywhere;

everywhere! {
    whoever_follows_sees_all_that_becomes_of_an_object_and_goes_on_where_it_stopped,
    after_a_restart_it_is_a_gap_and_what_happens_then_follows,
    whoever_follows_does_not_hold_up_the_end,
    a_silence_is_a_comment_every_15_seconds,
    whoever_does_not_read_holds_up_nobody_and_is_told_what_it_missed,
    only_so_many_follow_at_a_time,
}

/// For what takes no time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(60);

/// A message of the stream; what it does not have is empty.
#[derive(Debug, Default)]
struct Message {
    id: String,
    kind: String,
    data: Value,
    comment: bool,
}

/// Whoever follows.
struct Follower {
    answer: Response,
    read: String,
}

impl Follower {
    async fn of(system: &System, query: &str, last: Option<&str>) -> Self {
        let answer = Self::ask(system, query, last).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
        Self { answer, read: String::new() }
    }

    async fn ask(system: &System, query: &str, last: Option<&str>) -> Response {
        let mut request = system.client().get(system.url_of("datagen", &format!("/api/events{query}")));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        request.send().await.unwrap()
    }

    /// The next message; none if there are no more.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let (message, rest) = (parsed(message), rest.to_owned());
                self.read = rest;
                return Some(message);
            }
            let chunk = timeout(SOON, self.answer.chunk()).await.expect("nothing came").unwrap()?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event, whatever comes in between.
    async fn event(&mut self) -> Message {
        loop {
            let message = self.next().await.expect("it has no end");
            if !message.kind.is_empty() {
                return message;
            }
        }
    }
}

fn parsed(text: &str) -> Message {
    let mut message = Message::default();
    for line in text.lines() {
        match line.split_once(':').unwrap() {
            ("", _) => message.comment = true,
            ("id", id) => message.id = id.trim().to_owned(),
            ("event", kind) => message.kind = kind.trim().to_owned(),
            ("data", data) => message.data = serde_json::from_str(data).unwrap(),
            _ => panic!("{line}"),
        }
    }
    message
}

async fn submitted(system: &System) -> String {
    let object = system.submit(&json!({"operation": "plusone", "data": [1, 2], "tasks": 2})).await.unwrap();
    object["id"].as_str().unwrap().to_owned()
}

async fn whoever_follows_sees_all_that_becomes_of_an_object_and_goes_on_where_it_stopped(options: Options) {
    let system = System::start(options).await.unwrap();
    let mut follower = Follower::of(&system, "", None).await;
    let mut ends = Follower::of(&system, "?pattern=object.finished.%23", None).await;
    let id = submitted(&system).await;
    let (mut seen, mut kinds, mut middle) = (BTreeSet::new(), Vec::new(), String::new());
    while !kinds.contains(&"OBJECT_FINISHED".to_owned()) {
        let event = follower.event().await;
        assert_eq!(event.data["correlationid"], id, "{event:?}");
        assert_eq!(event.data["type"], event.kind);
        assert_eq!(event.data["specversion"], "1.0");
        if seen.insert(event.data["id"].as_str().unwrap().to_owned()) {
            kinds.push(event.kind);
        }
        if seen.len() == 4 {
            middle = event.id;
        }
    }
    let mut sorted = kinds.clone();
    sorted.sort();
    let twice = |kind: &str| vec![kind.to_owned(); 2];
    let expected = [
        vec!["OBJECT_CREATED".to_owned(), "OBJECT_FINISHED".to_owned()],
        twice("TASK_CREATED"),
        twice("TASK_FINISHED"),
        twice("TASK_STARTED"),
    ]
    .concat();
    assert_eq!(sorted, expected);

    let end = ends.event().await;
    assert_eq!((end.kind.as_str(), &end.data["data"]["result"]), ("OBJECT_FINISHED", &json!([2, 3])));
    assert_eq!(end.data["routingkey"], "object.finished.plusone");

    let mut back = Follower::of(&system, "", Some(&middle)).await;
    for _ in 0..4 {
        let event = back.event().await;
        assert!(kinds[4..].contains(&event.kind), "{event:?} is not among {kinds:?}");
    }
    let refused = Follower::ask(&system, "?pattern=a..b", None).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

async fn after_a_restart_it_is_a_gap_and_what_happens_then_follows(options: Options) {
    let mut system = System::start(options).await.unwrap();
    let mut follower = Follower::of(&system, "", None).await;
    submitted(&system).await;
    let last = follower.event().await.id;
    system.kill("statistics").await.unwrap();
    system.start_service("statistics").unwrap();
    system.all_ready().await;
    let mut back = Follower::of(&system, "?pattern=object.%23", Some(&last)).await;
    let gap = back.event().await;
    assert_eq!((gap.kind.as_str(), &gap.data["reason"]), ("gap", &json!("restarted")));
    let id = submitted(&system).await;
    loop {
        // What was not acknowledged before comes again.
        let event = back.event().await;
        if event.data["correlationid"] == id {
            assert_eq!(event.kind, "OBJECT_CREATED");
            break;
        }
    }
}

async fn whoever_follows_does_not_hold_up_the_end(options: Options) {
    let mut system = System::start(options).await.unwrap();
    for name in ["datagen", "statistics"] {
        if !system.runs(name) {
            continue; // all of it was one process
        }
        let mut follower = Follower::of(&system, "", None).await;
        follower.next().await.unwrap();
        let began = Instant::now();
        system.stop(name).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(15), "{name} took {:?} of its grace of 25 s", began.elapsed());
        assert!(follower.next().await.is_none(), "it is told that there is no more");
        if name == "datagen" && !system.runs("statistics") {
            return;
        }
        system.start_service(name).unwrap();
        system.all_ready().await;
    }
}

async fn a_silence_is_a_comment_every_15_seconds(options: Options) {
    let system = System::start(options).await.unwrap();
    let mut follower = Follower::of(&system, "", None).await;
    follower.next().await.unwrap();
    for _ in 0..2 {
        let message = follower.next().await.expect("an idle stream stays open");
        assert!(message.comment && message.kind.is_empty() && !message.id.is_empty(), "{message:?}");
    }
    submitted(&system).await;
    assert_eq!(follower.event().await.kind, "OBJECT_CREATED");
}

async fn whoever_does_not_read_holds_up_nobody_and_is_told_what_it_missed(options: Options) {
    let system = System::start(options).await.unwrap();
    let mut slow = Follower::of(&system, "", None).await;
    // More than the sockets and buffers in between hold, and more than is kept of it: 64 MiB.
    let long = json!({"operation": "nop", "data": vec!["x".repeat(1 << 20); 3], "tasks": 1});
    for _ in 0..12 {
        let object = system.submit(&long).await.unwrap();
        let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
        assert_eq!(object["status"], "succeeded");
    }
    let mut gap = None;
    while gap.is_none() {
        // It reads again; or it had stalled for so long that it was closed.
        match timeout(SOON, slow.answer.chunk()).await.expect("nothing came") {
            Ok(Some(chunk)) => {
                slow.read.push_str(&String::from_utf8_lossy(&chunk));
                gap = slow.read.contains("event: gap").then_some("told");
                slow.read = slow.read.split_off(slow.read.floor_char_boundary(slow.read.len().saturating_sub(100)));
            }
            Ok(None) | Err(_) => gap = Some("closed"),
        }
    }
    let mut quick = Follower::of(&system, "", None).await;
    submitted(&system).await;
    assert_eq!(quick.event().await.kind, "OBJECT_CREATED");
}

async fn only_so_many_follow_at_a_time(options: Options) {
    let system = System::start(options).await.unwrap();
    let mut followers = Vec::new();
    for _ in 0..64 {
        followers.push(Follower::of(&system, "", None).await);
    }
    let refused = Follower::ask(&system, "", None).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(RETRY_AFTER));
    // Whoever goes away is noticed, wherever it was.
    drop(followers);
    eventually(async || {
        let status = Follower::ask(&system, "", None).await.status();
        if status == StatusCode::OK { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
