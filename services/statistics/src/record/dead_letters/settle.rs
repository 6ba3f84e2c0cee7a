//! What becomes of dead letters: replayed, through the outbox, or discarded.

use bus::{Message, events::ObjectId};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::record::{Record, Write, array, orphans};

/// How many are settled in one transaction: merging waits for it.
const PORTION: u32 = 100;

/// Which dead letters of those that wait. Each that is said narrows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Selection {
    pub cause: Option<String>,
    pub operation: Option<String>,
    pub queue: Option<String>,
    pub object: Option<ObjectId>,
    pub ids: Option<Vec<String>>,
}

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// What was asked for.
    Done,
    /// There is none of this id.
    NotThere,
    /// It does not wait any more: its state.
    Already(String),
    /// It cannot be replayed, for this reason.
    Refused(String),
}

/// What became of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettledAll {
    /// With so many what was asked for.
    pub done: u64,
    /// So many cannot be replayed, and still wait.
    pub refused: u64,
}

/// What is to become of dead letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Replayed,
    Discarded,
}

/// A dead letter to be published again.
#[derive(Clone, Debug, PartialEq)]
pub struct ToReplay {
    /// As it was.
    pub message: Message,
    /// The queue that it goes to.
    pub queue: String,
}

/// Up to a number, so that what dies again meanwhile is not replayed without end.
const WAITING: &str = "
    SELECT number FROM dead_letters
    WHERE state = 'waiting' AND number > ?1 AND number <= ?2 AND (obstacle IS NULL OR NOT ?3)
      AND (?4 IS NULL OR cause = ?4) AND (?5 IS NULL OR operation = ?5) AND (?6 IS NULL OR queue = ?6)
      AND (?7 IS NULL OR object_id = ?7) AND (?8 IS NULL OR id IN (SELECT value FROM json_each(?8)))
    ORDER BY number LIMIT ?9";

const REFUSED: &str = "
    SELECT count(*) FROM dead_letters
    WHERE state = 'waiting' AND number <= ?1 AND obstacle IS NOT NULL
      AND (?2 IS NULL OR cause = ?2) AND (?3 IS NULL OR operation = ?3) AND (?4 IS NULL OR queue = ?4)
      AND (?5 IS NULL OR object_id = ?5) AND (?6 IS NULL OR id IN (SELECT value FROM json_each(?6)))";

impl Record {
    /// Has a dead letter published again. The same again is refused: it is replayed already.
    ///
    /// # Errors
    /// If SQLite cannot write now; nothing has changed then.
    pub async fn replay_dead_letter(&self, id: &str) -> sqlx::Result<Settled> {
        self.settle_one(id, Fate::Replayed).await
    }

    /// Gives up a dead letter, and forgets its body.
    ///
    /// # Errors
    /// If SQLite cannot write now; nothing has changed then.
    pub async fn discard_dead_letter(&self, id: &str) -> sqlx::Result<Settled> {
        self.settle_one(id, Fate::Discarded).await
    }

    /// Has all those published again that wait now and can be.
    ///
    /// # Errors
    /// If SQLite cannot write now; some may have been settled then.
    pub async fn replay_dead_letters(&self, selection: &Selection) -> sqlx::Result<SettledAll> {
        self.settle_all(selection, Fate::Replayed).await
    }

    /// Gives up all those that wait now.
    ///
    /// # Errors
    /// If SQLite cannot write now; some may have been settled then.
    pub async fn discard_dead_letters(&self, selection: &Selection) -> sqlx::Result<SettledAll> {
        self.settle_all(selection, Fate::Discarded).await
    }

