//! Events for the tests of both binaries.

use std::time::Duration;

use bus::events::{Attempt, Milliseconds, Object, ObjectCreated, ObjectId, TaskId};

pub fn object(id: ObjectId, operation: &str) -> ObjectCreated {
    ObjectCreated {
        object: Object {
            id,
            name: "test".to_owned(),
            operation: operation.parse().unwrap(),
            parameters: serde_json::from_str(r#"{"exponent": 3}"#).unwrap(),
            data: "[0, 1, 2.50, \"é\"]".parse().unwrap(),
            tasks: 3,
            deadline_ms: Milliseconds::from(Duration::from_secs(86_400)),
            created_at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        },
    }
}

pub fn attempt(object_id: ObjectId) -> Attempt {
    Attempt {
        task_id: TaskId::of(object_id, 3, 1),
        object_id,
        part: 1,
        parts: 3,
        operation: "pow".parse().unwrap(),
        round: 0,
        attempt: 1,
        processor: "processor-0".to_owned(),
    }
}
