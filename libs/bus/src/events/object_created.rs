//! `OBJECT_CREATED`: datagen accepted an object. To distributor and statistics.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, EventId, InvalidEvent, Json, MAX_TASKS, Milliseconds, ObjectId, OperationName, Parameters};

/// An object was accepted; carries it whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectCreated {
    /// The object.
    pub object: Object,
}

/// One unit of submitted data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Names the object for ever.
    pub id: ObjectId,
    /// What people call it.
    pub name: String,
    /// What is to be done to it.
    pub operation: OperationName,
    /// The operation's parameters.
    #[serde(default)]
    pub parameters: Parameters,
    /// What it is to be done to.
    pub data: Json,
    /// Into how many tasks it is split, if it has as many elements: 1 to [`MAX_TASKS`].
    pub tasks: u32,
    /// How long it may take, from its acceptance, before it is closed as timed out.
    pub deadline_ms: Milliseconds,
    /// When it was accepted.
    pub created_at: Timestamp,
}

impl Event for ObjectCreated {
    const TYPE: &'static str = "OBJECT_CREATED";
    const KEY: &'static str = "object.created";

    fn operation(&self) -> &OperationName {
        &self.object.operation
    }

    fn object_id(&self) -> ObjectId {
        self.object.id
    }

    fn subject(&self) -> Uuid {
        self.object.id.uuid()
    }

    fn id(&self) -> EventId {
        EventId::of(self.subject(), Self::TYPE, 0, 0)
    }

    fn validate(&self) -> Result<(), InvalidEvent> {
        if (1..=MAX_TASKS).contains(&self.object.tasks) {
            Ok(())
        } else {
            Err(InvalidEvent(format!("{} tasks: 1 to {MAX_TASKS} are allowed", self.object.tasks)))
        }
    }
}
