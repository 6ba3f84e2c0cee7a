//! What is served over HTTP: the record, read; totals, reset; and what becomes of dead letters.

mod answer;
mod dead_letters;
mod dead_letters_filter;
mod events;
mod long;
mod object;
mod objects;
mod statistics;
mod totals;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chassis::http::{Problem, document};
use tokio::sync::Notify;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::long::LongAnswers;
use crate::{
    live::Live,
    rates::Rates,
    record::{Record, may_pass, took_too_long},
    waiters::Waiters,
};

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
    /// Told that there is something to publish.
    pub outbox: Arc<Notify>,
    /// What happens, as it happens.
    pub live: Arc<Live>,
    /// Bounds the answers on their way.
    pub long_answers: LongAnswers,
}

/// What this is on a port of its own.
const ABOUT: &str = "The record of EBS: every object, and what became of it. The front door, datagen, has this and the rest \
                     of EBS at one address.";
const TAGS: [(&str, &str); 4] = [
    ("objects", "What is to be processed, and what became of it."),
    ("statistics", "What has happened so far, over all objects."),
    ("events", "What happens, as it happens."),
    ("dead letters", "What was set aside, and what is to become of it."),
];

/// The routes.
pub fn router(api: Api) -> OpenApiRouter {
    OpenApiRouter::with_openapi(document("EBS: statistics", ABOUT, &TAGS))
        .routes(routes!(dead_letters::list, dead_letters::discard_all))
        .routes(routes!(dead_letters::replay_all))
        .routes(routes!(dead_letters::show, dead_letters::discard))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(events::follow))
        .routes(routes!(objects::list))
        .routes(routes!(object::show))
        .routes(routes!(object::status))
        .routes(routes!(statistics::show))
        .routes(routes!(totals::show, totals::reset))
        .with_state(api)
}

impl Api {
    /// The record; 503 as long as it is not open.
    fn record(&self) -> Result<&Record, Problem> {
        let not_open = || Problem::unavailable(RETRY_AFTER, "The record is not open yet: /readyz says why.");
        self.record.get().map(Arc::as_ref).ok_or_else(not_open)
    }
}

/// 503 if the record has no time, is closing, or cannot be written or read now; else 500.
fn unread(error: sqlx::Error) -> Problem {
    match error {
        sqlx::Error::PoolTimedOut => Problem::unavailable(RETRY_AFTER, "Too many ask at once."),
        sqlx::Error::PoolClosed => Problem::unavailable(RETRY_AFTER, "This service is stopping."),
        error if took_too_long(&error) => Problem::unavailable(RETRY_AFTER, "It took too long to read the answer."),
        error if may_pass(&error) => Problem::unavailable(RETRY_AFTER, format!("It cannot be done now: {error}.")),
        error => Problem::internal(error),
    }
}
