//! Whoever stops doing anything, without ending, holds up only what it has in hand, and only until it is missed. The broker
//! itself is in `broker_trouble.rs`.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Options, Signal, System, eventually, shared_broker_url};

use crate::kit::{accepted, all_finished, figure, is_ready, stopped_with_empty_queues};

fn freeze(system: &System, name: &str) {
    system.process(name).signal(Signal::SIGSTOP).unwrap();
}

fn unfreeze(system: &System, name: &str) {
    system.process(name).signal(Signal::SIGCONT).unwrap();
}

/// Who has begun the one task of an object.
async fn begun_by(system: &System, id: &str) -> String {
    eventually(async || {
        let query = format!("select started_by from tasks where object_id = '{id}'");
        match system.sqlite3(&query).await.map_err(|error| error.to_string())?.trim() {
            "" => Err("nobody has begun".to_owned()),
            processor => Ok(processor.to_owned()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_freezes_in_the_middle_of_a_task_is_missed_and_another_one_does_it() {
    const NEIGHBOURS: usize = 6;
    let options = Options::on(shared_broker_url()).processors(2).set("PROCESS_TIME", "8s").set("CONCURRENCY", 4);
    let mut system = System::start(options).await.unwrap();
    let one_task = json!({"operation": "plusone", "data": [1], "tasks": 1});
    let id = system.submit(&one_task).await.unwrap()["id"].as_str().unwrap().to_owned();
    let frozen = begun_by(&system, &id).await;
    freeze(&system, &frozen);
    for _ in 0..NEIGHBOURS {
        system.submit(&one_task).await.unwrap();
    }
    // The broker misses two heartbeats, and gives what the frozen one has in hand to the other one.
    let object = system.finished(&id).await.unwrap();
    assert_eq!((&object["status"], &object["result"]), (&json!("succeeded"), &json!([2])), "{object}");
    assert_ne!(object["tasks"][0]["processor"], json!(frozen), "{object}");
    all_finished(&system, 1 + NEIGHBOURS).await;

    // It goes on with what has long been done, and that counts once.
    unfreeze(&system, &frozen);
    system.ready(&frozen).await;
    stopped_with_empty_queues(&mut system).await;
    for (name, expected) in
        [("objects succeeded", 1 + NEIGHBOURS), ("tasks processed", 1 + NEIGHBOURS), ("tasks in progress", 0)]
    {
        assert_eq!(figure(&system, name).await, expected as f64, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_frozen_distributor_has_in_hand_is_split_by_another_one() {
    const OBJECTS: usize = 6;
    let options = Options::on(shared_broker_url()).and("distributor-1");
    let mut system = System::start(options).await.unwrap();
    freeze(&system, "distributor-1");
    for number in 0..OBJECTS {
        system.submit(&json!({"operation": "plusone", "data": [number, 1, 2]})).await.unwrap();
    }
    // Both compete, so that the frozen one has been given some of them.
    all_finished(&system, OBJECTS).await;
    unfreeze(&system, "distributor-1");
    system.ready("distributor-1").await;
    stopped_with_empty_queues(&mut system).await;
    assert_eq!(figure(&system, "tasks processed").await, (3 * OBJECTS) as f64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_a_frozen_front_door_can_be_repeated_and_is_one_object() {
    let system = System::start(Options::on(shared_broker_url())).await.unwrap();
    freeze(&system, "datagen");
    let url = system.url_of("datagen", "/api/objects");
    let request = system.client().post(url).header("idempotency-key", "frozen").json(&json!({"data": "one two"}));
    let unanswered = request.timeout(Duration::from_secs(2)).send().await;
    assert!(unanswered.unwrap_err().is_timeout());
    unfreeze(&system, "datagen");
    let id = accepted(&system, "frozen", &json!({"data": "one two"})).await;
    assert_eq!(system.finished(&id).await.unwrap()["result"], json!({"one": 1, "two": 1}));
    assert_eq!(figure(&system, "objects created").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_statistics_catches_up_and_nobody_takes_its_place_meanwhile() {
    const OBJECTS: usize = 20;
    let mut system = System::prepare(Options::on(shared_broker_url()).and("statistics-1")).unwrap();
    for name in ["statistics", "datagen", "distributor", "processor-0"] {
        system.start_service(name).unwrap();
        system.ready(name).await;
    }
    system.start_service("statistics-1").unwrap();
    freeze(&system, "statistics");
    for number in 0..OBJECTS {
        system.submit(&json!({"operation": "plusone", "data": [number]})).await.unwrap();
    }
    // Longer than it takes the broker to miss its heartbeats: its lock is what counts.
    let end = Instant::now() + Duration::from_secs(35);
    while Instant::now() < end {
        assert!(!is_ready(&system, "statistics-1").await, "there are two records");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    unfreeze(&system, "statistics");
    all_finished(&system, OBJECTS).await;
    assert_eq!(figure(&system, "tasks processed").await, OBJECTS as f64);
    system.ready("statistics").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_that_freezes_goes_on_where_it_was() {
    const OBJECTS: usize = 10;
    let mut system = System::start(Options::embedded().set("PROCESS_TIME", "300ms")).await.unwrap();
    for number in 0..OBJECTS {
        system.submit(&json!({"operation": "plusone", "data": [number, 2, 3]})).await.unwrap();
    }
    freeze(&system, "ebs");
    tokio::time::sleep(Duration::from_secs(3)).await;
    unfreeze(&system, "ebs");
    all_finished(&system, OBJECTS).await;
    assert_eq!(figure(&system, "tasks processed").await, (3 * OBJECTS) as f64);
    stopped_with_empty_queues(&mut system).await;
}
