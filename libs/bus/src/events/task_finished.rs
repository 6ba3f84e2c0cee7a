//! `TASK_FINISHED`: a processor's attempt had an outcome that counts. To statistics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Attempt, Event, EventId, InvalidEvent, Json, MAX_TASKS, Milliseconds, ObjectId, OperationName, TaskId};

/// A task has its outcome. When, is the event's own time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Body", into = "Body")]
pub struct TaskFinished {
    /// The attempt that brought the outcome.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// How long the attempt took.
    pub duration_ms: Milliseconds,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskOutcome {
    /// With this partial result.
    Succeeded(Json),
    /// For this reason.
    Failed(String),
}

impl Event for TaskFinished {
    const TYPE: &'static str = "TASK_FINISHED";
    const KEY: &'static str = "task.finished";

    fn operation(&self) -> &OperationName {
        &self.attempt.operation
    }

    fn object_id(&self) -> ObjectId {
        self.attempt.object_id
    }

    fn subject(&self) -> Uuid {
        self.attempt.task_id.uuid()
    }

    fn id(&self) -> EventId {
        self.attempt.event_id(Self::TYPE)
    }

    fn validate(&self) -> Result<(), InvalidEvent> {
        self.attempt.validate()
    }
}

/// The event as it is written: flat.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(
    rename = "TaskFinished",
    description = "A task has its outcome. When, is the event's own time.",
    extend("oneOf" = [
        {"properties": {"outcome": {"const": "succeeded"}}, "required": ["result"]},
        {"properties": {"outcome": {"const": "failed"}, "error": {"type": "string"}}, "required": ["error"]},
    ])
)]
struct Body {
    /// The task.
    task_id: TaskId,
    /// The object whose part it is.
    object_id: ObjectId,
    /// Which part, from 0.
    #[schemars(range(max = MAX_TASKS - 1))]
    part: u32,
    /// Of how many.
    #[schemars(range(min = 1, max = MAX_TASKS))]
    parts: u32,
    /// What was done.
    operation: OperationName,
    /// 0 at first; raised by each replay of a dead letter.
    round: u32,
    /// From 1, counted anew in each round.
    attempt: u32,
    /// Who made the attempt.
    processor: String,
    /// How it ended.
    outcome: Outcome,
    /// The partial result, if it succeeded.
    #[serde(default, deserialize_with = "Json::present", skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    /// The reason, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How long the attempt took.
    duration_ms: Milliseconds,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Outcome {
    Succeeded,
    Failed,
}

impl TryFrom<Body> for TaskFinished {
    type Error = InvalidEvent;

    fn try_from(body: Body) -> Result<Self, Self::Error> {
        let outcome = match (body.outcome, body.result, body.error) {
            (Outcome::Succeeded, Some(result), _) => TaskOutcome::Succeeded(result),
            (Outcome::Failed, _, Some(error)) => TaskOutcome::Failed(error),
            (Outcome::Succeeded, None, _) => {
                return Err(InvalidEvent("succeeded without a result".to_owned()));
            }
            (Outcome::Failed, _, None) => {
                return Err(InvalidEvent("failed without an error".to_owned()));
            }
        };
        Ok(Self {
            attempt: Attempt {
                task_id: body.task_id,
                object_id: body.object_id,
                part: body.part,
                parts: body.parts,
                operation: body.operation,
                round: body.round,
                attempt: body.attempt,
                processor: body.processor,
            },
            outcome,
            duration_ms: body.duration_ms,
        })
    }
}

impl From<TaskFinished> for Body {
    fn from(event: TaskFinished) -> Self {
        let (outcome, result, error) = match event.outcome {
            TaskOutcome::Succeeded(result) => (Outcome::Succeeded, Some(result), None),
            TaskOutcome::Failed(error) => (Outcome::Failed, None, Some(error)),
        };
        Self {
            task_id: event.attempt.task_id,
            object_id: event.attempt.object_id,
            part: event.attempt.part,
            parts: event.attempt.parts,
            operation: event.attempt.operation,
            round: event.attempt.round,
            attempt: event.attempt.attempt,
            processor: event.attempt.processor,
            outcome,
            result,
            error,
            duration_ms: event.duration_ms,
        }
    }
}
