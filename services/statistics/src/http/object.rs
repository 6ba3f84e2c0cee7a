//! `GET /api/objects/{id}`: everything about one object, or its status alone; on request when it has finished.

use std::time::Duration;

use axum::{extract::State, http::StatusCode, response::Response};
use bus::events::{ObjectId, TaskId};
use chassis::http::{
    Json, Path, Problem, Query,
    responses::{BadRequest, Gone, NotFound, Unavailable},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, RETRY_AFTER,
    answer::{self, ObjectStatus},
    long::long,
    unread,
};
use crate::record::read::{FoundObject, FoundTask};

const MAX_WAIT_S: u64 = 60;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// Answers when the object has finished, or after so many seconds, also if the object has not been seen yet.
    #[param(minimum = 0, maximum = 60, default = 0)]
    wait: Option<u64>,
}

/// An object: what became of it
///
/// Its status, its tasks with their partial results in order and who made them, its times, and its result. With `wait` the
/// answer comes when it has finished.
#[utoipa::path(
    get,
    path = "/api/objects/{id}",
    tag = "objects",
    operation_id = "show_object",
    params(("id" = Uuid, Path, description = "As it was answered when the object was submitted."), Parameters),
    responses((status = OK, description = "The object.", body = Answer), BadRequest, NotFound, Gone, Unavailable)
)]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<ObjectId>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    parameters.wait(&api, id).await?;
    let reserved = api.long_answers.reserve(api.record()?.object_bytes(id).await.map_err(unread)?).await?;
    match api.record()?.object(id).await.map_err(unread)? {
        Some(object) => long(reserved, &Answer::of(id, object)?),
        None => Err(missing(&api, id).await?),
    }
}

