//! Every operation, through every service: order kept, no element lost, whatever the number of parts.

use serde_json::{Value, json};
use testkit::{Options, System};

use crate::kit::{everywhere, partials};

everywhere! {
    operations_give_what_they_give_here_whatever_the_number_of_parts,
    a_task_that_fails_fails_its_object_with_the_reason_and_nothing_else,
}

async fn operations_give_what_they_give_here_whatever_the_number_of_parts(options: Options) {
    let system = System::start(options.processors(2)).await.unwrap();
    let seven: Vec<u64> = (0..7).collect();
    let cubes: Vec<u64> = seven.iter().map(|n| n.pow(3)).collect();
    for (submission, parts, result) in [
        (json!({"operation": "pow", "parameters": {"exponent": 3}, "data": seven, "tasks": 3}), 3, json!(cubes)),
        (json!({"operation": "pow", "parameters": {"exponent": 3}, "data": seven, "tasks": 50}), 7, json!(cubes)),
        (json!({"operation": "plusone", "data": [], "tasks": 3}), 1, json!([])),
        (json!({"operation": "plusone", "data": [9], "tasks": 3}), 1, json!([10])),
        (json!({"operation": "nop", "data": {"a": [1, null]}, "tasks": 3}), 1, json!({"a": [1, null]})),
        (json!({"operation": "nop", "data": null}), 1, json!(null)),
        (json!({"operation": "nop", "data": [[1], [2], [3], [4]], "tasks": 3}), 3, json!([[1], [2], [3], [4]])),
        (json!({"operation": "word-frequencies", "data": ""}), 1, json!({})),
    ] {
        let object = system.submit(&submission).await.unwrap();
        let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
        assert_eq!(object["status"], "succeeded", "{object}");
        assert_eq!(object["result"], result, "{submission}");
        assert_eq!(object["tasks"].as_array().unwrap().len(), parts, "{submission}");
        assert!(object["tasks"].as_array().unwrap().iter().all(|task| task["processor"].is_string()), "{object}");
    }
    let object = system.submit(&json!({"operation": "plusone", "data": [1, 2, 3, 4], "tasks": 2})).await.unwrap();
    let object = system.finished(object["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(partials(&object), [&json!([2, 3]), &json!([4, 5])], "partial results in the order of the parts");
}

async fn a_task_that_fails_fails_its_object_with_the_reason_and_nothing_else(options: Options) {
    let system = System::start(options).await.unwrap();
    let overflow = json!({"operation": "pow", "parameters": {"exponent": 64}, "data": [1, 2, 3], "tasks": 3});
    let failing = system.submit(&overflow).await.unwrap();
    let sound = system.submit(&json!({"operation": "plusone", "data": [1]})).await.unwrap();
    let failed: Value = system.finished(failing["id"].as_str().unwrap()).await.unwrap();
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["errors"][0]["error"].as_str().unwrap().contains("execution failed"), "{failed}");
    assert_eq!(system.finished(sound["id"].as_str().unwrap()).await.unwrap()["status"], "succeeded");
}
