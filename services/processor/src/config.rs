//! The settings of a processor.

use std::thread::available_parallelism;

use chassis::config::{Count, Names, Span, SpanRange};
use serde::Deserialize;

/// How many tasks may be executed at a time, at most.
pub(crate) type Concurrency = Count<1, 1024>;

/// Settings, each one variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `OPERATIONS`: which operations it offers; all of them if it is not set.
    pub(crate) operations: Option<Names>,
    /// `CONCURRENCY`: how many tasks it executes at a time; as many as there are cores if it is not set.
    pub(crate) concurrency: Concurrency,
    /// `PROCESS_TIME`: how long each task takes at least, for demonstrations.
    pub(crate) process_time: SpanRange,
    /// `PROCESSOR`: its name in the record; the host's and the process's if it is not set.
    pub(crate) processor: String,
}

impl Default for Config {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Self {
            operations: None,
            concurrency: Concurrency::clamped(cores as u64),
            process_time: SpanRange::new(Span::ZERO, Span::ZERO),
            processor: own_name(),
        }
    }
}

/// The host's name, with the process's number where a host has several: in a container it is 1, always.
fn own_name() -> String {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    match std::process::id() {
        1 => host,
        process => format!("{host}-{process}"),
    }
}
