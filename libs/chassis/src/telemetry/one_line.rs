//! One event, one line.

use std::fmt::{self, Debug, Write};

use tracing::field::Field;
use tracing_subscriber::{field::RecordFields, fmt::FormatFields, fmt::format};

use super::shown::{Bounded, acts};

/// Writes an event's message and fields with all characters that act escaped, and no more than is bearable of each.
/// tracing-subscriber itself lets line breaks pass everywhere, and what steers a terminal in fields that are recorded with
/// `%`.
#[derive(Debug)]
pub(super) struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: format::Writer<'writer>, fields: R) -> fmt::Result {
        format::debug_fn(write_field).format_fields(writer, fields)
    }
}

fn write_field(writer: &mut format::Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        // Where in a library's source an event comes from, when it comes through the `log` crate.
        name if name.starts_with("log.") => return Ok(()),
        name if writer.has_ansi_escapes() => write!(writer, " \x1b[2m{name}=\x1b[0m")?,
        name => write!(writer, " {name}=")?,
    }
    let mut value_writer = Bounded::new(Escaped(writer));
    write!(value_writer, "{value:?}")?;
    value_writer.end().map(drop)
}

struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for run in text.split_inclusive(acts) {
            let end = run.char_indices().next_back().filter(|(_, c)| acts(*c));
            let (plain, acting) = run.split_at(end.map_or(run.len(), |(index, _)| index));
            self.0.write_str(plain)?;
            write!(self.0, "{}", acting.escape_default())?;
        }
        Ok(())
    }
}
