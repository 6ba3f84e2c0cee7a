//! Putting `OBJECT_FINISHED` into the outbox, in the transaction that closes the object.

use std::collections::BTreeMap;

use anyhow::Context;
use bus::events::{
    Json, MAX_ERRORS, MAX_INLINE_RESULT_BYTES, Milliseconds, ObjectFinished, ObjectId, ObjectOutcome, ObjectResult,
    TaskError,
};
use sqlx::SqliteConnection;

use super::Closing;
use crate::record::{Status, execute_rows, fetch_rows};

/// The first errors of each split.
const ERRORS: &str = "
    SELECT key, part, error FROM (
        SELECT k.key, t.part, t.error, row_number() OVER (PARTITION BY k.key ORDER BY t.part) AS number
        FROM jsonb_each(?1) AS k
        CROSS JOIN tasks AS t ON t.object_id = k.value ->> 0 AND t.parts = k.value ->> 1
        WHERE t.outcome = 'failed')
    WHERE number <= 100
    ORDER BY key, part";
const _: () = assert!(MAX_ERRORS == 100, "the statement says so too");

const STORE: &str = "
    INSERT INTO outbox (time, event) SELECT value ->> 0, value ->> 1 FROM jsonb_each(?1)";

/// Announces objects that closed by their splits.
pub(super) async fn closings(connection: &mut SqliteConnection, closings: Vec<Closing>) -> anyhow::Result<()> {
    let mut errors = errors(connection, &closings).await?;
    let mut events = Vec::with_capacity(closings.len());
    for closing in closings {
        let errors = errors.remove(&closing.split.object).unwrap_or_default();
        events.push(event(closing, errors)?);
    }
    announce(connection, &events).await
}

/// Puts events into the outbox.
pub(super) async fn announce(connection: &mut SqliteConnection, events: &[ObjectFinished]) -> anyhow::Result<()> {
    // Now, and not when the last task ended: after a replay that may be long ago.
    let time = bus::now().as_microsecond();
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        rows.push((time, serde_json::to_string(event).context("an event cannot be written")?));
    }
    execute_rows(connection, STORE, rows.iter()).await?;
    Ok(())
}

/// The errors of the parts of those that failed.
async fn errors(
    connection: &mut SqliteConnection,
    closings: &[Closing],
) -> sqlx::Result<BTreeMap<ObjectId, Vec<TaskError>>> {
    let failed: Vec<_> = closings
        .iter()
        .filter(|closing| closing.status == Status::Failed)
        .map(|closing| (closing.split.object, closing.split.parts))
        .collect();
    let rows: Vec<(i64, u32, String)> = fetch_rows(connection, ERRORS, failed.iter()).await?;
    let mut errors: BTreeMap<ObjectId, Vec<TaskError>> = BTreeMap::new();
    for (key, part, error) in rows {
        if let Some((object, _)) = usize::try_from(key).ok().and_then(|key| failed.get(key)) {
            let error = TaskError { part: Some(part), error };
            errors.entry(*object).or_default().push(error);
        }
    }
    Ok(errors)
}

fn event(closing: Closing, mut errors: Vec<TaskError>) -> anyhow::Result<ObjectFinished> {
    let split = closing.split;
    let outcome = match (closing.status, closing.result) {
        (Status::Succeeded, Some(result)) => ObjectOutcome::Succeeded(travelling(split.object, result)?),
        (_, _) => {
            errors.extend(closing.error.map(|error| TaskError { part: None, error }));
            ObjectOutcome::Failed(errors)
        }
    };
    Ok(ObjectFinished {
        object_id: split.object,
        operation: split.operation.parse().context("the record has an impossible operation")?,
        outcome,
        duration_ms: Milliseconds::from_micros(closing.duration_us),
        revision: closing.revision,
    })
}

/// Where the object and its result are read.
pub(crate) fn location(object: ObjectId) -> String {
    format!("/api/objects/{object}")
}

/// A result as it travels: whole if it is short, else where it is.
fn travelling(object: ObjectId, result: String) -> anyhow::Result<ObjectResult> {
    if result.len() <= MAX_INLINE_RESULT_BYTES {
        let result: Json = result.parse().context("a gathered result is not JSON")?;
        return Ok(ObjectResult::Inline(result));
    }
    Ok(ObjectResult::Stored { bytes: result.len() as u64, location: location(object) })
}
