//! `GET /api/statistics`: the figures.

use std::collections::BTreeMap;

use axum::extract::State;
use chassis::http::{Json, Problem, responses::Unavailable};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, unread};
use crate::{
    rates,
    record::read::{self, Processor, Summary},
};

/// What has happened so far.
#[derive(Serialize, ToSchema)]
#[schema(as = Statistics)]
pub(super) struct Answer {
    #[serde(flatten)]
    all: Figures,
    rates: Rates,
    /// The same by operation.
    operations: BTreeMap<String, Figures>,
    /// By processor; of very many, the busiest.
    processors: BTreeMap<String, ProcessorFigures>,
    /// How many events came whose type is not known here, by type.
    unknown_events: BTreeMap<String, i64>,
    dead_letters: DeadLetters,
}

/// What was set aside and waits to be replayed or discarded.
#[derive(Serialize, ToSchema)]
struct DeadLetters {
    waiting: i64,
    /// Of very many causes, the most frequent.
    by_cause: BTreeMap<String, i64>,
}

/// The figures of everything, or of one operation.
#[derive(Serialize, ToSchema)]
struct Figures {
    objects: ObjectFigures,
    tasks: TaskFigures,
    durations_ms: Durations,
}

/// How many objects there are, and where they stand.
#[derive(Serialize, ToSchema)]
struct ObjectFigures {
    created: i64,
    in_progress: i64,
    succeeded: i64,
    failed: i64,
    timed_out: i64,
}

/// How many tasks there are, and where they stand.
#[derive(Serialize, ToSchema)]
struct TaskFigures {
    distributed: i64,
    in_progress: i64,
    /// Those that succeeded.
    processed: i64,
    failed: i64,
}

/// How long what has finished took, in milliseconds.
#[derive(Serialize, ToSchema)]
struct Durations {
    objects: Spread,
    tasks: Spread,
}

/// In milliseconds; none if there is nothing. Percentiles are within 1.6 %.
#[derive(Serialize, ToSchema)]
struct Spread {
    mean: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// The tasks of one processor.
#[derive(Serialize, ToSchema)]
struct ProcessorFigures {
    in_progress: i64,
    /// Those that succeeded.
    processed: i64,
    failed: i64,
    /// How long those that ended took.
    mean_ms: Option<f64>,
}

/// How many finish in a second.
#[derive(Serialize, ToSchema)]
struct Rates {
    last_10_s: Rate,
    last_60_s: Rate,
}

/// How many finish in a second.
#[derive(Serialize, ToSchema)]
struct Rate {
    objects: f64,
    tasks: f64,
}

/// What has happened so far: counts, rates, durations, by operation and by processor
#[utoipa::path(
    get,
    path = "/api/statistics",
    tag = "statistics",
    operation_id = "show_statistics",
    responses((status = OK, description = "All figures at one moment.", body = Answer), Unavailable)
)]
pub(super) async fn show(State(api): State<Api>) -> Result<Json<Answer>, Problem> {
    let snapshot = api.record()?.snapshot().await.map_err(unread)?;
    let operations = snapshot.operations.iter().map(|(name, summary)| (name.clone(), Figures::of(summary)));
    Ok(Json(Answer {
        all: Figures::of(&snapshot.all),
        rates: Rates { last_10_s: Rate::over(&api.rates, 10), last_60_s: Rate::over(&api.rates, 60) },
        operations: operations.collect(),
        processors: snapshot.processors.into_iter().map(processor).collect(),
        unknown_events: snapshot.unknown_events,
        dead_letters: DeadLetters { waiting: snapshot.all.dead_letters, by_cause: snapshot.dead_letters },
    }))
}

impl Figures {
    fn of(Summary { figures, objects, tasks, .. }: &Summary) -> Self {
        Self {
            objects: ObjectFigures {
                created: figures.objects_created,
                in_progress: figures.objects_in_progress(),
                succeeded: figures.objects_succeeded,
                failed: figures.objects_failed,
                timed_out: figures.objects_timed_out,
            },
            tasks: TaskFigures {
                distributed: figures.tasks_distributed,
                in_progress: figures.tasks_in_progress,
                processed: figures.tasks_succeeded,
                failed: figures.tasks_failed,
            },
            durations_ms: Durations { objects: Spread::of(objects), tasks: Spread::of(tasks) },
        }
    }
}

fn processor(Processor { name, figures, mean_ms }: Processor) -> (String, ProcessorFigures) {
    let figures = ProcessorFigures {
        in_progress: figures.tasks_in_progress,
        processed: figures.tasks_succeeded,
        failed: figures.tasks_failed,
        mean_ms,
    };
    (name, figures)
}

impl Spread {
    fn of(found: &read::Spread) -> Self {
        let read::Spread { mean, p50, p95, p99 } = *found;
        Self { mean, p50, p95, p99 }
    }
}

impl Rate {
    fn over(rates: &rates::Rates, seconds: u64) -> Self {
        let (objects, tasks) = rates.over(seconds);
        Self { objects, tasks }
    }
}
