//! What is asked over HTTP.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    http::Request,
    response::Response,
};
use bus::{HandleBatch, events::ObjectId};
use serde_json::{Value, json};
use statistics::{Api, Followers, Health, OnEvents, router};
use tower::ServiceExt;

use crate::support::{AnEvent, Execution, Fixture, Work, heard, now};

pub struct Site {
    pub fixture: Fixture,
    pub api: Api,
    pub on_events: OnEvents,
}

impl Site {
    pub async fn new() -> Self {
        let fixture = Fixture::new().await;
        let api = Api::default();
        api.record.set(Arc::clone(&fixture.record)).unwrap();
        let followers = Followers {
            health: Arc::default(),
            waiters: Arc::clone(&api.waiters),
            outbox: Arc::clone(&api.outbox),
            changed: Default::default(),
            rates: Arc::clone(&api.rates),
        };
        let (record, live) = (Arc::clone(&fixture.record), Arc::clone(&api.live));
        let on_events = OnEvents { record, followers, deadlines: Arc::default(), live };
        Self { fixture, api, on_events }
    }

    pub async fn merge(&self, events: &[AnEvent]) {
        self.on_events.handle(&heard(events)).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        get(&self.api, path).await
    }

    /// The ids on this page of a list, and on all that follow.
    async fn pages(&self, first: &str) -> Vec<Value> {
        let (mut seen, mut path) = (Vec::new(), first.to_owned());
        loop {
            let (status, page) = self.get(&path).await;
            assert_eq!(status, 200, "{path}: {page}");
            seen.extend(page["objects"].as_array().unwrap().iter().map(|object| object["id"].clone()));
            match page["next"].as_str() {
                Some(next) => path = format!("{first}&cursor={next}"),
                None => return seen,
            }
        }
    }
}

async fn get(api: &Api, path: &str) -> (u16, Value) {
    ask(api, Request::get(path).body(Body::empty()).unwrap()).await
}

