//! How the record's values look in answers.

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::record::Status;

/// Microseconds since 1970 as RFC 3339 in UTC.
pub(super) fn time(microseconds: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(microseconds).ok()
}

/// Microseconds as milliseconds with a fraction.
pub(super) fn milliseconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1000.0
}

/// Stored JSON, passed on as it is.
pub(super) fn json(text: String) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(text)
}

/// Where an object stands, for people: one that is open runs as soon as one of its tasks has started.
pub(super) fn status(status: Status, started: bool) -> &'static str {
    match (status, started) {
        (Status::Open, false) => "created",
        (Status::Open, true) => "running",
        (closed, _) => closed.as_str(),
    }
}
