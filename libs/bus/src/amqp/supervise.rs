//! Rebuilds what broke, for ever.

use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{link::LinkError, status::Status};

/// The first wait, halved at random at most: many clients must not come back in step.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A session that was up and lasted this long was sound: the next wait is the shortest again.
const SOUND_AFTER: Duration = Duration::from_secs(2);
/// How often to ask whether the other one is still active: this is how long a hand-over takes.
const OWNED_ELSEWHERE_DELAY: Duration = Duration::from_secs(1);

/// A part of the transport that works over one channel after another.
pub(super) trait Part: Send {
    /// Its name in the status.
    fn name(&self) -> String;

    /// Builds everything anew and works until it is not needed any more (`Ok`) or something broke. Says
    /// `up` in the status once it works.
    fn session(&mut self) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// Runs the sessions of a part one after another until one ends well or `closed` is cancelled. The part is down from the call
/// on, before the future is first polled: whoever asks right after is not told that all is well.
pub(super) fn supervise(
    worker: impl Part,
    status: Status,
    closed: CancellationToken,
) -> impl Future<Output = ()> + Send {
    status.down(&worker.name(), "not connected yet".to_owned());
    sessions(worker, status, closed)
}

async fn sessions(mut worker: impl Part, status: Status, closed: CancellationToken) {
    let part = worker.name();
    let part = part.as_str();
    let mut backoff = MIN_BACKOFF;
    let mut waiting_for_owner = false;
    loop {
        let began = Instant::now();
        let ended = tokio::select! {
            ended = worker.session() => ended,
            () = closed.cancelled() => Ok(()),
        };
        let Err(error) = ended else {
            status.up(part);
            return;
        };
        let was_sound = status.is_up(part) && began.elapsed() >= SOUND_AFTER;
        status.down(part, error.to_string());
        let delay = if matches!(error, LinkError::OwnedElsewhere) {
            if !waiting_for_owner {
                info!(part, "{error}");
            }
            waiting_for_owner = true;
            OWNED_ELSEWHERE_DELAY
        } else {
            if was_sound {
                backoff = MIN_BACKOFF;
            }
            let delay = backoff.mul_f64(rand::rng().random_range(0.5..=1.0));
            warn!(part, retry_in = ?delay, "the broker cannot be used: {error}");
            backoff = (backoff * 2).min(MAX_BACKOFF);
            waiting_for_owner = false;
            delay
        };
        tokio::select! {
            () = sleep(delay) => {}
            () = closed.cancelled() => {}
        }
    }
}
