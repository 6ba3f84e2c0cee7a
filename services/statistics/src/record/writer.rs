//! The one connection that writes.

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, MutexGuard};

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
    pub(crate) async fn begin(&self) -> sqlx::Result<Write<'_>> {
        let mut home = self.connection.lock().await;
        let mut connection = match home.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(Write { home, connection })
    }

    /// Closes the connection and waits until it is closed.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            // What was committed is safe whether or not closing tidies up.
            let _ = connection.close().await;
        }
    }
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
