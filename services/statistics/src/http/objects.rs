//! `GET /api/objects`: which objects there are, newest first.

use axum::extract::State;
use bus::events::OperationName;
use chassis::http::{Json, Problem, Query};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Api, answer, unread};
use crate::record::{
    Status,
    read::{Filter, Listed, Position},
};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

#[derive(Deserialize)]
pub(super) struct Parameters {
    limit: Option<u32>,
    cursor: Option<String>,
    status: Option<String>,
    operation: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Answer {
    objects: Vec<Item>,
    /// The cursor of the next page; none on the last.
    next: Option<String>,
}

#[derive(Serialize)]
struct Item {
    id: String,
    name: String,
    operation: String,
    tasks: u32,
    status: &'static str,
    created_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<f64>,
    revision: u32,
}

pub(super) async fn list(
    State(api): State<Api>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Answer>, Problem> {
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: 1 to {MAX_LIMIT} are allowed")));
    }
    let after = parameters.cursor.as_deref().map(position).transpose()?;
    let filter = filter(&parameters)?;
    // One more tells whether there is a next page.
    let mut found = api.record()?.objects(&filter, after.as_ref(), limit + 1).await.map_err(unread)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(cursor);
    let objects = found.into_iter().map(Item::from).collect();
    Ok(Json(Answer { objects, next }))
}

fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    let (status, started) = match parameters.status.as_deref() {
        None => (None, None),
        Some("created") => (Some(Status::Open), Some(false)),
        Some("running") => (Some(Status::Open), Some(true)),
        Some("succeeded") => (Some(Status::Succeeded), None),
        Some("failed") => (Some(Status::Failed), None),
        Some("timed_out") => (Some(Status::TimedOut), None),
        Some(_) => {
            let allowed = "status: created, running, succeeded, failed and timed_out are allowed";
            return Err(Problem::bad_request(allowed));
        }
    };
    let operation = parameters.operation.as_deref().map(str::parse::<OperationName>).transpose();
    Ok(Filter {
        status,
        started,
        operation: operation.map_err(|error| Problem::bad_request(format!("operation: {error}")))?,
    })
}

fn cursor(last: &Listed) -> String {
    format!("{}.{}", last.created_at, last.id)
}

fn position(cursor: &str) -> Result<Position, Problem> {
    let parsed = cursor
        .split_once('.')
        .and_then(|(created_at, id)| Some(Position { created_at: created_at.parse().ok()?, id: id.to_owned() }));
    parsed.ok_or_else(|| Problem::bad_request("cursor: the `next` of the page before is expected"))
}

impl From<Listed> for Item {
    fn from(object: Listed) -> Self {
        Self {
            status: answer::status(object.status, object.started),
            id: object.id,
            name: object.name,
            operation: object.operation,
            tasks: object.tasks,
            created_at: answer::time(object.created_at),
            finished_at: object.finished_at.and_then(answer::time),
            duration_ms: object.duration.map(answer::milliseconds),
            revision: object.revision,
        }
    }
}
