//! `TASK_CREATED`: execute the part, say when it began and how it ended.

use std::{sync::Arc, time::Duration};

use bus::{
    Bus, Cause, Envelope, Failure, Handle, Outcome, PATIENCE, PublishError, Received, Slot,
    events::{Attempt, Json, Milliseconds, Task, TaskCreated, TaskFinished, TaskOutcome, TaskStarted},
};
use operations::Operation;
use tokio::time::Instant;
use tracing::info;

use crate::execute::{Executor, Failed};

pub(crate) struct OnTaskCreated {
    pub(crate) bus: Bus,
    pub(crate) operation: Arc<dyn Operation>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) max_attempts: u32,
    pub(crate) processor: String,
}

/// An attempt that ended.
struct Ended<'a> {
    attempt: Attempt,
    duration: Duration,
    /// What caused it.
    cause: &'a Envelope,
}

impl Handle<TaskCreated> for OnTaskCreated {
    async fn handle(&self, received: Received<TaskCreated>, slot: Slot) -> Outcome {
        let Received { envelope, attempt, event: TaskCreated { task } } = received;
        if task.operation.as_str() != self.operation.name() {
            let reason = format!("a task of {} in the queue of {}", task.operation, self.operation.name());
            return Outcome::Reject(Failure::new(Cause::Rejected, reason));
        }
        let attempt = self.attempt(&task, attempt);
        let start = TaskStarted(attempt.clone());
        let started = self.bus.publish(&start, Some(&envelope), PATIENCE);
        let ended = async {
            let began = Instant::now();
            let executed = self.executor.execute(&self.operation, task, &attempt).await;
            drop(slot);
            let ended = Ended { attempt, duration: began.elapsed(), cause: &envelope };
            self.tell(executed, ended).await
        };
        // The start is on its way while the task is executed, and confirmed before the task is acknowledged. If it is not,
        // the execution ends even so: begun again, it would run beside itself.
        let (mut started, ended) = tokio::join!(started, ended);
        if started.is_err() && ended.is_ok() {
            started = self.bus.publish(&start, Some(&envelope), PATIENCE).await;
        }
        started.and(ended).unwrap_or_else(|error| Outcome::Unavailable(error.to_string()))
    }
}

impl OnTaskCreated {
    fn attempt(&self, task: &Task, attempt: u32) -> Attempt {
        Attempt {
            task_id: task.id,
            object_id: task.object_id,
            part: task.part,
            parts: task.parts,
            operation: task.operation.clone(),
            round: task.round,
            attempt,
            processor: self.processor.clone(),
        }
    }

    /// Publishes how the task ended, unless another attempt is to come.
    async fn tell(&self, executed: Result<Json, Failed>, ended: Ended<'_>) -> Result<Outcome, PublishError> {
        let failed = match executed {
            Ok(result) => match self.finish(TaskOutcome::Succeeded(result), &ended).await {
                Err(error @ PublishError::TooLarge { .. }) => {
                    Failed::permanent(Cause::TooLarge, format!("its partial result does not fit: {error}"))
                }
                published => return published.map(|()| Outcome::Done),
            },
            Err(failed) => failed,
        };
        let failure = match failed {
            Failed::Transient(failure) if ended.attempt.attempt < self.max_attempts => {
                return Ok(Outcome::Retry(failure));
            }
            Failed::Transient(failure) => failure.of_last_attempt(ended.attempt.attempt),
            Failed::Permanent(failure) => failure,
        };
        self.finish(TaskOutcome::Failed(failure.reason().to_owned()), &ended).await?;
        Ok(Outcome::Reject(failure))
    }

    async fn finish(&self, outcome: TaskOutcome, ended: &Ended<'_>) -> Result<(), PublishError> {
        let duration_ms = Milliseconds::from(ended.duration);
        let finished = TaskFinished { attempt: ended.attempt.clone(), outcome, duration_ms };
        self.bus.publish(&finished, Some(ended.cause), PATIENCE).await?;
        log(&finished, ended.duration);
        Ok(())
    }
}

fn log(TaskFinished { attempt, outcome, .. }: &TaskFinished, duration: Duration) {
    let Attempt { object_id, operation, processor, part, parts, .. } = attempt;
    // Whole microseconds: nobody reads more.
    let duration_ms = duration.as_micros() as f64 / 1000.0;
    let (number, of) = (part + 1, parts);
    match outcome {
        TaskOutcome::Succeeded(_) => {
            info!(object.id = %object_id, %operation, processor, duration_ms, "processed part {number} of {of}");
        }
        TaskOutcome::Failed(error) => {
            info!(object.id = %object_id, %operation, processor, duration_ms, error, "failed part {number} of {of}");
        }
    }
}
