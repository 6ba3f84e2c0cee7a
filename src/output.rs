//! What the commands print: for people, or JSON and nothing else; and nothing of it steers a terminal.

mod json;
mod table;
mod text;

use std::io::{self, Write as _};

use clap::Args;
use console::{Style, Term};
use serde_json::Value;

pub use self::{
    json::{compact, document, fitted},
    table::{Cell, Column, Table},
    text::{clock, cut, harmless, milliseconds, number, one_line, seconds, within, wrapped},
};
use crate::up::NAME;

/// Narrower than this nothing is made to fit: a terminal that says so does not know.
const MIN_WIDTH: usize = 40;
/// What is no terminal is printed for one of this width where something has to be chosen, in columns.
pub const USUAL_WIDTH: usize = 80;

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Format {
    /// Prints JSON, and nothing else, on standard output
    #[arg(long, global = true)]
    pub json: bool,
}

impl Format {
    /// Prints an answer: as it is, or as `shown` has it.
    ///
    /// # Errors
    /// If standard output takes no more.
    pub fn print(self, answer: &Value, shown: impl FnOnce(&Value) -> String) -> io::Result<()> {
        print(&self.written(answer, shown))
    }

    /// An answer as it is printed.
    pub fn written(self, answer: &Value, shown: impl FnOnce(&Value) -> String) -> String {
        if self.json { document(answer) } else { shown(answer) }
    }
}

/// Prints what has been done. Whoever reads may have read enough, such as `head`: what else there is to do is done even so.
///
/// # Errors
/// If standard output takes no more for another reason.
pub fn report(text: &str) -> io::Result<()> {
    match print(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Prints what ends with its line.
///
/// # Errors
/// If standard output takes no more: [`Failure`](crate::failure::Failure) knows how to end then.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Tells the person at the terminal something that is not what was asked for.
pub fn tell(message: &str) {
    let mut message = format!("{NAME}: {}\n", harmless(message));
    if let Some(width) = width_of(&Term::stderr()) {
        message = message.lines().map(|line| within(line, width)).collect();
    }
    // For want of a terminal there is nobody to tell.
    let _ = io::stderr().write_all(message.as_bytes());
}

/// Begins a line of its own after the `^C` of a terminal.
pub fn after_interrupt() {
    if Term::stderr().is_term() {
        let _ = io::stderr().write_all(b"\n");
    }
}

/// How many columns there are, if standard output is a terminal.
pub fn width() -> Option<usize> {
    width_of(&Term::stdout())
}

fn width_of(terminal: &Term) -> Option<usize> {
    let (_, columns) = terminal.size_checked().filter(|_| terminal.is_term())?;
    Some(usize::from(columns).max(MIN_WIDTH))
}

/// The colour of where something stands; none where colours are not wanted.
pub fn style_of(status: &str) -> Style {
    match status {
        "succeeded" => Style::new().green(),
        "failed" | "timed_out" => Style::new().red(),
        "running" | "waiting" => Style::new().yellow(),
        _ => Style::new(),
    }
}

/// Of a heading.
pub fn heading(text: &str) -> String {
    Style::new().bold().apply_to(text).to_string()
}

/// Where something stands, as people write it.
pub fn status(answer: &Value) -> Cell {
    let status = answer.as_str().unwrap_or_default();
    Cell::of(status.replace('_', " ")).styled(style_of(status))
}
