//! Everything about one object.

use bus::events::ObjectId;

use crate::record::{Record, Status};

/// Partial results of an object that are longer together are not read: all of them would be in memory. As much is gathered.
const MAX_PARTIAL_BYTES: i64 = 32 << 20;

/// What a task takes in an answer beside its partial result and its error, of which it has two: ids, times, names.
const TASK_BYTES: i64 = 512;

/// An object with its tasks.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct FoundObject {
    pub name: String,
    pub operation: String,
    pub wished: u32,
    pub deadline: i64,
    pub created_at: i64,
    pub status: Status,
    pub parts: Option<u32>,
    pub finished_at: Option<i64>,
    pub duration: Option<i64>,
    pub revision: u32,
    pub error: Option<String>,
    pub parameters: String,
    pub data: String,
    pub result: Option<String>,
    /// Those of the split that decided, or of the largest one as long as none did, in order.
    #[sqlx(skip)]
    pub tasks: Vec<FoundTask>,
    /// The ids of its dead letters and those of its tasks, whatever became of them, the newest first; a hundred at most.
    #[sqlx(skip)]
    pub dead_letters: Vec<String>,
}

/// A task of it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct FoundTask {
    pub parts: u32,
    pub part: u32,
    pub created_at: Option<i64>,
    pub started_at: Option<i64>,
    pub started_by: Option<String>,
    pub outcome: Option<String>,
    pub finish_round: Option<u32>,
    pub finished_at: Option<i64>,
    pub processor: Option<String>,
    pub attempt: Option<u32>,
    pub duration: Option<i64>,
    pub error: Option<String>,
    pub result: Option<String>,
}

impl Record {
    /// Whether the object is here, and finished; or was, and has been pruned.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn is_finished(&self, id: ObjectId) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM objects WHERE id = ?1 AND status <> 'open')
                 OR EXISTS (SELECT 1 FROM pruned WHERE id = ?1)",
        )
        .bind(id.to_string())
        .fetch_one(&self.readers)
        .await
    }

    /// Where the object stands and whether one of its tasks has started, if its creation is known and it has not been pruned.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn status(&self, id: ObjectId) -> sqlx::Result<Option<(Status, bool)>> {
        sqlx::query_as(
            "SELECT status, EXISTS (SELECT 1 FROM tasks WHERE object_id = ?1 AND started_at IS NOT NULL)
             FROM objects WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM pruned WHERE id = ?1)",
        )
        .bind(id.to_string())
        .fetch_optional(&self.readers)
        .await
    }

    /// About how many bytes everything about the object is; 0 if it is not here.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn object_bytes(&self, id: ObjectId) -> sqlx::Result<i64> {
        let bytes: Option<i64> = sqlx::query_scalar(
            "SELECT octet_length(parameters) + octet_length(data) + coalesce(octet_length(result), 0)
                  + (SELECT coalesce(sum(?2 + 2 * coalesce(octet_length(error), 0)), 0) FROM tasks
                     WHERE object_id = ?1
                       AND parts = coalesce(o.parts, (SELECT max(parts) FROM tasks WHERE object_id = ?1)))
                  + (SELECT iif(sum(octet_length(result)) <= ?3, sum(octet_length(result)), 0) FROM partials
                     WHERE object_id = ?1
                       AND parts = coalesce(o.parts, (SELECT max(parts) FROM tasks WHERE object_id = ?1)))
             FROM objects AS o WHERE id = ?1",
        )
        .bind(id.to_string())
        .bind(TASK_BYTES)
        .bind(MAX_PARTIAL_BYTES)
        .fetch_optional(&self.readers)
        .await?;
        Ok(bytes.unwrap_or(0))
    }

    /// The object and its tasks, if its creation is known and it has not been pruned.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn object(&self, id: ObjectId) -> sqlx::Result<Option<FoundObject>> {
        let mut read = self.readers.begin().await?;
        let found: Option<FoundObject> = sqlx::query_as(
            "SELECT name, operation, tasks AS wished, deadline, created_at, status, parts, finished_at, duration,
                    revision, error, parameters, data, result
             FROM objects WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM pruned WHERE id = ?1)",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *read)
        .await?;
        let Some(mut object) = found else {
            return Ok(None);
        };
        let partial_bytes: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(octet_length(result)), 0) FROM partials
             WHERE object_id = ?1 AND parts = coalesce(?2, (SELECT max(parts) FROM tasks WHERE object_id = ?1))",
        )
        .bind(id.to_string())
        .bind(object.parts)
        .fetch_one(&mut *read)
        .await?;
        object.tasks = sqlx::query_as(
            "SELECT t.parts, t.part, t.created_at, t.started_at, t.started_by, t.outcome, t.finish_round,
                    t.finished_at, t.processor, t.attempt, t.duration, t.error,
                    CASE WHEN ?3 THEN p.result END AS result
             FROM tasks AS t LEFT JOIN partials AS p USING (object_id, parts, part)
             WHERE t.object_id = ?1
               AND t.parts = coalesce(?2, (SELECT max(parts) FROM tasks WHERE object_id = ?1))
             ORDER BY t.part",
        )
        .bind(id.to_string())
        .bind(object.parts)
        .bind(partial_bytes <= MAX_PARTIAL_BYTES)
        .fetch_all(&mut *read)
        .await?;
        object.dead_letters =
            sqlx::query_scalar("SELECT id FROM dead_letters WHERE object_id = ?1 ORDER BY number DESC LIMIT 100")
                .bind(id.to_string())
                .fetch_all(&mut *read)
                .await?;
        Ok(Some(object))
    }
}
