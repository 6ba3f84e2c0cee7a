//! What is known of a task and of an object, and how two reports of it become one.
//!
//! Every join is a minimum, so it is commutative, associative and idempotent: any order and any
//! repetition of events gives the same record. The fields of what is compared whole stand in the order in
//! which they decide.

use std::cmp::Reverse;

use bus::events::ObjectId;

/// The place of a task: one part of one split of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The object.
    pub object: ObjectId,
    /// Into how many parts it was split.
    pub parts: u32,
    /// Which part, from 0.
    pub part: u32,
}

/// What is known of a task. Points in time are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFacts {
    /// What is done.
    pub operation: String,
    /// When it was split off.
    pub created_at: Option<i64>,
    /// Its first start.
    pub start: Option<Start>,
    /// The end that counts.
    pub finish: Option<Finish>,
}

/// A start; the earlier one counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    /// When.
    pub at: i64,
    /// Who.
    pub processor: String,
}

/// An end; the lesser one counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finish {
    /// Succeeded before failed, whatever the round.
    pub outcome: Outcome,
    /// The higher one counts.
    pub round: Reverse<u32>,
    /// When.
    pub at: i64,
    /// Who; empty if nobody is known who came to this end.
    pub processor: String,
    /// In which attempt.
    pub attempt: u32,
    /// How long it took, in microseconds.
    pub duration_us: i64,
    /// Why it failed.
    pub error: Option<String>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// That the splitting of an object was given up; the lesser one counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SplitFailure {
    /// The higher one counts.
    pub round: Reverse<u32>,
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Why.
    pub error: String,
}

/// What is known of an object from its creation; when told differently, the lesser one counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct ObjectFacts {
    pub created_at: i64,
    pub name: String,
    pub operation: String,
    pub tasks: u32,
    pub deadline_us: i64,
    pub parameters: String,
    pub data: String,
}

impl Outcome {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl TaskFacts {
    /// Nothing but that there is such a task.
    pub fn of(operation: &str) -> Self {
        Self { operation: operation.to_owned(), created_at: None, start: None, finish: None }
    }

    /// What both know.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            operation: self.operation.min(other.operation),
            created_at: least(self.created_at, other.created_at),
            start: least(self.start, other.start),
            finish: least(self.finish, other.finish),
        }
    }
}

impl ObjectFacts {
    /// What counts of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.min(other)
    }
}

/// The lesser of those that are there.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> impl Strategy<Value = Start> {
        (0..3i64, "[ab]").prop_map(|(at, processor)| Start { at, processor })
    }

    fn finish() -> impl Strategy<Value = Finish> {
        let outcome = prop_oneof![Just(Outcome::Succeeded), Just(Outcome::Failed)];
        let error = prop::option::of("[xy]");
        (outcome, 0..2u32, 0..3i64, "[ab]", 1..3u32, 0..3i64, error).prop_map(
            |(outcome, round, at, processor, attempt, duration_us, error)| Finish {
                outcome,
                round: Reverse(round),
                at,
                processor,
                attempt,
                duration_us,
                error,
            },
        )
    }

    fn task() -> impl Strategy<Value = TaskFacts> {
        let options = (prop::option::of(0..3i64), prop::option::of(start()), prop::option::of(finish()));
        ("[pq]", options).prop_map(|(operation, (created_at, start, finish))| TaskFacts {
            operation,
            created_at,
            start,
            finish,
        })
    }

    fn object() -> impl Strategy<Value = ObjectFacts> {
        (0..3i64, "[ab]", "[pq]", 1..3u32, 0..3i64, "[ab]", "[ab]").prop_map(
            |(created_at, name, operation, tasks, deadline_us, parameters, data)| ObjectFacts {
                created_at,
                name,
                operation,
                tasks,
                deadline_us,
                parameters,
                data,
            },
        )
    }

    proptest! {
        #[test]
        fn joining_tasks_is_commutative_associative_and_idempotent(a in task(), b in task(), c in task()) {
            let (a, b, c) = (|| a.clone(), || b.clone(), || c.clone());
            prop_assert_eq!(a().join(b()), b().join(a()));
            prop_assert_eq!(a().join(b()).join(c()), a().join(b().join(c())));
            prop_assert_eq!(a().join(b()).join(b()), a().join(b()));
            prop_assert_eq!(a().join(a()), a());
        }

        #[test]
        fn joining_objects_is_commutative_associative_and_idempotent(a in object(), b in object(), c in object()) {
            let (a, b, c) = (|| a.clone(), || b.clone(), || c.clone());
            prop_assert_eq!(a().join(b()), b().join(a()));
            prop_assert_eq!(a().join(b()).join(c()), a().join(b().join(c())));
            prop_assert_eq!(a().join(b()).join(b()), a().join(b()));
        }

        #[test]
        fn a_success_counts_then_the_higher_round_then_the_earlier_end_then_the_smaller_name(
            a in finish(), b in finish()
        ) {
            let both = least(Some(a.clone()), Some(b.clone()));
            let decided = a.outcome.cmp(&b.outcome)
                .then(b.round.0.cmp(&a.round.0))
                .then(a.at.cmp(&b.at))
                .then(a.processor.cmp(&b.processor));
            if decided.is_lt() {
                prop_assert_eq!(both, Some(a));
            } else if decided.is_gt() {
                prop_assert_eq!(both, Some(b));
            }
        }
    }
}
