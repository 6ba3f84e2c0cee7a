//! Pruning: an object that was closed long ago goes, with all that belongs to it; its id stays for as long again, as a
//! tombstone, so that what is still delivered about it changes nothing. Aggregates stay: they are running figures. What belongs
//! to an object that never came goes likewise, so long after it was first heard of.
//!
//! The file does not shrink: what is freed is written again. Freed pages are found without searching, and in a steady state
//! the file has the size of what is kept. Only `VACUUM` would shrink it, and copy all of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bus::events::ObjectId;
use sqlx::{FromRow, SqliteConnection, sqlite::SqliteRow};

use super::{Record, array, fetch_rows, figures::Deltas, others};

/// Objects that go in one transaction, at most; and tombstones, and dead letters without an object.
const MAX_OBJECTS: i64 = 200;
/// Rows that one statement deletes, at most: a row may have megabytes, all of which are visited.
const MAX_ROWS: i64 = 100;
/// A transaction deletes no more when it has taken so long: batches of events wait for it.
const MAX_TIME: Duration = Duration::from_millis(50);

/// However short the time is that things are kept: the creation of an object of which something else is known may still be on
/// its way, and would come too late. In microseconds: an hour.
const LEAST_FOR_ORPHANS: i64 = 3_600_000_000;

/// Their partial results: at most `?2` of the objects in the JSON array `?1`, as each of those that follow.
const PARTIALS: &str = "
    DELETE FROM partials WHERE (object_id, parts, part) IN (
        SELECT p.object_id, p.parts, p.part FROM jsonb_each(?1) AS k
        CROSS JOIN partials AS p ON p.object_id = k.value LIMIT ?2) RETURNING true";

/// Their tasks; of each, for whom it counts.
const TASKS: &str = "
    DELETE FROM tasks WHERE (object_id, parts, part) IN (
        SELECT t.object_id, t.parts, t.part FROM jsonb_each(?1) AS k
        CROSS JOIN tasks AS t ON t.object_id = k.value LIMIT ?2)
    RETURNING operation, outcome IS NOT NULL, iif(outcome IS NULL, started_by, processor)";

const SPLIT_FAILURES: &str = "
    DELETE FROM split_failures WHERE object_id IN (
        SELECT f.object_id FROM jsonb_each(?1) AS k
        CROSS JOIN split_failures AS f ON f.object_id = k.value LIMIT ?2) RETURNING true";

/// What is to be replayed is needed until it has been published.
const DEAD_LETTERS: &str = "
    DELETE FROM dead_letters WHERE number IN (
        SELECT d.number FROM jsonb_each(?1) AS k
        CROSS JOIN dead_letters AS d ON d.object_id = k.value
        WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE kind = 'replay' AND event = json_quote(d.id)) LIMIT ?2)
    RETURNING true";

/// At last, the objects,
const OBJECTS: &str = "
    DELETE FROM objects WHERE id IN (
        SELECT o.id FROM jsonb_each(?1) AS k CROSS JOIN objects AS o ON o.id = k.value LIMIT ?2) RETURNING operation";

/// or what stands for them.
const ORPHANS: &str = "
    DELETE FROM orphans WHERE id IN (
        SELECT o.id FROM jsonb_each(?1) AS k CROSS JOIN orphans AS o ON o.id = k.value LIMIT ?2) RETURNING true";

/// Dead letters that were replayed or discarded.
const SETTLED: &str = "
    DELETE FROM dead_letters WHERE number IN (
        SELECT number FROM dead_letters AS d
        WHERE state <> 'waiting' AND settled_at <= ?1
            AND NOT EXISTS (SELECT 1 FROM outbox WHERE kind = 'replay' AND event = json_quote(d.id)) LIMIT ?2)";

/// Those that waited for somebody, and belong to no object that they could go with.
const UNCLAIMED: &str = "
    DELETE FROM dead_letters WHERE number IN (
        SELECT number FROM dead_letters
        WHERE state = 'waiting' AND object_id IS NULL AND waits_since <= ?1 LIMIT ?2)";

/// Oldest first. An open object was not closed, and is never among them. One of which something was replayed has as long
/// again for what comes of that, unless it is buried already.
const DUE: &str = "
    SELECT id FROM (
        SELECT id, closed_at AS since FROM objects WHERE closed_at <= ?1
        UNION ALL SELECT id, heard_at AS since FROM orphans WHERE heard_at <= ?2
        ORDER BY since, id) AS o
    WHERE EXISTS (SELECT 1 FROM pruned WHERE id = o.id)
        OR NOT EXISTS (SELECT 1 FROM dead_letters WHERE object_id = o.id AND state = 'replayed' AND settled_at > ?1)
    LIMIT ?3";

const BURY: &str = "INSERT OR IGNORE INTO pruned SELECT value, ?2 FROM jsonb_each(?1)";

const FORGET: &str = "
    DELETE FROM pruned WHERE id IN (SELECT id FROM pruned WHERE pruned_at <= ?1 ORDER BY pruned_at LIMIT ?2)";

const LATE: &str = "SELECT k.key FROM jsonb_each(?1) AS k CROSS JOIN pruned AS p ON p.id = k.value";

/// What one portion has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Objects that went.
    pub objects: u64,
    /// Objects of which all that was known went, but for their creation, which never came.
    pub orphans: u64,
    /// Dead letters that went although they belong to no object and nobody had replayed or discarded them.
    pub unclaimed: u64,
    /// Tombstones that went.
    pub tombstones: u64,
    /// Whether there is more to do now.
    pub more: bool,
}

