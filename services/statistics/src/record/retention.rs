//! Pruning: an object that was closed long ago goes, with all that belongs to it; its id stays for as long again, as a
//! tombstone, so that what is still delivered about it changes nothing. Aggregates stay: they are running figures.
//!
//! The file does not shrink: what is freed is written again. Freed pages are found without searching, and in a steady state
//! the file has the size of what is kept. Only `VACUUM` would shrink it, and copy all of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bus::events::ObjectId;
use sqlx::SqliteConnection;

use super::{Record, array, fetch_rows, figures::Deltas};

/// Objects that go in one transaction, at most.
const MAX_OBJECTS: i64 = 200;
/// Rows that one statement deletes, at most: a row may have megabytes, all of which are visited.
const MAX_ROWS: u64 = 100;
/// A transaction deletes no more when it has taken so long: batches of events wait for it.
const MAX_TIME: Duration = Duration::from_millis(50);

/// Their partial results: at most `?2` of the objects in the JSON array `?1`, as each of those that follow.
const PARTIALS: &str = "
    DELETE FROM partials WHERE (object_id, parts, part) IN (
        SELECT p.object_id, p.parts, p.part FROM jsonb_each(?1) AS k
        CROSS JOIN partials AS p ON p.object_id = k.value LIMIT ?2)";

/// Their tasks; of each, who has it in progress.
const TASKS: &str = "
    DELETE FROM tasks WHERE (object_id, parts, part) IN (
        SELECT t.object_id, t.parts, t.part FROM jsonb_each(?1) AS k
        CROSS JOIN tasks AS t ON t.object_id = k.value LIMIT ?2)
    RETURNING operation, iif(started_at IS NOT NULL AND outcome IS NULL, started_by, NULL)";

/// What else goes before them.
const BELONGINGS: [&str; 2] = [
    "DELETE FROM split_failures WHERE object_id IN (
        SELECT f.object_id FROM jsonb_each(?1) AS k
        CROSS JOIN split_failures AS f ON f.object_id = k.value LIMIT ?2)",
    // What is to be replayed is needed until it has been published.
    "DELETE FROM dead_letters WHERE number IN (
        SELECT d.number FROM jsonb_each(?1) AS k
        CROSS JOIN dead_letters AS d ON d.object_id = k.value
        WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE kind = 'replay' AND event = json_quote(d.id)) LIMIT ?2)",
];

/// Dead letters that were replayed or discarded. One that waits, and belongs to no object that goes, waits for somebody.
const SETTLED: &str = "
    DELETE FROM dead_letters WHERE number IN (
        SELECT number FROM dead_letters AS d
        WHERE state <> 'waiting' AND settled_at <= ?1
            AND NOT EXISTS (SELECT 1 FROM outbox WHERE kind = 'replay' AND event = json_quote(d.id)) LIMIT ?2)";

/// At last, the objects.
const OBJECTS: &str = "
    DELETE FROM objects WHERE id IN (
        SELECT o.id FROM jsonb_each(?1) AS k CROSS JOIN objects AS o ON o.id = k.value LIMIT ?2)";

/// Oldest first. An open object was not closed, and is never among them. One of which something was replayed has as long
/// again for what comes of that, unless it is buried already.
const DUE: &str = "
    SELECT id FROM objects AS o WHERE closed_at <= ?1 AND (
        EXISTS (SELECT 1 FROM pruned WHERE id = o.id)
        OR NOT EXISTS (SELECT 1 FROM dead_letters WHERE object_id = o.id AND state = 'replayed' AND settled_at > ?1))
    ORDER BY closed_at, id LIMIT ?2";

const BURY: &str = "INSERT OR IGNORE INTO pruned SELECT value, ?2 FROM jsonb_each(?1)";

const FORGET: &str = "
    DELETE FROM pruned WHERE id IN (SELECT id FROM pruned WHERE pruned_at <= ?1 ORDER BY pruned_at LIMIT ?2)";

const LATE: &str = "SELECT k.key FROM jsonb_each(?1) AS k CROSS JOIN pruned AS p ON p.id = k.value";

