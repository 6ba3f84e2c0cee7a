//! The schemas of headers. The tests hold them against the decoder, as they do the bodies'.

use bus::{
    ATTEMPT, Cause, DEAD_CAUSE, DEAD_EXCHANGE, DEAD_QUEUE, DEAD_REASON, DEAD_ROUTING_KEY, DEAD_TIME, ORIGINAL_EXCHANGE,
    ORIGINAL_ROUTING_KEY, ROUND,
};
use serde_json::{Value, json};

/// The longest attribute that is read, as `bus::envelope` has it. One of more bytes may have fewer characters.
const MAX_ATTRIBUTE_LENGTH: u64 = 1024;

/// The headers of an event of this type.
pub(crate) fn of_event(kind: &str) -> Value {
    let text =
        |description: &str| json!({"type": "string", "maxLength": MAX_ATTRIBUTE_LENGTH, "description": description});
    let required = |description: &str| {
        let mut schema = text(description);
        schema["minLength"] = 1.into();
        schema
    };
    json!({
        "type": "object",
        "required": [
            "cloudEvents:specversion", "cloudEvents:id", "cloudEvents:source", "cloudEvents:type", "cloudEvents:time",
        ],
        "properties": {
            "cloudEvents:specversion": {"const": "1.0"},
            "cloudEvents:id": required(
                "Of EBS itself UUIDv5(subject, \"<type>/<round>/<attempt or revision>\"): the same fact told again has the \
                 same id."
            ),
            "cloudEvents:source": required("Who says so: of EBS itself `/<exchange>/<service>`."),
            "cloudEvents:type": {"const": kind},
            "cloudEvents:time": {
                "type": "string", "format": "date-time",
                "description": "When it happened, RFC 3339, to the microsecond. CloudEvents lets it be absent; here it decides \
                                between repeated starts and ends, so it must not.",
            },
            "cloudEvents:subject": text("The id of the object or task that it is about."),
            "cloudEvents:correlationid": text("The id of the object that it belongs to."),
            "cloudEvents:causationid": text("The id of the event that caused it."),
            "cloudEvents:traceparent": text("The trace that it belongs to (W3C Trace Context)."),
            ATTEMPT: {
                "type": "integer", "minimum": 1, "description": "Which attempt this is; absent at the first.",
            },
            ROUND: {
                "type": "integer", "minimum": 1,
                "description": "How often it was replayed after it had been set aside; absent if it never was.",
            },
        },
    })
}

/// The headers that come on top while a message waits to be tried again.
pub(crate) fn of_retry() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "required": [ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY],
        "properties": {
            ORIGINAL_EXCHANGE: text("The exchange that it was published to at first."),
            ORIGINAL_ROUTING_KEY: text("The routing key that it was published with at first."),
            ATTEMPT: {"type": "integer", "minimum": 2, "description": "Which attempt will be next."},
            ROUND: {"type": "integer", "minimum": 1, "description": "Which round, if it is replayed."},
        },
    })
}

/// An example of them.
pub(crate) fn example_of_retry() -> Value {
    json!({ORIGINAL_EXCHANGE: "ebs", ORIGINAL_ROUTING_KEY: "task.created.pow", ATTEMPT: 2})
}

/// The headers that come on top when a message is set aside.
pub(crate) fn of_dead_letter() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    json!({
        "type": "object",
        "required": [DEAD_REASON, DEAD_CAUSE, DEAD_TIME, DEAD_QUEUE, DEAD_EXCHANGE, DEAD_ROUTING_KEY],
        "properties": {
            DEAD_REASON: text("Why, for people."),
            DEAD_CAUSE: {"type": "string", "enum": causes, "description": "The kind of reason."},
            DEAD_TIME: {"type": "string", "format": "date-time", "description": "When it was set aside."},
            DEAD_QUEUE: text("The queue that it came from."),
            DEAD_EXCHANGE: text("The exchange that it was published to."),
            DEAD_ROUTING_KEY: text("The routing key that it had."),
            ATTEMPT: {"type": "integer", "minimum": 1, "description": "In which attempt."},
        },
    })
}

/// An example of them.
pub(crate) fn example_of_dead_letter() -> Value {
    json!({
        DEAD_REASON: "attempts used up (5): no answer",
        DEAD_CAUSE: Cause::AttemptsUsedUp.as_str(),
        DEAD_TIME: "2026-01-02T03:04:47.25Z",
        DEAD_QUEUE: "ebs.processor.pow",
        DEAD_EXCHANGE: "ebs",
        DEAD_ROUTING_KEY: "task.created.pow",
        ATTEMPT: 5,
    })
}
