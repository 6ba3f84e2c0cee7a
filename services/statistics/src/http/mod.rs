//! What is served over HTTP: the record, read.

mod answer;
mod object;
mod objects;
mod statistics;
mod totals;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, routing::get};
use chassis::http::Problem;

use crate::{rates::Rates, record::Record, waiters::Waiters};

/// What a client is told to wait before it asks again for what is not there now.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the handlers work with.
#[derive(Clone, Debug, Default)]
pub struct Api {
    /// Empty until it is open.
    pub record: Arc<OnceLock<Arc<Record>>>,
    /// Who waits for objects.
    pub waiters: Arc<Waiters>,
    /// Counts what finishes.
    pub rates: Arc<Rates>,
}

/// The routes.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/api/objects", get(objects::list))
        .route("/api/objects/{id}", get(object::show))
        .route("/api/statistics", get(statistics::show))
        .route("/api/totals/{operation}", get(totals::show))
        .with_state(api)
}

impl Api {
    /// The record; 503 as long as it is not open.
    fn record(&self) -> Result<&Record, Problem> {
        let not_open = || Problem::unavailable(RETRY_AFTER, "The record is not open yet: /readyz says why.");
        self.record.get().map(Arc::as_ref).ok_or_else(not_open)
    }
}

/// 503 if the record has no time or is closing, else 500.
fn unread(error: sqlx::Error) -> Problem {
    match error {
        sqlx::Error::PoolTimedOut => Problem::unavailable(RETRY_AFTER, "Too many ask at once."),
        sqlx::Error::PoolClosed => Problem::unavailable(RETRY_AFTER, "This service is stopping."),
        error => Problem::internal(error),
    }
}
