//! `/api/dead-letters`: what was set aside, and what is to become of it.

use axum::{extract::State, http::StatusCode, response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use bus::events::TaskId;
use chassis::http::{
    Json, Path, Problem, Query, Reserved,
    responses::{
        BadRequest, Conflict, NotFound, PayloadTooLarge, RequestTimeout, Unavailable, Unprocessable,
        UnsupportedMediaType,
    },
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api, answer,
    dead_letters_filter::{Listing, Which, WhichAfterTheMark},
    long::long,
    unread,
};
use crate::{
    on_dead_letters::measure,
    record::{
        Settled, SettledAll,
        read::{FoundDeadLetter, Group, ListedDeadLetter},
    },
};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// A page of the dead letters.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterList)]
pub(super) struct List {
    /// By cause, reason and operation, the largest first; of all pages.
    groups: Vec<GroupItem>,
    /// Newest first.
    dead_letters: Vec<Item>,
    /// The cursor of the next page; none on the last.
    next: Option<String>,
}

/// Dead letters of one cause, reason and operation.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
struct GroupItem {
    cause: String,
    reason: String,
    operation: Option<String>,
    count: i64,
    oldest: Timestamp,
    newest: Timestamp,
}

/// A message that was set aside, as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedDeadLetter)]
struct Item {
    #[schema(value_type = Uuid)]
    id: String,
    /// `waiting`, `replayed` or `discarded`.
    state: String,
    /// What kind of reason it is.
    cause: String,
    /// Why it was set aside.
    reason: String,
    /// The type of its event, if that is known.
    #[serde(rename = "type")]
    kind: Option<String>,
    operation: Option<String>,
    /// The object that it is about, if it is about one.
    #[schema(value_type = Option<Uuid>)]
    object_id: Option<String>,
    /// The part of the object, from 0, if it is about one.
    part: Option<u32>,
    /// Of how many.
    parts: Option<u32>,
    /// The queue that it was taken from.
    queue: String,
    message_id: String,
    /// How often it was tried.
    attempts: u32,
    /// How often it had been replayed before.
    round: u32,
    died_at: Timestamp,
    /// When it was replayed or discarded.
    settled_at: Option<Timestamp>,
    body_bytes: i64,
    /// Why it cannot be replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
}

/// A message that was set aside, whole.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct Whole {
    #[serde(flatten)]
    item: Item,
    /// The task that it is about, if it is about one.
    #[schema(value_type = Option<Uuid>)]
    task_id: Option<TaskId>,
    exchange: String,
    routing_key: String,
    correlation_id: Option<String>,
    app_id: Option<String>,
    sent_at: Option<Timestamp>,
    content_type: Option<String>,
    #[schema(value_type = Object)]
    headers: Box<RawValue>,
    encoding: Encoding,
    /// As it came, if it is text.
    body: String,
    /// Whether it was longer than what is kept of it.
    truncated: bool,
}

/// How the body of a message is written.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Text,
    Base64,
}

/// What became of several.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    /// So many are on their way again.
    replayed: u64,
    /// So many cannot be replayed, and still wait; each says why.
    refused: u64,
}

/// What became of several.
#[derive(Serialize, ToSchema)]
pub(super) struct Discarded {
    discarded: u64,
}

/// The dead letters, newest first, page by page
///
/// And how many there are, by cause, reason and operation.
#[utoipa::path(
    get,
    path = "/api/dead-letters",
    tag = "dead letters",
    operation_id = "list_dead_letters",
    params(Listing),
    responses((status = OK, description = "A page of them.", body = List), BadRequest, Unavailable)
)]
pub(super) async fn list(State(api): State<Api>, Query(listing): Query<Listing>) -> Result<Json<List>, Problem> {
    let limit = listing.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: 1 to {MAX_LIMIT} are allowed")));
    }
    let before = listing.cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| Problem::bad_request("cursor: the `next` of the page before is expected"))?;
    let filter = listing.filter()?;
    let record = api.record()?;
    let groups = record.dead_letter_groups(&filter).await.map_err(unread)?;
    // One more tells whether there is a next page.
    let mut found = record.dead_letters(&filter, before, limit + 1).await.map_err(unread)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Ok(Json(List {
        groups: groups.into_iter().map(GroupItem::from).collect(),
        next: found.last().filter(|_| more).map(|last| last.number.to_string()),
        dead_letters: found.into_iter().map(Item::from).collect(),
    }))
}

