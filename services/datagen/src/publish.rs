//! From an object that is allowed to one that is accepted: the bus has it.

use std::time::Duration;

use bus::{
    PublishError,
    events::{Object, ObjectCreated},
};
use chassis::http::Problem;
use tracing::{info, warn};

use crate::door::Door;

/// How long a client waits for the bus before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// When it should come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Door {
    /// Publishes an object: from then on it will be finished and counted, whatever fails.
    ///
    /// # Errors
    /// 503 if too much waits, or the bus does not take it; 413 if its event is too long.
    pub(crate) async fn publish(&self, object: Object) -> Result<Object, Problem> {
        let event = ObjectCreated { object };
        let _admitted = self.backlog.admit(&event.object)?;
        self.bus.publish(&event, None, PATIENCE).await.map_err(|error| match error {
            PublishError::TooLarge { .. } => too_large(&error),
            // It may have been taken, or may yet be: whoever repeats it with an Idempotency-Key gets the same object.
            error => {
                warn!(object.id = %event.object.id, "not accepted: {error}");
                not_taken(&error)
            }
        })?;
        let object = event.object;
        info!(object.id = %object.id, operation = %object.operation, bytes = object.data.as_str().len(), "accepted");
        Ok(object)
    }
}

pub(crate) fn too_large(error: &PublishError) -> Problem {
    Problem::payload_too_large(format!("{error}."))
}

pub(crate) fn not_taken(error: &PublishError) -> Problem {
    Problem::unavailable(RETRY_AFTER, format!("The bus did not take the object: {error}."))
}
