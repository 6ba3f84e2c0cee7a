//! What becomes of tasks that fail: tried again or not, in bounded time, and nobody else is touched.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Options, System};

use crate::kit::everywhere;

everywhere! {
    what_may_succeed_later_is_tried_again_until_its_attempts_are_used_up,
    what_cannot_succeed_is_not_tried_again,
    a_task_that_takes_too_long_gives_its_place_to_others_and_holds_up_nobodys_end,
}

fn options(options: Options) -> Options {
    options.set("OPERATIONS", "flaky,plusone").set("MAX_ATTEMPTS", 2).set("CONCURRENCY", 1)
}

async fn submit_flaky(system: &System, parameters: Value) -> String {
    let object = json!({"operation": "flaky", "parameters": parameters, "data": [1], "tasks": 1});
    system.submit(&object).await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn assert_neighbour_succeeds(system: &System) {
    let sound = system.submit(&json!({"operation": "plusone", "data": [1]})).await.unwrap();
    assert_eq!(system.finished(sound["id"].as_str().unwrap()).await.unwrap()["status"], "succeeded");
}

fn error(object: &Value) -> &str {
    assert_eq!(object["status"], "failed", "{object}");
    object["errors"][0]["error"].as_str().unwrap()
}

async fn what_may_succeed_later_is_tried_again_until_its_attempts_are_used_up(shape: Options) {
    let system = System::start(options(shape)).await.unwrap();
    let id = submit_flaky(&system, json!({"transient": 1})).await;
    assert_neighbour_succeeds(&system).await;
    let failed = system.finished(&id).await.unwrap();
    assert!(error(&failed).starts_with("attempts used up (2): not this time"), "{failed}");
    assert_eq!(failed["tasks"][0]["attempt"], 2, "{failed}");
}

async fn what_cannot_succeed_is_not_tried_again(shape: Options) {
    let system = System::start(options(shape)).await.unwrap();
    for (kind, told) in [("permanent", "execution failed"), ("panic", "the operation panicked")] {
        let id = submit_flaky(&system, json!({kind: 1})).await;
        let failed = system.finished(&id).await.unwrap();
        assert!(error(&failed).contains(told), "{failed}");
        assert_eq!(failed["tasks"][0]["attempt"], 1, "{failed}");
    }
    assert_neighbour_succeeds(&system).await;
}

async fn a_task_that_takes_too_long_gives_its_place_to_others_and_holds_up_nobodys_end(shape: Options) {
    /// No test waits so long for it.
    const LONG: Duration = Duration::from_secs(600);
    let mut system = System::start(options(shape).set("TASK_TIMEOUT", "3s")).await.unwrap();
    let id = submit_flaky(&system, json!({"duration_ms": LONG.as_millis() as u64})).await;
    let failed = system.finished(&id).await.unwrap();
    assert!(error(&failed).contains("it took longer than 3s"), "{failed}");
    // Both threads are still at it.
    assert_neighbour_succeeds(&system).await;
    system.stop("processor-0").await.unwrap();
}
