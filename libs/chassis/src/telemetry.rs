//! Logs on standard error: for people on a terminal, or as JSON for whoever collects them.
//!
//! One event is one line of bounded length, whatever it contains: what came from outside cannot forge a line, steer a
//! terminal (RUSTSEC-2025-0055) or fill a disk. Standard output stays free for what a program is asked for.

mod json;
mod one_line;
mod shown;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, writer::MakeWriterExt},
    util::SubscriberInitExt,
};

use crate::config::NotAllowed;
use json::Json;
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
    let events = fmt::fmt().with_env_filter(filter).with_writer(std::io::stderr.with_filter(is_discreet));
    match format {
        LogFormat::Text => events.with_ansi(colors).fmt_fields(OneLine).finish().init(),
        LogFormat::Json => events.with_ansi(false).event_format(Json).finish().init(),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// Says on standard error why nothing begins, before there are logs. If nobody listens there, the exit code has to do.
pub(crate) fn complain(message: impl Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Whether an event may be shown, whatever the filter says. At `trace`, lapin tells of frames that it could not send, and
/// the one with the broker's password is a frame.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    *metadata.level() != Level::TRACE || !metadata.target().starts_with("lapin")
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

    const NASTY: &str = "one\ntwo\r\n\x1b[31mred\u{85}\u{9b}2J\u{2028}\u{202e}\u{200b}end";

    /// The characters of it that do something.
    const ACTING: [char; 7] = ['\r', '\x1b', '\u{85}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{200b}'];

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
            let subscriber =
                fmt::fmt().with_ansi(colors).fmt_fields(OneLine).with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(subscriber, log_nasty);

            let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert_eq!(text.matches('\n').count(), 2, "{text}");
            // Those of the colours are ours.
            let ours =
                text.replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[32m", "").replace("\x1b[33m", "");
            assert!(!ours.contains(ACTING), "{text:?}");
            assert!(text.contains("took one\\ntwo"), "{text:?}");
        }
    }

    #[test]
    fn input_cannot_break_a_line_of_json() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = fmt::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log_nasty);

        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let events: Vec<serde_json::Value> =
            text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 2);
        assert!(!text.contains(ACTING), "{text:?}");
        assert_eq!(events[0]["object.name"], NASTY, "JSON keeps what was logged");
        assert_eq!(events[0]["level"], "INFO");
    }

    #[test]
    fn input_cannot_make_a_line_long() {
        let long = "é".repeat(4_000_000);
        let log = || tracing::info!(name = long, debug = ?long, "took {long}");
        let captured = Captured::default();
        let (text, json) = (captured.clone(), captured.clone());
        let subscriber = fmt::fmt().with_ansi(false).fmt_fields(OneLine).with_writer(move || text.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let subscriber = fmt::fmt().event_format(Json).with_writer(move || json.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);

        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            assert!(line.len() < 3 * (shown::MAX_VALUE_BYTES + 200), "{} bytes", line.len());
            assert_eq!(line.matches(" bytes more)").count(), 3);
        }
    }

    #[test]
    fn fields_of_json_keep_their_types_and_cannot_pass_for_ours() {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = fmt::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(level = "INFO", count = 7, part = 0.5, yes = true, "said");
        });
        let event: serde_json::Value = serde_json::from_slice(&captured.0.lock().unwrap()).unwrap();
        assert_eq!(
            (event["count"].as_u64(), event["part"].as_f64(), event["yes"].as_bool()),
            (Some(7), Some(0.5), Some(true))
        );
        assert_eq!((event["message"].as_str(), event["level"].as_str()), (Some("said"), Some("WARN")));
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z') && event["target"].is_string(), "{event}");
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
