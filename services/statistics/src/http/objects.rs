//! `GET /api/objects`: which objects there are, by acceptance.

use axum::extract::State;
use bus::events::{ObjectId, OperationName};
use chassis::http::{
    Json, Problem, Query,
    responses::{BadRequest, Unavailable},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    answer::{self, ObjectStatus},
    unread,
};
use crate::record::{
    Status,
    read::{self, Filter, Listed, Position},
};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
/// The record has no longer ones.
const MAX_NAME_CHARS: usize = 255;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// How many objects a page has at most.
    #[param(minimum = 1, maximum = 500, default = json!(DEFAULT_LIMIT))]
    limit: Option<u32>,
    /// Where the page begins: the `next` of the page before.
    #[param(pattern = r"^-?[0-9]{1,18}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    cursor: Option<String>,
    /// Which come first, by the time of acceptance.
    #[param(inline)]
    order: Option<Order>,
    /// Only those that stand there.
    #[param(inline)]
    status: Option<ObjectStatus>,
    /// Only those of this operation.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9_-]{0,63}$")]
    operation: Option<OperationName>,
    /// Only those of exactly this name.
    #[param(max_length = 255)]
    name: Option<String>,
    /// Only those accepted at this time or later.
    #[serde(default, deserialize_with = "time")]
    since: Option<Timestamp>,
    /// Only those accepted before this time.
    #[serde(default, deserialize_with = "time")]
    until: Option<Timestamp>,
}

/// Which objects come first.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(default = "newest")]
enum Order {
    Newest,
    Oldest,
}

/// A page of the objects.
#[derive(Serialize, ToSchema)]
#[schema(as = Objects)]
pub(super) struct Answer {
    /// In the order that was asked for.
    objects: Vec<Item>,
    /// The `cursor` of the next page; none on the last.
    next: Option<String>,
}

/// An object as it is listed.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedObject)]
struct Item {
    /// Names the object for ever.
    #[schema(value_type = Uuid)]
    id: String,
    /// What people call it.
    name: String,
    /// What is done to it.
    operation: String,
    /// Into how many tasks it is split, if it has as many elements.
    tasks: u32,
    status: ObjectStatus,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    /// From its acceptance to the end of its last task, in milliseconds.
    duration_ms: Option<f64>,
    /// 0 at first; raised when its outcome changes later.
    revision: u32,
}

/// The objects, newest or oldest first, page by page
#[utoipa::path(
    get,
    path = "/api/objects",
    tag = "objects",
    operation_id = "list_objects",
    params(Parameters),
    responses((status = OK, description = "A page of them.", body = Answer), BadRequest, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Api>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Answer>, Problem> {
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: 1 to {MAX_LIMIT} are allowed")));
    }
    if parameters.name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME_CHARS) {
        return Err(Problem::bad_request(format!("name: at most {MAX_NAME_CHARS} characters are allowed")));
    }
    let after = parameters.cursor.as_deref().map(position).transpose()?;
    let order = match parameters.order {
        None | Some(Order::Newest) => read::Order::Newest,
        Some(Order::Oldest) => read::Order::Oldest,
    };
    let filter = filter(parameters);
    // One more tells whether there is a next page.
    let mut found = api.record()?.objects(&filter, order, after.as_ref(), limit + 1).await.map_err(unread)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(cursor);
    let objects = found.into_iter().map(Item::from).collect();
    Ok(Json(Answer { objects, next }))
}

/// A time as RFC 3339 writes it.
fn time<'de, D: Deserializer<'de>>(parameter: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(parameter)?;
    let refused = |_| D::Error::custom("a time with an offset is allowed, such as 2026-01-31T09:30:00Z");
    text.parse().map(Some).map_err(refused)
}

fn filter(Parameters { status, operation, name, since, until, .. }: Parameters) -> Filter {
    let (status, started) = match status {
        None => (None, None),
        Some(ObjectStatus::Created) => (Some(Status::Open), Some(false)),
        Some(ObjectStatus::Running) => (Some(Status::Open), Some(true)),
        Some(ObjectStatus::Succeeded) => (Some(Status::Succeeded), None),
        Some(ObjectStatus::Failed) => (Some(Status::Failed), None),
        Some(ObjectStatus::TimedOut) => (Some(Status::TimedOut), None),
    };
    Filter { status, started, operation, name, since: since.map(microseconds), until: until.map(microseconds) }
}

/// Since 1970, rounded up: the record has no fractions of them, and what is before this time is before the next one, too.
fn microseconds(time: Timestamp) -> i64 {
    let down = time.as_nanosecond().div_euclid(1000);
    let up = down + i128::from(time.as_nanosecond().rem_euclid(1000) > 0);
    i64::try_from(up).unwrap_or(i64::MAX)
}

fn cursor(last: &Listed) -> String {
    format!("{}.{}", last.created_at, last.id)
}

fn position(cursor: &str) -> Result<Position, Problem> {
    let parsed = cursor.split_once('.').and_then(|(created_at, id)| {
        let id: ObjectId = id.parse().ok()?;
        Some(Position { created_at: created_at.parse().ok()?, id: id.to_string() })
    });
    parsed.ok_or_else(|| Problem::bad_request("cursor: the `next` of the page before is expected"))
}

impl From<Listed> for Item {
    fn from(object: Listed) -> Self {
        Self {
            status: ObjectStatus::of(object.status, object.started),
            id: object.id,
            name: object.name,
            operation: object.operation,
            tasks: object.tasks,
            created_at: answer::time(object.created_at),
            finished_at: object.finished_at.map(answer::time),
            duration_ms: object.duration.map(answer::milliseconds),
            revision: object.revision,
        }
    }
}
