//! A batch of events or of dead letters, folded into what it says of each task and object.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use bus::{
    AnyEvent, DeadLetter, Envelope, Received, Topology,
    events::{Attempt, Json, ObjectCreated, ObjectId, TaskCreated, TaskFinished, TaskOutcome},
};

use super::facts::{Finish, ObjectFacts, Outcome, Place, SplitFailure, Start, TaskFacts};

/// The longest name of an object, a processor or an unknown type that is kept, in characters: lists stay small.
const MAX_NAME_CHARS: usize = 255;
/// The longest error kept, in characters: 100 of them fit into an event, even if each character is escaped.
const MAX_ERROR_CHARS: usize = 2000;

/// An event that was received, in whatever it is held.
pub trait Fact {
    /// What was said of it.
    fn envelope(&self) -> &Envelope;

    /// The event.
    fn event(&self) -> &AnyEvent;
}

impl Fact for Received<AnyEvent> {
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    fn event(&self) -> &AnyEvent {
        &self.event
    }
}

/// What a batch says.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(crate) tasks: BTreeMap<Place, TaskReport<'a>>,
    pub(crate) objects: BTreeMap<ObjectId, ObjectFacts>,
    pub(crate) split_failures: BTreeMap<ObjectId, SplitFailure>,
    /// Deliveries of events of unknown types.
    pub(crate) unknown: BTreeMap<String, i64>,
}

/// What a batch says of a task.
pub(crate) struct TaskReport<'a> {
    pub(crate) facts: TaskFacts,
    /// What the finish that counts brought, if it succeeded.
    pub(crate) result: Option<&'a Json>,
}

impl<'a> Batch<'a> {
    pub(crate) fn of(events: &'a [impl Fact]) -> Self {
        let mut batch = Self::default();
        for fact in events {
            let envelope = fact.envelope();
            let at = envelope.time.as_microsecond();
            match fact.event() {
                AnyEvent::ObjectCreated(event) => batch.object_created(event),
                AnyEvent::TaskCreated(event) => batch.task_created(event, at),
                AnyEvent::TaskStarted(event) => batch.task_started(&event.0, at),
                AnyEvent::TaskFinished(event) => batch.task_finished(event, at),
                // Our own: nothing new.
                AnyEvent::ObjectFinished(_) | AnyEvent::Fence => {}
                AnyEvent::Unknown => {
                    let kind = text(&envelope.kind, MAX_NAME_CHARS);
                    *batch.unknown.entry(kind).or_default() += 1;
                }
            }
        }
        batch
    }

    /// What follows from it that these were set aside: a task that its processors gave up has failed, and so has an object
    /// that the distributor did not split. All others, such as an event that this record did not take, fail nothing.
    pub(crate) fn of_dead_letters(letters: &[DeadLetter], topology: &Topology) -> Self {
        let mut batch = Self::default();
        for letter in letters {
            let (Some(queue), Some(Received { envelope, event, .. })) = (&letter.queue, &letter.event) else {
                continue;
            };
            let at = letter.time.unwrap_or(envelope.time).as_microsecond();
            let error = text(letter.reason.as_deref().unwrap_or("it was set aside"), MAX_ERROR_CHARS);
            match event {
                AnyEvent::TaskCreated(event) if *queue == topology.processor(&event.task.operation).name => {
                    batch.task_died(event, letter.attempt, at, error);
                }
                AnyEvent::ObjectCreated(event) if *queue == topology.distributor().name => {
                    batch.split_failed(event.object.id, SplitFailure { round: Reverse(letter.round), at, error });
                }
                _ => {}
            }
        }
        batch
    }

    /// The objects that it is about.
    pub(crate) fn about(&self) -> BTreeSet<ObjectId> {
        let tasks = self.tasks.keys().map(|place| place.object);
        self.objects.keys().copied().chain(tasks).chain(self.split_failures.keys().copied()).collect()
    }

    /// Takes out what it says of these objects.
    pub(crate) fn leave_out(&mut self, objects: &BTreeSet<ObjectId>) {
        self.objects.retain(|id, _| !objects.contains(id));
        self.tasks.retain(|place, _| !objects.contains(&place.object));
        self.split_failures.retain(|id, _| !objects.contains(id));
    }

