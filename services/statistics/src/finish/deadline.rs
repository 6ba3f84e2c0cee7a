//! Closing objects that are due, and saying what is missing.

use bus::events::{MAX_ERRORS, Milliseconds, ObjectFinished, ObjectId, ObjectOutcome, TaskError};
use sqlx::SqliteConnection;

use super::{Finished, announce};
use crate::record::{
    Status, execute_rows,
    figures::{Deltas, ObjectState},
    objects::duration,
};

/// How many are closed in one transaction: merging waits for it, and each may have thousands of parts to look at.
pub(crate) const MAX_TIMED_OUT: u32 = 100;

const DUE: &str = "
    SELECT id, operation, deadline, created_at, due_at, revision FROM objects
    WHERE status = 'open' AND due_at <= ?1 ORDER BY due_at LIMIT ?2";

/// Of the largest split, if there are several, as everywhere as long as none has decided.
const PARTS: &str = "
    SELECT parts, part, started_by, outcome, error FROM tasks
    WHERE object_id = ?1 AND parts = (SELECT max(parts) FROM tasks WHERE object_id = ?1)
    ORDER BY part";

const STORE: &str = "
    UPDATE objects SET
        status = 'timed_out', parts = c.value ->> 1, finished_at = due_at, duration = c.value ->> 2, error = c.value ->> 3,
        closed_at = c.value ->> 4
    FROM jsonb_each(?1) AS c WHERE objects.id = c.value ->> 0";

/// Closes objects that were due at `cutoff`.
pub(crate) async fn time_out(
    connection: &mut SqliteConnection,
    cutoff: i64,
    deltas: &mut Deltas,
) -> anyhow::Result<Finished> {
    let due: Vec<Due> = sqlx::query_as(DUE).bind(cutoff).bind(MAX_TIMED_OUT).fetch_all(&mut *connection).await?;
    let closed_at = bus::now().as_microsecond();
    let (mut rows, mut events, mut finished) = (Vec::new(), Vec::new(), Finished::default());
    for object in due {
        let parts: Vec<Part> = sqlx::query_as(PARTS).bind(&object.id).fetch_all(&mut *connection).await?;
        let id: ObjectId = object.id.parse()?;
        let duration_us = duration(object.created_at, object.due_at);
        let state = |status, duration_us| ObjectState { operation: &object.operation, status, duration_us };
        deltas.object(Some(state(Status::Open, None)), state(Status::TimedOut, Some(duration_us)));
        let missing = Missing::of(&parts);
        let error = missing.summary(object.deadline);
        rows.push((object.id, parts.first().map(|part| part.parts), duration_us, error.clone(), closed_at));
        events.push(ObjectFinished {
            object_id: id,
            operation: object.operation.parse()?,
            outcome: ObjectOutcome::TimedOut(missing.errors(error)),
            duration_ms: Milliseconds::from_micros(duration_us),
            revision: object.revision,
        });
        finished.closed.push(id);
    }
    execute_rows(connection, STORE, rows.iter()).await?;
    finished.announced = events.len();
    announce::announce(connection, &events).await?;
    Ok(finished)
}

#[derive(sqlx::FromRow)]
struct Due {
    id: String,
    operation: String,
    deadline: i64,
    created_at: i64,
    due_at: i64,
    revision: u32,
}

#[derive(sqlx::FromRow)]
struct Part {
    parts: u32,
    part: u32,
    started_by: Option<String>,
    outcome: Option<String>,
    error: Option<String>,
}

/// Why an object is not finished.
struct Missing {
    /// Into how many parts it was split, as far as is known.
    parts: usize,
    /// Those without an outcome.
    open: Vec<TaskError>,
    /// Those that failed.
    failed: Vec<TaskError>,
}

impl Missing {
    fn of(known: &[Part]) -> Self {
        let parts = known.first().map_or(0, |part| part.parts);
        let (mut open, mut failed) = (Vec::new(), Vec::new());
        let mut known = known.iter().peekable();
        for number in 0..parts {
            let task = known.next_if(|task| task.part == number);
            let error = |error: String| TaskError { part: Some(number), error };
            match task.map(|task| (task.outcome.as_deref(), task)) {
                None => open.push(error("nothing is known of it".to_owned())),
                Some((None, Part { started_by: Some(processor), .. })) => {
                    open.push(error(format!("started by {processor} and not finished")));
                }
                Some((None, _)) => open.push(error("not started".to_owned())),
                Some((Some("failed"), task)) => failed.push(error(task.error.clone().unwrap_or_default())),
                Some(_) => {}
            }
        }
        Self { parts: parts as usize, open, failed }
    }

    /// In one sentence.
    fn summary(&self, deadline_us: i64) -> String {
        let deadline = Milliseconds::from_micros(deadline_us).get();
        match (self.parts, self.open.len(), self.failed.len()) {
            (0, ..) => format!("not finished within its deadline of {deadline} ms: it was never split"),
            (parts, open, 0) => {
                format!("not finished within its deadline of {deadline} ms: {open} of {parts} parts have no outcome")
            }
            (parts, open, failed) => format!(
                "not finished within its deadline of {deadline} ms: {open} of {parts} parts have no outcome, {failed} failed"
            ),
        }
    }

    /// The parts, as many as travel, and the whole.
    fn errors(self, summary: String) -> Vec<TaskError> {
        let mut errors: Vec<TaskError> = self.open.into_iter().chain(self.failed).collect();
        let left_out = (errors.len() + 1).saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS - 1);
        let error = if left_out > 0 { format!("{summary} ({left_out} of them are not listed)") } else { summary };
        errors.push(TaskError { part: None, error });
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(part: u32, parts: u32) -> Part {
        Part { parts, part, started_by: None, outcome: None, error: None }
    }

    #[test]
    fn what_is_missing_is_told_part_by_part_and_in_a_sentence() {
        let started = Part { started_by: Some("p".to_owned()), ..part(1, 5) };
        let failed = Part { outcome: Some("failed".to_owned()), error: Some("broke".to_owned()), ..part(2, 5) };
        let succeeded = Part { outcome: Some("succeeded".to_owned()), ..part(4, 5) };
        let missing = Missing::of(&[part(0, 5), started, failed, succeeded]);
        let summary = missing.summary(1_500_000);
        assert_eq!(summary, "not finished within its deadline of 1500 ms: 3 of 5 parts have no outcome, 1 failed");
        let told: Vec<_> = missing.errors(summary.clone()).into_iter().map(|error| (error.part, error.error)).collect();
        let expected = [
            (Some(0), "not started"),
            (Some(1), "started by p and not finished"),
            (Some(3), "nothing is known of it"),
            (Some(2), "broke"),
            (None, summary.as_str()),
        ];
        assert_eq!(told, expected.map(|(part, error)| (part, error.to_owned())));
        assert!(Missing::of(&[]).summary(1000).ends_with("it was never split"));
    }

    #[test]
    fn no_more_is_told_than_travels_and_how_much_more_there_is() {
        let missing = Missing::of(&[part(0, 250)]);
        let errors = missing.errors("late".to_owned());
        assert_eq!(errors.len(), MAX_ERRORS);
        assert_eq!(errors[MAX_ERRORS - 1].error, "late (151 of them are not listed)");
    }
}