pub async fn ask(api: &Api, request: Request<Body>) -> (u16, Value) {
    let response = Router::from(router(api.clone())).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 20_000_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Asks for the same again and again until that is refused: the answers, of which nothing is read, and why.
pub async fn asked_until_refused(api: &Api, path: &str) -> (Vec<Response>, Value) {
    /// More than there can be.
    const MOST: usize = 1000;
    let router = Router::from(router(api.clone()));
    let mut answers = Vec::new();
    loop {
        let answer = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        if answer.status() == 503 {
            assert!(answer.headers().contains_key("retry-after"));
            let problem = to_bytes(answer.into_body(), 10_000).await.unwrap();
            return (answers, serde_json::from_slice(&problem).unwrap());
        }
        assert_eq!(answer.status(), 200);
        answers.push(answer);
        assert!(answers.len() < MOST, "nothing is refused");
    }
}

/// What answers have all in all, and the longest of them.
pub fn bytes(answers: &[Response]) -> (u64, u64) {
    let lengths = || answers.iter().map(|answer| answer.body().size_hint().exact().unwrap());
    (lengths().sum(), lengths().max().unwrap())
}

#[tokio::test]
async fn long_objects_that_are_not_sent_yet_have_a_bound_and_short_ones_are_shown_all_the_same() {
    const PARTS: u32 = 16;
    let site = Site::new().await;
    let long = Work::nop(json!(vec!["x".repeat(60_000); PARTS as usize]), PARTS);
    let short = Work::words("a", 1);
    site.merge(&[long.life(), short.life()].concat()).await;
    let path = format!("/api/objects/{}", long.id);
    let (mut answers, problem) = asked_until_refused(&site.api, &path).await;
    assert!(problem["detail"].as_str().unwrap().contains("64 MiB"), "{problem}");
    let (all, one) = bytes(&answers);
    // It is shown with its data, its partial results and its result, each of which is a million bytes.
    assert!(one > 2_800_000 && all <= 64 << 20 && all + 2 * one > 64 << 20, "{all} bytes, {one} bytes each");
    assert_eq!(site.get(&format!("/api/objects/{}", short.id)).await.1["result"], json!({"a": 1}));
    assert_eq!(site.get(&format!("{path}/status")).await.0, 200);

    // What was read is on its way as long as it is not dropped.
    let read = to_bytes(answers.pop().unwrap().into_body(), 10_000_000).await.unwrap();
    assert_eq!(site.get(&path).await.0, 503);
    assert_eq!(serde_json::from_slice::<Value>(&read).unwrap()["result"], long.result());
    drop(read);
    assert_eq!(site.get(&path).await.0, 200);
}

#[tokio::test]
async fn an_object_is_shown_with_its_tasks_result_and_timeline() {
    let site = Site::new().await;
    let work = Work::words("b a b", 2);
    site.merge(&work.life()).await;
    let (status, object) = site.get(&format!("/api/objects/{}", work.id)).await;
    assert_eq!(status, 200);
    assert_eq!(object["id"], work.id.to_string());
    assert_eq!(object["status"], "succeeded");
    assert_eq!(object["data"], "b a b");
    assert_eq!(object["result"], json!({"a": 1, "b": 2}));
    assert_eq!(object["created_at"], "1970-01-01T00:00:01Z");
    assert_eq!(object["started_at"], "1970-01-01T00:00:01.002Z");
    assert_eq!(object["duration_ms"], 12.0);
    assert_eq!(object["tasks"].as_array().unwrap().len(), 2);
    assert_eq!(object["tasks"][1]["part"], 1);
    assert_eq!(object["tasks"][1]["processor"], "p1");
    assert_eq!(object["tasks"][1]["duration_ms"], 10.0);
    let events: Vec<_> = object["timeline"].as_array().unwrap().iter().map(|moment| &moment["event"]).collect();
    assert_eq!(events, ["OBJECT_CREATED", "TASK_CREATED", "TASK_STARTED", "TASK_FINISHED", "OBJECT_FINISHED"]);
    assert!(object.get("errors").is_none());
}

#[tokio::test]
async fn numbers_keep_all_their_digits() {
    let site = Site::new().await;
    let work = Work::nop(json!(0), 1);
    let mut created = work.created(1);
    let bus::AnyEvent::ObjectCreated(event) = &mut created.event else { unreachable!() };
    event.object.data = "[12345678901234567890123, 0.10]".parse().unwrap();
    site.merge(&[created]).await;
    let request = Request::get(format!("/api/objects/{}", work.id)).body(Body::empty()).unwrap();
    let response = Router::from(router(site.api.clone())).oneshot(request).await.unwrap();
    let body = to_bytes(response.into_body(), 100_000).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains(r#""data":[12345678901234567890123, 0.10]"#), "{text}");
}

#[tokio::test]
async fn an_object_is_created_then_running_then_failed_with_its_errors() {
    let site = Site::new().await;
    let work = Work::words("a b", 2);
    let path = format!("/api/objects/{}", work.id);
    site.merge(&[work.created(1000), work.split_off(0, 1001)]).await;
    assert_eq!(site.get(&path).await.1["status"], "created");
    site.merge(&[work.started(0, &Execution::ok())]).await;
    assert_eq!(site.get(&path).await.1["status"], "running");
    site.merge(&[work.finished(0, &Execution::ok()), work.finished(1, &Execution::failed())]).await;
    let (_, object) = site.get(&path).await;
    assert_eq!(object["status"], "failed");
    assert_eq!(object["errors"], json!([{"part": 1, "error": "part 1 broke"}]));
    assert!(object.get("result").is_none());
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_object_finishes_even_if_it_was_not_seen_yet() {
    let site = Site::new().await;
    let work = Work::words("a", 2);
    let (api, path) = (site.api.clone(), format!("/api/objects/{}?wait=30", work.id));
    let waiting = tokio::spawn(async move { get(&api, &path).await });
    tokio::task::yield_now().await;
    for event in work.life() {
        site.merge(&[event]).await;
    }
    let (status, object) = waiting.await.unwrap();
    assert_eq!((status, &object["status"]), (200, &json!("succeeded")));
}

#[tokio::test]
async fn an_object_tells_its_status_alone_also_when_it_has_finished() {
    let site = Site::new().await;
    let work = Work::words("a", 2);
    let path = format!("/api/objects/{}/status", work.id);
    assert_eq!(site.get(&path).await.0, 404);
    site.merge(&[work.created(1)]).await;
    assert_eq!(site.get(&path).await, (200, json!({"id": work.id, "status": "created"})));
    let (api, waiting) = (site.api.clone(), format!("{path}?wait=30"));
    let waiting = tokio::spawn(async move { get(&api, &waiting).await });
    tokio::task::yield_now().await;
    site.merge(&work.life()).await;
    assert_eq!(waiting.await.unwrap(), (200, json!({"id": work.id, "status": "succeeded"})));
    assert_eq!(site.get(&format!("{path}?wait=61")).await.0, 400);
}

#[tokio::test]
async fn a_wait_ends_with_what_is_known_then() {
    let site = Site::new().await;
    let work = Work::words("a", 2);
    site.merge(&[work.created(1)]).await;
    let began = Instant::now();
    let (status, object) = site.get(&format!("/api/objects/{}?wait=1", work.id)).await;
    assert_eq!((status, &object["status"]), (200, &json!("created")));
    let (status, problem) = site.get(&format!("/api/objects/{}?wait=1", ObjectId::new())).await;
    assert_eq!(status, 404, "{problem}");
    assert!(began.elapsed().as_secs() >= 2);
    site.api.waiters.close();
    let (status, _) = site.get(&format!("/api/objects/{}?wait=60", work.id)).await;
    assert_eq!(status, 200, "at the end nobody waits");
}

#[tokio::test]
async fn of_an_object_that_was_pruned_it_is_said_that_it_was_as_long_as_that_is_known() {
    const DAY_US: i64 = 86_400_000_000;
    let site = Site::new().await;
    let work = Work::words("a", 1);
    site.merge(&work.life()).await;
    let path = format!("/api/objects/{}", work.id);
    let at = now() + DAY_US;
    site.fixture.record.prune(at, DAY_US).await.unwrap();
    let began = Instant::now();
    for path in [path.clone(), format!("{path}?wait=60")] {
        let (status, problem) = site.get(&path).await;
        assert_eq!(status, 410, "{problem}");
        assert_eq!(problem["pruned_at"], json!(jiff::Timestamp::from_microsecond(at).unwrap()));
        assert!(problem["detail"].as_str().unwrap().contains("RETENTION"), "{problem}");
    }
    assert!(began.elapsed().as_secs() < 30, "nobody waits for it");
    assert_eq!(site.get("/api/objects").await.1["objects"], json!([]));
    site.fixture.record.prune(at + DAY_US, DAY_US).await.unwrap();
    assert_eq!(site.get(&path).await.0, 404);
}

#[tokio::test]
async fn objects_are_listed_newest_or_oldest_first_page_by_page() {
    let site = Site::new().await;
    let works: Vec<Work> = (0..7).map(|_| Work::words("a", 1)).collect();
    for (number, work) in works.iter().enumerate() {
        // Two at each moment.
        site.merge(&[work.created(number as i64 / 2)]).await;
    }
    let oldest_first: Vec<_> = works.iter().map(|work| json!(work.id)).collect();
    let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();
    // By every index.
    for filter in ["", "&status=created", "&operation=word-frequencies", "&name=a%20name"] {
        for (order, expected) in
            [("", &newest_first), ("&order=newest", &newest_first), ("&order=oldest", &oldest_first)]
        {
            assert_eq!(site.pages(&format!("/api/objects?limit=3{filter}{order}")).await, *expected, "{filter}{order}");
        }
    }
    let some = "/api/objects?limit=2&since=1970-01-01T00:00:00.001Z&until=1970-01-01T00:00:00.003Z";
    assert_eq!(site.pages(some).await, newest_first[1..5]);
    assert_eq!(site.pages(&format!("{some}&order=oldest")).await, oldest_first[2..6]);
}

#[tokio::test]
async fn the_list_is_filtered_by_status_operation_name_and_time() {
    let site = Site::new().await;
    let [succeeded, failed, running, created] = [1, 2, 3, 4].map(|_| Work::words("a", 1));
    let other = Work::nop(json!([1]), 1);
    site.merge(&[succeeded.life(), other.life()].concat()).await;
    site.merge(&[failed.created(1), failed.finished(0, &Execution::failed())]).await;
    site.merge(&[running.created(1), running.started(0, &Execution::ok()), created.created(1)]).await;
    for (query, expected) in [
        ("status=created", vec![&created]),
        ("status=running", vec![&running]),
        ("status=failed", vec![&failed]),
        ("status=timed_out", vec![]),
        ("status=succeeded&operation=nop", vec![&other]),
        ("operation=nop", vec![&other]),
        ("operation=not-there", vec![]),
        ("name=a%20name&operation=nop", vec![&other]),
        ("name=a%20name&status=failed", vec![&failed]),
        ("name=a", vec![]),
        ("since=1970-01-01T00:00:01Z&operation=nop", vec![&other]),
        ("since=1970-01-01T00:00:01.0000001Z", vec![]),
        ("until=1970-01-01T00:00:01Z&status=failed", vec![&failed]),
        ("until=1970-01-01T02:00:00.001%2B02:00", vec![]),
        ("since=1970-01-01T00:00:00.001Z&until=1970-01-01T00:00:00.0010001Z&status=created", vec![&created]),
    ] {
        let (_, page) = site.get(&format!("/api/objects?{query}")).await;
        let ids: Vec<_> = page["objects"].as_array().unwrap().iter().map(|object| object["id"].clone()).collect();
        assert_eq!(ids, expected.iter().map(|work| json!(work.id)).collect::<Vec<_>>(), "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_answered_with_what_can() {
    let site = Site::new().await;
    let id = ObjectId::new();
    for (path, status, detail) in [
        ("/api/objects?limit=0".to_owned(), 400, "1 to 500"),
        ("/api/objects?limit=501".to_owned(), 400, "1 to 500"),
        ("/api/objects?cursor=x".to_owned(), 400, "next"),
        ("/api/objects?cursor=1.x".to_owned(), 400, "next"),
        ("/api/objects?order=best".to_owned(), 400, "`newest` or `oldest`"),
        ("/api/objects?since=yesterday".to_owned(), 400, "since: a time with an offset is allowed"),
        ("/api/objects?until=2026-01-31T09:30:00".to_owned(), 400, "such as 2026-01-31T09:30:00Z"),
        (format!("/api/objects?name={}", "x".repeat(256)), 400, "at most 255"),
        ("/api/objects?nmae=x".to_owned(), 400, "`name`"),
        ("/api/objects?status=done".to_owned(), 400, "succeeded"),
        ("/api/objects?operation=A".to_owned(), 400, "a-z"),
        (format!("/api/objects/{id}?wait=61"), 400, "0 to 60"),
        (format!("/api/objects/{id}"), 404, "no object"),
        ("/api/totals/sqrt".to_owned(), 404, "word-frequencies"),
        ("/api/totals/nop?limit=1001".to_owned(), 400, "1 to 1000"),
    ] {
        let (got, problem) = site.get(&path).await;
        assert_eq!(got, status, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{path}: {problem}");
    }
    assert_eq!(site.get("/api/objects/x").await.0, 400);
}

#[tokio::test]
async fn totals_are_listed_highest_first() {
    let site = Site::new().await;
    let works = [Work::words("b a b c", 2), Work::words("b a", 1)];
    for work in &works {
        site.merge(&work.life()).await;
    }
    let (_, totals) = site.get("/api/totals/word-frequencies?limit=2").await;
    let expected = json!({
        "operation": "word-frequencies", "distinct": 3, "total": 6,
        "totals": [{"name": "b", "count": 3}, {"name": "a", "count": 2}],
    });
    assert_eq!(totals, expected);
    assert_eq!(site.get("/api/totals/nop").await.1["distinct"], 0);
}

#[tokio::test]
async fn the_view_and_the_answer_say_the_same() {
    let site = Site::new().await;
    for number in 0..40 {
        let work = Work::words("a b c", 1 + number % 3);
        let mut events = work.life();
        if number % 10 == 0 {
            events.push(work.created(0));
            events.retain(|event| !matches!(event.event, bus::AnyEvent::TaskFinished(_)));
            events.push(work.finished(0, &Execution { took_ms: i64::from(number) * 7, ..Execution::failed() }));
        }
        site.merge(&events).await;
    }
    let (_, answer) = site.get("/api/statistics").await;
    let view: Vec<(String, Option<f64>)> = sqlx::query_as("SELECT figure, CAST(value AS REAL) FROM statistics")
        .fetch_all(&mut site.fixture.reader().await)
        .await
        .unwrap();
    let durations = &answer["durations_ms"];
    let (objects, tasks) = (&answer["objects"], &answer["tasks"]);
    let expected = [
        ("objects created", &objects["created"]),
        ("objects in progress", &objects["in_progress"]),
        ("objects succeeded", &objects["succeeded"]),
        ("objects failed", &objects["failed"]),
        ("objects timed out", &objects["timed_out"]),
        ("tasks distributed", &tasks["distributed"]),
        ("tasks in progress", &tasks["in_progress"]),
        ("tasks processed", &tasks["processed"]),
        ("tasks failed", &tasks["failed"]),
        ("dead letters waiting", &answer["dead_letters"]["waiting"]),
        ("object mean ms", &durations["objects"]["mean"]),
        ("object p50 ms", &durations["objects"]["p50"]),
        ("object p95 ms", &durations["objects"]["p95"]),
        ("object p99 ms", &durations["objects"]["p99"]),
        ("task mean ms", &durations["tasks"]["mean"]),
        ("task p50 ms", &durations["tasks"]["p50"]),
        ("task p95 ms", &durations["tasks"]["p95"]),
        ("task p99 ms", &durations["tasks"]["p99"]),
    ];
    assert_eq!(view.len(), expected.len());
    for ((figure, value), (name, answered)) in view.iter().zip(expected) {
        assert_eq!(figure, name);
        assert_eq!(*value, answered.as_f64(), "{figure}");
    }
    assert_eq!(objects["created"], 40);
    assert!(objects["failed"].as_i64().unwrap() > 0 && objects["in_progress"].as_i64().unwrap() > 0);
    assert_eq!(answer["operations"]["word-frequencies"]["objects"], *objects);
    assert_eq!(answer["processors"]["p1"]["processed"], tasks["processed"]);
}

#[tokio::test]
async fn an_empty_record_has_figures_too() {
    let site = Site::new().await;
    let (status, answer) = site.get("/api/statistics").await;
    assert_eq!((status, &answer["objects"]["created"]), (200, &json!(0)));
    assert_eq!(answer["durations_ms"]["tasks"]["p99"], Value::Null);
    assert_eq!(answer["rates"]["last_10_s"], json!({"objects": 0.0, "tasks": 0.0}));
    let view = site.fixture.number("SELECT count(*) FROM statistics").await;
    assert_eq!(view, 18);
}

#[tokio::test]
async fn as_long_as_the_record_is_not_open_the_answer_is_to_come_back() {
    let api = Api::default();
    for path in ["/api/objects", "/api/statistics", "/api/totals/nop"] {
        assert_eq!(get(&api, path).await.0, 503, "{path}");
    }
    assert!(Health::default().check().is_err());
}

#[tokio::test]
async fn totals_that_were_reset_begin_anew_and_count_nothing_twice_or_not() {
    let site = Site::new().await;
    let reset = async |operation: &str| {
        let request = Request::delete(format!("/api/totals/{operation}")).body(Body::empty()).unwrap();
        ask(&site.api, request).await
    };
    let (before, open, after) = (Work::words("a b", 1), Work::words("b c", 1), Work::words("c", 1));
    site.merge(&before.life()).await;
    site.merge(&[open.created(1)]).await;
    let statistics = site.get("/api/statistics").await.1["objects"].clone();

    let word_frequencies = "word-frequencies";
    assert_eq!(reset(word_frequencies).await, (200, json!({"operation": word_frequencies, "deleted": 2})));
    assert_eq!(reset(word_frequencies).await, (200, json!({"operation": word_frequencies, "deleted": 0})));
    assert_eq!(reset("nop").await, (200, json!({"operation": "nop", "deleted": 0})));
    assert_eq!(reset("sqrt").await.0, 404);

    let (_, totals) = site.get("/api/totals/word-frequencies").await;
    assert_eq!((&totals["distinct"], &totals["total"], &totals["totals"]), (&json!(0), &json!(0), &json!([])));
    assert_eq!(site.get("/api/statistics").await.1["objects"], statistics, "only the totals are reset");
    let (_, object) = site.get(&format!("/api/objects/{}", before.id)).await;
    assert_eq!(object["result"], json!({"a": 1, "b": 1}));

    // Repeated, what was counted before is not counted again; what closes now is, whenever it began.
    site.merge(&[before.life(), open.life(), after.life()].concat()).await;
    let (_, totals) = site.get("/api/totals/word-frequencies").await;
    assert_eq!(totals["totals"], json!([{"name": "c", "count": 2}, {"name": "b", "count": 1}]));
}
