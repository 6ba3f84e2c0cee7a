//! What is to be published: written by the transaction that closes objects, or by the one that says that a dead letter is
//! replayed; deleted when the bus has confirmed.

use super::{Record, execute_rows};

/// Something to publish.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    /// The event's own, in microseconds.
    pub(crate) time: i64,
    pub(crate) kind: Kind,
    /// JSON: an `OBJECT_FINISHED`, or the id of a dead letter to be replayed.
    pub(crate) event: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "snake_case")]
pub(crate) enum Kind {
    Event,
    Replay,
}

impl Record {
    /// The first `limit` rows, in order.
    pub(crate) async fn outbox(&self, limit: u32) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as("SELECT id, time, kind, event FROM outbox ORDER BY id LIMIT ?1")
            .bind(limit)
            .fetch_all(&self.readers)
            .await
    }

    /// How many rows wait: they go in order, so first and last tell it.
    pub(crate) async fn outbox_rows(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox").fetch_one(&self.readers).await
    }

    /// Deletes rows that need not be published again.
    pub(crate) async fn delete_from_outbox(&self, ids: &[i64]) -> sqlx::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut write = self.begin().await?;
        let sql = "DELETE FROM outbox WHERE id IN (SELECT value FROM jsonb_each(?1))";
        execute_rows(write.connection(), sql, ids.iter()).await?;
        write.commit().await
    }
}
