//! From what is asked for to an object with its id, number of tasks and deadline; or why not.

use std::sync::Arc;

use bus::events::{Json, Milliseconds, Object, ObjectCreated, OperationName};
use chassis::{http::Problem, work::compute};
use operations::Operation;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    door::Door,
    generate,
    identity::Identity,
    publish::too_large,
    submission::{DEFAULT_OPERATION, Submission},
};

/// A number takes at most so many times its characters when it is written again: 1e15 takes 18. Nothing else grows.
const MOST_LONGER: usize = 5;

impl Door {
    /// Makes an object of what is asked for, or says why it is refused.
    ///
    /// # Errors
    /// 422 if it is not allowed.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        identity: Identity,
        submission: Submission,
    ) -> Result<Object, Problem> {
        let object = self.complete(identity, submission)?;
        let is_quick = object.data.as_str().len() <= self.known(&object.operation)?.quick_bytes();
        // Whoever must wait for this has room already, and the semaphore is never closed.
        let check = if is_quick { None } else { Arc::clone(&self.checks).acquire_owned().await.ok() };
        let door = self.clone();
        // Reading all of the data takes its time when it is megabytes, and ends no sooner because the client has gone.
        let checked = move || {
            let _check = check;
            door.check(object)
        };
        compute(is_quick, checked).await.map_err(Problem::internal)?
    }

    /// Decides what the submission left open.
    fn complete(&self, identity: Identity, submission: Submission) -> Result<Object, Problem> {
        let Identity { id, seed } = identity;
        let operation = match submission.operation {
            Some(operation) => operation,
            None => DEFAULT_OPERATION.parse::<OperationName>().map_err(Problem::internal)?,
        };
        // First of all: what is wrong with the data depends on it.
        self.known(&operation)?;
        let data = match submission.data {
            Some(data) => data,
            None if operation.as_str() == DEFAULT_OPERATION => {
                Json::of(&generate::text(&mut ChaCha8Rng::from_seed(seed))).map_err(Problem::internal)?
            }
            None => {
                return Err(Problem::unprocessable(format!(
                    "data is missing: it is generated for {DEFAULT_OPERATION} only."
                )));
            }
        };
        let tasks = u32::try_from(self.config.distribution_count.get()).map_err(Problem::internal)?;
        Ok(Object {
            id,
            name: submission.name.unwrap_or_else(|| generate::name(id)),
            operation,
            parameters: submission.parameters,
            data,
            tasks: submission.tasks.unwrap_or(tasks),
            deadline_ms: submission
                .deadline_ms
                .unwrap_or_else(|| Milliseconds::from(self.config.object_deadline.get())),
            created_at: bus::now(),
        })
    }

    /// The operation of that name, or a list of those that there are.
    fn known(&self, name: &OperationName) -> Result<Arc<dyn Operation>, Problem> {
        self.catalogue.get(name.as_str()).map_err(|unknown| {
            let known: Vec<&str> = self.catalogue.names().collect();
            Problem::unprocessable(format!("{unknown}.")).with("known", known)
        })
    }

    /// The object, if the operation takes the data, and the bus what its tasks have of it.
    fn check(&self, object: Object) -> Result<Object, Problem> {
        let operation = self.known(&object.operation)?;
        let data = object.data.parse().map_err(|error| Problem::unprocessable(format!("data: {error}.")))?;
        operation
            .check(&data, &object.parameters)
            .map_err(|error| Problem::unprocessable(format!("{}: {error}.", object.operation)))?;
        // Tasks have the data as it is written here, which may be longer than it came.
        if object.data.as_str().len() <= self.bus.max_event_bytes() / MOST_LONGER {
            return Ok(object);
        }
        let written = Json::of(&data).map_err(Problem::internal)?;
        if written.as_str().len() <= object.data.as_str().len() {
            return Ok(object);
        }
        let event = ObjectCreated { object: Object { data: written, ..object } };
        self.bus.encode(&event, event.object.created_at, None).map_err(|error| too_large(&error))?;
        Ok(Object { data: object.data, ..event.object })
    }
}
