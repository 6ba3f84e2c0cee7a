//! Events to publish: written by the transaction that closes objects, deleted when the bus has confirmed.

use super::{Record, execute_rows};

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    /// The event's own, in microseconds.
    pub(crate) time: i64,
    /// JSON.
    pub(crate) event: String,
}

impl Record {
    /// The first `limit` events, in order.
    pub(crate) async fn outbox(&self, limit: u32) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as("SELECT id, time, event FROM outbox ORDER BY id LIMIT ?1")
            .bind(limit)
            .fetch_all(&self.readers)
            .await
    }

    /// How many events wait: they go in order, so first and last tell it.
    pub(crate) async fn outbox_rows(&self) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox").fetch_one(&self.readers).await
    }

    /// Deletes events that need not be published again.
    pub(crate) async fn delete_from_outbox(&self, ids: &[i64]) -> sqlx::Result<()> {
        let mut write = self.begin().await?;
        let sql = "DELETE FROM outbox WHERE id IN (SELECT value FROM jsonb_each(?1))";
        execute_rows(write.connection(), sql, ids.iter()).await?;
        write.commit().await
    }
}
