//! The first five minutes: create an object, read it, look at the figures.

use serde_json::{Value, json};
use testkit::{Options, System, shared_broker_url};

use crate::kit::{everywhere, figure, partials, totals};

everywhere! {
    an_object_without_a_body_is_generated_split_in_three_processed_and_counted,
    every_way_to_ask_leads_to_the_same_door,
    the_same_request_again_is_the_same_object_and_counts_once,
    the_figures_are_told_to_people_too,
}

async fn an_object_without_a_body_is_generated_split_in_three_processed_and_counted(options: Options) {
    let system = System::start(options).await.unwrap();
    let answer = system.client().post(system.url_of("datagen", "/api/objects")).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let created: Value = answer.json().await.unwrap();
    let id = created["id"].as_str().unwrap();
    assert_eq!(location, format!("/api/objects/{id}"));

    let object = system.get(&format!("{location}?wait=30")).await.unwrap();
    assert_eq!(object["status"], "succeeded", "{object}");
    assert_eq!(object["data"], created["data"]);
    assert!(object["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(object["created_at"].as_str() < object["finished_at"].as_str(), "{object}");
    let tasks = object["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 3);
    for (part, task) in tasks.iter().enumerate() {
        assert_eq!(task["part"], part);
        assert_eq!(task["processor"], "processor-0");
        assert!(task["duration_ms"].as_f64().is_some(), "{task}");
        assert!(task["started_at"].as_str() <= task["finished_at"].as_str(), "{task}");
    }
    let words: u64 = object["result"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(words, totals(&system).await.values().sum::<u64>());

    for (name, expected) in [
        ("objects created", 1.0),
        ("objects succeeded", 1.0),
        ("objects failed", 0.0),
        ("objects in progress", 0.0),
        ("tasks distributed", 3.0),
        ("tasks in progress", 0.0),
        ("tasks processed", 3.0),
        ("tasks failed", 0.0),
    ] {
        assert_eq!(figure(&system, name).await, expected, "{name}");
    }
    let statistics = system.get("/api/statistics").await.unwrap();
    assert_eq!(statistics["objects"]["succeeded"], 1, "{statistics}");
    assert_eq!(statistics["tasks"]["processed"], 3, "{statistics}");
}

async fn every_way_to_ask_leads_to_the_same_door(options: Options) {
    let system = System::start(options.set("DISTRIBUTION_COUNT", 5)).await.unwrap();
    let mut ids = Vec::new();
    for path in ["/api/objects", "/api/objects/", "/objects", "/objects/"] {
        let answer = system.client().post(system.url_of("datagen", path)).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{path}");
        ids.push(answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        assert_eq!(system.finished(id).await.unwrap()["tasks"].as_array().unwrap().len(), 5);
    }
    let text = system.client().post(system.url_of("datagen", "/api/objects")).header("content-type", "text/plain");
    let object: Value = text.body("A, a! “a” don't").send().await.unwrap().json().await.unwrap();
    let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(object["result"], json!({"a": 3, "don't": 1}));

    let list = system.get("/api/objects?limit=2").await.unwrap();
    assert_eq!(list["objects"].as_array().unwrap().len(), 2, "{list}");
    assert_eq!(list["objects"][0]["id"], object["id"], "newest first: {list}");
    let next = format!("/api/objects?limit=10&cursor={}", list["next"].as_str().unwrap());
    assert_eq!(system.get(&next).await.unwrap()["objects"].as_array().unwrap().len(), 3);

    let operations = system.get("/api/operations").await.unwrap();
    let names: Vec<&str> =
        operations["operations"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["flaky", "nop", "plusone", "pow", "word-frequencies"]);
    assert_eq!(system.get("/health").await.unwrap(), "Ready");
    for name in system.names() {
        for path in ["/livez", "/readyz", "/metrics", "/health"] {
            let answer = system.client().get(system.url_of(&name, path)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{name} {path}");
        }
    }
}

async fn the_same_request_again_is_the_same_object_and_counts_once(options: Options) {
    let system = System::start(options).await.unwrap();
    let submit_as = async |media_type: &str, body: &'static str| -> Value {
        let request = system.client().post(system.url_of("datagen", "/api/objects")).header("idempotency-key", "k-1");
        let request = request.header("content-type", media_type).body(body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let submit = async |text| submit_as("text/plain", text).await;
    let first = submit("one two three").await;
    let again = submit("one two three").await;
    let other = submit("four five six").await;
    assert_eq!(first["id"], again["id"]);
    assert_ne!(first["id"], other["id"], "another body is another object");
    let (generated, generated_again) = (submit("").await, submit("").await);
    assert_eq!(generated["id"], generated_again["id"]);
    assert_eq!(generated["data"], generated_again["data"]);
    let (json, text) =
        (submit_as("application/json", r#"{"data":"seven"}"#).await, submit(r#"{"data":"seven"}"#).await);
    assert_ne!(json["id"], text["id"], "a text is not what it would be as JSON");
    for object in [&first, &other, &generated, &json, &text] {
        system.finished(object["id"].as_str().unwrap()).await.unwrap();
    }
    let object = system.finished(first["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(partials(&object).len(), 3);
    let totals = totals(&system).await;
    assert_eq!((totals["three"], totals["four"], totals["seven"]), (1, 1, 2));
    assert_eq!(figure(&system, "objects created").await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_waits_for_a_processor_that_comes_later() {
    let mut system = System::prepare(Options::on(shared_broker_url())).unwrap();
    for name in ["datagen", "distributor", "statistics"] {
        system.start_service(name).unwrap();
    }
    for name in ["datagen", "distributor", "statistics"] {
        system.ready(name).await;
    }
    let object = system.submit(&json!({"operation": "plusone", "data": [1, 2, 3, 4]})).await.unwrap();
    let path = format!("/api/objects/{}", object["id"].as_str().unwrap());
    let waited = system.get(&format!("{path}?wait=1")).await.unwrap();
    assert_eq!(waited["status"], "created", "{waited}");
    system.start_service("processor-0").unwrap();
    let finished = system.get(&format!("{path}?wait=30")).await.unwrap();
    assert_eq!(finished["result"], json!([2, 3, 4, 5]));
}

async fn the_figures_are_told_to_people_too(options: Options) {
    let system = System::start(options).await.unwrap();
    let object = system.submit(&json!({})).await.unwrap();
    system.finished(object["id"].as_str().unwrap()).await.unwrap();
    testkit::eventually(async || {
        let lines = system.process("statistics").lines();
        let told = lines.iter().any(|line| line.contains("objects: 1 created, 1 finished"));
        if told { Ok(()) } else { Err(format!("{lines:#?}")) }
    })
    .await;
    testkit::eventually(async || {
        let lines = system.process("processor-0").lines();
        let told = lines.iter().any(|line| line.contains("processed part 3 of 3"));
        if told { Ok(()) } else { Err(format!("{lines:#?}")) }
    })
    .await;
}
