//! A task that ends the process of whoever executes it fails for that reason, after some twenty crashes. Nobody else's does.

use std::{fs, time::Duration};

use serde_json::{Value, json};
use testkit::{Options, System, eventually_within};

use crate::kit::{everywhere, figure};

everywhere! {
    a_task_that_aborts_its_process_fails_and_its_neighbours_in_every_queue_succeed,
}

/// An operation that is at work for longer than a crash takes.
const SLOW: &str = "[operations.slow]\ndescription = 'Of a test.'\ncommand = ['sh', '-c', 'sleep 0.4; cat']\n";
/// So many crashes and starts.
const PATIENCE: Duration = Duration::from_secs(180);

async fn submitted(system: &System, operation: &str, parameters: Value) -> String {
    let object = json!({"operation": operation, "parameters": parameters, "data": [1], "tasks": 1});
    system.submit(&object).await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn a_task_that_aborts_its_process_fails_and_its_neighbours_in_every_queue_succeed(options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operations.toml");
    fs::write(&file, SLOW).unwrap();
    let options = options.set("OPERATIONS_FILE", file.display()).set("OPERATIONS", "flaky,slow").set("CONCURRENCY", 4);
    let mut system = System::start(options).await.unwrap();
    let mut neighbours = Vec::new();
    for _ in 0..4 {
        neighbours.push(submitted(&system, "flaky", json!({"duration_ms": 400})).await);
        neighbours.push(submitted(&system, "slow", json!({})).await);
    }
    let crashing = submitted(&system, "flaky", json!({"crash": 1})).await;

    let (mut starts, mut failed) = (0, Value::Null);
    eventually_within(PATIENCE, async || {
        if !system.runs("processor-0") {
            system.start_service("processor-0").unwrap();
            starts += 1;
        }
        let object = system.get(&format!("/api/objects/{crashing}")).await.map_err(|error| error.to_string())?;
        failed = object;
        if failed["finished_at"].is_null() { Err(format!("{failed} after {starts} crashes")) } else { Ok(()) }
    })
    .await;
    assert_eq!(failed["status"], "failed", "{failed}");
    let told = failed["errors"][0]["error"].as_str().unwrap();
    assert!(told.contains("times before and never done"), "{failed}");
    assert!((10..=20).contains(&starts), "{starts}");
    system.ready("processor-0").await;

    for id in &neighbours {
        let object = system.finished(id).await.unwrap();
        assert_eq!(object["status"], "succeeded", "{object}");
    }
    assert_eq!(figure(&system, "tasks failed").await, 1.0);
    let dead = system.get("/api/dead-letters").await.unwrap();
    let causes: Vec<&Value> = dead["dead_letters"].as_array().unwrap().iter().map(|letter| &letter["cause"]).collect();
    assert_eq!(causes, ["crash-loop"], "{dead}");
}
