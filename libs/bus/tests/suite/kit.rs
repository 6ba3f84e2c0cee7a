//! Events that only these tests need.

use bus::events::{Json, ObjectId, Task, TaskCreated, TaskId};

pub fn task(object_id: ObjectId, part: u32) -> TaskCreated {
    TaskCreated {
        task: Task {
            id: TaskId::of(object_id, 3, part),
            object_id,
            part,
            parts: 3,
            operation: "pow".parse().unwrap(),
            parameters: serde_json::from_str(r#"{"exponent": 3}"#).unwrap(),
            data: Json::of(&[1, 2]).unwrap(),
            round: 0,
        },
    }
}
