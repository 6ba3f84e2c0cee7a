//! `GET /api/totals/{operation}`: the highest of an operation's counters.

use axum::extract::State;
use chassis::http::{Json, Path, Problem, Query};
use serde::{Deserialize, Serialize};

use super::{Api, unread};

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 1000;

#[derive(Deserialize)]
pub(super) struct Parameters {
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Answer {
    operation: String,
    /// How many names have a counter.
    distinct: i64,
    /// The sum of all counters.
    total: i64,
    /// Highest first, equal ones by name.
    totals: Vec<Total>,
}

#[derive(Serialize)]
struct Total {
    name: String,
    count: i64,
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(operation): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Answer>, Problem> {
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: 1 to {MAX_LIMIT} are allowed")));
    }
    let record = api.record()?;
    record
        .catalogue()
        .get(&operation)
        .map_err(|unknown| Problem::not_found(unknown.to_string()).with("known", unknown.known))?;
    let found = record.totals(&operation, limit).await.map_err(unread)?;
    Ok(Json(Answer {
        operation,
        distinct: found.distinct,
        total: found.total,
        totals: found.highest.into_iter().map(|(name, count)| Total { name, count }).collect(),
    }))
}
