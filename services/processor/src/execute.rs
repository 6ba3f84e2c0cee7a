//! One attempt of a task: executed off the async threads, and given up when it takes too long.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bus::{
    Cause, Failure,
    events::{Attempt, Json, Task, check_parameters},
};
use chassis::{config::SpanRange, work::compute};
use operations::{Command, Execution, Operation, OperationError};
use serde_json::Value;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};

use crate::{command, stuck::Stuck};

/// Executes tasks.
pub(crate) struct Executor {
    pub(crate) process_time: SpanRange,
    /// How long an attempt may take.
    pub(crate) limit: Duration,
    pub(crate) stuck: Arc<Stuck>,
}

/// How an attempt failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Another attempt may succeed.
    Transient(Failure),
    /// Another attempt would end the same way.
    Permanent(Failure),
}

impl Failed {
    pub(crate) fn permanent(cause: Cause, reason: impl Into<String>) -> Self {
        Self::Permanent(Failure::new(cause, reason))
    }
}

impl Executor {
    /// Executes the task once; its partial result.
    pub(crate) async fn execute(
        &self,
        operation: &Arc<dyn Operation>,
        task: Task,
        attempt: &Attempt,
    ) -> Result<Json, Failed> {
        let end = Instant::now() + self.limit;
        let process_time = self.process_time.at(rand::random());
        // Even no time at all takes the timer's millisecond.
        if !process_time.is_zero() && timeout_at(end, sleep(process_time)).await.is_err() {
            return Err(self.too_long());
        }
        if let Execution::Command(command) = operation.execution() {
            return self.command(operation, command, task, attempt, end).await;
        }
        let operation = Arc::clone(operation);
        if task.data.as_str().len() <= operation.quick_bytes() {
            return catch_unwind(AssertUnwindSafe(|| execute(&*operation, &task))).unwrap_or_else(|_| Err(panicked()));
        }
        let mut work = spawn_blocking(move || execute(&*operation, &task));
        match timeout_at(end, &mut work).await {
            Ok(Ok(executed)) => executed,
            Ok(Err(_panic)) => Err(panicked()),
            Err(_elapsed) => {
                self.stuck.leave(work);
                Err(self.too_long())
            }
        }
    }

    /// As what is executed here: its input is checked, and what it brings. What takes too long is killed.
    async fn command(
        &self,
        operation: &Arc<dyn Operation>,
        command: &Command,
        task: Task,
        attempt: &Attempt,
        end: Instant,
    ) -> Result<Json, Failed> {
        let (checking, task) = (Arc::clone(operation), Arc::new(task));
        let checked = Arc::clone(&task);
        compute(false, move || check(&*checking, &checked)).await.unwrap_or_else(|_| Err(panicked()))?;
        let own_end = command.timeout.map(|timeout| Instant::now() + timeout);
        let printed = timeout_at(own_end.map_or(end, |own| own.min(end)), command::run(command, &task, attempt)).await;
        let printed = match (printed, command.timeout) {
            (Ok(printed), _) => printed?,
            (Err(_), Some(timeout)) if own_end < Some(end) => return Err(too_long(timeout, "timeout_ms")),
            (Err(_), _) => return Err(self.too_long()),
        };
        let command = command.clone();
        compute(false, move || read(&command, &printed)).await.unwrap_or_else(|_| Err(panicked()))
    }

    fn too_long(&self) -> Failed {
        too_long(self.limit, "TASK_TIMEOUT")
    }
}

fn too_long(limit: Duration, setting: &str) -> Failed {
    Failed::Transient(Failure::new(Cause::TimedOut, format!("it took longer than {limit:?} ({setting})")))
}

fn execute(operation: &dyn Operation, task: &Task) -> Result<Json, Failed> {
    let result = operation.execute(&part(task)?, &task.parameters).map_err(failed)?;
    Json::of(&result).map_err(|error| rejected(error.to_string()))
}

fn part(task: &Task) -> Result<Value, Failed> {
    task.data.parse().map_err(|error| rejected(format!("the part cannot be read: {error}")))
}

/// Whether a command may be given this: whoever published it need not have come by the door.
fn check(operation: &dyn Operation, task: &Task) -> Result<(), Failed> {
    check_parameters(&task.parameters).map_err(|error| rejected(error.to_string()))?;
    operation.check(&part(task)?, &task.parameters).map_err(failed)
}

/// The partial result in what a command printed.
fn read(command: &Command, printed: &[u8]) -> Result<Json, Failed> {
    if printed.trim_ascii().is_empty() {
        return Err(rejected("the command printed nothing; allowed: one JSON value".to_owned()));
    }
    let result = serde_json::from_slice(printed).and_then(|json: Json| json.parse()).map_err(|error| {
        rejected(format!("what the command printed is not one JSON value that can be read: {error}"))
    })?;
    command.check_result(&result).map_err(failed)?;
    Json::of(&result).map_err(|error| rejected(error.to_string()))
}

fn rejected(reason: String) -> Failed {
    Failed::permanent(Cause::Rejected, reason)
}

fn failed(error: OperationError) -> Failed {
    let failure = Failure::new(Cause::Rejected, error.to_string());
    if error.is_transient() { Failed::Transient(failure) } else { Failed::Permanent(failure) }
}

/// The panic hook has logged what.
fn panicked() -> Failed {
    Failed::permanent(Cause::Panicked, "the operation panicked")
}