    /// How many dead letters wait, by cause.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn waiting_dead_letters(&self) -> sqlx::Result<Vec<(String, i64)>> {
        sqlx::query_as(crate::record::read::WAITING_BY_CAUSE).fetch_all(&self.readers).await
    }

    /// The dead letter of this id as it is to be published again, or why it can never be.
    pub(crate) async fn to_replay(&self, id: &str) -> sqlx::Result<Option<anyhow::Result<ToReplay>>> {
        let row: Option<MessageRow> = sqlx::query_as(
            "SELECT queue, message_id, exchange, routing_key, correlation_id, type AS kind, app_id, sent_at, content_type,
                    headers, body
             FROM dead_letters WHERE id = ?1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(ToReplay::try_from))
    }

    /// Takes back that a dead letter was to be published again: it cannot be, for this reason.
    pub(crate) async fn refuse_replay(&self, id: &str, reason: &str) -> sqlx::Result<()> {
        let now = bus::now().as_microsecond();
        let mut write = self.begin().await?;
        let object: Option<Option<String>> = sqlx::query_scalar(
            "UPDATE dead_letters SET state = 'waiting', waits_since = ?3, settled_at = NULL, obstacle = ?2 WHERE id = ?1
             RETURNING object_id",
        )
        .bind(id)
        .bind(reason)
        .bind(now)
        .fetch_optional(write.connection())
        .await?;
        // That may have been pruned meanwhile.
        orphans::note(write.connection(), object.flatten().iter(), now).await?;
        write.commit().await
    }

    async fn settle_one(&self, id: &str, fate: Fate) -> sqlx::Result<Settled> {
        let mut write = self.begin().await?;
        let found: Option<(i64, String, Option<String>)> =
            sqlx::query_as("SELECT number, state, obstacle FROM dead_letters WHERE id = ?1")
                .bind(id)
                .fetch_optional(write.connection())
                .await?;
        let settled = match found {
            None => Settled::NotThere,
            Some((_, state, _)) if state != "waiting" => Settled::Already(state),
            Some((_, _, Some(obstacle))) if fate == Fate::Replayed => Settled::Refused(obstacle),
            Some((number, ..)) => {
                settle(&mut write, &[number], fate).await?;
                Settled::Done
            }
        };
        write.commit().await?;
        Ok(settled)
    }

    async fn settle_all(&self, selection: &Selection, fate: Fate) -> sqlx::Result<SettledAll> {
        let last: i64 =
            sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM dead_letters").fetch_one(&self.readers).await?;
        let ids = selection.ids.as_ref().map(|ids| array(ids.iter()).map(|ids| ids.unwrap_or_else(|| "[]".to_owned())));
        let ids = ids.transpose()?;
        let object = selection.object.map(|object| object.to_string());
        let (mut settled, mut after) = (SettledAll::default(), 0);
        loop {
            let mut write = self.begin().await?;
            let numbers: Vec<i64> = sqlx::query_scalar(WAITING)
                .bind(after)
                .bind(last)
                .bind(fate == Fate::Replayed)
                .bind(&selection.cause)
                .bind(&selection.operation)
                .bind(&selection.queue)
                .bind(&object)
                .bind(&ids)
                .bind(PORTION)
                .fetch_all(write.connection())
                .await?;
            settle(&mut write, &numbers, fate).await?;
            write.commit().await?;
            let Some(&highest) = numbers.last() else { break };
            settled.done += numbers.len() as u64;
            after = highest;
        }
        if fate == Fate::Replayed {
            let refused: i64 = sqlx::query_scalar(REFUSED)
                .bind(last)
                .bind(&selection.cause)
                .bind(&selection.operation)
                .bind(&selection.queue)
                .bind(&object)
                .bind(&ids)
                .fetch_one(&self.readers)
                .await?;
            settled.refused = refused.unsigned_abs();
        }
        Ok(settled)
    }
}

/// Settles dead letters that wait, in a transaction.
async fn settle(write: &mut Write<'_>, numbers: &[i64], fate: Fate) -> sqlx::Result<()> {
    let Some(numbers) = array(numbers.iter())? else {
        return Ok(());
    };
    let (connection, now) = (write.connection(), bus::now().as_microsecond());
    match fate {
        Fate::Replayed => replay(connection, &numbers, now).await,
        Fate::Discarded => discard(connection, &numbers, now).await,
    }
}

async fn replay(connection: &mut SqliteConnection, numbers: &str, now: i64) -> sqlx::Result<()> {
    const PUBLISH: &str = "
        INSERT INTO outbox (time, kind, event)
        SELECT ?2, 'replay', json_quote(id) FROM dead_letters WHERE number IN (SELECT value FROM json_each(?1))
        ORDER BY number";
    const TRIED_AGAIN: &str = "
        UPDATE split_failures SET replayed = 1 WHERE object_id IN (
            SELECT object_id FROM dead_letters
            WHERE number IN (SELECT value FROM json_each(?1)) AND kind = 'OBJECT_CREATED')";
    const MARK: &str = "
        UPDATE dead_letters SET state = 'replayed', settled_at = ?2
        WHERE number IN (SELECT value FROM json_each(?1))";
    sqlx::query(PUBLISH).bind(numbers).bind(now).execute(&mut *connection).await?;
    sqlx::query(TRIED_AGAIN).bind(numbers).execute(&mut *connection).await?;
    sqlx::query(MARK).bind(numbers).bind(now).execute(connection).await?;
    Ok(())
}

async fn discard(connection: &mut SqliteConnection, numbers: &str, now: i64) -> sqlx::Result<()> {
    const MARK: &str = "
        UPDATE dead_letters SET state = 'discarded', settled_at = ?2, body = x''
        WHERE number IN (SELECT value FROM json_each(?1))";
    sqlx::query(MARK).bind(numbers).bind(now).execute(connection).await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    queue: String,
    message_id: String,
    exchange: String,
    routing_key: String,
    correlation_id: Option<String>,
    kind: Option<String>,
    app_id: Option<String>,
    sent_at: Option<i64>,
    content_type: Option<String>,
    headers: String,
    body: Vec<u8>,
}

impl TryFrom<MessageRow> for ToReplay {
    type Error = anyhow::Error;

    fn try_from(row: MessageRow) -> anyhow::Result<Self> {
        let message = Message {
            exchange: row.exchange,
            routing_key: row.routing_key,
            id: row.message_id,
            correlation_id: row.correlation_id,
            kind: row.kind,
            app_id: row.app_id,
            timestamp: row.sent_at.map(Timestamp::from_microsecond).transpose()?,
            content_type: row.content_type,
            headers: serde_json::from_str(&row.headers)?,
            body: row.body.into(),
        };
        Ok(Self { message, queue: row.queue })
    }
}
