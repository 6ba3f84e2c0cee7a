//! Events of types that are not ours, or not yet: counted, each delivery.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::{execute_rows, others::OTHERS};

/// How many types are counted apart: their names are the sender's choice.
const MAX_TYPES: i64 = 1000;

pub(super) async fn count(connection: &mut SqliteConnection, events: BTreeMap<String, i64>) -> sqlx::Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let room: i64 = sqlx::query_scalar("SELECT max(?1 - count(*), 0) FROM unknown_events")
        .bind(MAX_TYPES)
        .fetch_one(&mut *connection)
        .await?;
    let (mut known, mut new) = (BTreeMap::new(), BTreeMap::new());
    for (kind, count) in events {
        let seen: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM unknown_events WHERE type = ?1)")
            .bind(&kind)
            .fetch_one(&mut *connection)
            .await?;
        if seen || (new.len() as i64) < room {
            if seen { &mut known } else { &mut new }.insert(kind, count);
        } else {
            *known.entry(OTHERS.to_owned()).or_default() += count;
        }
    }
    execute_rows(
        connection,
        "INSERT INTO unknown_events
         SELECT value ->> 0, value ->> 1 FROM jsonb_each(?1) WHERE true
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
        known.iter().chain(&new),
    )
    .await
}
