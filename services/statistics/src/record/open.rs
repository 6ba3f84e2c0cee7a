//! Opening the file: what must be true before anything is written to it.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tracing::info;

use super::trouble::{is_damage, may_pass};

/// Forward only: what was released is never changed.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();

/// Before it, a WAL that is reset while it is read can be corrupted.
const LEAST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// Only this process writes; others (a person's `sqlite3`, a backup) are waited for so long.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// What the WAL keeps of its length when it begins anew, in bytes.
const WAL_KEEPS_BYTES: &str = "67108864";
/// Readers at a time: each holds a connection only for the time of its queries.
const READERS: u32 = 4;
/// How long a request waits for one of them.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may read once it has one: as long as it reads, the WAL cannot begin anew.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Steps of SQLite's virtual machine between two looks at the clock: well under a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// A check that takes longer is worth a line.
const LONG_CHECK: Duration = Duration::from_secs(1);

/// Why the record cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its place cannot be written now: no room, mounted read-only, an error of the disk. It may be later.
    #[error("the database {} cannot be written now: {reason}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is not a record, is damaged, or a newer version wrote it. It was left as it is.
    #[error("the database {} cannot be used: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There can be no file, or none that keeps what is written to it.
    #[error("cannot open the database {}: {reason}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl OpenError {
    pub(super) fn unavailable(path: &Path, reason: impl Display) -> Self {
        Self::Unavailable { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(super) fn unusable(path: &Path, reason: impl Display) -> Self {
        Self::Unusable { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(super) fn failed(path: &Path, reason: impl Display) -> Self {
        Self::Failed { path: path.to_owned(), reason: reason.to_string() }
    }

    /// What SQLite said.
    pub(super) fn of(path: &Path, error: &sqlx::Error) -> Self {
        match error {
            error if is_damage(error) => Self::unusable(path, format!("it is damaged, restore a backup: {error}")),
            error if may_pass(error) => Self::unavailable(path, error),
            error => Self::failed(path, error),
        }
    }
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("journal_size_limit", WAL_KEEPS_BYTES)
        // A batch reads so many rows at once; with less room, threads would wait for each other at each row.
        .row_buffer_size(1000)
}

/// The writing connection, to a file that was checked and has today's tables.
pub(super) async fn writer(path: &Path, options: &SqliteConnectOptions) -> Result<SqliteConnection, OpenError> {
    let of = |error: sqlx::Error| OpenError::of(path, &error);
    let mut connection = options.connect().await.map_err(of)?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await.map_err(of)?;
    if parsed(&version).is_none_or(|version| version < LEAST_SQLITE) {
        let reason = format!("SQLite {version} is linked; {LEAST_SQLITE:?} or later is needed");
        return Err(OpenError::failed(path, reason));
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.map_err(of)?;
    if mode != "wal" {
        let reason = format!("the journal is {mode:?} and not a WAL: is it on a network volume?");
        return Err(OpenError::failed(path, reason));
    }
    for (pragma, wanted) in [
        ("PRAGMA synchronous", 2), // FULL
        ("PRAGMA foreign_keys", 1),
        ("PRAGMA busy_timeout", i64::try_from(BUSY_TIMEOUT.as_millis()).unwrap_or(i64::MAX)),
    ] {
        let value: i64 = sqlx::query_scalar(pragma).fetch_one(&mut connection).await.map_err(of)?;
        if value != wanted {
            return Err(OpenError::failed(path, format!("{pragma} is {value} and not {wanted}")));
        }
    }
    quick_check(path, &mut connection).await?;
    migrate(path, options).await?;
    Ok(connection)
}

/// Reads the whole file. That takes its time when there is much of it, about a second for each GiB that the system has in
/// memory, and as long as the disk needs for the rest; meanwhile events wait on the bus, and readiness says so.
async fn quick_check(path: &Path, connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let began = Instant::now();
    let check: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|error| OpenError::of(path, &error))?;
    if check != "ok" {
        return Err(OpenError::unusable(path, format!("it is damaged, restore a backup: {check}")));
    }
    let took = began.elapsed();
    if took >= LONG_CHECK {
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        info!(bytes, duration_ms = took.as_millis(), "the record was checked");
    }
    Ok(())
}

/// By a pool of one: the future of migrating a lone connection cannot change threads.
async fn migrate(path: &Path, options: &SqliteConnectOptions) -> Result<(), OpenError> {
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await;
    let pool = pool.map_err(|error| OpenError::of(path, &error))?;
    let migrated = MIGRATIONS.run(&pool).await;
    pool.close().await;
    match migrated {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => {
            let reason = format!("a newer version of this program wrote it: migration {version} is unknown here");
            Err(OpenError::unusable(path, reason))
        }
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) if may_pass(&error) => {
            Err(OpenError::unavailable(path, error))
        }
        Err(error) => Err(OpenError::failed(path, format!("its tables cannot be brought up to date: {error}"))),
    }
}

/// Connections for questions, each of which may take [`READ_LIMIT`].
pub(super) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    readers_for(options, READ_LIMIT)
}

fn readers_for(options: &SqliteConnectOptions, limit: Duration) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_TIMEOUT)
        .after_connect(move |connection, _| Box::pin(interrupt_after(limit, connection)))
        .before_acquire(move |connection, _| {
            Box::pin(async move { interrupt_after(limit, connection).await.map(|()| true) })
        })
        .connect_lazy_with(options.clone().create_if_missing(false).read_only(true))
}

/// From now on, whatever the connection is asked is interrupted when it has taken too long.
pub(super) async fn interrupt_after(limit: Duration, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let end = Instant::now() + limit;
    connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, move || Instant::now() < end);
    Ok(())
}

fn parsed(version: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::record::took_too_long;

    #[tokio::test]
    async fn a_question_that_takes_too_long_is_interrupted_and_the_next_one_is_not() {
        const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let folder = tempfile::tempdir().unwrap();
        let options = options(&folder.path().join("stats.db"));
        let _writer = options.connect().await.unwrap();
        let readers = readers_for(&options, Duration::from_millis(100));
        for _ in 0..2 * READERS {
            let asked = sqlx::query_scalar::<_, i64>(ENDLESS).fetch_one(&readers).await;
            assert!(took_too_long(asked.as_ref().unwrap_err()), "{asked:?}");
            assert_eq!(sqlx::query_scalar::<_, i64>("SELECT 1").fetch_one(&readers).await.unwrap(), 1);
        }
        readers.close().await;
    }
}
