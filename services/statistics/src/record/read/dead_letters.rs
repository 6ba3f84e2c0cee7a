//! Which dead letters there are.

use bus::events::ObjectId;

use crate::record::Record;

/// So many groups at most: reasons may differ in every single one.
const MAX_GROUPS: u32 = 100;

/// Which dead letters to list. Each that is said narrows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DeadLetterFilter {
    pub cause: Option<String>,
    pub operation: Option<String>,
    pub queue: Option<String>,
    pub state: Option<String>,
    pub object: Option<ObjectId>,
}

/// Dead letters of one cause, reason and operation.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct Group {
    pub cause: String,
    pub reason: String,
    pub operation: Option<String>,
    pub count: i64,
    pub oldest: i64,
    pub newest: i64,
}

/// A dead letter as it is listed.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct ListedDeadLetter {
    pub number: i64,
    pub id: String,
    pub queue: String,
    pub message_id: String,
    pub round: u32,
    pub state: String,
    pub settled_at: Option<i64>,
    pub cause: String,
    pub reason: String,
    pub attempts: u32,
    pub died_at: i64,
    pub obstacle: Option<String>,
    pub kind: Option<String>,
    pub operation: Option<String>,
    pub object_id: Option<String>,
    pub parts: Option<u32>,
    pub part: Option<u32>,
    pub body_bytes: i64,
}

/// A dead letter as a whole.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
#[allow(missing_docs)]
pub struct FoundDeadLetter {
    #[sqlx(flatten)]
    pub listed: ListedDeadLetter,
    pub exchange: String,
    pub routing_key: String,
    pub correlation_id: Option<String>,
    pub app_id: Option<String>,
    pub sent_at: Option<i64>,
    pub content_type: Option<String>,
    /// JSON.
    pub headers: String,
    /// As much as is kept of it.
    pub body: Vec<u8>,
}

/// What is listed, in the order of the fields.
macro_rules! listed {
    () => {
        "number, id, queue, message_id, round, state, settled_at, cause, reason, attempts, died_at, obstacle, kind,
         operation, object_id, parts, part, body_bytes"
    };
}

/// One statement for every filter: there are few dead letters, or someone has to act anyway.
macro_rules! filtered {
    () => {
        "(?1 IS NULL OR cause = ?1) AND (?2 IS NULL OR operation = ?2) AND (?3 IS NULL OR queue = ?3)
         AND (?4 IS NULL OR state = ?4) AND (?5 IS NULL OR object_id = ?5)"
    };
}

const LIST: &str = concat!(
    "SELECT ",
    listed!(),
    " FROM dead_letters WHERE number < ?6 AND ",
    filtered!(),
    " ORDER BY number DESC LIMIT ?7"
);

const GROUPS: &str = concat!(
    "SELECT cause, reason, operation, count(*) AS count, min(died_at) AS oldest, max(died_at) AS newest
     FROM dead_letters WHERE ",
    filtered!(),
    " GROUP BY cause, reason, operation ORDER BY count(*) DESC, max(number) DESC LIMIT ?6"
);

const SHOW: &str = concat!(
    "SELECT ",
    listed!(),
    ", exchange, routing_key, correlation_id, app_id, sent_at, content_type, headers, body
     FROM dead_letters WHERE id = ?1"
);

impl Record {
    /// At most `limit` dead letters that came before the one of number `before`, the newest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        before: Option<i64>,
        limit: u32,
    ) -> sqlx::Result<Vec<ListedDeadLetter>> {
        sqlx::query_as(LIST)
            .bind(&filter.cause)
            .bind(&filter.operation)
            .bind(&filter.queue)
            .bind(&filter.state)
            .bind(filter.object.map(|object| object.to_string()))
            .bind(before.unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
    }

    /// The dead letters by cause, reason and operation, the largest groups first; a hundred at most.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn dead_letter_groups(&self, filter: &DeadLetterFilter) -> sqlx::Result<Vec<Group>> {
        sqlx::query_as(GROUPS)
            .bind(&filter.cause)
            .bind(&filter.operation)
            .bind(&filter.queue)
            .bind(&filter.state)
            .bind(filter.object.map(|object| object.to_string()))
            .bind(MAX_GROUPS)
            .fetch_all(&self.readers)
            .await
    }

    /// About how many bytes the dead letter of this id is in an answer, where what is quoted in it, or is no text, is longer; 0
    /// if there is none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn dead_letter_bytes(&self, id: &str) -> sqlx::Result<i64> {
        let bytes: Option<i64> =
            sqlx::query_scalar("SELECT 2 * octet_length(body) + octet_length(headers) FROM dead_letters WHERE id = ?1")
                .bind(id)
                .fetch_optional(&self.readers)
                .await?;
        Ok(bytes.unwrap_or(0))
    }

    /// The dead letter of this id.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn dead_letter(&self, id: &str) -> sqlx::Result<Option<FoundDeadLetter>> {
        sqlx::query_as(SHOW).bind(id).fetch_optional(&self.readers).await
    }
}
