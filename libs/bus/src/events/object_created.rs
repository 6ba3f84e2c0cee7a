//! `OBJECT_CREATED`: datagen accepted an object. To distributor and statistics.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use uuid::Uuid;

use super::{Event, EventId, InvalidEvent, Json, MAX_TASKS, Milliseconds, ObjectId, OperationName, Parameters};

/// The longest parameters, in bytes of JSON: each task of an object carries them, so that with [`MAX_TASKS`] they are
/// 160 MiB.
pub const MAX_PARAMETERS_BYTES: usize = 16 * 1024;

/// How deep parameters are nested, at most: they are read with an event around them, and no JSON is read that is nested deeper
/// than 127.
pub const MAX_PARAMETERS_DEPTH: usize = 64;

/// Reads parameters as [`Json::parse`] does, by `#[serde(deserialize_with = "…")]`, so that no digit of them is lost.
///
/// # Errors
/// As [`Json::parse`]; the place that it names is the one in the parameters.
pub fn read_parameters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
    Json::deserialize(deserializer)?.parse().map_err(|error| de::Error::custom(format!("in the parameters: {error}")))
}

/// Whether parameters are short and flat enough.
///
/// # Errors
/// If they are not, with what is allowed.
pub fn check_parameters(parameters: &Parameters) -> Result<(), InvalidEvent> {
    if parameters.is_empty() {
        return Ok(());
    }
    match serde_json::to_vec(parameters).map_or(usize::MAX, |json| json.len()) {
        0..=MAX_PARAMETERS_BYTES if parameters.values().all(|value| depth(value) < MAX_PARAMETERS_DEPTH) => Ok(()),
        0..=MAX_PARAMETERS_BYTES => {
            Err(InvalidEvent(format!("the parameters are nested too deep: {MAX_PARAMETERS_DEPTH} levels are allowed")))
        }
        bytes => Err(InvalidEvent(format!("the parameters have {bytes} bytes: {MAX_PARAMETERS_BYTES} are allowed"))),
    }
}

/// How many arrays and objects are in one another.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// An object was accepted; carries it whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectCreated {
    /// The object.
    pub object: Object,
}

/// One unit of submitted data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Object {
    /// Names the object for ever.
    pub id: ObjectId,
    /// What people call it.
    pub name: String,
    /// What is to be done to it.
    pub operation: OperationName,
    /// The operation's parameters.
    #[serde(default, deserialize_with = "read_parameters")]
    pub parameters: Parameters,
    /// What it is to be done to.
    pub data: Json,
    /// Into how many tasks it is split, if it has as many elements: 1 to [`MAX_TASKS`].
    #[schemars(range(min = 1, max = MAX_TASKS))]
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
        if !(1..=MAX_TASKS).contains(&self.object.tasks) {
            return Err(InvalidEvent(format!("{} tasks: 1 to {MAX_TASKS} are allowed", self.object.tasks)));
        }
        check_parameters(&self.object.parameters)
    }
}
