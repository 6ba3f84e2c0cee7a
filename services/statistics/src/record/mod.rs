//! The record: one SQLite file, one writer.
//!
//! A batch of events is merged in one transaction: folded in memory (`batch`), joined (`facts`) with the rows that
//! are there, written back with one statement a table. Rows travel to and from SQLite as one JSON array that
//! `jsonb_each` takes apart, which is several times as fast as a statement a row.

mod backup;
mod batch;
mod checkpoint;
mod dead_letters;
pub mod durations;
mod examine;
mod facts;
pub(crate) mod figures;
mod identity;
mod lock;
pub(crate) mod objects;
mod open;
mod orphans;
mod others;
pub(crate) mod outbox;
pub mod read;
mod retention;
mod split_failures;
mod tasks;
pub(crate) mod totals;
mod trouble;
mod unknown;
mod wal_readers;
mod writer;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use bus::{DeadLetter, Topology, events::ObjectId};
use operations::Catalogue;
use serde::{Serialize, Serializer};
use sqlx::{FromRow, SqliteConnection, SqlitePool, sqlite::SqliteRow};

pub(crate) use self::batch::text;
pub(crate) use self::writer::Write;
pub use self::{
    backup::{Copied, CopyError, backup, backup_for_reading, restore, restore_from},
    batch::Fact,
    checkpoint::{WalHeld, WalLimits},
    dead_letters::{Selection, Settled, SettledAll, ToReplay},
    examine::{Examined, examine},
    figures::{Figures, ProcessorFigures, Status},
    open::OpenError,
    retention::Pruned,
    trouble::{is_of_rows, may_pass, took_too_long},
};
use self::{
    batch::{Batch, object_of},
    checkpoint::Wal,
    figures::Deltas,
    lock::Lock,
    trouble::io_may_pass,
    writer::Writer,
};
use crate::finish::{self, Finished};

/// The open record.
#[derive(Debug)]
pub struct Record {
    writer: Writer,
    readers: SqlitePool,
    wal: Wal,
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
    /// The earliest moment at which one of the objects is due that were heard of for the first time or again.
    pub due_at: Option<i64>,
    /// The causes of the dead letters that are new.
    pub dead: Vec<String>,
    /// How many of the events were about objects that have been pruned: nothing came of them.
    pub late: usize,
}

impl Record {
    /// Opens the file, creates it if there is none; none if another process owns it.
    ///
    /// # Errors
    /// If it cannot be written now, or never: damaged, of a newer version, something else, or on a file system without what
    /// SQLite needs.
    pub async fn try_open(path: &Path, catalogue: Catalogue) -> Result<Option<Self>, OpenError> {
        Self::try_open_with(path, catalogue, WalLimits::default()).await
    }

    /// As [`Record::try_open`], with other limits of the write-ahead log.
    ///
    /// # Errors
    /// The same.
    pub async fn try_open_with(
        path: &Path,
        catalogue: Catalogue,
        limits: WalLimits,
    ) -> Result<Option<Self>, OpenError> {
        if path.is_dir() {
            return Err(OpenError::failed(path, "it is a directory"));
        }
        let lock = Lock::try_take(path).map_err(|error| {
            let reason = format!("its lock cannot be taken: {error}");
            if io_may_pass(&error) { OpenError::unavailable(path, reason) } else { OpenError::failed(path, reason) }
        })?;
        let Some(lock) = lock else {
            return Ok(None);
        };
        identity::check(path).await?;
        let options = open::options(path);
        let connection = open::writer(path, &options).await?;
        let readers = open::readers(&options);
        Ok(Some(Self {
            writer: Writer::new(options, connection),
            readers,
            wal: Wal::of(path, limits),
            catalogue: Arc::new(catalogue),
            _lock: lock,
        }))
    }

