//! Nothing hangs: an object whose parts never come is closed at its deadline, and says what is missing.

use serde_json::json;
use testkit::{Options, System, eventually};

use crate::kit::{everywhere, figure};

everywhere! {
    an_object_that_nobody_works_on_times_out_and_what_comes_later_changes_nothing,
    what_was_finished_while_the_record_was_away_has_not_timed_out,
}

async fn an_object_that_nobody_works_on_times_out_and_what_comes_later_changes_nothing(options: Options) {
    let mut system = System::start(options.set("OPERATIONS", "nop")).await.unwrap();
    let object = json!({"operation": "plusone", "data": [1, 2, 3], "tasks": 3, "deadline_ms": 1000});
    let object = system.submit(&object).await.unwrap();
    let id = object["id"].as_str().unwrap();
    // Whoever waits is told.
    let object = system.finished(id).await.unwrap();
    assert_eq!(object["status"], "timed_out", "{object}");
    assert_eq!(object["duration_ms"].as_f64().map(|ms| ms >= 1000.0), Some(true), "{object}");
    let error = object["errors"][0]["error"].as_str().unwrap();
    assert!(error.contains("1000 ms") && error.contains("3 of 3 parts"), "{object}");
    assert_eq!((figure(&system, "objects timed out").await, figure(&system, "objects in progress").await), (1.0, 0.0));

    system.stop("processor-0").await.unwrap();
    system.set("OPERATIONS", "nop,plusone");
    system.start_service("processor-0").unwrap();
    eventually(async || {
        let object = system.get(&format!("/api/objects/{id}")).await.map_err(|error| format!("{error:#}"))?;
        let tasks = object["tasks"].as_array().unwrap();
        let done = tasks.iter().all(|task| task["status"] == "succeeded") && tasks.len() == 3;
        if done { Ok(()) } else { Err(object.to_string()) }
    })
    .await;
    let late = system.get(&format!("/api/objects/{id}")).await.unwrap();
    assert_eq!((&late["status"], &late["revision"]), (&json!("timed_out"), &json!(0)), "{late}");
    assert!(late["result"].is_null(), "{late}");
}

async fn what_was_finished_while_the_record_was_away_has_not_timed_out(options: Options) {
    // In one process the record is never away alone.
    let mut system = System::start(options.set("PROCESS_TIME", "500ms")).await.unwrap();
    let object = json!({"operation": "plusone", "data": [1], "tasks": 1, "deadline_ms": 2000});
    let id = system.submit(&object).await.unwrap()["id"].as_str().unwrap().to_owned();
    eventually(async || {
        let known = system.get(&format!("/api/objects/{id}")).await;
        known.map(|_| ()).map_err(|error| format!("{error:#}"))
    })
    .await;
    system.kill("statistics").await.unwrap();
    let due = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    eventually(async || if tokio::time::Instant::now() >= due { Ok(()) } else { Err("not yet due".to_owned()) }).await;
    system.start_all().unwrap();
    system.all_ready().await;
    let object = system.finished(&id).await.unwrap();
    if system.names().len() > 1 {
        assert_eq!(object["status"], "succeeded", "{object}");
    }
    assert_eq!(object["revision"], 0, "nobody was ever told otherwise: {object}");
}