/// A dead letter: what it was, and why it was set aside
#[utoipa::path(
    get,
    path = "/api/dead-letters/{id}",
    tag = "dead letters",
    operation_id = "show_dead_letter",
    params(("id" = Uuid, Path, description = "As the list has it.")),
    responses((status = OK, description = "The dead letter.", body = Whole), BadRequest, NotFound, Unavailable)
)]
pub(super) async fn show(State(api): State<Api>, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let reserved = reserve(&api, id).await?;
    whole(&api, id, reserved).await
}

/// Replay a dead letter: it goes back to the queue that it was taken from
#[utoipa::path(
    post,
    path = "/api/dead-letters/{id}/replay",
    tag = "dead letters",
    operation_id = "replay_dead_letter",
    params(("id" = Uuid, Path, description = "As the list has it.")),
    responses(
        (status = ACCEPTED, description = "It is on its way again.", body = Whole),
        BadRequest,
        NotFound,
        Conflict,
        Unprocessable,
        Unavailable
    )
)]
pub(super) async fn replay(State(api): State<Api>, Path(id): Path<Uuid>) -> Result<(StatusCode, Response), Problem> {
    let reserved = reserve(&api, id).await?;
    let settled = api.record()?.replay_dead_letter(&id.to_string()).await.map_err(unread)?;
    done(settled, id)?;
    api.outbox.notify_one();
    measure(api.record()?).await;
    Ok((StatusCode::ACCEPTED, whole(&api, id, reserved).await?))
}

/// Replay those that wait: all of them, or which
#[utoipa::path(
    post,
    path = "/api/dead-letters/replay",
    tag = "dead letters",
    operation_id = "replay_dead_letters",
    request_body(
        content = Which,
        examples(
            ("all" = (summary = "All of them", value = json!({"all": true}))),
            ("which" = (summary = "Those of one operation", value = json!({"operation": "plusone"})))
        )
    ),
    responses(
        (status = ACCEPTED, description = "They are on their way again.", body = Replayed),
        BadRequest,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMediaType,
        Unprocessable,
        Unavailable
    )
)]
pub(super) async fn replay_all(
    State(api): State<Api>,
    Json(which): Json<Which>,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    let settled = api.record()?.replay_dead_letters(&which.selection()?).await;
    // If it ended early, some are on their way even so.
    api.outbox.notify_one();
    measure(api.record()?).await;
    let SettledAll { done: replayed, refused } = settled.map_err(unread)?;
    Ok((StatusCode::ACCEPTED, Json(Replayed { replayed, refused })))
}

/// Discard a dead letter: it is not replayed any more
#[utoipa::path(
    delete,
    path = "/api/dead-letters/{id}",
    tag = "dead letters",
    operation_id = "discard_dead_letter",
    params(("id" = Uuid, Path, description = "As the list has it.")),
    responses(
        (status = OK, description = "It is discarded; it can still be read.", body = Whole),
        BadRequest,
        NotFound,
        Conflict,
        Unavailable
    )
)]
pub(super) async fn discard(State(api): State<Api>, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let reserved = reserve(&api, id).await?;
    let settled = api.record()?.discard_dead_letter(&id.to_string()).await.map_err(unread)?;
    done(settled, id)?;
    measure(api.record()?).await;
    whole(&api, id, reserved).await
}

