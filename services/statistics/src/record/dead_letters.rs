//! The rows of messages that were set aside: whatever one says, it is taken.

mod settle;

use std::collections::{BTreeMap, BTreeSet};

use bus::{
    AnyEvent, DeadLetter, Message, Topology,
    events::{Event, ObjectId, OperationName},
};
use serde_json::json;
use sqlx::SqliteConnection;
use uuid::Uuid;

pub use self::settle::{Selection, Settled, SettledAll, ToReplay};
use super::{orphans, text};

/// How much of a body is kept: the longest message that RabbitMQ carries since version 4.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Of a longer one, which earlier versions carry, so much is kept for people to look at.
const KEPT_BODY_BYTES: usize = 64 * 1024;
/// The longest cause kept, in characters: it is one word.
const MAX_CAUSE_CHARS: usize = 64;
/// The longest reason kept, in characters.
const MAX_REASON_CHARS: usize = 2000;
/// The cause of one that says none.
const UNKNOWN: &str = "unknown";
/// The longest name of a queue that there may be, in characters.
const MAX_QUEUE_CHARS: usize = 255;
/// What begins the names of our own headers, which are no part of what a client without ids has sent.
const OUR_HEADERS: &str = "ebs-";
/// What the ids of dead letters are named in.
const NAMESPACE: Uuid = Uuid::from_u128(0x6562_7300_0000_5000_8000_6465_6164_0001);

const INSERT: &str = "
    INSERT INTO dead_letters (id, queue, message_id, round, cause, reason, attempts, died_at, obstacle, kind, operation,
                              object_id, parts, part, exchange, routing_key, correlation_id, type, app_id, sent_at, content_type,
                              body_bytes, headers, body, waits_since)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
            ?25)
    ON CONFLICT (id) DO NOTHING";

/// Of two reports of the same death the lesser one counts.
const JOIN: &str = "
    UPDATE dead_letters SET died_at = ?2, cause = ?3, reason = ?4, attempts = ?5
    WHERE id = ?1 AND (?2, ?3, ?4, ?5) < (died_at, cause, reason, attempts)";

/// Stores what is not there yet, at `now`. Returns the causes of those that are new.
pub(super) async fn merge(
    connection: &mut SqliteConnection,
    letters: &[DeadLetter],
    topology: &Topology,
    now: i64,
) -> sqlx::Result<Vec<String>> {
    let (mut causes, mut objects) = (Vec::new(), BTreeSet::new());
    for letter in letters.iter().filter(|letter| letter.fence().is_none()) {
        let row = Row::of(letter, topology, now);
        if row.insert(connection, now).await? {
            causes.push(row.cause);
            objects.extend(row.object);
        } else {
            row.join(connection).await?;
        }
    }
    // Also of objects that have been pruned: what comes now goes with the orphan.
    orphans::note(connection, objects.iter(), now).await?;
    Ok(causes)
}

/// A dead letter as it is stored.
struct Row<'a> {
    id: Uuid,
    queue: &'a str,
    message_id: String,
    round: u32,
    cause: String,
    reason: String,
    attempts: u32,
    died_at: i64,
    obstacle: Option<String>,
    kind: Option<String>,
    operation: Option<OperationName>,
    object: Option<ObjectId>,
    /// Into how many parts the object was split, and which one it is.
    place: Option<(u32, u32)>,
    message: &'a Message,
}

impl<'a> Row<'a> {
    fn of(letter: &'a DeadLetter, topology: &Topology, now: i64) -> Self {
        let DeadLetter { message, event, .. } = letter;
        let queue = letter.queue.as_deref().unwrap_or_default();
        let message_id = if message.id.is_empty() { derived_id(queue, message) } else { message.id.clone() };
        let about = event.as_ref().and_then(|received| About::of(&received.event));
        let said = event.as_ref().map(|received| received.envelope.kind.as_str()).or(message.kind.as_deref());
        let time = letter.time.or(event.as_ref().map(|received| received.envelope.time));
        Self {
            id: Uuid::new_v5(&NAMESPACE, json!([queue, message_id, letter.round]).to_string().as_bytes()),
            queue,
            message_id,
            round: letter.round,
            cause: text(letter.cause.as_deref().unwrap_or(UNKNOWN), MAX_CAUSE_CHARS),
            reason: text(letter.reason.as_deref().unwrap_or("it does not say why it was set aside"), MAX_REASON_CHARS),
            attempts: letter.attempt,
            died_at: time.map_or(now, |time| time.as_microsecond()),
            obstacle: obstacle(letter, topology),
            kind: said.map(|kind| text(kind, MAX_CAUSE_CHARS)),
            operation: about
                .as_ref()
                .map(|about| about.operation.clone())
                .or_else(|| operation_of(&message.routing_key)),
            object: about.as_ref().map(|about| about.object),
            place: about.and_then(|about| about.place),
            message,
        }
    }