    fn object_created(&mut self, event: &ObjectCreated) {
        let object = &event.object;
        let facts = ObjectFacts {
            created_at: object.created_at.as_microsecond(),
            name: text(&object.name, MAX_NAME_CHARS),
            operation: object.operation.to_string(),
            tasks: object.tasks,
            deadline_us: object.deadline_ms.as_micros(),
            parameters: serde_json::Value::Object(object.parameters.clone()).to_string(),
            data: object.data.as_str().to_owned(),
        };
        let joined = match self.objects.remove(&object.id) {
            Some(known) => known.join(facts),
            None => facts,
        };
        self.objects.insert(object.id, joined);
    }

    fn task_created(&mut self, event: &TaskCreated, at: i64) {
        let task = &event.task;
        let place = Place { object: task.object_id, parts: task.parts, part: task.part };
        let mut facts = TaskFacts::of(task.operation.as_str());
        facts.created_at = Some(at);
        self.task(place, facts, None);
    }

    fn task_started(&mut self, attempt: &Attempt, at: i64) {
        let mut facts = TaskFacts::of(attempt.operation.as_str());
        facts.start = Some(Start { at, processor: text(&attempt.processor, MAX_NAME_CHARS) });
        self.task(place(attempt), facts, None);
    }

    fn task_finished(&mut self, event: &'a TaskFinished, at: i64) {
        let attempt = &event.attempt;
        let (outcome, result, error) = match &event.outcome {
            TaskOutcome::Succeeded(result) => (Outcome::Succeeded, Some(result), None),
            TaskOutcome::Failed(error) => (Outcome::Failed, None, Some(text(error, MAX_ERROR_CHARS))),
        };
        let mut facts = TaskFacts::of(attempt.operation.as_str());
        facts.finish = Some(Finish {
            outcome,
            round: Reverse(attempt.round),
            at,
            processor: text(&attempt.processor, MAX_NAME_CHARS),
            attempt: attempt.attempt,
            duration_us: event.duration_ms.as_micros(),
            error,
        });
        self.task(place(attempt), facts, result);
    }

    /// Whoever executed it may have said so too, and earlier: that counts then.
    fn task_died(&mut self, event: &TaskCreated, attempt: u32, at: i64, error: String) {
        let task = &event.task;
        let mut facts = TaskFacts::of(task.operation.as_str());
        facts.finish = Some(Finish {
            outcome: Outcome::Failed,
            round: Reverse(task.round),
            at,
            processor: String::new(),
            attempt,
            duration_us: 0,
            error: Some(error),
        });
        self.task(Place { object: task.object_id, parts: task.parts, part: task.part }, facts, None);
    }

    fn split_failed(&mut self, object: ObjectId, failure: SplitFailure) {
        let joined = match self.split_failures.remove(&object) {
            Some(known) => known.min(failure),
            None => failure,
        };
        self.split_failures.insert(object, joined);
    }

    fn task(&mut self, place: Place, facts: TaskFacts, result: Option<&'a Json>) {
        let Some(known) = self.tasks.remove(&place) else {
            self.tasks.insert(place, TaskReport { facts, result });
            return;
        };
        let told = facts.finish.clone();
        let joined = known.facts.clone().join(facts);
        let news = joined.finish != known.facts.finish && joined.finish == told;
        let report = TaskReport { facts: joined, result: if news { result } else { known.result } };
        self.tasks.insert(place, report);
    }
}

/// The object whose record the event would change.
pub(crate) fn object_of(event: &AnyEvent) -> Option<ObjectId> {
    match event {
        AnyEvent::ObjectCreated(event) => Some(event.object.id),
        AnyEvent::TaskCreated(event) => Some(event.task.object_id),
        AnyEvent::TaskStarted(event) => Some(event.0.object_id),
        AnyEvent::TaskFinished(event) => Some(event.attempt.object_id),
        AnyEvent::ObjectFinished(_) | AnyEvent::Fence | AnyEvent::Unknown => None,
    }
}

fn place(attempt: &Attempt) -> Place {
    Place { object: attempt.object_id, parts: attempt.parts, part: attempt.part }
}

/// Text as SQLite keeps it: NUL, which ends a text for many of its functions, is replaced.
pub(crate) fn text(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(|c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