impl Record {
    /// Prunes a portion of what was closed `retention` before `now` or earlier, in one short transaction. Both are in
    /// microseconds, `now` since 1970.
    ///
    /// # Errors
    /// If the file cannot be written now; nothing has changed then.
    pub async fn prune(&self, now: i64, retention: i64) -> sqlx::Result<Pruned> {
        self.prune_for(MAX_TIME, now, retention).await
    }

    /// As [`Record::prune`], and a transaction deletes no more when it has taken so long.
    ///
    /// # Errors
    /// The same.
    pub async fn prune_for(&self, longest: Duration, now: i64, retention: i64) -> sqlx::Result<Pruned> {
        let mut write = self.begin().await?;
        let connection = write.connection();
        let portion = prune(connection, now, retention, Instant::now() + longest).await?;
        others::add_up(connection, &self.catalogue).await?;
        write.commit().await?;
        Ok(portion)
    }

    /// When the object was pruned, in microseconds since 1970; none if it was not, or that is forgotten by now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn pruned_at(&self, id: ObjectId) -> sqlx::Result<Option<i64>> {
        sqlx::query_scalar("SELECT pruned_at FROM pruned WHERE id = ?1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
    }
}

async fn prune(connection: &mut SqliteConnection, now: i64, retention: i64, end: Instant) -> sqlx::Result<Pruned> {
    let due = now.saturating_sub(retention);
    let orphans_due = now.saturating_sub(retention.max(LEAST_FOR_ORPHANS));
    let mut portion = Pruned::default();
    let ids: Vec<String> =
        sqlx::query_scalar(DUE).bind(due).bind(orphans_due).bind(MAX_OBJECTS).fetch_all(&mut *connection).await?;
    if let Some(array) = array(ids.iter())? {
        // From now on, whatever still comes about them is late, also if not all of them goes in this transaction.
        sqlx::query(BURY).bind(&array).bind(now).execute(&mut *connection).await?;
        let mut deltas = Deltas::default();
        let all_gone = objects(connection, &array, end, &mut deltas, &mut portion).await?;
        deltas.write(connection).await?;
        portion.more = !all_gone || ids.len() as i64 == MAX_OBJECTS;
        if !all_gone {
            return Ok(portion);
        }
    }
    portion.tombstones = forget(connection, FORGET, due).await?;
    portion.unclaimed = forget(connection, UNCLAIMED, due).await?;
    let settled = forget(connection, SETTLED, due).await?;
    portion.more |= [portion.tombstones, portion.unclaimed, settled].contains(&MAX_OBJECTS.unsigned_abs());
    Ok(portion)
}

/// Deletes what has been kept long enough; how many rows.
async fn forget(connection: &mut SqliteConnection, sql: &'static str, due: i64) -> sqlx::Result<u64> {
    Ok(sqlx::query(sql).bind(due).bind(MAX_OBJECTS).execute(connection).await?.rows_affected())
}

/// Deletes objects, after all that belongs to them; whether all of it went.
async fn objects(
    connection: &mut SqliteConnection,
    ids: &str,
    end: Instant,
    deltas: &mut Deltas,
    portion: &mut Pruned,
) -> sqlx::Result<bool> {
    let count_task = |(operation, ended, processor): (String, bool, Option<String>)| {
        deltas.task_pruned(&operation, ended, processor.as_deref());
    };
    Ok(delete(connection, PARTIALS, ids, end, nothing).await?
        && delete(connection, TASKS, ids, end, count_task).await?
        && delete(connection, SPLIT_FAILURES, ids, end, nothing).await?
        && delete(connection, DEAD_LETTERS, ids, end, nothing).await?
        && delete(connection, OBJECTS, ids, end, |(operation,): (String,)| {
            deltas.object_pruned(&operation);
            portion.objects += 1;
        })
        .await?
        && delete(connection, ORPHANS, ids, end, |(_,): (bool,)| portion.orphans += 1).await?)
}

/// Repeats a statement until it has nothing more to delete, or the time is over; tells what it returns of each row. Whether all
/// went.
async fn delete<R>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    ids: &str,
    end: Instant,
    mut tell: impl FnMut(R),
) -> sqlx::Result<bool>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    loop {
        let gone: Vec<R> = sqlx::query_as(sql).bind(ids).bind(MAX_ROWS).fetch_all(&mut *connection).await?;
        let is_last = (gone.len() as i64) < MAX_ROWS;
        gone.into_iter().for_each(&mut tell);
        if is_last || Instant::now() >= end {
            return Ok(is_last);
        }
    }
}

/// What is told of rows that count for nobody.
fn nothing(_: (bool,)) {}

/// Which of the objects have been pruned.
pub(super) async fn late(
    connection: &mut SqliteConnection,
    objects: &BTreeSet<ObjectId>,
) -> sqlx::Result<BTreeSet<ObjectId>> {
    let rows: Vec<(i64,)> = fetch_rows(connection, LATE, objects.iter()).await?;
    let late: BTreeSet<usize> = rows.into_iter().filter_map(|(key,)| usize::try_from(key).ok()).collect();
    Ok(objects.iter().enumerate().filter(|(number, _)| late.contains(number)).map(|(_, id)| *id).collect())
}
