//! Objects whose splitting was given up.

use std::collections::{BTreeMap, BTreeSet};

use bus::events::ObjectId;
use sqlx::SqliteConnection;

use super::{execute_rows, facts::SplitFailure};

const STORE: &str = "
    INSERT INTO split_failures (object_id, round, failed_at, error)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each(?1) WHERE true
    ON CONFLICT DO UPDATE SET round = excluded.round, failed_at = excluded.failed_at, error = excluded.error
    WHERE (-excluded.round, excluded.failed_at, excluded.error) < (-round, failed_at, error)";

/// Merges the reports. Returns the objects that they are of.
pub(super) async fn merge(
    connection: &mut SqliteConnection,
    reports: BTreeMap<ObjectId, SplitFailure>,
) -> sqlx::Result<BTreeSet<ObjectId>> {
    let rows = reports.iter().map(|(object, failure)| (object, failure.round.0, failure.at, &failure.error));
    execute_rows(connection, STORE, rows).await?;
    Ok(reports.into_keys().collect())
}
