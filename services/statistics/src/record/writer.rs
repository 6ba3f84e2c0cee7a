//! The one connection that writes.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, MutexGuard};

use super::{checkpoint::READERS_PATIENCE, open::BUSY_TIMEOUT};

/// Hands out write transactions, one at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    options: SqliteConnectOptions,
    /// None after a transaction that did not end well.
    connection: Mutex<Option<SqliteConnection>>,
}

/// A write transaction. Unless it is committed, its connection is closed, which is the one rollback that works
/// whatever state an error (or the loss of this future) left it in.
pub(crate) struct Write<'a> {
    home: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Writer {
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self { options, connection: Mutex::new(Some(connection)) }
    }

    /// Begins a transaction that may write from its start: one that begins by reading can find, when it
    /// wants to write, that it must not, and no busy timeout helps then.
    pub(super) async fn begin(&self) -> sqlx::Result<Write<'_>> {
        let (home, mut connection) = self.take().await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(Write { home, connection })
    }

    /// Copies the write-ahead log into the file and empties it, if nobody reads from it for a moment; else copies as much of
    /// it as nobody reads.
    pub(super) async fn empty_wal(&self) -> sqlx::Result<()> {
        let (mut home, mut connection) = self.take().await?;
        set_busy_timeout(&mut connection, READERS_PATIENCE).await?;
        // That it was busy is not an error but part of the answer, which the length of the file tells, too.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        set_busy_timeout(&mut connection, BUSY_TIMEOUT).await?;
        *home = Some(connection);
        Ok(())
    }

    /// The connection, a new one after a transaction that did not end well, and where to put it back.
    async fn take(&self) -> sqlx::Result<(MutexGuard<'_, Option<SqliteConnection>>, SqliteConnection)> {
        let mut home = self.connection.lock().await;
        let connection = match home.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok((home, connection))
    }

    /// Closes the connection and waits until it is closed.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            // What was committed is safe whether or not closing tidies up.
            let _ = connection.close().await;
        }
    }
}

/// How long the connection waits for others.
async fn set_busy_timeout(connection: &mut SqliteConnection, timeout: Duration) -> sqlx::Result<()> {
    let mut pragma = QueryBuilder::<Sqlite>::new("PRAGMA busy_timeout = ");
    pragma.push(timeout.as_millis());
    sqlx::raw_sql(pragma.into_sql()).execute(connection).await?;
    Ok(())
}

impl Write<'_> {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Makes all of it durable.
    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        sqlx::query("COMMIT").execute(&mut self.connection).await?;
        *self.home = Some(self.connection);
        Ok(())
    }
}
