//! The record: one SQLite file, one writer.
//!
//! A batch of events is merged in one transaction: folded in memory (`batch`), joined (`facts`) with the rows that
//! are there, written back with one statement a table. Rows travel to and from SQLite as one JSON array that
//! `jsonb_each` takes apart, which is several times as fast as a statement a row.

mod batch;
pub mod durations;
mod facts;
pub(crate) mod figures;
mod lock;
pub(crate) mod objects;
mod open;
pub(crate) mod outbox;
pub mod read;
mod tasks;
pub(crate) mod totals;
mod unknown;
mod writer;

use std::{path::Path, sync::Arc};

use anyhow::Context;
use bus::{AnyEvent, Received, events::ObjectId};
use operations::Catalogue;
use serde::{Serialize, Serializer};
use sqlx::{FromRow, SqliteConnection, SqlitePool, sqlite::SqliteRow};

pub(crate) use self::batch::text;
pub use self::figures::{Figures, ProcessorFigures, Status};
pub(crate) use self::writer::Write;
use self::{batch::Batch, figures::Deltas, lock::Lock, writer::Writer};
use crate::finish;

/// The open record.
#[derive(Debug)]
pub struct Record {
    writer: Writer,
    readers: SqlitePool,
    catalogue: Arc<Catalogue>,
    /// Released last.
    _lock: Lock,
}

/// What merging a batch has changed, for those who follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The objects whose state others may wait for.
    pub closed: Vec<ObjectId>,
    /// How many events were put into the outbox.
    pub announced: usize,
    /// What was added to the figures, by operation.
    pub figures: Vec<(String, Figures)>,
}

impl Record {
    /// Opens the file, creates it if there is none; none if another process owns it.
    ///
    /// # Errors
    /// If it cannot be written safely: damaged, of a newer version, or on a file system without what SQLite needs.
    pub async fn try_open(path: &Path, catalogue: Catalogue) -> anyhow::Result<Option<Self>> {
        let opened = async {
            let Some(lock) = Lock::try_take(path).context("cannot lock it")? else {
                return Ok(None);
            };
            let options = open::options(path);
            let connection = open::writer(&options).await?;
            let readers = open::readers(&options);
            Ok(Some(Self {
                writer: Writer::new(options, connection),
                readers,
                catalogue: Arc::new(catalogue),
                _lock: lock,
            }))
        };
        opened
            .await
            .map_err(|error: anyhow::Error| error.context(format!("cannot open the database {}", path.display())))
    }

    /// Merges a batch, whole or not at all. The same events again, in whatever batches, change nothing.
    ///
    /// # Errors
    /// If SQLite cannot write now; nothing has changed then.
    pub async fn merge(&self, events: &[Received<AnyEvent>]) -> anyhow::Result<Merged> {
        let mut write = self.writer.begin().await?;
        let merged = self.merge_into(&mut write, events).await?;
        write.commit().await?;
        Ok(merged)
    }

    pub(crate) async fn merge_into(
        &self,
        write: &mut Write<'_>,
        events: &[Received<AnyEvent>],
    ) -> anyhow::Result<Merged> {
        let connection = write.connection();
        let batch = Batch::of(events);
        let mut deltas = Deltas::default();
        let mut touched = tasks::merge(connection, batch.tasks, &mut deltas).await?;
        touched.extend(objects::merge(connection, batch.objects, &mut deltas).await?);
        unknown::count(connection, batch.unknown).await?;
        let finished = finish::finish(connection, &self.catalogue, touched, &mut deltas).await?;
        let figures = deltas.operations().map(|(name, figures)| (name.to_owned(), *figures)).collect();
        deltas.write(connection).await?;
        Ok(Merged { closed: finished.closed, announced: finished.announced, figures })
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Write<'_>> {
        self.writer.begin().await
    }

    /// The operations that it can gather.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Closes the file and waits until it is closed.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Executes a statement that takes its rows from `jsonb_each(?1)`; not if there are none.
pub(crate) async fn execute_rows<R: Serialize>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    rows: impl Iterator<Item = R>,
) -> sqlx::Result<()> {
    let Some(rows) = array(rows)? else {
        return Ok(());
    };
    sqlx::query(sql).bind(rows).execute(connection).await?;
    Ok(())
}

/// Reads with a statement that takes its keys from `jsonb_each(?1)`; nothing if there are none.
pub(crate) async fn fetch_rows<K: Serialize, T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    keys: impl Iterator<Item = K>,
) -> sqlx::Result<Vec<T>> {
    let Some(keys) = array(keys)? else {
        return Ok(Vec::new());
    };
    sqlx::query_as(sql).bind(keys).fetch_all(connection).await
}

/// The items as a JSON array; none if there are none.
fn array<T: Serialize>(items: impl Iterator<Item = T>) -> sqlx::Result<Option<String>> {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return Ok(None);
    }
    let mut json = Vec::new();
    serde_json::Serializer::new(&mut json).collect_seq(items).map_err(|error| sqlx::Error::Encode(error.into()))?;
    String::from_utf8(json).map(Some).map_err(|error| sqlx::Error::Encode(error.into()))
}