/// Discard those that wait: all of them, or which
#[utoipa::path(
    delete,
    path = "/api/dead-letters",
    tag = "dead letters",
    operation_id = "discard_dead_letters",
    params(WhichAfterTheMark),
    responses(
        (status = OK, description = "They are discarded; they can still be read.", body = Discarded),
        BadRequest,
        Unprocessable,
        Unavailable
    )
)]
pub(super) async fn discard_all(
    State(api): State<Api>,
    Query(which): Query<WhichAfterTheMark>,
) -> Result<Json<Discarded>, Problem> {
    let settled = api.record()?.discard_dead_letters(&Which::from(which).selection()?).await;
    measure(api.record()?).await;
    Ok(Json(Discarded { discarded: settled.map_err(unread)?.done }))
}

fn done(settled: Settled, id: Uuid) -> Result<(), Problem> {
    match settled {
        Settled::Done => Ok(()),
        Settled::NotThere => Err(not_there(id)),
        Settled::Already(state) => Err(Problem::conflict(format!("Dead letter {id} is {state} already."))),
        Settled::Refused(reason) => {
            Err(Problem::unprocessable(format!("Dead letter {id} cannot be replayed: {reason}.")))
        }
    }
}

/// Before anything becomes of it: whoever is told to come back must be able to do the same again.
async fn reserve(api: &Api, id: Uuid) -> Result<Reserved, Problem> {
    let bytes = api.record()?.dead_letter_bytes(&id.to_string()).await.map_err(unread)?;
    api.long_answers.reserve(bytes).await
}

async fn whole(api: &Api, id: Uuid, reserved: Reserved) -> Result<Response, Problem> {
    let found = api.record()?.dead_letter(&id.to_string()).await.map_err(unread)?;
    long(reserved, &Whole::of(found.ok_or_else(|| not_there(id))?)?)
}

fn not_there(id: Uuid) -> Problem {
    Problem::not_found(format!("There is no dead letter {id}."))
}

impl From<Group> for GroupItem {
    fn from(group: Group) -> Self {
        Self {
            cause: group.cause,
            reason: group.reason,
            operation: group.operation,
            count: group.count,
            oldest: answer::time(group.oldest),
            newest: answer::time(group.newest),
        }
    }
}

impl From<ListedDeadLetter> for Item {
    fn from(letter: ListedDeadLetter) -> Self {
        Self {
            id: letter.id,
            state: letter.state,
            cause: letter.cause,
            reason: letter.reason,
            kind: letter.kind,
            operation: letter.operation,
            object_id: letter.object_id,
            part: letter.part,
            parts: letter.parts,
            queue: letter.queue,
            message_id: letter.message_id,
            attempts: letter.attempts,
            round: letter.round,
            died_at: answer::time(letter.died_at),
            settled_at: letter.settled_at.map(answer::time),
            body_bytes: letter.body_bytes,
            obstacle: letter.obstacle,
        }
    }
}

impl Whole {
    fn of(letter: FoundDeadLetter) -> Result<Self, Problem> {
        let listed = &letter.listed;
        let object = listed.object_id.as_deref().and_then(|object| object.parse().ok());
        let place = object.zip(listed.parts).zip(listed.part);
        let truncated = listed.body_bytes > letter.body.len() as i64;
        let (encoding, body) = match String::from_utf8(letter.body) {
            Ok(text) => (Encoding::Text, text),
            Err(error) => (Encoding::Base64, BASE64_STANDARD.encode(error.as_bytes())),
        };
        Ok(Self {
            task_id: place.map(|((object, parts), part)| TaskId::of(object, parts, part)),
            truncated,
            exchange: letter.exchange,
            routing_key: letter.routing_key,
            correlation_id: letter.correlation_id,
            app_id: letter.app_id,
            sent_at: letter.sent_at.map(answer::time),
            content_type: letter.content_type,
            headers: answer::json(letter.headers)?,
            encoding,
            body,
            item: letter.listed.into(),
        })
    }
}
