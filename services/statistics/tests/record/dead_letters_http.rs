//! What was set aside, asked for and settled over HTTP.

use std::time::Duration;

use axum::{body::Body, http::Request};
use bus::{DeadLetter, Message};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    http::{Site, ask, asked_until_refused, bytes},
    support::{Work, dead_letter, topology},
};

const PATH: &str = "/api/dead-letters";

impl Site {
    async fn merge_dead(&self, letters: &[DeadLetter]) {
        self.fixture.record.merge_dead_letters(letters, &topology()).await.unwrap();
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = Request::post(path).header("content-type", "application/json");
        ask(&self.api, request.body(Body::from(body.to_string())).unwrap()).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        ask(&self.api, Request::delete(path).body(Body::empty()).unwrap()).await
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let (status, list) = self.get(&format!("{PATH}{query}")).await;
        assert_eq!(status, 200, "{list}");
        let letters = list["dead_letters"].as_array().unwrap().iter();
        letters.map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Four dead tasks, one of them of another cause, and something that is no event.
async fn site() -> (Site, Work) {
    let site = Site::new().await;
    let (words, nop) = (Work::words("a b", 3), Work::nop(1.into(), 1));
    let mut letters: Vec<_> = (0..3).map(|part| words.dead_task(part, 0, 2000 + i64::from(part))).collect();
    letters.push(DeadLetter { cause: Some("rejected".to_owned()), ..nop.dead_task(0, 0, 3000) });
    let garbage = Message { id: "garbage".to_owned(), body: vec![0xff, b'a'].into(), ..Message::default() };
    letters.push(dead_letter(garbage, Some(&topology().statistics().name), 0, 4000));
    site.merge_dead(&letters).await;
    (site, words)
}

#[tokio::test]
async fn they_are_listed_in_groups_and_one_by_one_newest_first_in_pages() {
    let (site, words) = site().await;
    let (status, list) = site.get(&format!("{PATH}?limit=2")).await;
    assert_eq!(status, 200);
    let groups = list["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 3, "{list}");
    assert_eq!((&groups[0]["count"], &groups[0]["operation"]), (&json!(3), &json!("word-frequencies")));
    assert_eq!(groups[0]["oldest"], "1970-01-01T00:00:02Z");
    assert_eq!(groups[0]["newest"], "1970-01-01T00:00:02.002Z");
    assert_eq!(list["dead_letters"][0]["message_id"], "garbage");
    let mut all = site.ids("?limit=2").await;
    let second = site.ids(&format!("?limit=2&cursor={}", list["next"].as_str().unwrap())).await;
    all.extend(second);
    all.extend(site.ids(&format!("?limit=2&cursor={}", 2)).await);
    assert_eq!(all, site.ids("").await);
    for (query, count) in [
        ("?cause=rejected", 1),
        ("?operation=word-frequencies", 3),
        ("?queue=ebs.statistics", 1),
        (&format!("?object={}&cause=crash-loop", words.id), 3),
        ("?state=waiting", 5),
        ("?state=replayed", 0),
        ("?cause=other", 0),
    ] {
        assert_eq!(site.ids(query).await.len(), count, "{query}");
    }
    for query in ["?limit=0", "?limit=501", "?state=dead", "?cursor=x", "?operation=Not+One", "?object=x"] {
        let (status, problem) = site.get(&format!("{PATH}{query}")).await;
        assert_eq!(status, 400, "{query}: {problem}");
    }
}

#[tokio::test]
async fn one_is_shown_whole_its_body_as_text_or_in_base64() {
    let (site, words) = site().await;
    let ids = site.ids("").await;
    let (_, garbage) = site.get(&format!("{PATH}/{}", ids[0])).await;
    assert_eq!((&garbage["encoding"], &garbage["body"]), (&json!("base64"), &json!("/2E=")));
    assert_eq!((&garbage["truncated"], &garbage["body_bytes"]), (&json!(false), &json!(2)));
    let (_, task) = site.get(&format!("{PATH}/{}", ids[2])).await;
    assert_eq!((&task["encoding"], &task["type"], &task["part"]), (&json!("text"), &json!("TASK_CREATED"), &json!(2)));
    let body: Value = serde_json::from_str(task["body"].as_str().unwrap()).unwrap();
    assert_eq!(task["task_id"], body["task"]["id"]);
    assert_eq!(task["object_id"], words.id.to_string());
    assert_eq!(task["headers"]["cloudEvents:type"], "TASK_CREATED");
    assert_eq!(site.get(&format!("{PATH}/{}", words.id)).await.0, 404);
    assert_eq!(site.get(&format!("{PATH}/x")).await.0, 400);
}

#[tokio::test]
async fn one_is_replayed_once_and_discarded_never_after_that() {
    let (site, _) = site().await;
    let id = site.ids("?cause=rejected").await.remove(0);
    let (status, letter) = site.post(&format!("{PATH}/{id}/replay"), json!({})).await;
    assert_eq!((status, &letter["state"]), (202, &json!("replayed")));
    timeout(Duration::from_secs(5), site.api.outbox.notified()).await.expect("whoever publishes is told");
    for (status, problem) in
        [site.post(&format!("{PATH}/{id}/replay"), json!({})).await, site.delete(&format!("{PATH}/{id}")).await]
    {
        assert_eq!(status, 409, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("replayed already"), "{problem}");
    }
    let other = site.ids("?queue=ebs.statistics").await.remove(0);
    let (status, letter) = site.delete(&format!("{PATH}/{other}")).await;
    assert_eq!((status, &letter["state"], &letter["body"]), (200, &json!("discarded"), &json!("")));
    assert_eq!(site.fixture.number("SELECT count(*) FROM outbox").await, 1);
}

#[tokio::test]
async fn many_are_settled_by_a_filter_that_says_something() {
    let (site, words) = site().await;
    let replay = format!("{PATH}/replay");
    // Fields in their order are no way to say which.
    let in_order = json!([null, null, null, null, null, true]);
    let two = json!({"all": true, "cause": "rejected"});
    for body in [json!({}), json!({"all": false}), json!({"colour": "red"}), two, in_order] {
        assert_eq!(site.post(&replay, body.clone()).await.0, 422, "{body}");
    }
    for query in ["", "?all=false"] {
        let (status, problem) = site.delete(&format!("{PATH}{query}")).await;
        assert_eq!(status, 422, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("all=true"), "{problem}");
    }
    let (status, answer) = site.post(&replay, json!({"object": words.id, "operation": "word-frequencies"})).await;
    assert_eq!((status, answer), (202, json!({"replayed": 3, "refused": 0})));
    let (status, answer) = site.delete(&format!("{PATH}?cause=rejected")).await;
    assert_eq!((status, answer), (200, json!({"discarded": 1})));
    let (_, answer) = site.delete(&format!("{PATH}?all=true")).await;
    assert_eq!(answer, json!({"discarded": 1}));
}

#[tokio::test]
async fn the_figures_and_the_objects_tell_of_them() {
    let (site, words) = site().await;
    let (_, statistics) = site.get("/api/statistics").await;
    assert_eq!(statistics["dead_letters"], json!({"waiting": 5, "by_cause": {"crash-loop": 4, "rejected": 1}}));
    site.merge(&[words.created(1000)]).await;
    let (_, object) = site.get(&format!("/api/objects/{}", words.id)).await;
    assert_eq!(object["status"], "failed");
    assert_eq!(object["dead_letters"].as_array().unwrap().len(), 3, "{object}");
    assert_eq!(object["errors"][2], json!({"part": 2, "error": "it crashes whoever executes it"}));
}

#[tokio::test]
async fn long_dead_letters_that_are_not_sent_yet_have_a_bound_and_nothing_becomes_of_one_that_cannot_be_shown() {
    let site = Site::new().await;
    let long = Message { id: "long".to_owned(), body: vec![0xff; 10 << 20].into(), ..Message::default() };
    site.merge_dead(&[dead_letter(long, Some(&topology().statistics().name), 0, 4000)]).await;
    let path = format!("{PATH}/{}", site.ids("").await[0]);
    let (answers, problem) = asked_until_refused(&site.api, &path).await;
    assert!(problem["detail"].as_str().unwrap().contains("64 MiB"), "{problem}");
    let (all, one) = bytes(&answers);
    assert!(one > 13 << 20 && all <= 64 << 20 && all + 2 * one > 64 << 20, "{all} bytes, {one} bytes each");

    assert_eq!(site.delete(&path).await.0, 503);
    assert_eq!(site.ids("?state=waiting").await.len(), 1);
    drop(answers);
    assert_eq!(site.delete(&path).await.0, 200);
}
