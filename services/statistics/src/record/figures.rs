//! Running figures: what counting the rows would give, kept by adding what each changed row changes.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{
    durations::{bucket, middle_us},
    facts::{Outcome, TaskFacts},
};

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;

/// The figures of an operation, in the order of the table's columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Figures {
    /// Rows of objects.
    pub objects_created: i64,
    /// Of these, so many succeeded.
    pub objects_succeeded: i64,
    /// Failed.
    pub objects_failed: i64,
    /// Were closed by their deadline.
    pub objects_timed_out: i64,
    /// How long the finished ones took: whole seconds,
    pub objects_s: i64,
    /// and the microseconds beyond them.
    pub objects_us: i64,
    /// Rows of tasks.
    pub tasks_distributed: i64,
    /// Started and not finished.
    pub tasks_in_progress: i64,
    /// Succeeded.
    pub tasks_succeeded: i64,
    /// Failed.
    pub tasks_failed: i64,
    /// How long the finished ones took: whole seconds,
    pub tasks_s: i64,
    /// and the microseconds beyond them.
    pub tasks_us: i64,
    /// Rows of objects that are gone again.
    pub objects_pruned: i64,
    /// Rows of tasks that are gone again.
    pub tasks_pruned: i64,
}

/// The figures of a processor: a start counts for whoever started first, an end for whose end counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct ProcessorFigures {
    pub tasks_in_progress: i64,
    pub tasks_succeeded: i64,
    pub tasks_failed: i64,
    pub tasks_s: i64,
    pub tasks_us: i64,
    /// Of those that had ended, rows that are gone again.
    pub tasks_pruned: i64,
}

/// What of an object counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectState<'a> {
    pub(crate) operation: &'a str,
    pub(crate) status: Status,
    pub(crate) duration_us: Option<i64>,
}

/// Where an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Status {
    Open,
    Succeeded,
    Failed,
    TimedOut,
}

impl Figures {
    /// Adds those of others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.objects_created += other.objects_created;
        self.objects_succeeded += other.objects_succeeded;
        self.objects_failed += other.objects_failed;
        self.objects_timed_out += other.objects_timed_out;
        self.objects_s += other.objects_s;
        self.objects_us += other.objects_us;
        self.tasks_distributed += other.tasks_distributed;
        self.tasks_in_progress += other.tasks_in_progress;
        self.tasks_succeeded += other.tasks_succeeded;
        self.tasks_failed += other.tasks_failed;
        self.tasks_s += other.tasks_s;
        self.tasks_us += other.tasks_us;
        self.objects_pruned += other.objects_pruned;
        self.tasks_pruned += other.tasks_pruned;
    }
}

impl ProcessorFigures {
    fn add(&mut self, other: &Self) {
        self.tasks_in_progress += other.tasks_in_progress;
        self.tasks_succeeded += other.tasks_succeeded;
        self.tasks_failed += other.tasks_failed;
        self.tasks_s += other.tasks_s;
        self.tasks_us += other.tasks_us;
        self.tasks_pruned += other.tasks_pruned;
    }
}

impl Status {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What is to be added to the figures.
#[derive(Default)]
pub(crate) struct Deltas {
    operations: BTreeMap<String, Figures>,
    processors: BTreeMap<String, ProcessorFigures>,
    /// By kind, operation and bucket.
    durations: BTreeMap<(&'static str, String, i64), i64>,
}

impl Deltas {
    /// A task's row changed.
    pub(crate) fn task(&mut self, before: Option<&TaskFacts>, after: &TaskFacts) {
        if let Some(before) = before {
            self.count_task(before, -1);
        }
        self.count_task(after, 1);
    }

    /// A task's row is gone. If it had not ended, whoever had started it is not waited for any more.
    pub(crate) fn task_pruned(&mut self, operation: &str, ended: bool, processor: Option<&str>) {
        let figures = entry(&mut self.operations, operation);
        figures.tasks_pruned += 1;
        let Some(processor) = processor.map(|name| entry(&mut self.processors, name)) else {
            return;
        };
        if ended {
            processor.tasks_pruned += 1;
        } else {
            figures.tasks_in_progress -= 1;
            processor.tasks_in_progress -= 1;
        }
    }

    /// An object's row is gone.
    pub(crate) fn object_pruned(&mut self, operation: &str) {
        entry(&mut self.operations, operation).objects_pruned += 1;
    }

    /// Figures count for this operation from now on.
    pub(crate) fn add_operation(&mut self, operation: &str, figures: &Figures) {
        entry(&mut self.operations, operation).add(figures);
    }

    /// Figures count for this processor from now on.
    pub(crate) fn add_processor(&mut self, processor: &str, figures: &ProcessorFigures) {
        entry(&mut self.processors, processor).add(figures);
    }

    /// So many spans of this bucket count for this operation from now on.
    pub(crate) fn add_durations(&mut self, kind: &'static str, operation: &str, bucket: i64, count: i64) {
        *self.durations.entry((kind, operation.to_owned(), bucket)).or_default() += count;
    }

    /// An object's row changed.
    pub(crate) fn object(&mut self, before: Option<ObjectState<'_>>, after: ObjectState<'_>) {
        if let Some(before) = before {
            self.count_object(before, -1);
        }
        self.count_object(after, 1);
    }

