//! Logs on standard error: for people on a terminal, or as JSON for whoever collects them.
//!
//! One event is one line, whatever it contains: what came from outside cannot forge a line or steer a terminal
//! (RUSTSEC-2025-0055). Standard output stays free for what a program is asked for.

mod one_line;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use crate::config::NotAllowed;
use one_line::OneLine;

/// What `RUST_LOG` is when it is not set. The libraries named tell at `info` what only their authors need; what lapin takes
/// for an error is an answer of the broker, such as that another one is active, and the bus tells of it.
const DEFAULT_FILTER: &str = "info,hyper=warn,lapin=off,sqlx=warn";

/// How an event looks, `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `text`: for people; in colours if standard error is a terminal and `NO_COLOR` is empty or unset.
    #[default]
    Text,
    /// `json`: one object a line, its fields flat beside `timestamp`, `level`, `target` and `message`.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(NotAllowed::new("expected text or json")),
        }
    }
}

impl std::fmt::Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What is logged, `RUST_LOG`: a level, or a list like `info,bus=debug`.
#[derive(Debug, Clone)]
pub struct LogFilter(EnvFilter);

impl Default for LogFilter {
    fn default() -> Self {
        Self(EnvFilter::new(DEFAULT_FILTER))
    }
}

impl std::str::FromStr for LogFilter {
    type Err = NotAllowed;

    /// Stricter than `EnvFilter`, for which a word that is no level is a module's name: `inof` would silence all else.
    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let expected =
            || NotAllowed::new("expected a level (error, warn, info, debug, trace, off) or a list like info,bus=debug");
        let is_plain = |directive: &str| !directive.contains(['=', '[']);
        let is_level = |directive: &str| directive.trim().parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
        if text.contains(';') || text.split(',').any(|directive| is_plain(directive) && !is_level(directive)) {
            return Err(expected());
        }
        EnvFilter::try_new(text).map(Self).map_err(|_| expected())
    }
}

crate::deserialize_by_parsing!(LogFilter);

/// Starts logging for the whole process, panics included.
///
/// # Panics
/// If the process logs already.
pub fn init(format: LogFormat, LogFilter(filter): LogFilter) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colors = !no_color && std::io::stderr().is_terminal();
    let events = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => events.with_ansi(colors).fmt_fields(OneLine).finish().init(),
        LogFormat::Json => events.json().flatten_event(true).finish().init(),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// A panic is an event like any other, so that it does not break the format.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location = panic.location().map(tracing::field::display),
        backtrace = backtrace().map(tracing::field::display),
        "panicked: {}",
        panic.payload_as_str().unwrap_or("no message"),
    );
}

/// If `RUST_BACKTRACE` asks for it.
fn backtrace() -> Option<std::backtrace::Backtrace> {
    let backtrace = std::backtrace::Backtrace::capture();
    (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then_some(backtrace)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const NASTY: &str = "one\ntwo\r\n\x1b[31mred\u{85}\u{2028}end";

    fn log_nasty() {
        tracing::info!(object.name = NASTY, object.debug = ?NASTY, "took {NASTY}");
        let error = std::io::Error::other(NASTY);
        tracing::warn!(error = %error, cause = &error as &dyn std::error::Error, "failed");
    }

    #[test]
    fn input_cannot_break_a_line_of_text() {
        for colors in [false, true] {
            let captured = Captured::default();
            let writer = captured.clone();
            let subscriber = fmt().with_ansi(colors).fmt_fields(OneLine).with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(subscriber, log_nasty);

            let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert_eq!(text.matches('\n').count(), 2, "{text}");
            assert!(!text.contains(['\r', '\u{85}', '\u{2028}']), "{text:?}");
            assert!(!text.contains("\x1b[31mred"), "{text:?}");
            assert!(text.contains("took one\\ntwo"), "{text:?}");
        }
    }

    #[test]
    fn input_cannot_break_a_line_of_json() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log_nasty);

        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let events: Vec<serde_json::Value> =
            text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["object.name"], NASTY, "JSON keeps what was logged");
        assert_eq!(events[0]["level"], "INFO");
    }

    #[test]
    fn a_filter_is_a_list_of_levels() {
        for text in ["info", "INFO", "warn,bus=debug", "off", "bus=trace,info", "info,bus[consume]=debug"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in ["inof", "bus", "info,bus=loud", "=", "foo bar", "info;bus=debug"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
    }
}
