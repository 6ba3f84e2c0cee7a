//! The settings of a processor.

use std::{str::FromStr, thread::available_parallelism, time::Duration};

use chassis::{
    config::{Count, Names, NotAllowed, Span, SpanRange},
    deserialize_by_parsing,
};
use serde::Deserialize;

/// How many tasks may be executed at a time, at most.
pub(crate) type Concurrency = Count<1, 1024>;

/// How often a task may be tried, at most.
pub(crate) type Attempts = Count<1, 100>;

/// Settings, each one variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `OPERATIONS`: which operations it offers; all that are offered unasked if it is not set.
    pub(crate) operations: Option<Names>,
    /// `CONCURRENCY`: how many tasks it executes at a time; as many as there are cores if it is not set.
    pub(crate) concurrency: Concurrency,
    /// `PROCESS_TIME`: how long each task takes at least, for demonstrations.
    pub(crate) process_time: SpanRange,
    /// `TASK_TIMEOUT`: how long an attempt of a task may take.
    pub(crate) task_timeout: TaskTimeout,
    /// `MAX_ATTEMPTS`: how often a task is tried that fails in a way that another attempt may mend.
    pub(crate) max_attempts: Attempts,
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
            task_timeout: TaskTimeout(Span::seconds(60)),
            max_attempts: Attempts::clamped(5),
            processor: own_name(),
        }
    }
}

/// How long an attempt of a task may take: 100 ms to 8 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskTimeout(Span);

impl TaskTimeout {
    /// Shorter than this, a task could be given up because the machine is busy.
    const MIN: Duration = Duration::from_millis(100);
    /// A broker closes a channel on which a delivery is not acknowledged for 30 minutes
    /// ([RabbitMQ](https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout)). Twice as many tasks are held as are
    /// executed, so one is acknowledged within three timeouts, which leaves some minutes.
    const MAX: Duration = Duration::from_secs(8 * 60);

    pub(crate) fn get(self) -> Duration {
        self.0.duration()
    }
}

impl FromStr for TaskTimeout {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let span = text.parse::<Span>()?;
        if (Self::MIN..=Self::MAX).contains(&span.duration()) {
            Ok(Self(span))
        } else {
            Err(NotAllowed::new("expected a time from 100ms to 8m"))
        }
    }
}

deserialize_by_parsing!(TaskTimeout);

/// The host's name, with the process's number where a host has several: in a container it is 1, always.
fn own_name() -> String {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    match std::process::id() {
        1 => host,
        process => format!("{host}-{process}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_task_may_not_take_as_long_as_the_broker_waits_for_it() {
        assert_eq!("8m".parse::<TaskTimeout>().unwrap().get(), Duration::from_secs(480));
        for text in ["0s", "99ms", "481s", "25m", "long"] {
            assert!(text.parse::<TaskTimeout>().is_err(), "{text}");
        }
    }
}
