//! `OBJECT_FINISHED`: statistics closed an object. To whoever follows on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, EventId, InvalidEvent, Json, Milliseconds, ObjectId, OperationName};

/// The longest result that travels with the event, in bytes of JSON; a longer one is read where
/// the event says.
pub const MAX_INLINE_RESULT_BYTES: usize = 64 * 1024;

/// The most errors that travel with the event: the record has them all.
pub const MAX_ERRORS: usize = 100;

/// All parts of an object are accounted for, or its deadline passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Body", into = "Body")]
pub struct ObjectFinished {
    /// The object.
    pub object_id: ObjectId,
    /// What was done to it.
    pub operation: OperationName,
    /// How it ended.
    pub outcome: ObjectOutcome,
    /// From its acceptance to its last part's end.
    pub duration_ms: Milliseconds,
    /// 0 at first; raised when a replay turns the outcome and it is announced again.
    pub revision: u32,
}

/// How an object ended.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectOutcome {
    /// Every part succeeded.
    Succeeded(ObjectResult),
    /// Every part is final, and these failed, or gathering did.
    Failed(Vec<TaskError>),
    /// The deadline passed before every part was final; these are why.
    TimedOut(Vec<TaskError>),
}

/// The gathered result, or where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectResult {
    /// At most [`MAX_INLINE_RESULT_BYTES`] long.
    Inline(Json),
    /// Too long to travel.
    Stored {
        /// Its length as JSON.
        bytes: u64,
        /// Where it is read, relative to the system's address.
        location: String,
    },
}

/// Why a part, or the whole, did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskError {
    /// The part, from 0; none if the whole failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// The reason.
    pub error: String,
}

impl Event for ObjectFinished {
    const TYPE: &'static str = "OBJECT_FINISHED";
    const KEY: &'static str = "object.finished";

    fn operation(&self) -> &OperationName {
        &self.operation
    }

    fn object_id(&self) -> ObjectId {
        self.object_id
    }

    fn subject(&self) -> Uuid {
        self.object_id.uuid()
    }

    fn id(&self) -> EventId {
        EventId::of(self.subject(), Self::TYPE, 0, self.revision)
    }
}

/// The event as it is written: flat.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(
    rename = "ObjectFinished",
    description = "All parts of an object are accounted for, or its deadline passed.",
    extend("oneOf" = [
        {
            "properties": {"outcome": {"const": "succeeded"}},
            "anyOf": [
                {"required": ["result"]},
                {"properties": {"result_bytes": {"type": "integer"}}, "required": ["result_bytes"]},
            ],
        },
        {"properties": {"outcome": {"enum": ["failed", "timed_out"]}}},
    ])
)]
struct Body {
    /// The object.
    object_id: ObjectId,
    /// What was done to it.
    operation: OperationName,
    /// How it ended.
    outcome: Outcome,
    /// The gathered result, if it succeeded and the result is short.
    #[serde(default, deserialize_with = "Json::present", skip_serializing_if = "Option::is_none")]
    result: Option<Json>,
    /// The length of a result that is too long to travel, in bytes of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result_bytes: Option<u64>,
    /// Where that is read, relative to the system's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result_location: Option<String>,
    /// Why it did not succeed; the record may have more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<TaskError>>,
    /// From its acceptance to its last part's end.
    duration_ms: Milliseconds,
    /// 0 at first; raised when a replay turns the outcome and it is announced again.
    revision: u32,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Outcome {
    Succeeded,
    Failed,
    TimedOut,
}

impl TryFrom<Body> for ObjectFinished {
    type Error = InvalidEvent;

    fn try_from(body: Body) -> Result<Self, Self::Error> {
        let errors = body.errors.unwrap_or_default();
        let outcome = match (body.outcome, body.result, body.result_bytes) {
            (Outcome::Succeeded, Some(result), _) => ObjectOutcome::Succeeded(ObjectResult::Inline(result)),
            (Outcome::Succeeded, None, Some(bytes)) => ObjectOutcome::Succeeded(ObjectResult::Stored {
                bytes,
                location: body.result_location.unwrap_or_default(),
            }),
            (Outcome::Succeeded, None, None) => {
                return Err(InvalidEvent("succeeded without a result".to_owned()));
            }
            (Outcome::Failed, ..) => ObjectOutcome::Failed(errors),
            (Outcome::TimedOut, ..) => ObjectOutcome::TimedOut(errors),
        };
        Ok(Self {
            object_id: body.object_id,
            operation: body.operation,
            outcome,
            duration_ms: body.duration_ms,
            revision: body.revision,
        })
    }
}

impl From<ObjectFinished> for Body {
    fn from(event: ObjectFinished) -> Self {
        let mut body = Self {
            object_id: event.object_id,
            operation: event.operation,
            outcome: Outcome::Succeeded,
            result: None,
            result_bytes: None,
            result_location: None,
            errors: None,
            duration_ms: event.duration_ms,
            revision: event.revision,
        };
        match event.outcome {
            ObjectOutcome::Succeeded(ObjectResult::Inline(result)) => body.result = Some(result),
            ObjectOutcome::Succeeded(ObjectResult::Stored { bytes, location }) => {
                body.result_bytes = Some(bytes);
                body.result_location = Some(location);
            }
            ObjectOutcome::Failed(errors) => {
                body.outcome = Outcome::Failed;
                body.errors = Some(errors);
            }
            ObjectOutcome::TimedOut(errors) => {
                body.outcome = Outcome::TimedOut;
                body.errors = Some(errors);
            }
        }
        body
    }
}