    /// Whether it is new.
    async fn insert(&self, connection: &mut SqliteConnection, now: i64) -> sqlx::Result<bool> {
        let Message {
            exchange, routing_key, correlation_id, kind, app_id, timestamp, content_type, headers, body, ..
        } = self.message;
        let kept = if body.len() <= MAX_BODY_BYTES { body } else { &body.slice(..KEPT_BODY_BYTES) };
        let inserted = sqlx::query(INSERT)
            .bind(self.id.to_string())
            .bind(self.queue)
            .bind(&self.message_id)
            .bind(self.round)
            .bind(&self.cause)
            .bind(&self.reason)
            .bind(self.attempts)
            .bind(self.died_at)
            .bind(&self.obstacle)
            .bind(&self.kind)
            .bind(self.operation.as_ref().map(OperationName::as_str))
            .bind(self.object.map(|object| object.to_string()))
            .bind(self.place.map(|(parts, _)| parts))
            .bind(self.place.map(|(_, part)| part))
            .bind(exchange)
            .bind(routing_key)
            .bind(correlation_id)
            .bind(kind)
            .bind(app_id)
            .bind(timestamp.map(|time| time.as_microsecond()))
            .bind(content_type)
            .bind(body.len() as i64)
            .bind(serde_json::to_string(headers).map_err(|error| sqlx::Error::Encode(error.into()))?)
            .bind(&kept[..])
            .bind(now)
            .execute(connection)
            .await?;
        Ok(inserted.rows_affected() > 0)
    }

    async fn join(&self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        sqlx::query(JOIN)
            .bind(self.id.to_string())
            .bind(self.died_at)
            .bind(&self.cause)
            .bind(&self.reason)
            .bind(self.attempts)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// What an event is about.
struct About {
    operation: OperationName,
    object: ObjectId,
    place: Option<(u32, u32)>,
}

impl About {
    fn of(event: &AnyEvent) -> Option<Self> {
        fn about(event: &impl Event, place: Option<(u32, u32)>) -> Option<About> {
            Some(About { operation: event.operation().clone(), object: event.object_id(), place })
        }
        match event {
            AnyEvent::ObjectCreated(event) => about(event, None),
            AnyEvent::ObjectFinished(event) => about(event, None),
            AnyEvent::TaskCreated(event) => about(event, Some((event.task.parts, event.task.part))),
            AnyEvent::TaskStarted(event) => about(event, Some((event.0.parts, event.0.part))),
            AnyEvent::TaskFinished(event) => about(event, Some((event.attempt.parts, event.attempt.part))),
            AnyEvent::Fence | AnyEvent::Unknown => None,
        }
    }
}

/// The last word of a routing key as ours are: three words, and this one an operation's name.
fn operation_of(routing_key: &str) -> Option<OperationName> {
    let mut words = routing_key.split('.').skip(2);
    let operation = words.next()?;
    words.next().is_none().then(|| operation.parse().ok())?
}

/// Why it cannot be replayed, for people.
fn obstacle(letter: &DeadLetter, topology: &Topology) -> Option<String> {
    let bytes = letter.message.body.len();
    if bytes > MAX_BODY_BYTES {
        return Some(format!(
            "it is {bytes} bytes long, and only the first {KEPT_BODY_BYTES} are kept of more than {MAX_BODY_BYTES}"
        ));
    }
    match &letter.queue {
        None => Some("it does not say from which queue it comes".to_owned()),
        Some(queue) if topology.work_queue(queue).is_none() => {
            Some(format!("{} is no queue of this system", text(queue, MAX_QUEUE_CHARS)))
        }
        Some(_) => None,
    }
}

/// The id of a message that was sent without one: of all that it says.
fn derived_id(queue: &str, message: &Message) -> String {
    // In one order, whatever the order was in which they came.
    let headers: BTreeMap<_, _> = message.headers.iter().filter(|(name, _)| !name.starts_with(OUR_HEADERS)).collect();
    let mut name = json!([queue, headers]).to_string().into_bytes();
    name.extend_from_slice(&message.body);
    Uuid::new_v5(&NAMESPACE, &name).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_operation_is_the_third_and_last_word_of_a_routing_key() {
        assert_eq!(operation_of("task.created.pow").unwrap().as_str(), "pow");
        for other in ["", "pow", "task.created", "task.created.", "task.created.pow.more", "task.created.Not a name"] {
            assert_eq!(operation_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_message_without_an_id_gets_one_that_depends_on_what_it_says_and_not_on_its_round() {
        let message = |headers: &str, body: &'static str| Message {
            headers: serde_json::from_str(headers).unwrap(),
            body: body.into(),
            ..Message::default()
        };
        let id = derived_id("q", &message(r#"{"a":1,"ebs-round":1}"#, "x"));
        assert_eq!(id, derived_id("q", &message(r#"{"ebs-round":2,"a":1}"#, "x")));
        assert_ne!(id, derived_id("r", &message(r#"{"a":1}"#, "x")));
        assert_ne!(id, derived_id("q", &message(r#"{"a":2}"#, "x")));
        assert_ne!(id, derived_id("q", &message(r#"{"a":1}"#, "y")));
    }
}
