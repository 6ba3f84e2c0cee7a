//! Which objects there are, newest first.

use bus::events::OperationName;

use crate::record::{Record, Status};

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those in this state,
    pub status: Option<Status>,
    /// and with or without a started task,
    pub started: Option<bool>,
    /// and of this operation.
    pub operation: Option<OperationName>,
}

/// A place in the list: behind the object of this time and id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Position {
    pub created_at: i64,
    pub id: String,
}

/// An object as it is listed.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct Listed {
    pub id: String,
    pub name: String,
    pub operation: String,
    pub tasks: u32,
    pub created_at: i64,
    pub status: Status,
    pub started: bool,
    pub finished_at: Option<i64>,
    pub duration: Option<i64>,
    pub revision: u32,
}

/// Each filter has an index in which the list is a range; a statement for each, because one for all
/// would use none of them.
macro_rules! list {
    ($filter:literal) => {
        concat!(
            "SELECT id, name, operation, tasks, created_at, status, finished_at, duration, revision,
                    EXISTS (SELECT 1 FROM tasks WHERE object_id = objects.id AND started_at IS NOT NULL) AS started
             FROM objects
             WHERE (created_at, id) < (?1, ?2) AND ",
            $filter,
            "  AND (?6 IS NULL OR ?6 = EXISTS (
                    SELECT 1 FROM tasks WHERE object_id = objects.id AND started_at IS NOT NULL))
             ORDER BY created_at DESC, id DESC LIMIT ?3"
        )
    };
}

impl Record {
    /// At most `limit` objects behind `after`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn objects(&self, filter: &Filter, after: Option<&Position>, limit: u32) -> sqlx::Result<Vec<Listed>> {
        let sql = match (filter.status, &filter.operation) {
            (None, None) => list!("true"),
            (Some(_), None) => list!("status = ?4"),
            (None, Some(_)) => list!("operation = ?5"),
            (Some(_), Some(_)) => list!("status = ?4 AND operation = ?5"),
        };
        sqlx::query_as(sql)
            .bind(after.map_or(i64::MAX, |after| after.created_at))
            .bind(after.map_or("", |after| &after.id))
            .bind(limit)
            .bind(filter.status)
            .bind(filter.operation.as_ref().map(OperationName::as_str))
            .bind(filter.started)
            .fetch_all(&self.readers)
            .await
    }
}
