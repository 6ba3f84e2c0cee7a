//! `GET /api/statistics`: the figures.

use std::collections::BTreeMap;

use axum::extract::State;
use chassis::http::{Json, Problem};
use serde::Serialize;

use super::{Api, unread};
use crate::{
    rates::Rates,
    record::read::{Processor, Spread, Summary},
};

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    all: Figures,
    rates: BothRates,
    operations: BTreeMap<String, Figures>,
    processors: BTreeMap<String, ProcessorFigures>,
    unknown_events: BTreeMap<String, i64>,
}

#[derive(Serialize)]
struct Figures {
    objects: Objects,
    tasks: Tasks,
    durations_ms: Durations,
}

#[derive(Serialize)]
struct Objects {
    created: i64,
    in_progress: i64,
    succeeded: i64,
    failed: i64,
    timed_out: i64,
}

#[derive(Serialize)]
struct Tasks {
    distributed: i64,
    in_progress: i64,
    processed: i64,
    failed: i64,
}

#[derive(Serialize)]
struct Durations {
    objects: Spread,
    tasks: Spread,
}

#[derive(Serialize)]
struct ProcessorFigures {
    in_progress: i64,
    processed: i64,
    failed: i64,
    mean_ms: Option<f64>,
}

#[derive(Serialize)]
struct BothRates {
    last_10_s: Rate,
    last_60_s: Rate,
}

/// How many finish in a second.
#[derive(Serialize)]
struct Rate {
    objects: f64,
    tasks: f64,
}

pub(super) async fn show(State(api): State<Api>) -> Result<Json<Answer>, Problem> {
    let snapshot = api.record()?.snapshot().await.map_err(unread)?;
    let operations = snapshot.operations.iter().map(|(name, summary)| (name.clone(), Figures::of(summary)));
    Ok(Json(Answer {
        all: Figures::of(&snapshot.all),
        rates: BothRates { last_10_s: Rate::over(&api.rates, 10), last_60_s: Rate::over(&api.rates, 60) },
        operations: operations.collect(),
        processors: snapshot.processors.into_iter().map(processor).collect(),
        unknown_events: snapshot.unknown_events,
    }))
}

impl Figures {
    fn of(Summary { figures, objects, tasks }: &Summary) -> Self {
        Self {
            objects: Objects {
                created: figures.objects_created,
                in_progress: figures.objects_in_progress(),
                succeeded: figures.objects_succeeded,
                failed: figures.objects_failed,
                timed_out: figures.objects_timed_out,
            },
            tasks: Tasks {
                distributed: figures.tasks_distributed,
                in_progress: figures.tasks_in_progress,
                processed: figures.tasks_succeeded,
                failed: figures.tasks_failed,
            },
            durations_ms: Durations { objects: *objects, tasks: *tasks },
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

impl Rate {
    fn over(rates: &Rates, seconds: u64) -> Self {
        let (objects, tasks) = rates.over(seconds);
        Self { objects, tasks }
    }
}
