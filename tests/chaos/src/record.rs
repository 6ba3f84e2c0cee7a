//! The record, read from its file by whoever may read it: not one line of the services is involved.

use std::{collections::BTreeMap, path::Path};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

/// A figure of an operation or a processor, and its value; those that are zero are left out.
pub type Figures = BTreeMap<(String, String), i64>;

/// What the running figures say.
const SAID: &str = "
    SELECT operation, 'objects created', objects_created FROM figures
    UNION ALL SELECT operation, 'objects succeeded', objects_succeeded FROM figures
    UNION ALL SELECT operation, 'objects failed', objects_failed FROM figures
    UNION ALL SELECT operation, 'objects timed_out', objects_timed_out FROM figures
    UNION ALL SELECT operation, 'microseconds of objects', objects_s * 1000000 + objects_us FROM figures
    UNION ALL SELECT operation, 'tasks distributed', tasks_distributed FROM figures
    UNION ALL SELECT operation, 'tasks in progress', tasks_in_progress FROM figures
    UNION ALL SELECT operation, 'tasks succeeded', tasks_succeeded FROM figures
    UNION ALL SELECT operation, 'tasks failed', tasks_failed FROM figures
    UNION ALL SELECT operation, 'microseconds of tasks', tasks_s * 1000000 + tasks_us FROM figures
    UNION ALL SELECT operation, 'durations of ' || kind || 's', sum(count) FROM durations GROUP BY operation, kind
    UNION ALL SELECT processor, 'tasks succeeded', tasks_succeeded FROM processor_figures
    UNION ALL SELECT processor, 'tasks failed', tasks_failed FROM processor_figures
    UNION ALL SELECT processor, 'tasks in progress', tasks_in_progress FROM processor_figures";

/// What counting the rows gives.
const COUNTED: &str = "
    SELECT operation, 'objects created', count(*) FROM objects GROUP BY operation
    UNION ALL SELECT operation, 'objects ' || status, count(*) FROM objects WHERE status <> 'open'
        GROUP BY operation, status
    UNION ALL SELECT operation, 'microseconds of objects', sum(duration) FROM objects WHERE status <> 'open'
        GROUP BY operation
    UNION ALL SELECT operation, 'durations of objects', count(*) FROM objects WHERE status <> 'open' GROUP BY operation
    UNION ALL SELECT operation, 'tasks distributed', count(*) FROM tasks GROUP BY operation
    UNION ALL SELECT operation, 'tasks in progress', count(*) FROM tasks
        WHERE outcome IS NULL AND started_at IS NOT NULL GROUP BY operation
    UNION ALL SELECT operation, 'tasks ' || outcome, count(*) FROM tasks WHERE outcome IS NOT NULL
        GROUP BY operation, outcome
    UNION ALL SELECT operation, 'microseconds of tasks', sum(duration) FROM tasks WHERE outcome IS NOT NULL
        GROUP BY operation
    UNION ALL SELECT operation, 'durations of tasks', count(*) FROM tasks WHERE outcome IS NOT NULL GROUP BY operation
    UNION ALL SELECT processor, 'tasks ' || outcome, count(*) FROM tasks WHERE outcome IS NOT NULL
        GROUP BY processor, outcome
    UNION ALL SELECT started_by, 'tasks in progress', count(*) FROM tasks
        WHERE outcome IS NULL AND started_at IS NOT NULL GROUP BY started_by";

/// The open file.
pub struct Record(SqliteConnection);

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Progress {
    /// Objects that are known.
    pub created: i64,
    /// Of these, so many have ended, however.
    pub finished: i64,
    /// Announcements that are not confirmed.
    pub outbox: i64,
}

/// An object.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Object {
    pub id: String,
    pub operation: String,
    pub status: String,
    pub revision: u32,
    /// JSON.
    pub data: String,
    /// JSON.
    pub result: Option<String>,
}

/// A task, and its result as JSON.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Task {
    pub parts: i64,
    pub part: i64,
    pub outcome: Option<String>,
    pub is_created: bool,
    pub result: Option<String>,
}

impl Record {
    /// Opens it.
    ///
    /// # Errors
    /// If there is none.
    pub async fn open(path: &Path) -> sqlx::Result<Self> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        Ok(Self(SqliteConnection::connect_with(&options).await?))
    }

    /// How far it is.
    pub async fn progress(&mut self) -> sqlx::Result<Progress> {
        let query = "
            SELECT count(*) AS created, coalesce(sum(status <> 'open'), 0) AS finished,
                   (SELECT count(*) FROM outbox) AS outbox
            FROM objects";
        sqlx::query_as(query).fetch_one(&mut self.0).await
    }

    /// The ids of all objects.
    pub async fn ids(&mut self) -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar("SELECT id FROM objects ORDER BY id").fetch_all(&mut self.0).await
    }

    /// One object.
    pub async fn object(&mut self, id: &str) -> sqlx::Result<Object> {
        let query = "SELECT id, operation, status, revision, data, result FROM objects WHERE id = ?";
        sqlx::query_as(query).bind(id).fetch_one(&mut self.0).await
    }

    /// Its tasks, in order, of whatever splits.
    pub async fn tasks(&mut self, id: &str) -> sqlx::Result<Vec<Task>> {
        let query = "
            SELECT t.parts, t.part, t.outcome, t.created_at IS NOT NULL AS is_created, p.result
            FROM tasks AS t LEFT JOIN partials AS p USING (object_id, parts, part)
            WHERE t.object_id = ? ORDER BY t.parts, t.part";
        sqlx::query_as(query).bind(id).fetch_all(&mut self.0).await
    }

    /// What was set aside, and why.
    pub async fn dead_letters(&mut self) -> sqlx::Result<Vec<String>> {
        let query = "SELECT queue || ': ' || cause || ': ' || reason FROM dead_letters ORDER BY number";
        sqlx::query_scalar(query).fetch_all(&mut self.0).await
    }

    /// Tasks and partial results of objects that nobody knows.
    pub async fn orphans(&mut self) -> sqlx::Result<i64> {
        let query = "
            SELECT (SELECT count(*) FROM tasks WHERE object_id NOT IN (SELECT id FROM objects))
                 + (SELECT count(*) FROM partials WHERE object_id NOT IN (SELECT id FROM objects))";
        sqlx::query_scalar(query).fetch_one(&mut self.0).await
    }

    /// What accumulated: operation and name, and how often.
    pub async fn totals(&mut self) -> sqlx::Result<BTreeMap<(String, String), i64>> {
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT operation, name, count FROM totals").fetch_all(&mut self.0).await?;
        Ok(rows.into_iter().map(|(operation, name, count)| ((operation, name), count)).collect())
    }

    /// What the running figures say.
    pub async fn figures_said(&mut self) -> sqlx::Result<Figures> {
        self.figures(SAID).await
    }

    /// What they must say.
    pub async fn figures_counted(&mut self) -> sqlx::Result<Figures> {
        self.figures(COUNTED).await
    }

    async fn figures(&mut self, query: &'static str) -> sqlx::Result<Figures> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(query).fetch_all(&mut self.0).await?;
        let figures = rows.into_iter().filter(|(.., value)| *value != 0);
        Ok(figures.map(|(of, figure, value)| ((of, figure), value)).collect())
    }
}
