//! One attempt of a task: executed off the async threads, and given up when it takes too long.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bus::{
    Cause, Failure,
    events::{Json, Task},
};
use chassis::config::SpanRange;
use operations::{Operation, OperationError};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};

use crate::stuck::Stuck;

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
    pub(crate) async fn execute(&self, operation: &Arc<dyn Operation>, task: Task) -> Result<Json, Failed> {
        let end = Instant::now() + self.limit;
        let process_time = self.process_time.at(rand::random());
        // Even no time at all takes the timer's millisecond.
        if !process_time.is_zero() && timeout_at(end, sleep(process_time)).await.is_err() {
            return Err(self.too_long());
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

    fn too_long(&self) -> Failed {
        Failed::Transient(Failure::new(Cause::TimedOut, format!("it took longer than {:?} (TASK_TIMEOUT)", self.limit)))
    }
}

fn execute(operation: &dyn Operation, task: &Task) -> Result<Json, Failed> {
    let rejected = |reason: String| Failed::permanent(Cause::Rejected, reason);
    let part = task.data.parse().map_err(|error| rejected(format!("the part cannot be read: {error}")))?;
    let result = operation.execute(&part, &task.parameters).map_err(failed)?;
    Json::of(&result).map_err(|error| rejected(error.to_string()))
}

fn failed(error: OperationError) -> Failed {
    let failure = Failure::new(Cause::Rejected, error.to_string());
    if error.is_transient() { Failed::Transient(failure) } else { Failed::Permanent(failure) }
}

/// The panic hook has logged what.
fn panicked() -> Failed {
    Failed::permanent(Cause::Panicked, "the operation panicked")
}