/// An object: where it stands
///
/// Its status alone, however much there is to say of it: for those who wait for it.
#[utoipa::path(
    get,
    path = "/api/objects/{id}/status",
    tag = "objects",
    operation_id = "show_object_status",
    params(("id" = Uuid, Path, description = "As it was answered when the object was submitted."), Parameters),
    responses((status = OK, description = "Its status.", body = Standing), BadRequest, NotFound, Gone, Unavailable)
)]
pub(super) async fn status(
    State(api): State<Api>,
    Path(id): Path<ObjectId>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Standing>, Problem> {
    parameters.wait(&api, id).await?;
    match api.record()?.status(id).await.map_err(unread)? {
        Some((status, started)) => Ok(Json(Standing { id, status: ObjectStatus::of(status, started) })),
        None => Err(missing(&api, id).await?),
    }
}

impl Parameters {
    async fn wait(&self, api: &Api, id: ObjectId) -> Result<(), Problem> {
        match self.wait.unwrap_or_default() {
            0 => Ok(()),
            seconds @ 1..=MAX_WAIT_S => wait(api, id, Duration::from_secs(seconds)).await,
            _ => Err(Problem::bad_request(format!("wait: 0 to {MAX_WAIT_S} seconds are allowed"))),
        }
    }
}

/// Where an object stands.
#[derive(Serialize, ToSchema)]
#[schema(as = ObjectStanding)]
pub(super) struct Standing {
    #[schema(value_type = Uuid)]
    id: ObjectId,
    status: ObjectStatus,
}

/// 410 if it was here, as long as that is known; else 404.
async fn missing(api: &Api, id: ObjectId) -> Result<Problem, Problem> {
    let pruned_at = api.record()?.pruned_at(id).await.map_err(unread)?.map(answer::time);
    Ok(match pruned_at {
        Some(at) => {
            let detail = format!("The object {id} was deleted at {at}, as RETENTION says.");
            Problem::new(StatusCode::GONE, detail).with("pruned_at", at)
        }
        None => Problem::not_found(format!("There is no object {id}, or not yet.")),
    })
}

/// Returns when the object has finished, or the time is over, or there will be no news.
async fn wait(api: &Api, id: ObjectId, longest: Duration) -> Result<(), Problem> {
    let end = Instant::now() + longest;
    let too_many = || Problem::unavailable(RETRY_AFTER, "Too many wait already; ask again without `wait`.");
    // Registered before looking, so that nothing is missed in between.
    let mut waiter = api.waiters.register(id).ok_or_else(too_many)?;
    while !api.record()?.is_finished(id).await.map_err(unread)? {
        if !matches!(timeout_at(end, waiter.woken()).await, Ok(true)) {
            break;
        }
    }
    Ok(())
}

/// An object, and everything that is known of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Object)]
pub(super) struct Answer {
    /// Names the object for ever.
    #[schema(value_type = Uuid)]
    id: ObjectId,
    /// What people call it.
    name: String,
    /// What is done to it.
    operation: String,
    /// The operation's parameters.
    #[schema(value_type = Object)]
    parameters: Box<RawValue>,
    /// What it is done to.
    #[schema(value_type = answer::AnyJson)]
    data: Box<RawValue>,
    status: ObjectStatus,
    created_at: Timestamp,
    /// When its first task started.
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// From its acceptance to the end of its last task, in milliseconds.
    duration_ms: Option<f64>,
    /// How long it may take before it is given up, in milliseconds.
    deadline_ms: f64,
    /// 0 at first; raised when its outcome changes later.
    revision: u32,
    /// As far as they are known, in the order of their parts.
    tasks: Vec<Task>,
    /// What happened, in the order in which it happens.
    timeline: Vec<Moment>,
    /// What its tasks gave, gathered: only if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = answer::AnyJson, required = false)]
    result: Option<Box<RawValue>>,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<PartError>,
    /// The ids of dead letters that are about it, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Uuid>)]
    dead_letters: Vec<String>,
}

/// One part of an object, to be executed by a processor.
#[derive(Serialize, ToSchema)]
struct Task {
    #[schema(value_type = Uuid)]
    id: TaskId,
    /// Which part it is, from 0.
    part: u32,
    /// Of how many.
    parts: u32,
    status: TaskStatus,
    /// Who executes it, or did.
    processor: Option<String>,
    /// The attempt that ended it, from 1.
    attempt: Option<u32>,
    /// 0, unless it was replayed.
    round: Option<u32>,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    /// How long the attempt that ended it took, in milliseconds.
    duration_ms: Option<f64>,
    /// Its partial result: only if it succeeded, and if those of all tasks have at most 32 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = answer::AnyJson, required = false)]
    result: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Where a task stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TaskStatus {
    Created,
    Running,
    Succeeded,
    Failed,
}

/// Something that happened to an object.
#[derive(Serialize, ToSchema)]
struct Moment {
    /// If it happened to several tasks: creating and starting when it did to the first, finishing when it did to the last.
    at: Timestamp,
    event: Happening,
    /// To how many tasks it has happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<usize>,
}

/// The event that told of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Happening {
    ObjectCreated,
    TaskCreated,
    TaskStarted,
    TaskFinished,
    ObjectFinished,
}

/// Why a part, or the whole, did not succeed.
#[derive(Serialize, ToSchema)]
struct PartError {
    /// The part, from 0; absent if it is the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    error: String,
}

impl Answer {
    fn of(id: ObjectId, object: FoundObject) -> Result<Self, Problem> {
        let tasks = &object.tasks;
        let started_at = tasks.iter().filter_map(|task| task.started_at).min();
        let part_error = |task: &FoundTask| {
            let error = task.error.clone()?;
            Some(PartError { part: Some(task.part), error })
        };
        let mut errors: Vec<_> = tasks.iter().filter_map(part_error).collect();
        errors.extend(object.error.clone().map(|error| PartError { part: None, error }));
        Ok(Self {
            id,
            status: ObjectStatus::of(object.status, started_at.is_some()),
            created_at: answer::time(object.created_at),
            started_at: started_at.map(answer::time),
            finished_at: object.finished_at.map(answer::time),
            duration_ms: object.duration.map(answer::milliseconds),
            deadline_ms: answer::milliseconds(object.deadline),
            revision: object.revision,
            timeline: timeline(&object),
            errors,
            dead_letters: object.dead_letters,
            tasks: object.tasks.into_iter().map(|task| Task::of(id, task)).collect::<Result<_, _>>()?,
            name: object.name,
            operation: object.operation,
            parameters: answer::json(object.parameters)?,
            data: answer::json(object.data)?,
            result: object.result.map(answer::json).transpose()?,
        })
    }
}

impl Task {
    fn of(object: ObjectId, task: FoundTask) -> Result<Self, Problem> {
        let status = match (task.outcome.as_deref(), task.started_at) {
            (Some("succeeded"), _) => TaskStatus::Succeeded,
            (Some(_), _) => TaskStatus::Failed,
            (None, Some(_)) => TaskStatus::Running,
            (None, None) => TaskStatus::Created,
        };
        Ok(Self {
            id: TaskId::of(object, task.parts, task.part),
            part: task.part,
            parts: task.parts,
            status,
            processor: task.processor.or(task.started_by),
            attempt: task.attempt,
            round: task.finish_round,
            created_at: task.created_at.map(answer::time),
            started_at: task.started_at.map(answer::time),
            finished_at: task.finished_at.map(answer::time),
            duration_ms: task.duration.map(answer::milliseconds),
            result: task.result.map(answer::json).transpose()?,
            error: task.error,
        })
    }
}

/// What happened, in the order in which it happens.
fn timeline(object: &FoundObject) -> Vec<Moment> {
    let moment = |event, at: Option<i64>, tasks| Some(Moment { at: answer::time(at?), event, tasks });
    let times = |of: fn(&FoundTask) -> Option<i64>| -> Vec<i64> { object.tasks.iter().filter_map(of).collect() };
    let created = times(|task| task.created_at);
    let started = times(|task| task.started_at);
    let finished = times(|task| task.finished_at);
    let moments = [
        moment(Happening::ObjectCreated, Some(object.created_at), None),
        moment(Happening::TaskCreated, created.iter().min().copied(), Some(created.len())),
        moment(Happening::TaskStarted, started.iter().min().copied(), Some(started.len())),
        moment(Happening::TaskFinished, finished.iter().max().copied(), Some(finished.len())),
        moment(Happening::ObjectFinished, object.finished_at, None),
    ];
    moments.into_iter().flatten().collect()
}
