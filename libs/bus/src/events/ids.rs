//! Ids: deterministic, so that whatever is redelivered or done again is the same thing again.
//!
//! Name-based ids are UUIDv5 ([RFC 9562, section 5.5](https://www.rfc-editor.org/rfc/rfc9562#section-5.5))
//! in the namespace of what they belong to: a task in its object, an event in its subject.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a UUID is written. Other forms are read, too.
const UUID_PATTERN: &str = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(extend("pattern" = UUID_PATTERN))]
        pub struct $name(Uuid);

        impl $name {
            /// The id as a UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Names one submitted object.
    ObjectId
}

id! {
    /// Names one task: one part of one split of one object.
    TaskId
}

id! {
    /// Names one event: the same fact, however often it is published.
    EventId
}

impl ObjectId {
    /// A new id, in the order of time (UUIDv7): for an object that nobody will submit again.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of what `submitter` sends under an idempotency `key` with a body of this digest:
    /// the same request again is the same object, another body is another object.
    pub fn idempotent(submitter: Uuid, key: &str, body_sha256: &[u8; 32]) -> Self {
        let mut name = Vec::with_capacity(body_sha256.len() + key.len());
        name.extend_from_slice(body_sha256);
        name.extend_from_slice(key.as_bytes());
        Self(Uuid::new_v5(&submitter, &name))
    }
}

impl Default for ObjectId {
    fn default() -> Self {
        Self::new()
    }
}

impl TaskId {
    /// The task that executes part number `part` (from 0) of `object` split into `parts`.
    ///
    /// The number of parts is in the name, so two different splits never mix.
    pub fn of(object: ObjectId, parts: u32, part: u32) -> Self {
        Self(Uuid::new_v5(&object.0, format!("{parts}/{part}").as_bytes()))
    }
}

impl EventId {
    /// The event of type `kind` about `subject` (an object or a task) in a `round`, with the
    /// attempt or revision as `turn`.
    pub fn of(subject: Uuid, kind: &str, round: u32, turn: u32) -> Self {
        Self(Uuid::new_v5(&subject, format!("{kind}/{round}/{turn}").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn uuid() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    proptest! {
        #[test]
        fn the_same_task_has_the_same_id_and_another_has_another(
            object in uuid(), parts in 1..500u32, other in 1..500u32, part in 0..500u32, next in 0..500u32
        ) {
            let object = ObjectId(object);
            let id = TaskId::of(object, parts, part);
            prop_assert_eq!(id, TaskId::of(object, parts, part));
            prop_assert_eq!((parts, part) == (other, next), id == TaskId::of(object, other, next));
        }

        #[test]
        fn event_ids_differ_in_subject_type_round_and_turn(
            subject in uuid(), other in uuid(), round in 0..9u32, turn in 0..9u32
        ) {
            let ids = HashSet::from([
                EventId::of(subject, "TASK_STARTED", round, turn),
                EventId::of(subject, "TASK_FINISHED", round, turn),
                EventId::of(subject, "TASK_STARTED", round + 1, turn),
                EventId::of(subject, "TASK_STARTED", round, turn + 1),
                EventId::of(other, "TASK_STARTED", round, turn),
            ]);
            prop_assert_eq!(ids.len(), if subject == other { 4 } else { 5 });
            prop_assert!(ids.contains(&EventId::of(subject, "TASK_STARTED", round, turn)));
        }

        #[test]
        fn an_idempotency_key_names_one_object_per_submitter_and_body(
            submitter in uuid(), key in ".{0,40}", other_key in ".{0,40}", body in any::<[u8; 32]>(), other_body in any::<[u8; 32]>()
        ) {
            let id = ObjectId::idempotent(submitter, &key, &body);
            prop_assert_eq!(id, ObjectId::idempotent(submitter, &key, &body));
            prop_assert_eq!(body == other_body, id == ObjectId::idempotent(submitter, &key, &other_body));
            prop_assert_eq!(key == other_key, id == ObjectId::idempotent(submitter, &other_key, &body));
        }
    }
}