/// What one portion has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Objects that went.
    pub objects: u64,
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
        let due = now.saturating_sub(retention);
        let mut write = self.begin().await?;
        let portion = prune(write.connection(), now, due, Instant::now() + longest).await?;
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

async fn prune(connection: &mut SqliteConnection, now: i64, due: i64, end: Instant) -> sqlx::Result<Pruned> {
    let mut portion = Pruned::default();
    let ids: Vec<String> = sqlx::query_scalar(DUE).bind(due).bind(MAX_OBJECTS).fetch_all(&mut *connection).await?;
    if let Some(ids) = array(ids.iter())? {
        // From now on, whatever still comes about them is late, also if not all of them goes in this transaction.
        sqlx::query(BURY).bind(&ids).bind(now).execute(&mut *connection).await?;
        if !belongings(connection, &ids, end).await? {
            return Ok(Pruned { more: true, ..portion });
        }
        let (objects, all_gone) = delete(connection, OBJECTS, &ids, end).await?;
        portion.objects = objects;
        portion.more = !all_gone;
    }
    portion.more |= ids.len() as i64 == MAX_OBJECTS;
    let forgotten = sqlx::query(FORGET).bind(due).bind(MAX_OBJECTS).execute(&mut *connection).await?;
    portion.tombstones = forgotten.rows_affected();
    portion.more |= portion.tombstones == MAX_OBJECTS as u64;
    let settled = sqlx::query(SETTLED).bind(due).bind(MAX_OBJECTS).execute(connection).await?;
    portion.more |= settled.rows_affected() == MAX_OBJECTS as u64;
    Ok(portion)
}

/// Deletes what belongs to objects; whether all of it went.
async fn belongings(connection: &mut SqliteConnection, ids: &str, end: Instant) -> sqlx::Result<bool> {
    if !delete(connection, PARTIALS, ids, end).await?.1 || !tasks(connection, ids, end).await? {
        return Ok(false);
    }
    for sql in BELONGINGS {
        if !delete(connection, sql, ids, end).await?.1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes tasks; whether all went. One that never ended is not in progress any more.
async fn tasks(connection: &mut SqliteConnection, ids: &str, end: Instant) -> sqlx::Result<bool> {
    let mut deltas = Deltas::default();
    let all_gone = loop {
        let query = sqlx::query_as(TASKS).bind(ids).bind(MAX_ROWS as i64);
        let gone: Vec<(String, Option<String>)> = query.fetch_all(&mut *connection).await?;
        for (operation, processor) in &gone {
            processor.iter().for_each(|processor| deltas.given_up(operation, processor));
        }
        if (gone.len() as u64) < MAX_ROWS {
            break true;
        }
        if Instant::now() >= end {
            break false;
        }
    };
    deltas.write(connection).await?;
    Ok(all_gone)
}

/// Repeats a statement until it has nothing more to delete, or the time is over. How many rows went, and whether all did.
async fn delete(
    connection: &mut SqliteConnection,
    sql: &'static str,
    ids: &str,
    end: Instant,
) -> sqlx::Result<(u64, bool)> {
    let mut deleted = 0;
    loop {
        let query = sqlx::query(sql).bind(ids).bind(MAX_ROWS as i64);
        let rows = query.execute(&mut *connection).await?.rows_affected();
        deleted += rows;
        if rows < MAX_ROWS {
            return Ok((deleted, true));
        }
        if Instant::now() >= end {
            return Ok((deleted, false));
        }
    }
}

/// Which of the objects have been pruned.
pub(super) async fn late(
    connection: &mut SqliteConnection,
    objects: &BTreeSet<ObjectId>,
) -> sqlx::Result<BTreeSet<ObjectId>> {
    let rows: Vec<(i64,)> = fetch_rows(connection, LATE, objects.iter()).await?;
    let late: BTreeSet<usize> = rows.into_iter().filter_map(|(key,)| usize::try_from(key).ok()).collect();
    Ok(objects.iter().enumerate().filter(|(number, _)| late.contains(number)).map(|(_, id)| *id).collect())
}
