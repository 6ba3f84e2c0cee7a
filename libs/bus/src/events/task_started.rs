//! `TASK_STARTED`: a processor began an attempt. To statistics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, EventId, InvalidEvent, MAX_TASKS, ObjectId, OperationName, TaskId, check_place};

/// An attempt began. When, is the event's own time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TaskStarted(pub Attempt);

/// One try of a task that ends by an outcome; a crash repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The task.
    pub task_id: TaskId,
    /// The object whose part it is.
    pub object_id: ObjectId,
    /// Which part, from 0.
    #[schemars(range(max = MAX_TASKS - 1))]
    pub part: u32,
    /// Of how many.
    #[schemars(range(min = 1, max = MAX_TASKS))]
    pub parts: u32,
    /// What is done.
    pub operation: OperationName,
    /// 0 at first; raised by each replay of a dead letter.
    pub round: u32,
    /// From 1, counted anew in each round.
    pub attempt: u32,
    /// Who makes the attempt.
    pub processor: String,
}

impl Attempt {
    pub(super) fn event_id(&self, kind: &str) -> EventId {
        EventId::of(self.task_id.uuid(), kind, self.round, self.attempt)
    }

    pub(super) fn validate(&self) -> Result<(), InvalidEvent> {
        check_place(self.task_id, self.object_id, self.part, self.parts)
    }
}

impl Event for TaskStarted {
    const TYPE: &'static str = "TASK_STARTED";
    const KEY: &'static str = "task.started";

    fn operation(&self) -> &OperationName {
        &self.0.operation
    }

    fn object_id(&self) -> ObjectId {
        self.0.object_id
    }

    fn subject(&self) -> Uuid {
        self.0.task_id.uuid()
    }

    fn id(&self) -> EventId {
        self.0.event_id(Self::TYPE)
    }

    fn validate(&self) -> Result<(), InvalidEvent> {
        self.0.validate()
    }
}
