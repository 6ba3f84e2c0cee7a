//! The rows of tasks and of their partial results.

use std::{cmp::Reverse, collections::BTreeMap, collections::BTreeSet};

use bus::events::{Json, ObjectId};
use sqlx::SqliteConnection;

use super::{
    batch::TaskReport,
    execute_rows,
    facts::{Finish, Outcome, Place, Start, TaskFacts},
    fetch_rows,
    figures::Deltas,
};

const LOAD: &str = "
    SELECT k.key, t.operation, t.created_at, t.started_at, t.started_by, t.outcome, t.finish_round,
           t.finished_at, t.processor, t.attempt, t.duration, t.error
    FROM jsonb_each(?1) AS k
    CROSS JOIN tasks AS t
    ON t.object_id = k.value ->> 0 AND t.parts = k.value ->> 1 AND t.part = k.value ->> 2";

const STORE: &str = "
    INSERT INTO tasks
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
           value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
    FROM jsonb_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET
        operation = excluded.operation, created_at = excluded.created_at,
        started_at = excluded.started_at, started_by = excluded.started_by,
        outcome = excluded.outcome, finish_round = excluded.finish_round,
        finished_at = excluded.finished_at, processor = excluded.processor,
        attempt = excluded.attempt, duration = excluded.duration, error = excluded.error";

/// What a succeeded object was gathered from stays as it is.
const STORE_PARTIALS: &str = "
    INSERT INTO partials
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET result = excluded.result
    WHERE NOT EXISTS (SELECT 1 FROM objects WHERE id = excluded.object_id AND status = 'succeeded')";

/// Merges the reports of tasks. Returns the objects of which a task's end has changed.
pub(super) async fn merge(
    connection: &mut SqliteConnection,
    reports: BTreeMap<Place, TaskReport<'_>>,
    deltas: &mut Deltas,
) -> sqlx::Result<BTreeSet<ObjectId>> {
    let mut known = load(connection, reports.keys()).await?;
    let mut finished = BTreeSet::new();
    let mut changed = Vec::new();
    let mut partials = Vec::new();
    for (number, (place, report)) in reports.into_iter().enumerate() {
        let before = known.remove(&(number as i64));
        #[cfg(feature = "break-rules")]
        let before = before.map(|before| forgetting(before, &report.facts));
        let after = match &before {
            Some(before) => before.clone().join(report.facts),
            None => report.facts,
        };
        if before.as_ref() == Some(&after) {
            continue;
        }
        deltas.task(before.as_ref(), &after);
        if after.finish != before.and_then(|before| before.finish) {
            finished.insert(place.object);
            // The end that is new is the report's, and so is its result.
            if let Some(result) = report.result {
                partials.push((place, result));
            }
        }
        changed.push((place, after));
    }
    store(connection, &changed).await?;
    store_partials(connection, &partials).await?;
    Ok(finished)
}

/// Without the end, if there is another one: it counts again, and the last one wins.
#[cfg(feature = "break-rules")]
fn forgetting(before: TaskFacts, report: &TaskFacts) -> TaskFacts {
    let forgets = report.finish.is_some() && bus::broken::is_broken("merge-not-a-join");
    TaskFacts { finish: before.finish.filter(|_| !forgets), ..before }
}

/// The known facts, by the number of their place.
async fn load<'a>(
    connection: &mut SqliteConnection,
    places: impl Iterator<Item = &'a Place>,
) -> sqlx::Result<BTreeMap<i64, TaskFacts>> {
    let keys = places.map(|place| (place.object, place.parts, place.part));
    let rows: Vec<Row> = fetch_rows(connection, LOAD, keys).await?;
    Ok(rows.into_iter().map(|row| (row.key, row.into())).collect())
}

async fn store(connection: &mut SqliteConnection, tasks: &[(Place, TaskFacts)]) -> sqlx::Result<()> {
    let rows = tasks.iter().map(|(place, facts)| {
        let start = facts.start.as_ref();
        let finish = facts.finish.as_ref();
        (
            place.object,
            place.parts,
            place.part,
            &facts.operation,
            facts.created_at,
            start.map(|start| start.at),
            start.map(|start| &start.processor),
            finish.map(|finish| finish.outcome.as_str()),
            finish.map(|finish| finish.round.0),
            finish.map(|finish| finish.at),
            finish.map(|finish| &finish.processor).filter(|processor| !processor.is_empty()),
            finish.map(|finish| finish.attempt),
            finish.map(|finish| finish.duration_us),
            finish.map(|finish| &finish.error),
        )
    });
    execute_rows(connection, STORE, rows).await
}

async fn store_partials(connection: &mut SqliteConnection, partials: &[(Place, &Json)]) -> sqlx::Result<()> {
    let rows = partials.iter().map(|(place, result)| (place.object, place.parts, place.part, result.as_str()));
    execute_rows(connection, STORE_PARTIALS, rows).await
}

#[derive(sqlx::FromRow)]
struct Row {
    key: i64,
    operation: String,
    created_at: Option<i64>,
    started_at: Option<i64>,
    started_by: Option<String>,
    outcome: Option<String>,
    finish_round: Option<u32>,
    finished_at: Option<i64>,
    processor: Option<String>,
    attempt: Option<u32>,
    duration: Option<i64>,
    error: Option<String>,
}

impl From<Row> for TaskFacts {
    fn from(row: Row) -> Self {
        let start = row.started_at.map(|at| Start { at, processor: row.started_by.unwrap_or_default() });
        let finish = row.outcome.map(|outcome| Finish {
            outcome: if outcome == Outcome::Succeeded.as_str() { Outcome::Succeeded } else { Outcome::Failed },
            round: Reverse(row.finish_round.unwrap_or_default()),
            at: row.finished_at.unwrap_or_default(),
            processor: row.processor.unwrap_or_default(),
            attempt: row.attempt.unwrap_or_default(),
            duration_us: row.duration.unwrap_or_default(),
            error: row.error,
        });
        Self { operation: row.operation, created_at: row.created_at, start, finish }
    }
}