    /// Merges a batch, whole or not at all. The same events again, in whatever batches, change nothing.
    ///
    /// # Errors
    /// If SQLite cannot write now, or the write-ahead log has no more room; nothing has changed then.
    pub async fn merge(&self, events: &[impl Fact]) -> anyhow::Result<Merged> {
        let mut write = self.begin().await?;
        let now = bus::now().as_microsecond();
        let (merged, pruned) = self.merge_into(&mut write, Batch::of(events), now).await?;
        write.commit().await?;
        let late = events.iter().filter_map(|fact| object_of(fact.event())).filter(|id| pruned.contains(id)).count();
        Ok(Merged { late, ..merged })
    }

    /// Merges dead letters, and what follows from them, whole or not at all. The same ones again change nothing.
    ///
    /// # Errors
    /// The same.
    pub async fn merge_dead_letters(&self, letters: &[DeadLetter], topology: &Topology) -> anyhow::Result<Merged> {
        let now = bus::now().as_microsecond();
        let mut write = self.begin().await?;
        let dead = dead_letters::merge(write.connection(), letters, topology, now).await?;
        let (merged, _pruned) = self.merge_into(&mut write, Batch::of_dead_letters(letters, topology), now).await?;
        write.commit().await?;
        Ok(Merged { dead, ..merged })
    }

    /// Closes the objects that were due at `cutoff`, in microseconds since 1970, and are open still: a
    /// hundred at most, so whoever wants all goes on until none is closed.
    ///
    /// Everything that was on the bus at that time must have been merged.
    ///
    /// # Errors
    /// The same.
    pub async fn time_out(&self, cutoff: i64) -> anyhow::Result<Merged> {
        let mut write = self.begin().await?;
        let mut deltas = Deltas::default();
        let finished = finish::time_out(write.connection(), cutoff, &mut deltas).await?;
        let merged = merged(finished, deltas, write.connection()).await?;
        write.commit().await?;
        Ok(merged)
    }

    /// When the next open object is due, in microseconds since 1970.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn next_due(&self) -> sqlx::Result<Option<i64>> {
        sqlx::query_scalar("SELECT min(due_at) FROM objects WHERE status = 'open'").fetch_one(&self.readers).await
    }

    /// Merges what is not about objects that have been pruned; and which of its objects these are.
    async fn merge_into(
        &self,
        write: &mut Write<'_>,
        mut batch: Batch<'_>,
        now: i64,
    ) -> anyhow::Result<(Merged, BTreeSet<ObjectId>)> {
        let connection = write.connection();
        let pruned = retention::late(connection, &batch.about()).await?;
        batch.leave_out(&pruned);
        let about = batch.about();
        let due_at = batch.objects.values().map(|object| now.saturating_add(object.deadline_us)).min();
        let mut deltas = Deltas::default();
        let mut touched = tasks::merge(connection, batch.tasks, &mut deltas).await?;
        touched.extend(objects::merge(connection, batch.objects, now, &mut deltas).await?);
        touched.extend(split_failures::merge(connection, batch.split_failures).await?);
        orphans::note(connection, about.iter(), now).await?;
        unknown::count(connection, batch.unknown).await?;
        let finished = finish::finish(connection, &self.catalogue, touched, &mut deltas).await?;
        Ok((Merged { due_at, ..merged(finished, deltas, connection).await? }, pruned))
    }

    /// Begins a transaction, if the write-ahead log has room for it. Nothing is written otherwise.
    pub(crate) async fn begin(&self) -> sqlx::Result<Write<'_>> {
        self.keep_wal_short().await?;
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

/// Writes what is to be added to the figures, and tells what has changed.
async fn merged(finished: Finished, deltas: Deltas, connection: &mut SqliteConnection) -> sqlx::Result<Merged> {
    let figures = deltas.operations().map(|(name, figures)| (name.to_owned(), *figures)).collect();
    deltas.write(connection).await?;
    Ok(Merged { closed: finished.closed, announced: finished.announced, figures, ..Merged::default() })
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
pub(crate) fn array<T: Serialize>(items: impl Iterator<Item = T>) -> sqlx::Result<Option<String>> {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return Ok(None);
    }
    let mut json = Vec::new();
    serde_json::Serializer::new(&mut json).collect_seq(items).map_err(|error| sqlx::Error::Encode(error.into()))?;
    String::from_utf8(json).map(Some).map_err(|error| sqlx::Error::Encode(error.into()))
}
