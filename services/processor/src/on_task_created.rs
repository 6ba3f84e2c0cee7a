//! `TASK_CREATED`: execute the part, say when it began and how it ended.

use std::{sync::Arc, time::Duration};

use bus::{
    Bus, Envelope, Handle, Outcome, PATIENCE, PublishError, Received, Slot,
    events::{Attempt, Json, Milliseconds, Task, TaskCreated, TaskFinished, TaskOutcome, TaskStarted},
};
use chassis::{
    config::SpanRange,
    work::{Panicked, compute},
};
use operations::Operation;
use tokio::time::{Instant, sleep};
use tracing::info;

pub(crate) struct OnTaskCreated {
    pub(crate) bus: Bus,
    pub(crate) operation: Arc<dyn Operation>,
    pub(crate) process_time: SpanRange,
    pub(crate) processor: String,
}

impl Handle<TaskCreated> for OnTaskCreated {
    async fn handle(&self, received: Received<TaskCreated>, slot: Slot) -> Outcome {
        let Received { envelope, attempt, event: TaskCreated { task } } = received;
        if task.operation.as_str() != self.operation.name() {
            return Outcome::Reject(format!("a task of {} in the queue of {}", task.operation, self.operation.name()));
        }
        let attempt = self.attempt(&task, attempt);
        let started = TaskStarted(attempt.clone());
        let started = self.bus.publish(&started, Some(&envelope), PATIENCE);
        let finished = async {
            let finished = self.execute(task, attempt).await;
            drop(slot);
            self.publish_finished(finished, &envelope).await
        };
        // The start is on its way while the task is executed, and confirmed before the task is acknowledged.
        match tokio::try_join!(started, finished) {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
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

    async fn execute(&self, task: Task, attempt: Attempt) -> TaskFinished {
        let began = Instant::now();
        let process_time = self.pick_process_time();
        // Even no time at all takes the timer's millisecond.
        if !process_time.is_zero() {
            sleep(process_time).await;
        }
        let operation = self.operation.clone();
        let is_quick = task.data.as_str().len() <= operation.quick_bytes();
        let outcome = match compute(is_quick, move || execute(&*operation, &task)).await {
            Ok(Ok(result)) => TaskOutcome::Succeeded(result),
            Ok(Err(error)) => TaskOutcome::Failed(error),
            Err(Panicked) => TaskOutcome::Failed("the operation panicked".to_owned()),
        };
        let duration = began.elapsed();
        log(&attempt, &outcome, duration);
        TaskFinished { attempt, outcome, duration_ms: Milliseconds::from(duration) }
    }

    async fn publish_finished(&self, mut finished: TaskFinished, cause: &Envelope) -> Result<(), PublishError> {
        let published = self.bus.publish(&finished, Some(cause), PATIENCE).await;
        let Err(error @ PublishError::TooLarge { .. }) = published else {
            return published;
        };
        finished.outcome = TaskOutcome::Failed(format!("its partial result does not fit: {error}"));
        self.bus.publish(&finished, Some(cause), PATIENCE).await
    }

    fn pick_process_time(&self) -> Duration {
        self.process_time.at(rand::random())
    }
}

fn execute(operation: &dyn Operation, task: &Task) -> Result<Json, String> {
    let part = task.data.parse().map_err(|error| format!("the part cannot be read: {error}"))?;
    let result = operation.execute(&part, &task.parameters).map_err(|error| error.to_string())?;
    Json::of(&result).map_err(|error| error.to_string())
}

fn log(attempt: &Attempt, outcome: &TaskOutcome, duration: Duration) {
    let Attempt { object_id, operation, processor, part, parts, .. } = attempt;
    let duration_ms = duration.as_secs_f64() * 1000.0;
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
