//! The contract: what happens to objects and tasks, one file an event.
//!
//! An event is an immutable fact. Its name and its routing key are literals; its id follows from what
//! it says, so the same fact told twice is recognised as one. Fields may be added, optional; a breaking
//! change is a new type beside the old. Nothing here does I/O.

mod ids;
mod object_created;
mod object_finished;
mod task_created;
mod task_finished;
mod task_started;
mod values;

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

pub use self::{
    ids::{EventId, ObjectId, TaskId},
    object_created::{MAX_PARAMETERS_BYTES, Object, ObjectCreated, check_parameters, read_parameters},
    object_finished::{MAX_ERRORS, MAX_INLINE_RESULT_BYTES, ObjectFinished, ObjectOutcome, ObjectResult, TaskError},
    task_created::{MAX_TASKS, Task, TaskCreated},
    task_finished::{TaskFinished, TaskOutcome},
    task_started::{Attempt, TaskStarted},
    values::{InvalidOperationName, Json, Milliseconds, OperationName, Parameters},
};

/// What every event can tell of itself.
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The type on the wire, such as `OBJECT_CREATED`.
    const TYPE: &'static str;

    /// The routing key without its last word, the operation: such as `object.created`.
    const KEY: &'static str;

    /// The operation that the object asks for.
    fn operation(&self) -> &OperationName;

    /// The object that this is about, also if it is about one of its tasks.
    fn object_id(&self) -> ObjectId;

    /// The object or task that this is about.
    fn subject(&self) -> Uuid;

    /// The event's own id: the same for the same fact.
    fn id(&self) -> EventId;

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// If the event contradicts itself, such as part 3 of 3 (they count from 0).
    fn validate(&self) -> Result<(), InvalidEvent> {
        Ok(())
    }

    /// The routing key: [`Event::KEY`] and the operation.
    fn routing_key(&self) -> String {
        format!("{}.{}", Self::KEY, self.operation())
    }
}

/// An event that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEvent(pub(crate) String);

impl InvalidEvent {
    /// How it does, for people.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Checks the place of a part in a split, and that the task's id follows from it.
fn check_place(id: TaskId, object: ObjectId, part: u32, parts: u32) -> Result<(), InvalidEvent> {
    if parts > MAX_TASKS {
        return Err(InvalidEvent(format!("{parts} parts: at most {MAX_TASKS} are allowed")));
    }
    if part >= parts {
        return Err(InvalidEvent(format!("part {part} of {parts}: parts count from 0")));
    }
    if id != TaskId::of(object, parts, part) {
        return Err(InvalidEvent(format!(
            "task {id} is not part {part} of {parts} of object {object}: its id must be \
             UUIDv5(object id, \"{parts}/{part}\")"
        )));
    }
    Ok(())
}
