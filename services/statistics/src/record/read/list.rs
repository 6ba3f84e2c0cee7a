//! Which objects there are, by acceptance.

use bus::events::OperationName;

use crate::record::{Record, Status};

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those in this state,
    pub status: Option<Status>,
    /// and with or without a started task,
    pub started: Option<bool>,
    /// and of this operation,
    pub operation: Option<OperationName>,
    /// and of this name,
    pub name: Option<String>,
    /// and accepted at this time or later,
    pub since: Option<i64>,
    /// and before this time.
    pub until: Option<i64>,
}

/// In which order, by acceptance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Order {
    #[default]
    Newest,
    Oldest,
}

/// A place in the list: behind the object of this time and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// The list is a range of one index: a statement for each of them and each order, because one for all would use none. What
/// is not in the index is looked at row by row; a `+` keeps it from being chosen all the same.
macro_rules! list {
    ($index:literal) => {
        [
            list!($index, "(created_at, id) < (?1, ?2) AND created_at >= ?3", "created_at DESC, id DESC"),
            list!($index, "(created_at, id) > (?1, ?2) AND created_at < ?3", "created_at, id"),
        ]
    };
    ($index:literal, $range:literal, $order:literal) => {
        concat!(
            "SELECT id, name, operation, tasks, created_at, status, finished_at, duration, revision,
                    EXISTS (SELECT 1 FROM tasks WHERE object_id = objects.id AND started_at IS NOT NULL) AS started
             FROM objects
             WHERE ",
            $index,
            " AND ",
            $range,
            "  AND (?4 IS NULL OR +status = ?4)
               AND (?5 IS NULL OR +operation = ?5)
               AND (?6 IS NULL OR +name = ?6)
               AND (?7 IS NULL OR ?7 = EXISTS (
                    SELECT 1 FROM tasks WHERE object_id = objects.id AND started_at IS NOT NULL))
             ORDER BY ",
            $order,
            " LIMIT ?8"
        )
    };
}

const ALL: [&str; 2] = list!("true");
const BY_STATUS: [&str; 2] = list!("status = ?4");
const BY_OPERATION: [&str; 2] = list!("operation = ?5");
const BY_NAME: [&str; 2] = list!("name = ?6");

impl Filter {
    /// The index in which there are the fewest others.
    fn statements(&self) -> [&'static str; 2] {
        match (&self.name, self.status, &self.operation) {
            (Some(_), ..) => BY_NAME,
            // Most objects have succeeded.
            (None, Some(Status::Succeeded), Some(_)) => BY_OPERATION,
            (None, Some(_), _) => BY_STATUS,
            (None, None, Some(_)) => BY_OPERATION,
            (None, None, None) => ALL,
        }
    }
}

impl Record {
    /// At most `limit` objects behind `after`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn objects(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Position>,
        limit: u32,
    ) -> sqlx::Result<Vec<Listed>> {
        let [newest, oldest] = filter.statements();
        // No id is before the empty one, so that with it a time is a bound by itself.
        let bound = |created_at| Position { created_at, id: String::new() };
        let (since, until) = (filter.since.unwrap_or(i64::MIN), filter.until.unwrap_or(i64::MAX));
        let (sql, begin, end) = match order {
            Order::Newest => (newest, after.cloned().into_iter().chain([bound(until)]).min(), since),
            Order::Oldest => (oldest, after.cloned().into_iter().chain([bound(since)]).max(), until),
        };
        sqlx::query_as(sql)
            .bind(begin.as_ref().map(|begin| begin.created_at))
            .bind(begin.as_ref().map(|begin| &begin.id))
            .bind(end)
            .bind(filter.status)
            .bind(filter.operation.as_ref().map(OperationName::as_str))
            .bind(&filter.name)
            .bind(filter.started)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
    }
}
