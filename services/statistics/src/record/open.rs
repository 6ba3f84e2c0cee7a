//! Opening the file: what must be true before anything is written to it.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// Forward only: what was released is never changed.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// Before it, a WAL that is reset while it is read can be corrupted.
const LEAST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// Only this process writes; others (a person's `sqlite3`, a backup) are waited for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers at a time: each holds a connection only for the time of its queries.
const READERS: u32 = 4;
/// How long a request waits for one of them.
const READER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // A batch reads so many rows at once; with less room, threads would wait for each other at each row.
        .row_buffer_size(1000)
}

/// The writing connection, to a file that was checked and has today's tables.
pub(super) async fn writer(options: &SqliteConnectOptions) -> anyhow::Result<SqliteConnection> {
    let mut connection = options.connect().await?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?;
    ensure!(
        parsed(&version).is_some_and(|version| version >= LEAST_SQLITE),
        "SQLite {version} is linked; {LEAST_SQLITE:?} or later is needed"
    );
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await?;
    ensure!(mode == "wal", "the journal is {mode:?} and not a WAL: is it on a network volume?");
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await?;
    ensure!(synchronous == 2, "synchronous is {synchronous} and not FULL (2)");
    let check: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
    ensure!(check == "ok", "the file is damaged, restore a backup: {check}");
    migrate(options).await?;
    Ok(connection)
}

/// By a pool of one: the future of migrating a lone connection cannot change threads.
async fn migrate(options: &SqliteConnectOptions) -> anyhow::Result<()> {
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    let migrated = MIGRATIONS.run(&pool).await;
    pool.close().await;
    match migrated {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => {
            bail!("a newer version of this program wrote the file: migration {version} is unknown here")
        }
        Err(error) => Err(error).context("cannot bring the tables up to date"),
    }
}

pub(super) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READER_TIMEOUT)
        .connect_lazy_with(options.clone().create_if_missing(false).read_only(true))
}

fn parsed(version: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}
