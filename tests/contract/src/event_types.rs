//! The types of events, as data.

use bus::{
    DecodeError, Message, Queue, Topology, decode,
    events::{Event, ObjectCreated, ObjectFinished, OperationName, TaskCreated, TaskFinished, TaskStarted},
};
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Map, Value};

/// A type of event.
#[derive(Clone, Copy)]
pub struct EventType {
    /// Its name on the wire, such as `OBJECT_CREATED`.
    pub name: &'static str,
    /// Its routing key without the last word, which is the operation.
    pub key: &'static str,
    /// The queues that it must reach.
    pub must_reach: fn(&Topology, &OperationName) -> Vec<Queue>,
    /// Whether a consumer takes a message for one.
    pub check: fn(&Message) -> Result<(), DecodeError>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

/// All of them, in the order of the flow. One that is missing here is missed by the test of the flow.
pub const EVENT_TYPES: [EventType; 5] = [
    EventType::of::<ObjectCreated>(),
    EventType::of::<TaskCreated>(),
    EventType::of::<TaskStarted>(),
    EventType::of::<TaskFinished>(),
    EventType::of::<ObjectFinished>(),
];

impl EventType {
    const fn of<E: Event + JsonSchema>() -> Self {
        Self {
            name: E::TYPE,
            key: E::KEY,
            must_reach: Topology::must_reach::<E>,
            check: |message| decode::<E>(message, usize::MAX).map(drop),
            schema: SchemaGenerator::subschema_for::<E>,
        }
    }
}

/// The JSON Schema of each type's body, in their order, and what these refer to below `/components/schemas`.
pub fn schemas() -> (Vec<Schema>, Map<String, Value>) {
    // The draft that AsyncAPI's own schemas are of.
    let mut settings =
        SchemaSettings::draft07().with(|settings| settings.definitions_path = "/components/schemas".into());
    settings.transforms.push(Box::new(bound_integers));
    settings.transforms.push(Box::new(Plain));
    let mut generator = settings.into_generator();
    let bodies = EVENT_TYPES.iter().map(|event| (event.schema)(&mut generator)).collect();
    (bodies, generator.take_definitions(true))
}

/// Says how large an integer may be whose type alone says so.
fn bound_integers(schema: &mut Schema) {
    let max = match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => u64::from(u32::MAX),
        Some("uint64") => u64::MAX,
        _ => return transform_subschemas(&mut bound_integers, schema),
    };
    schema.ensure_object().entry("maximum").or_insert(max.into());
}

/// Takes the links out of descriptions: there is nothing here that they would lead to.
#[derive(Clone, Debug)]
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::String(description)) = schema.get_mut("description") {
            *description = description.replace("[`", "`").replace("`]", "`");
        }
        transform_subschemas(self, schema);
    }
}
