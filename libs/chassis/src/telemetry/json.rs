//! One event, one line of JSON.

use std::fmt::{self, Debug, Write};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::shown::{Bounded, acts};

/// Writes an event as one object: its fields, flat, beside `timestamp`, `level` and `target`. Values that are long are cut,
/// and characters that act are escaped, those too that JSON lets pass: a terminal that shows the log does not.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields(Map::new());
        // The event's own come last: none of them may pass for these.
        event.record(&mut fields);
        let Fields(mut object) = fields;
        let metadata = event.metadata();
        object.insert("timestamp".to_owned(), timestamp.into());
        object.insert("level".to_owned(), metadata.level().as_str().into());
        // Events of the `log` crate say it in a field.
        let target = object.remove("log.target").unwrap_or_else(|| metadata.target().into());
        object.insert("target".to_owned(), target);
        object.retain(|name, _| !name.starts_with("log."));
        let line = serde_json::to_string(&object).map_err(|_not_json| fmt::Error)?;
        // Outside of strings, and as names of fields, there are none.
        for c in line.chars() {
            if acts(c) {
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
            } else {
                writer.write_char(c)?;
            }
        }
        writer.write_char('\n')
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, bounded(format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, bounded(format_args!("{value:?}")));
    }
}

fn bounded(value: fmt::Arguments<'_>) -> String {
    let mut text = Bounded::new(String::new());
    match text.write_fmt(value).and_then(|()| text.end()) {
        Ok(text) => text,
        Err(fmt::Error) => "a value that cannot be shown".to_owned(),
    }
}
