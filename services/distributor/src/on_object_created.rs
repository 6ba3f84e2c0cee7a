//! `OBJECT_CREATED`: split the object, publish a task per part.

use std::num::NonZeroUsize;

use bus::{
    Bus, Cause, Failure, Handle, Outcome, PATIENCE, PublishError, Received, Slot,
    events::{Json, MAX_TASKS, Object, ObjectCreated, Task, TaskCreated, TaskId},
};
use chassis::work::{Panicked, compute};
use operations::{Catalogue, OperationError};
use tracing::{debug, info};

pub(crate) struct OnObjectCreated {
    pub(crate) bus: Bus,
    pub(crate) catalogue: Catalogue,
}

/// So many tasks are written and published together: an object of thousands takes the memory of some, and as much time as it
/// needs.
const PORTION: usize = 256;

impl Handle<ObjectCreated> for OnObjectCreated {
    async fn handle(&self, received: Received<ObjectCreated>, slot: Slot) -> Outcome {
        let object = received.event.object;
        let (id, operation) = (object.id, object.operation.clone());
        let catalogue = self.catalogue.clone();
        let quick_bytes = catalogue.get(operation.as_str()).map_or(0, |operation| operation.quick_bytes());
        let is_quick = object.data.as_str().len() <= quick_bytes;
        let split = match compute(is_quick, move || Split::of(&catalogue, object)).await {
            Ok(Ok(split)) => split,
            Ok(Err(reason)) => return Outcome::Reject(Failure::new(Cause::Rejected, reason)),
            Err(Panicked) => return Outcome::Reject(Failure::new(Cause::Panicked, "splitting it panicked")),
        };
        drop(slot);
        for tasks in split.portions() {
            match self.bus.publish_all(&tasks, Some(&received.envelope), PATIENCE).await {
                Ok(()) => {}
                Err(error @ PublishError::TooLarge { .. }) => {
                    return Outcome::Reject(Failure::new(Cause::TooLarge, format!("a task of it: {error}")));
                }
                Err(error) => {
                    debug!(object.id = %id, "not distributed: {error}");
                    return Outcome::Unavailable(error.to_string());
                }
            }
        }
        info!(object.id = %id, %operation, tasks = split.count, "distributed");
        Outcome::Done
    }
}

/// An object, and the data of each of its tasks.
struct Split {
    object: Object,
    count: u32,
    parts: Vec<Json>,
}

impl Split {
    /// Splits an object: the same way, to the byte, each time.
    fn of(catalogue: &Catalogue, object: Object) -> Result<Self, String> {
        let operation = catalogue.get(object.operation.as_str()).map_err(|error| error.to_string())?;
        let data = object.data.parse().map_err(|error| format!("its data cannot be read: {error}"))?;
        let wished = NonZeroUsize::new(object.tasks as usize).unwrap_or(NonZeroUsize::MIN);
        let parts =
            operation.scatter(&data, &object.parameters, wished).map_err(|error: OperationError| error.to_string())?;
        let count = u32::try_from(parts.len())
            .ok()
            .filter(|count| (1..=MAX_TASKS).contains(count))
            .ok_or_else(|| format!("{} made {} parts: 1 to {MAX_TASKS} are allowed", object.operation, parts.len()))?;
        let parts = parts.iter().map(Json::of).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        Ok(Self { object, count, parts })
    }

    /// The tasks, some at a time.
    fn portions(&self) -> impl Iterator<Item = Vec<TaskCreated>> {
        let mut parts = (0..self.count).zip(&self.parts);
        std::iter::from_fn(move || {
            let tasks: Vec<_> = parts.by_ref().take(PORTION).map(|(part, data)| self.task(part, data)).collect();
            (!tasks.is_empty()).then_some(tasks)
        })
    }

    fn task(&self, part: u32, data: &Json) -> TaskCreated {
        let Self { object, count, .. } = self;
        let task = Task {
            id: TaskId::of(object.id, *count, part),
            object_id: object.id,
            part,
            parts: *count,
            operation: object.operation.clone(),
            parameters: object.parameters.clone(),
            data: data.clone(),
            round: 0,
        };
        TaskCreated { task }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bus::events::{Event, ObjectId};

    use super::*;

    fn object(operation: &str, data: &str, tasks: u32) -> Object {
        serde_json::from_value(serde_json::json!({
            "id": ObjectId::new(), "name": "test", "operation": operation, "data": serde_json::from_str::<serde_json::Value>(data).unwrap(),
            "tasks": tasks, "deadline_ms": 1000, "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn an_object_that_is_split_again_gives_the_same_tasks_to_the_byte() {
        let object = object("word-frequencies", r#""one two three four""#, 3);
        let split = |object: &Object| Split::of(&Catalogue::built_in(), object.clone()).unwrap();
        let tasks = |object: &Object| split(object).portions().flatten().collect::<Vec<_>>();
        let (first, again) = (tasks(&object), tasks(&object));
        assert_eq!(first.len(), 3);
        for (a, b) in first.iter().zip(&again) {
            assert_eq!(serde_json::to_vec(a).unwrap(), serde_json::to_vec(b).unwrap());
            assert_eq!(a.id(), b.id());
            a.validate().unwrap();
        }
    }

    #[test]
    fn an_object_has_no_more_tasks_than_elements_and_never_none() {
        let tasks = |data| Split::of(&Catalogue::built_in(), object("plusone", data, 3)).unwrap().count;
        assert_eq!(tasks("[1,2,3,4]"), 3);
        assert_eq!(tasks("[1,2]"), 2);
        assert_eq!(tasks("[]"), 1);
    }

    #[test]
    fn an_object_of_thousands_of_tasks_goes_in_portions_and_all_of_it() {
        let data = serde_json::to_string(&vec![1; 1000]).unwrap();
        let split = Split::of(&Catalogue::built_in(), object("nop", &data, 1000)).unwrap();
        let portions: Vec<_> = split.portions().collect();
        assert!(portions.iter().all(|tasks| tasks.len() <= PORTION));
        let parts: Vec<u32> = portions.iter().flatten().map(|created| created.task.part).collect();
        assert_eq!(parts, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_split_is_rejected_with_the_reason() {
        let reason = Split::of(&Catalogue::built_in(), object("pow", "[1]", 3)).err().unwrap();
        assert!(reason.contains("exponent"), "{reason}");
        let reason = Split::of(&Catalogue::built_in(), object("juggle", "[1]", 3)).err().unwrap();
        assert!(reason.contains("word-frequencies"), "{reason}");
    }
}
