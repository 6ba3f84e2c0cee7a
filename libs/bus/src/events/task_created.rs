//! `TASK_CREATED`: distributor split off one part. To a processor and statistics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, EventId, InvalidEvent, Json, ObjectId, OperationName, Parameters, TaskId, check_place};

/// The most tasks an object may be split into: what one redelivered `OBJECT_CREATED` publishes again,
/// and one transaction of statistics gathers, stays a matter of seconds.
pub const MAX_TASKS: u32 = 10_000;

/// There is one part to execute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCreated {
    /// The task.
    pub task: Task,
}

/// One part of an object, to execute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Follows from the object and the place in the split.
    pub id: TaskId,
    /// The object that was split.
    pub object_id: ObjectId,
    /// Which part this is, from 0.
    #[schemars(range(max = MAX_TASKS - 1))]
    pub part: u32,
    /// Into how many parts the object was split.
    #[schemars(range(min = 1, max = MAX_TASKS))]
    pub parts: u32,
    /// What is to be done to the part.
    pub operation: OperationName,
    /// The operation's parameters.
    #[serde(default)]
    pub parameters: Parameters,
    /// The part.
    pub data: Json,
    /// 0 at first; raised by each replay of a dead letter.
    #[serde(default)]
    pub round: u32,
}

impl Event for TaskCreated {
    const TYPE: &'static str = "TASK_CREATED";
    const KEY: &'static str = "task.created";

    fn operation(&self) -> &OperationName {
        &self.task.operation
    }

    fn object_id(&self) -> ObjectId {
        self.task.object_id
    }

    fn subject(&self) -> Uuid {
        self.task.id.uuid()
    }

    fn id(&self) -> EventId {
        EventId::of(self.subject(), Self::TYPE, self.task.round, 0)
    }

    fn validate(&self) -> Result<(), InvalidEvent> {
        let task = &self.task;
        check_place(task.id, task.object_id, task.part, task.parts)
    }
}
