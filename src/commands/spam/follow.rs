//! What became of what was accepted, as the record says.
//!
//! The record is read page by page when everything was submitted, and not object by object while it is: that would be a
//! good part of the load.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{latency::Latencies, load::until, tally::Open};
use crate::client::{Client, ClientError};

/// Objects of a page: as many as there can be.
const PAGE: u32 = 500;
/// How long one object is waited for at a time. Then the record is read again.
const WAIT_S: u64 = 5;
/// Between two readings of the record at least.
const PAUSE: Duration = Duration::from_millis(500);
/// So many objects that the list did not have are asked for one by one.
const MAX_ASKED: usize = 1000;
/// How long the record is read after Ctrl-C.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Follows objects until they have finished.
pub struct Follow<'a> {
    client: &'a Client,
    state: Mutex<State>,
    /// How many have finished, for whoever watches.
    seen: AtomicU64,
    all: u64,
    end: Instant,
    stop: &'a CancellationToken,
}

struct State {
    open: Open,
    followed: Followed,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// How many were followed.
    pub all: u64,
    /// One of so many that were accepted was.
    pub one_of: u64,
    /// Outcomes.
    pub outcomes: Outcomes,
    /// From when they were due to the end of their last task.
    pub finished: Latencies,
    /// From their acceptance to the end of their last task.
    pub recorded: Latencies,
    /// How far the system's clock is ahead of this one, in microseconds.
    pub ahead_us: i64,
    /// Why the record could not be read to the end.
    pub error: Option<String>,
    /// It was waited for as long as was allowed.
    pub waited: bool,
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Well.
    pub succeeded: u64,
    /// With an error.
    pub failed: u64,
    /// By their deadline.
    pub timed_out: u64,
    /// They finished, and were deleted after their retention.
    pub deleted: u64,
    /// Not at all, so far.
    pub unfinished: u64,
    /// The record does not know them: they are lost, or on their way to it.
    pub unknown: u64,
}

#[derive(Deserialize)]
struct Page {
    objects: Vec<Item>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    id: Uuid,
    status: Status,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    duration_ms: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Created,
    Running,
    Succeeded,
    Failed,
    TimedOut,
}

impl<'a> Follow<'a> {
    /// Follows these until then.
    pub fn new(client: &'a Client, open: Open, end: Instant, stop: &'a CancellationToken) -> Self {
        let all = open.objects.len() as u64;
        let followed = Followed { all, one_of: open.one_of(), ahead_us: open.ahead_us(), ..Followed::default() };
        Self { client, state: Mutex::new(State { open, followed }), seen: AtomicU64::new(0), all, end, stop }
    }

    /// How many have finished, and of how many.
    pub fn progress(&self) -> (u64, u64) {
        (self.seen.load(Ordering::Relaxed), self.all)
    }

    /// Follows them to their end, its own, or until it is told to stop. None is older than `earliest`.
    pub async fn run(&self, earliest: Option<Timestamp>) -> Followed {
        let too_late = async {
            self.stop.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        let error = tokio::select! {
            read = self.read_until_the_end(earliest.unwrap_or(Timestamp::MAX)) => read.err().map(|error| error.to_string()),
            () = too_late => Some(format!("it did not answer within {LAST_WORDS:?}")),
        };
        let mut state = self.lock();
        let open = state.open.objects.len() as u64;
        let mut followed = std::mem::take(&mut state.followed);
        followed.outcomes.unfinished = open - followed.outcomes.unknown;
        followed.waited = !self.stop.is_cancelled();
        followed.error = error;
        followed
    }

    async fn read_until_the_end(&self, earliest: Timestamp) -> Result<(), ClientError> {
        while !self.lock().open.objects.is_empty() {
            let read = self.read(earliest).await;
            let Some(newest) = self.newest() else { break };
            if until(self.end).is_zero() || self.stop.is_cancelled() {
                read?;
                break;
            }
            // Whoever did not answer may do so later.
            tokio::select! {
                () = self.wait_for(newest) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.ask_for_the_rest().await
    }

    /// Reads the list once, down to the oldest of ours.
    async fn read(&self, earliest: Timestamp) -> Result<(), ClientError> {
        let mut query = vec![("limit", PAGE.to_string())];
        loop {
            let page = self.client.ask(Method::GET, "api/objects", &query, None).await?;
            let page: Page = serde_json::from_value(page).map_err(|error| not_understood(&error))?;
            let is_past = page.objects.last().is_none_or(|last| last.created_at < earliest);
            let mut state = self.lock();
            page.objects.iter().for_each(|item| state.take(item));
            self.seen.store(self.all - state.open.objects.len() as u64, Ordering::Relaxed);
            let is_done = state.open.objects.is_empty();
            drop(state);
            match page.next {
                Some(next) if !is_past && !is_done => query = vec![("limit", PAGE.to_string()), ("cursor", next)],
                _ => return Ok(()),
            }
        }
    }

    /// The one that is likely to finish last.
    fn newest(&self) -> Option<Uuid> {
        self.lock().open.objects.iter().max_by_key(|(_, due_us)| **due_us).map(|(id, _)| *id)
    }

    /// Until one object has finished, or for a while.
    async fn wait_for(&self, id: Uuid) {
        let began = Instant::now();
        let seconds = until(self.end).as_secs().min(WAIT_S);
        if seconds > 0
            && let Ok(request) =
                self.client.request(Method::GET, &format!("api/objects/{id}"), &[("wait", seconds.to_string())])
        {
            // Whatever it says, the list says more.
            let _ = request.timeout(Duration::from_secs(seconds) + ANSWER_TIMEOUT).send().await;
        }
        sleep(PAUSE.saturating_sub(began.elapsed()).min(until(self.end))).await;
    }

    /// Those that the list did not have: deleted, or not known at all.
    async fn ask_for_the_rest(&self) -> Result<(), ClientError> {
        let ids: Vec<Uuid> = self.lock().open.objects.keys().take(MAX_ASKED).copied().collect();
        for id in ids {
            let request = self.client.request(Method::GET, &format!("api/objects/{id}"), &[])?;
            let Ok(answer) = request.timeout(ANSWER_TIMEOUT).send().await else { continue };
            let status = answer.status();
            let item = if status.is_success() { answer.json::<Item>().await.ok() } else { None };
            let mut state = self.lock();
            match status {
                StatusCode::GONE => {
                    state.open.objects.remove(&id);
                    state.followed.outcomes.deleted += 1;
                }
                StatusCode::NOT_FOUND => state.followed.outcomes.unknown += 1,
                _ => item.iter().for_each(|item| state.take(item)),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, item: &Item) {
        let outcomes = &mut self.followed.outcomes;
        let count = match item.status {
            Status::Created | Status::Running => return,
            Status::Succeeded => &mut outcomes.succeeded,
            Status::Failed => &mut outcomes.failed,
            Status::TimedOut => &mut outcomes.timed_out,
        };
        let Some(due_us) = self.open.objects.remove(&item.id) else { return };
        *count += 1;
        if let Some(finished_at) = item.finished_at {
            let latency_us = finished_at.as_microsecond() - self.followed.ahead_us - due_us;
            self.followed.finished.record_us(latency_us.max(0).unsigned_abs());
        }
        if let Some(duration_ms) = item.duration_ms {
            self.followed.recorded.record_us((duration_ms * 1000.0).round().max(0.0) as u64);
        }
    }
}

fn not_understood(error: &serde_json::Error) -> ClientError {
    ClientError::Refused(format!("the list of objects cannot be read: {error}"))
}
