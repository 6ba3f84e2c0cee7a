//! `GET /api/objects/{id}`: everything about one object, on request when it has finished.

use std::time::Duration;

use axum::extract::State;
use bus::events::{ObjectId, TaskError, TaskId};
use chassis::http::{Json, Path, Problem, Query};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::{Api, RETRY_AFTER, answer, unread};
use crate::record::read::{FoundObject, FoundTask};

const MAX_WAIT_S: u64 = 60;

#[derive(Deserialize)]
pub(super) struct Parameters {
    /// For so many seconds at most, until the object has finished.
    wait: Option<u64>,
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<ObjectId>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Answer>, Problem> {
    match parameters.wait.unwrap_or_default() {
        0 => {}
        seconds @ 1..=MAX_WAIT_S => wait(&api, id, Duration::from_secs(seconds)).await?,
        _ => return Err(Problem::bad_request(format!("wait: 0 to {MAX_WAIT_S} seconds are allowed"))),
    }
    let found = api.record()?.object(id).await.map_err(unread)?;
    let object = found.ok_or_else(|| Problem::not_found(format!("There is no object {id}, or not yet.")))?;
    Ok(Json(Answer::of(id, object)?))
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

#[derive(Serialize)]
pub(super) struct Answer {
    id: ObjectId,
    name: String,
    operation: String,
    parameters: Box<RawValue>,
    data: Box<RawValue>,
    status: &'static str,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<f64>,
    deadline_ms: f64,
    revision: u32,
    tasks: Vec<Task>,
    timeline: Vec<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<TaskError>,
}

#[derive(Serialize)]
struct Task {
    id: TaskId,
    part: u32,
    parts: u32,
    status: &'static str,
    processor: Option<String>,
    attempt: Option<u32>,
    round: Option<u32>,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Something that happened to the object: for tasks, to the first or the last of them.
#[derive(Serialize)]
struct Moment {
    at: Option<Timestamp>,
    event: &'static str,
    /// To how many tasks it has happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<usize>,
}

impl Answer {
    fn of(id: ObjectId, object: FoundObject) -> Result<Self, Problem> {
        let tasks = &object.tasks;
        let started_at = tasks.iter().filter_map(|task| task.started_at).min();
        let part_error = |task: &FoundTask| {
            let error = task.error.clone()?;
            Some(TaskError { part: Some(task.part), error })
        };
        let mut errors: Vec<_> = tasks.iter().filter_map(part_error).collect();
        errors.extend(object.error.clone().map(|error| TaskError { part: None, error }));
        Ok(Self {
            id,
            status: answer::status(object.status, started_at.is_some()),
            created_at: answer::time(object.created_at),
            started_at: started_at.and_then(answer::time),
            finished_at: object.finished_at.and_then(answer::time),
            duration_ms: object.duration.map(answer::milliseconds),
            deadline_ms: answer::milliseconds(object.deadline),
            revision: object.revision,
            timeline: timeline(&object),
            errors,
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
            (Some("succeeded"), _) => "succeeded",
            (Some(_), _) => "failed",
            (None, Some(_)) => "running",
            (None, None) => "created",
        };
        Ok(Self {
            id: TaskId::of(object, task.parts, task.part),
            part: task.part,
            parts: task.parts,
            status,
            processor: task.processor.or(task.started_by),
            attempt: task.attempt,
            round: task.finish_round,
            created_at: task.created_at.and_then(answer::time),
            started_at: task.started_at.and_then(answer::time),
            finished_at: task.finished_at.and_then(answer::time),
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
        moment("OBJECT_CREATED", Some(object.created_at), None),
        moment("TASK_CREATED", created.iter().min().copied(), Some(created.len())),
        moment("TASK_STARTED", started.iter().min().copied(), Some(started.len())),
        moment("TASK_FINISHED", finished.iter().max().copied(), Some(finished.len())),
        moment("OBJECT_FINISHED", object.finished_at, None),
    ];
    moments.into_iter().flatten().collect()
}
