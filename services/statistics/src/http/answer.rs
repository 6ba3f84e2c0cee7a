//! How the record's values look in answers.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use crate::record::Status;

/// Microseconds since 1970 as a time; what is beyond all times, which the record does not have, is the last one.
pub(super) fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::MAX)
}

/// Microseconds as milliseconds with a fraction.
pub(super) fn milliseconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1000.0
}

/// Stored JSON, passed on as it is.
pub(super) fn json(text: String) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(text)
}

/// JSON of any kind, for the document. A schema without a type would say the same, but utoipa cannot read those again, and the
/// front door reads this document to complete its own.
pub(super) struct AnyJson;

impl PartialSchema for AnyJson {
    fn schema() -> RefOr<Schema> {
        let types = [Type::Object, Type::Array, Type::String, Type::Number, Type::Boolean, Type::Null];
        ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).description(Some("JSON of any kind.")).into()
    }
}

impl ToSchema for AnyJson {
    fn name() -> Cow<'static, str> {
        "AnyJson".into()
    }
}

/// Where an object stands: `created` until one of its tasks has started, `running` until all of them have ended, or its
/// deadline is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ObjectStatus {
    Created,
    Running,
    Succeeded,
    Failed,
    TimedOut,
}

impl ObjectStatus {
    /// One that is open runs as soon as one of its tasks has started.
    pub(super) fn of(status: Status, started: bool) -> Self {
        match (status, started) {
            (Status::Open, false) => Self::Created,
            (Status::Open, true) => Self::Running,
            (Status::Succeeded, _) => Self::Succeeded,
            (Status::Failed, _) => Self::Failed,
            (Status::TimedOut, _) => Self::TimedOut,
        }
    }
}
