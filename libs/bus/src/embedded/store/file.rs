//! The file: SQLite, in WAL mode, every commit synchronised with the disk before it is told of.

use std::{
    fs::{self, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    ConnectOptions, Connection, QueryBuilder, Row, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{
    Commit, Contents, InBacklog, Page, Settled,
    wal::{self, Log},
};
use crate::{
    embedded::{
        OpenError,
        state::{Number, QueueId},
    },
    topology::Queue,
};

/// Says that a file is ours (`PRAGMA application_id`): "EBSb".
pub(super) const APPLICATION_ID: i64 = 0x4542_5362;
/// The version of the format.
pub(super) const FORMAT: i64 = 1;
/// Before it, a WAL that is reset while it is read can be corrupted.
const LEAST_SQLITE: &str = "3.51.3";
/// How long a lock may be left over from a process that has ended, or that is about to start another program: a child has
/// its parent's open files until it becomes that program. Then somebody does use the file.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);
/// Pages of the WAL after which it is copied into the file, 16 MiB: most of what was written was deleted again by then.
const CHECKPOINT_PAGES: &str = "4096";
/// What the WAL keeps of its length after a copy, in bytes.
const WAL_BYTES: &str = "67108864";
/// What is read from the backlog at a time; one message may have more.
const PAGE_BYTES: i64 = 8 << 20;
/// Rows that the thread of SQLite reads ahead: with less room the two threads would wait for each other at each row.
const ROWS_AT_A_TIME: usize = 500;
/// SQLite takes 32766 values in a statement.
const ROWS_PER_INSERT: usize = 1000;

/// The open file. No other connection can open it, of this or of another process, as long as this one lives.
#[derive(Debug)]
pub(in crate::embedded) struct File {
    path: PathBuf,
    /// None after an error.
    connection: Option<SqliteConnection>,
    /// Released last; the system releases it however the process ends.
    _lock: fs::File,
}

impl File {
    /// Opens the file, or makes it, and reads what it has.
    pub(in crate::embedded) async fn open(path: &Path) -> Result<(Self, Contents), OpenError> {
        let failed = |error: sqlx::Error| explain(path, error);
        if path.is_dir() {
            return Err(OpenError::Failed { path: path.to_owned(), reason: "it is a directory".to_owned() });
        }
        let lock = lock(path).await?;
        // SQLite would only say that it cannot open it.
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(path);
        file.map_err(|error| not_opened(path, &error, &error.to_string()))?;
        inspect_log(path).await?;
        let mut connection = options(path).connect().await.map_err(failed)?;
        prepare(&mut connection, path).await?;
        let contents = read(&mut connection).await.map_err(failed)?;
        Ok((Self { path: path.to_owned(), connection: Some(connection), _lock: lock }, contents))
    }

    /// Makes all of it durable. After an error it may be durable nevertheless; the same again gives the same.
    pub(super) async fn commit(&mut self, commit: &Commit) -> sqlx::Result<()> {
        let mut connection = self.take().await?;
        let committed = match &commit.row {
            Some(row) if commit.is_row_only() => insert(&mut connection, row).await,
            _ => write_all(&mut connection, commit).await,
        };
        self.put_back(connection, committed).await
    }

    pub(super) async fn page(&mut self, queue: QueueId, from: Number, max: usize) -> sqlx::Result<Page> {
        let mut connection = self.take().await?;
        let page = page(&mut connection, queue, from, max).await;
        self.put_back(connection, page).await
    }

    pub(super) async fn close(self) {
        if let Some(connection) = self.connection {
            // What was committed is safe whether or not closing tidies up.
            let _ = connection.close().await;
        }
    }

    /// The connection; a new one if the last one has failed. Only a new one is sure to have no transaction open: SQLite ends
    /// one by itself when the disk is full, and whoever counts them does not learn of it.
    async fn take(&mut self) -> sqlx::Result<SqliteConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        inspect_log(&self.path).await.map_err(|error| sqlx::Error::Io(io::Error::other(error)))?;
        options(&self.path).create_if_missing(false).connect().await
    }

    /// Keeps a connection that works. Another one is closed before the next is opened, because it has the file's lock.
    async fn put_back<T>(&mut self, connection: SqliteConnection, result: sqlx::Result<T>) -> sqlx::Result<T> {
        match result {
            Ok(_) => self.connection = Some(connection),
            // It has failed already.
            Err(_) => drop(connection.close().await),
        }
        result
    }
}

/// Takes the lock beside the file, before anything of the file is read. The lock's file is never deleted: whoever waits
/// for it would then hold a lock on a file that nobody else sees.
async fn lock(path: &Path) -> Result<fs::File, OpenError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let give_up = Instant::now() + LOCK_PATIENCE;
    loop {
        let file = fs::File::options().create(true).truncate(false).write(true).open(&beside);
        match file.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file)) {
            Ok(file) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => sleep(LOCK_PATIENCE / 10).await,
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => {
                let reason = format!("{} cannot be locked: {error}", Path::new(&beside).display());
                return Err(not_opened(path, &error, &reason));
            }
        }
    }
}