    fn count_task(&mut self, task: &TaskFacts, times: i64) {
        let figures = entry(&mut self.operations, &task.operation);
        figures.tasks_distributed += times;
        let Some(finish) = &task.finish else {
            if let Some(start) = &task.start {
                figures.tasks_in_progress += times;
                entry(&mut self.processors, &start.processor).tasks_in_progress += times;
            }
            return;
        };
        let (seconds, microseconds) = split(finish.duration_us);
        let (succeeded, failed) = match finish.outcome {
            Outcome::Succeeded => (times, 0),
            Outcome::Failed => (0, times),
        };
        figures.tasks_succeeded += succeeded;
        figures.tasks_failed += failed;
        figures.tasks_s += times * seconds;
        figures.tasks_us += times * microseconds;
        // Of one that was given up nobody may have said that it ended.
        if !finish.processor.is_empty() {
            let processor = entry(&mut self.processors, &finish.processor);
            processor.tasks_succeeded += succeeded;
            processor.tasks_failed += failed;
            processor.tasks_s += times * seconds;
            processor.tasks_us += times * microseconds;
        }
        self.count_duration("task", &task.operation, finish.duration_us, times);
    }

    fn count_object(&mut self, object: ObjectState<'_>, times: i64) {
        let figures = entry(&mut self.operations, object.operation);
        figures.objects_created += times;
        match object.status {
            Status::Open => {}
            Status::Succeeded => figures.objects_succeeded += times,
            Status::Failed => figures.objects_failed += times,
            Status::TimedOut => figures.objects_timed_out += times,
        }
        if let Some(duration_us) = object.duration_us {
            let (seconds, microseconds) = split(duration_us);
            figures.objects_s += times * seconds;
            figures.objects_us += times * microseconds;
            self.count_duration("object", object.operation, duration_us, times);
        }
    }

    fn count_duration(&mut self, kind: &'static str, operation: &str, span_us: i64, times: i64) {
        self.add_durations(kind, operation, bucket(span_us), times);
    }

    /// What changed, by operation.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &Figures)> {
        self.operations.iter().map(|(name, figures)| (name.as_str(), figures))
    }

    /// Adds all of it.
    pub(crate) async fn write(mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.operations.retain(|_, figures| *figures != Figures::default());
        self.processors.retain(|_, figures| *figures != ProcessorFigures::default());
        self.durations.retain(|_, count| *count != 0);
        self.write_operations(connection).await?;
        self.write_processors(connection).await?;
        self.write_durations(connection).await
    }

    async fn write_operations(&self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let rows = self.operations.iter().map(|(operation, f)| {
            (
                operation,
                [f.objects_created, f.objects_succeeded, f.objects_failed, f.objects_timed_out],
                [f.objects_s, f.objects_us],
                [f.tasks_distributed, f.tasks_in_progress, f.tasks_succeeded, f.tasks_failed],
                [f.tasks_s, f.tasks_us],
                [f.objects_pruned, f.tasks_pruned],
            )
        });
        super::execute_rows(
            connection,
            "INSERT INTO figures
             SELECT value ->> 0, value ->> '$[1][0]', value ->> '$[1][1]', value ->> '$[1][2]', value ->> '$[1][3]',
                    value ->> '$[2][0]', value ->> '$[2][1]',
                    value ->> '$[3][0]', value ->> '$[3][1]', value ->> '$[3][2]', value ->> '$[3][3]',
                    value ->> '$[4][0]', value ->> '$[4][1]', value ->> '$[5][0]', value ->> '$[5][1]'
             FROM jsonb_each(?1) WHERE true
             ON CONFLICT DO UPDATE SET
                objects_created = objects_created + excluded.objects_created,
                objects_succeeded = objects_succeeded + excluded.objects_succeeded,
                objects_failed = objects_failed + excluded.objects_failed,
                objects_timed_out = objects_timed_out + excluded.objects_timed_out,
                objects_s = objects_s + excluded.objects_s,
                objects_us = objects_us + excluded.objects_us,
                tasks_distributed = tasks_distributed + excluded.tasks_distributed,
                tasks_in_progress = tasks_in_progress + excluded.tasks_in_progress,
                tasks_succeeded = tasks_succeeded + excluded.tasks_succeeded,
                tasks_failed = tasks_failed + excluded.tasks_failed,
                tasks_s = tasks_s + excluded.tasks_s,
                tasks_us = tasks_us + excluded.tasks_us,
                objects_pruned = objects_pruned + excluded.objects_pruned,
                tasks_pruned = tasks_pruned + excluded.tasks_pruned",
            rows,
        )
        .await
    }

    async fn write_processors(&self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let rows = self.processors.iter().map(|(processor, f)| {
            let ProcessorFigures { tasks_in_progress, tasks_succeeded, tasks_failed, tasks_s, tasks_us, tasks_pruned } =
                f;
            (processor, tasks_in_progress, tasks_succeeded, tasks_failed, tasks_s, tasks_us, tasks_pruned)
        });
        super::execute_rows(
            connection,
            "INSERT INTO processor_figures
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
             FROM jsonb_each(?1) WHERE true
             ON CONFLICT DO UPDATE SET
                tasks_in_progress = tasks_in_progress + excluded.tasks_in_progress,
                tasks_succeeded = tasks_succeeded + excluded.tasks_succeeded,
                tasks_failed = tasks_failed + excluded.tasks_failed,
                tasks_s = tasks_s + excluded.tasks_s,
                tasks_us = tasks_us + excluded.tasks_us,
                tasks_pruned = tasks_pruned + excluded.tasks_pruned",
            rows,
        )
        .await
    }

    async fn write_durations(&self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        let rows = self
            .durations
            .iter()
            .map(|((kind, operation, bucket), count)| (kind, operation, bucket, middle_us(*bucket), count));
        super::execute_rows(
            connection,
            "INSERT INTO durations
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
             FROM jsonb_each(?1) WHERE true
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
            rows,
        )
        .await
    }
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    map.entry(name.to_owned()).or_default()
}

/// Whole seconds, and the microseconds beyond them.
fn split(span_us: i64) -> (i64, i64) {
    (span_us / MICROSECONDS_PER_SECOND, span_us % MICROSECONDS_PER_SECOND)
}
