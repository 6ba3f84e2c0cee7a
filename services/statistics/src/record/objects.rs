//! The rows of objects, as far as their creation goes.

use std::collections::{BTreeMap, BTreeSet};

use bus::events::{Milliseconds, ObjectId};
use sqlx::SqliteConnection;

use super::{
    array,
    facts::ObjectFacts,
    fetch_rows,
    figures::{Deltas, ObjectState, Status},
};

/// Reads the data too; but only an object that is created again is here already.
const LOAD: &str = "
    SELECT k.key, o.name, o.operation, o.tasks, o.deadline, o.created_at, o.status, o.finished_at,
           o.duration, o.parameters, o.data
    FROM jsonb_each(?1) AS k CROSS JOIN objects AS o ON o.id = k.value";

/// When it is due is decided once, when it is first heard of.
const STORE: &str = "
    INSERT INTO objects (id, name, operation, tasks, deadline, due_at, created_at, duration, parameters, data)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 + (value ->> 4), value ->> 5, value ->> 6,
           value ->> 7, value ->> 8
    FROM jsonb_each(?1) WHERE true
    ON CONFLICT (id) DO UPDATE SET
        name = excluded.name, operation = excluded.operation, tasks = excluded.tasks,
        deadline = excluded.deadline, created_at = excluded.created_at, duration = excluded.duration,
        parameters = excluded.parameters, data = excluded.data";

/// Merges the reports of creations, which are heard of at `now`. Returns the objects that are new or changed.
pub(super) async fn merge(
    connection: &mut SqliteConnection,
    reports: BTreeMap<ObjectId, ObjectFacts>,
    now: i64,
    deltas: &mut Deltas,
) -> sqlx::Result<BTreeSet<ObjectId>> {
    let rows: Vec<Row> = fetch_rows(connection, LOAD, reports.keys()).await?;
    let mut known: BTreeMap<i64, Row> = rows.into_iter().map(|row| (row.key, row)).collect();
    let mut changed = Vec::new();
    for (number, (id, report)) in reports.into_iter().enumerate() {
        let Some(row) = known.remove(&(number as i64)) else {
            let state = ObjectState { operation: &report.operation, status: Status::Open, duration_us: None };
            deltas.object(None, state);
            changed.push((id, report, None));
            continue;
        };
        let (status, finished_at, duration_us) = (row.status, row.finished_at, row.duration);
        let before = ObjectFacts::from(row);
        let after = before.clone().join(report);
        if after == before {
            continue;
        }
        let new_duration_us = finished_at.map(|end| duration(after.created_at, end));
        let state = |facts, duration_us| ObjectState { operation: facts, status, duration_us };
        deltas.object(Some(state(&before.operation, duration_us)), state(&after.operation, new_duration_us));
        changed.push((id, after, new_duration_us));
    }
    store(connection, &changed, now).await?;
    Ok(changed.into_iter().map(|(id, ..)| id).collect())
}

/// From an object's acceptance to its end, in microseconds: clocks differ, so it may seem to end before.
pub(crate) fn duration(created_at: i64, finished_at: i64) -> i64 {
    Milliseconds::from_micros(finished_at.saturating_sub(created_at)).as_micros()
}

async fn store(
    connection: &mut SqliteConnection,
    objects: &[(ObjectId, ObjectFacts, Option<i64>)],
    now: i64,
) -> sqlx::Result<()> {
    let rows = objects.iter().map(|(id, facts, duration_us)| {
        (
            id,
            &facts.name,
            &facts.operation,
            facts.tasks,
            facts.deadline_us,
            facts.created_at,
            duration_us,
            &facts.parameters,
            &facts.data,
        )
    });
    let Some(rows) = array(rows)? else {
        return Ok(());
    };
    sqlx::query(STORE).bind(rows).bind(now).execute(connection).await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    key: i64,
    name: String,
    operation: String,
    tasks: u32,
    deadline: i64,
    created_at: i64,
    status: Status,
    finished_at: Option<i64>,
    duration: Option<i64>,
    parameters: String,
    data: String,
}

impl From<Row> for ObjectFacts {
    fn from(row: Row) -> Self {
        Self {
            created_at: row.created_at,
            name: row.name,
            operation: row.operation,
            tasks: row.tasks,
            deadline_us: row.deadline,
            parameters: row.parameters,
            data: row.data,
        }
    }
}
