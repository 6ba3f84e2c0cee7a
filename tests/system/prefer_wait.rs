//! Whoever prefers to wait gets the object when it has finished, and is never refused because of that.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use testkit::{Options, System, shared_broker_url};
use tokio::time::Instant;

use crate::kit::{everywhere, form};

everywhere! {
    the_answer_is_the_object_when_it_has_finished,
    what_has_not_finished_in_time_is_answered_as_it_is,
    what_is_no_time_to_wait_is_ignored,
    the_token_is_good_for_the_whole_request,
}

async fn submit(system: &System, prefer: &str, body: &Value) -> Response {
    let request = system.client().post(system.url_of("datagen", "/api/objects")).header("prefer", prefer);
    request.json(body).send().await.unwrap()
}

fn applied(answer: &Response) -> Option<&str> {
    answer.headers().get("preference-applied").map(|value| value.to_str().unwrap())
}

async fn the_answer_is_the_object_when_it_has_finished(options: Options) {
    let system = System::start(options).await.unwrap();
    let answer = submit(&system, "respond-async, wait=60", &json!({"operation": "plusone", "data": [1, 2, 3]})).await;
    assert_eq!((answer.status(), applied(&answer)), (StatusCode::CREATED, Some("wait=60")));
    assert_eq!(answer.headers()["content-type"], "application/json");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let object: Value = answer.json().await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!([2, 3, 4])));
    assert_eq!(system.get(&location).await.unwrap(), object, "it is the object as it is shown");
}

async fn what_has_not_finished_in_time_is_answered_as_it_is(options: Options) {
    let system = System::start(options.set("PROCESS_TIME", "50s")).await.unwrap();
    let began = Instant::now();
    let answer = submit(&system, "wait=2", &json!({"operation": "nop", "data": [1]})).await;
    assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_secs(40));
    assert_eq!((answer.status(), applied(&answer)), (StatusCode::CREATED, Some("wait=2")));
    let object: Value = answer.json().await.unwrap();
    assert!(["created", "running"].contains(&object["status"].as_str().unwrap()), "{object}");
    assert!(object["tasks"].is_array(), "{object}");
}

async fn what_is_no_time_to_wait_is_ignored(options: Options) {
    let system = System::start(options).await.unwrap();
    for (prefer, expected) in
        [("wait=soon", None), ("wait=0", None), ("return=minimal", None), ("wait=1000000", Some("wait=60"))]
    {
        let answer = submit(&system, prefer, &json!({})).await;
        assert_eq!((answer.status(), applied(&answer)), (StatusCode::CREATED, expected), "{prefer}");
        let object: Value = answer.json().await.unwrap();
        let status = if expected.is_some() { "succeeded" } else { "created" };
        assert_eq!(object["status"], status, "{prefer}: {object}");
    }
}

async fn the_token_is_good_for_the_whole_request(options: Options) {
    const TOKEN: &str = "token-0123456789abcdef";
    let system = System::start(options.set("API_TOKEN", TOKEN)).await.unwrap();
    for path in ["/api/objects", "/add-frequencies"] {
        let request = system.client().post(system.url_of("datagen", path)).header("prefer", "wait=60");
        let request = match path {
            "/add-frequencies" => form(request, "a"),
            _ => request,
        };
        let answer = request.bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!(applied(&answer), Some("wait=60"), "{path}: {}", answer.status());
        let answer: Value = answer.json().await.unwrap();
        assert!(answer["status"] == "succeeded" || answer["frequencies"].is_array(), "{path}: {answer}");
    }
    let deleted = system.client().delete(system.url_of("datagen", "/delete-frequencies")).bearer_auth(TOKEN);
    assert_eq!(deleted.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_record_is_away_objects_are_accepted_all_the_same() {
    let mut system = System::start(Options::on(shared_broker_url())).await.unwrap();
    system.kill("statistics").await.unwrap();
    let answer = submit(&system, "wait=60", &json!({"operation": "nop", "data": [1]})).await;
    assert_eq!((answer.status(), applied(&answer)), (StatusCode::CREATED, None));
    let object: Value = answer.json().await.unwrap();
    let answer = form(system.client().post(system.url_of("datagen", "/add-frequencies")), "a").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert!(answer.headers()["location"].to_str().unwrap().starts_with("/api/objects/"));
    system.start_service("statistics").unwrap();
    system.all_ready().await;
    assert_eq!(system.finished(object["id"].as_str().unwrap()).await.unwrap()["status"], "succeeded");
}
