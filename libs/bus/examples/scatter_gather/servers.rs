//! What the services distributor and processor do, in miniature: for a bus on which they are not. Nobody keeps the record
//! then, and what is for it waits.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bus::{
    Bus, Cause, Failure, Handle, Outcome, PATIENCE, Queue, Received, Slot, Slots, WorkQueue,
    events::{Attempt, Json, Object, ObjectCreated, Task, TaskCreated, TaskFinished, TaskId, TaskOutcome},
};
use futures_util::future::join_all;
use operations::Catalogue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long what is being done may take to end after the shutdown.
const GRACE: Duration = Duration::from_secs(5);

struct Server {
    bus: Bus,
    catalogue: Catalogue,
    name: &'static str,
}

/// Two servers, until the shutdown.
pub async fn two(bus: Bus, shutdown: CancellationToken) {
    tokio::join!(run(bus.clone(), "server-1", shutdown.clone()), run(bus.clone(), "server-2", shutdown));
}

/// Scatters objects and executes tasks of every operation, beside whoever else does so.
async fn run(bus: Bus, name: &'static str, shutdown: CancellationToken) {
    let catalogue = Catalogue::built_in().offered_unasked();
    let names: Vec<_> = catalogue.names().filter_map(|name| name.parse().ok()).collect();
    let server = Arc::new(Server { bus: bus.clone(), catalogue, name });
    // One thing at a time.
    let slots = Slots::new(1);
    let of =
        |queue: Queue| WorkQueue { queue, slots: slots.clone(), prefetch: 1, burst: 0, max_attempts: 1, grace: GRACE };
    let scatter =
        of(bus.topology().distributor()).run::<ObjectCreated, _>(bus.clone(), server.clone(), shutdown.clone());
    let execute = names.iter().map(|name| {
        of(bus.topology().processor(name)).run::<TaskCreated, _>(bus.clone(), server.clone(), shutdown.clone())
    });
    tokio::join!(scatter, join_all(execute));
}

impl Handle<ObjectCreated> for Server {
    async fn handle(&self, Received { envelope, event, .. }: Received<ObjectCreated>, _: Slot) -> Outcome {
        match self.scatter(event.object) {
            Ok(tasks) => match self.bus.publish_all(&tasks, Some(&envelope), PATIENCE).await {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Unavailable(error.to_string()),
            },
            Err(error) => Outcome::Reject(Failure::new(Cause::Rejected, error.to_string())),
        }
    }
}

impl Handle<TaskCreated> for Server {
    async fn handle(&self, Received { envelope, attempt, event }: Received<TaskCreated>, _: Slot) -> Outcome {
        let (task, began) = (event.task, Instant::now());
        let outcome = match self.execute(&task) {
            Ok(result) => TaskOutcome::Succeeded(result),
            Err(error) => TaskOutcome::Failed(error.to_string()),
        };
        let Task { id: task_id, object_id, part, parts, operation, round, .. } = task;
        let processor = self.name.to_owned();
        let attempt = Attempt { task_id, object_id, part, parts, operation, round, attempt, processor };
        let finished = TaskFinished { attempt, outcome, duration_ms: began.elapsed().into() };
        match self.bus.publish(&finished, Some(&envelope), PATIENCE).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
    }
}

impl Server {
    /// The same tasks, with the same ids, each time: an object may come twice.
    fn scatter(&self, object: Object) -> anyhow::Result<Vec<TaskCreated>> {
        let wished = NonZeroUsize::new(object.tasks as usize).unwrap_or(NonZeroUsize::MIN);
        let operation = self.catalogue.get(object.operation.as_str())?;
        let data = operation.scatter(&object.data.parse()?, &object.parameters, wished)?;
        let parts = u32::try_from(data.len())?;
        let task = |(part, data): (u32, &serde_json::Value)| {
            let id = TaskId::of(object.id, parts, part);
            let (object_id, operation, data) = (object.id, object.operation.clone(), Json::of(data)?);
            let parameters = object.parameters.clone();
            Ok(TaskCreated { task: Task { id, object_id, part, parts, operation, parameters, data, round: 0 } })
        };
        (0..parts).zip(&data).map(task).collect()
    }

    fn execute(&self, task: &Task) -> anyhow::Result<Json> {
        let operation = self.catalogue.get(task.operation.as_str())?;
        Ok(Json::of(&operation.execute(&task.data.parse()?, &task.parameters)?)?)
    }
}
