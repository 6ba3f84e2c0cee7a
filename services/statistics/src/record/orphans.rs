//! Objects of which something is known, but not their creation: that overtook it, or it will never come.

use serde::Serialize;
use sqlx::SqliteConnection;

use super::array;

/// One whose creation is known by now is none any more.
const FOUND: &str = "
    DELETE FROM orphans WHERE id IN (SELECT value FROM jsonb_each(?1))
        AND EXISTS (SELECT 1 FROM objects WHERE id = orphans.id)";

/// It is one since it was first heard of.
const LOST: &str = "
    INSERT OR IGNORE INTO orphans
    SELECT k.value, ?2 FROM jsonb_each(?1) AS k WHERE NOT EXISTS (SELECT 1 FROM objects WHERE id = k.value)";

/// Notes which of these objects, of which something was heard at `now`, are orphans.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    objects: impl Iterator<Item = impl Serialize>,
    now: i64,
) -> sqlx::Result<()> {
    let Some(objects) = array(objects)? else {
        return Ok(());
    };
    sqlx::query(FOUND).bind(&objects).execute(&mut *connection).await?;
    sqlx::query(LOST).bind(&objects).bind(now).execute(connection).await?;
    Ok(())
}