/// Before SQLite opens the log, because it then forgets what it cannot read.
async fn inspect_log(path: &Path) -> Result<(), OpenError> {
    let database = path.to_owned();
    let log = tokio::task::spawn_blocking(move || wal::inspect(&database)).await.map_err(io::Error::other);
    match log.flatten().map_err(|error| not_opened(path, &error, &error.to_string()))? {
        Log::Whole => Ok(()),
        Log::Torn => {
            warn!(bus = %path.display(), "the last commit cannot be read: it was never told of, unless the disk damaged it");
            Ok(())
        }
        Log::Damaged => {
            let reason = "commits in its write-ahead log cannot be read".to_owned();
            Err(OpenError::Damaged { path: path.to_owned(), reason })
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::ZERO)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", WAL_BYTES)
        .row_buffer_size(ROWS_AT_A_TIME)
}

/// Makes sure of all that the promises rest on, before anything is read.
async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| explain(path, error);
    let refuse = |reason: String| OpenError::Failed { path: path.to_owned(), reason };
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let version: String = scalar(connection, "SELECT sqlite_version()").await.map_err(failed)?;
    if numbers(&version) < numbers(LEAST_SQLITE) {
        return Err(refuse(format!("SQLite {version} is linked; {LEAST_SQLITE} or later is needed")));
    }
    let mode: String = scalar(connection, "PRAGMA journal_mode").await.map_err(failed)?;
    if mode != "wal" {
        return Err(refuse(format!("its journal is {mode:?} and not a WAL: is it on a network volume?")));
    }
    let synchronous: i64 = scalar(connection, "PRAGMA synchronous").await.map_err(failed)?;
    if synchronous != 2 {
        return Err(refuse(format!("synchronous is {synchronous} and not FULL (2)")));
    }
    let check: String = scalar(connection, "PRAGMA quick_check(1)").await.map_err(failed)?;
    if check != "ok" {
        return Err(damaged(check));
    }
    let application: i64 = scalar(connection, "PRAGMA application_id").await.map_err(failed)?;
    let format: i64 = scalar(connection, "PRAGMA user_version").await.map_err(failed)?;
    let tables: i64 = scalar(connection, "SELECT count(*) FROM sqlite_schema").await.map_err(failed)?;
    match (application, format, tables) {
        (APPLICATION_ID, FORMAT, _) => Ok(()),
        (0, 0, 0) => create(connection).await.map_err(failed),
        (APPLICATION_ID, newer, _) if newer > FORMAT => {
            Err(OpenError::Newer { path: path.to_owned(), format: newer, known: FORMAT })
        }
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

async fn create(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(include_str!("schema.sql")).execute(&mut *transaction).await?;
    let mut marks = QueryBuilder::<Sqlite>::new("PRAGMA application_id = ");
    marks.push(APPLICATION_ID).push("; PRAGMA user_version = ").push(FORMAT);
    sqlx::raw_sql(marks.into_sql()).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn read(connection: &mut SqliteConnection) -> sqlx::Result<Contents> {
    let mut contents = Contents::default();
    let exchanges = sqlx::query_scalar::<_, String>("SELECT definition FROM exchanges ORDER BY name");
    for definition in exchanges.fetch_all(&mut *connection).await? {
        contents.exchanges.push(from_json(&definition)?);
    }
    let queues = sqlx::query_as("SELECT id, definition, window FROM queues ORDER BY id");
    for (expected, row) in (0..).zip(queues.fetch_all(&mut *connection).await?) {
        let (id, definition, window): (i64, String, i64) = row;
        if id != expected {
            return Err(sqlx::Error::Decode(format!("queue {expected} is missing").into()));
        }
        contents.queues.push((from_json::<Queue>(&definition)?, unsigned(window)));
    }
    let journal = sqlx::query_as("SELECT sequence, content FROM journal ORDER BY sequence");
    for (sequence, content) in journal.fetch_all(&mut *connection).await? {
        contents.journal.push((unsigned(sequence), content));
    }
    let backlog =
        sqlx::query("SELECT queue, count(*), min(number), max(number), sum(weight) FROM backlog GROUP BY queue");
    for row in backlog.fetch_all(&mut *connection).await? {
        contents.backlog.push(InBacklog {
            queue: row.try_get(0)?,
            messages: unsigned(row.try_get(1)?),
            first: unsigned(row.try_get(2)?),
            last: unsigned(row.try_get(3)?),
            weight: unsigned(row.try_get(4)?),
        });
    }
    Ok(contents)
}

async fn page(connection: &mut SqliteConnection, queue: QueueId, from: Number, max: usize) -> sqlx::Result<Page> {
    // A message that is longer than a page makes one alone.
    const SQL: &str = "
        SELECT number, deliveries, since, weight, message FROM (
            SELECT *, sum(weight) OVER (ORDER BY number) AS total, row_number() OVER (ORDER BY number) AS place
            FROM backlog WHERE queue = ?1 AND number >= ?2 ORDER BY number LIMIT ?3)
        WHERE total <= ?4 OR place = 1 ORDER BY number";
    let rows = sqlx::query(SQL).bind(queue).bind(signed(from)).bind(signed(max as u64)).bind(PAGE_BYTES);
    let mut messages = Vec::new();
    for row in rows.fetch_all(&mut *connection).await? {
        messages.push(Settled {
            queue,
            number: unsigned(row.try_get("number")?),
            deliveries: row.try_get("deliveries")?,
            since_ms: row.try_get("since")?,
            weight: unsigned(row.try_get("weight")?),
            message: row.try_get("message")?,
        });
    }
    let after = messages.last().map_or(from, |last| last.number + 1);
    let more = "SELECT EXISTS (SELECT 1 FROM backlog WHERE queue = ?1 AND number >= ?2)";
    let more: bool = sqlx::query_scalar(more).bind(queue).bind(signed(after)).fetch_one(connection).await?;
    Ok(Page { messages, is_last: !more })
}

async fn write_all(connection: &mut SqliteConnection, commit: &Commit) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    write(&mut transaction, commit).await?;
    transaction.commit().await
}

/// Rows that are there already are replaced: a commit that seemed to fail may have come to the disk, and is repeated.
async fn write(connection: &mut SqliteConnection, commit: &Commit) -> sqlx::Result<()> {
    for exchange in &commit.exchanges {
        let query = sqlx::query("INSERT OR REPLACE INTO exchanges VALUES (?1, ?2)").bind(&exchange.name);
        query.bind(to_json(exchange)?).execute(&mut *connection).await?;
    }
    for (id, queue) in &commit.queues {
        let sql = "INSERT INTO queues (id, definition) VALUES (?1, ?2)
            ON CONFLICT DO UPDATE SET definition = excluded.definition";
        sqlx::query(sql).bind(id).bind(to_json(queue)?).execute(&mut *connection).await?;
    }
    for (id, window) in &commit.windows {
        let query = sqlx::query("UPDATE queues SET window = ?2 WHERE id = ?1").bind(id).bind(signed(*window));
        query.execute(&mut *connection).await?;
    }
    if let Some(row) = &commit.row {
        insert(connection, row).await?;
    }
    for rows in commit.settled.chunks(ROWS_PER_INSERT) {
        let mut query =
            QueryBuilder::new("INSERT OR REPLACE INTO backlog (queue, number, deliveries, since, weight, message) ");
        query.push_values(rows, |mut values, row| {
            values.push_bind(row.queue).push_bind(signed(row.number)).push_bind(row.deliveries);
            values.push_bind(row.since_ms).push_bind(signed(row.weight)).push_bind(&row.message);
        });
        query.build().execute(&mut *connection).await?;
    }
    if let Some(sequence) = commit.forget_through {
        let query = sqlx::query("DELETE FROM journal WHERE sequence <= ?1").bind(signed(sequence));
        query.execute(&mut *connection).await?;
    }
    if !commit.acknowledged.is_empty() {
        let sql = "DELETE FROM backlog WHERE (queue, number) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))";
        sqlx::query(sql).bind(to_json(&commit.acknowledged)?).execute(&mut *connection).await?;
    }
    if !commit.deliveries.is_empty() {
        let sql = "UPDATE backlog SET deliveries = d.value ->> 2 FROM json_each(?1) AS d
            WHERE queue = d.value ->> 0 AND number = d.value ->> 1";
        sqlx::query(sql).bind(to_json(&commit.deliveries)?).execute(&mut *connection).await?;
    }
    for (queue, messages) in &commit.delivered_first {
        let sql = "UPDATE backlog SET deliveries = deliveries + 1 WHERE queue = ?1 AND number IN
            (SELECT number FROM backlog WHERE queue = ?1 ORDER BY number LIMIT ?2)";
        sqlx::query(sql).bind(queue).bind(signed(*messages)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, (sequence, content): &(u64, Vec<u8>)) -> sqlx::Result<()> {
    let query = sqlx::query("INSERT OR REPLACE INTO journal VALUES (?1, ?2)");
    query.bind(signed(*sequence)).bind(content.as_slice()).execute(connection).await?;
    Ok(())
}

async fn scalar<T>(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<T>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    sqlx::query_scalar(sql).fetch_one(connection).await
}

/// A file that was opened without SQLite was not.
fn not_opened(path: &Path, error: &io::Error, reason: &str) -> OpenError {
    /// A damaged disk's answer; it has no kind of its own.
    const EIO: i32 = 5;
    let (path, reason) = (path.to_owned(), reason.to_owned());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => {
            OpenError::Unavailable { path, reason }
        }
        _ if error.raw_os_error() == Some(EIO) => OpenError::Unavailable { path, reason },
        _ => OpenError::Failed { path, reason },
    }
}

fn explain(path: &Path, error: sqlx::Error) -> OpenError {
    /// Result codes of [SQLite](https://www.sqlite.org/rescode.html), without what extends them.
    const BUSY: i32 = 5;
    const READ_ONLY: i32 = 8;
    const IO_ERROR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANNOT_OPEN: i32 = 14;
    const NOT_A_DATABASE: i32 = 26;
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    let path = path.to_owned();
    match (code.map(|code| code & 0xff), &error) {
        (Some(BUSY), _) => OpenError::InUse { path },
        (Some(CORRUPT | NOT_A_DATABASE), _) | (None, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => {
            OpenError::Damaged { path, reason: error.to_string() }
        }
        // That the file itself can be opened and written was seen before.
        (Some(READ_ONLY | IO_ERROR | FULL | CANNOT_OPEN), _) => {
            OpenError::Unavailable { path, reason: error.to_string() }
        }
        _ => OpenError::Failed { path, reason: error.to_string() },
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|number| number.parse().ok()).collect()
}

fn to_json<T: Serialize>(value: &T) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn from_json<T: DeserializeOwned>(json: &str) -> sqlx::Result<T> {
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// SQLite's integers are signed; ours never get that far.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
