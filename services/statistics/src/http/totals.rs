//! `GET /api/totals/{operation}`: the highest of an operation's counters. `DELETE`: they begin anew.

use axum::extract::State;
use chassis::http::{
    Json, Path, Problem, Query,
    responses::{BadRequest, NotFound, Unavailable},
};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use super::{Api, unread};
use crate::record::Record;

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 1000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// How many counters at most.
    #[param(minimum = 1, maximum = 1000, default = json!(DEFAULT_LIMIT))]
    limit: Option<u32>,
}

/// What accumulated over all objects of an operation.
#[derive(Serialize, ToSchema)]
#[schema(as = Totals)]
pub(super) struct Answer {
    operation: String,
    /// How many names have a counter.
    distinct: i64,
    /// The sum of all counters.
    total: i64,
    /// Highest first, equal ones by name.
    totals: Vec<Total>,
}

/// A counter.
#[derive(Serialize, ToSchema)]
struct Total {
    /// What was counted: for `word-frequencies`, a word.
    name: String,
    count: i64,
}

/// The totals of an operation: what accumulated over all objects, the highest first
#[utoipa::path(
    get,
    path = "/api/totals/{operation}",
    tag = "statistics",
    operation_id = "show_totals",
    params(("operation" = String, Path, description = "Its name.", example = "word-frequencies"), Parameters),
    responses((status = OK, description = "The highest counters.", body = Answer), BadRequest, NotFound, Unavailable)
)]
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
    check(record, &operation)?;
    let found = record.totals(&operation, limit).await.map_err(unread)?;
    Ok(Json(Answer {
        operation,
        distinct: found.distinct,
        total: found.total,
        totals: found.highest.into_iter().map(|(name, count)| Total { name, count }).collect(),
    }))
}

/// That the totals began anew.
#[derive(Serialize, ToSchema)]
#[schema(as = TotalsReset)]
pub(super) struct Reset {
    operation: String,
    /// So many names had a counter.
    deleted: u64,
}

/// Reset the totals of an operation: they begin anew
///
/// All counters are deleted in one transaction: whoever reads sees all of them or none. Nothing else changes: objects keep
/// their results, and `GET /api/statistics` its figures. Each object is counted once, when it succeeds: what did before the
/// reset is not counted again, what does afterwards is, also if it was submitted before.
#[utoipa::path(
    delete,
    path = "/api/totals/{operation}",
    tag = "statistics",
    operation_id = "reset_totals",
    params(("operation" = String, Path, description = "Its name.", example = "word-frequencies")),
    responses((status = OK, description = "They are deleted.", body = Reset), NotFound, Unavailable)
)]
pub(super) async fn reset(State(api): State<Api>, Path(operation): Path<String>) -> Result<Json<Reset>, Problem> {
    let record = api.record()?;
    check(record, &operation)?;
    let deleted = record.reset_totals(&operation).await.map_err(unread)?;
    info!(operation, counters = deleted, "totals were reset");
    Ok(Json(Reset { operation, deleted }))
}

/// 404 if there is no such operation.
fn check(record: &Record, operation: &str) -> Result<(), Problem> {
    let known = record.catalogue().get(operation);
    known.map(drop).map_err(|unknown| Problem::not_found(unknown.to_string()).with("known", unknown.known))
}
