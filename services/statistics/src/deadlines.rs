//! Deadlines: when objects are due, and when that may be judged.
//!
//! An object that is due may long be finished: what says so may still wait on the bus, because this service was away or is
//! behind. So before it judges it sends a *fence* into its own queues, behind everything that was confirmed before. When it has
//! met the fence in both, it has merged all of that, and what was due when the fence was sent and is open still has timed out.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bus::{Bus, PublishError};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::record::Record;

/// Between two fences: what is due in between is judged together.
const MIN_BETWEEN_FENCES: Duration = Duration::from_secs(1);
/// A fence that has not come back after this is sent once more. It may only be behind a long queue; the first of the two
/// that comes counts.
const FENCE_PATIENCE: Duration = Duration::from_secs(60);
/// The longest sleep. Points in time are those of the wall clock, and waiting is by a clock that cannot be set: when the wall
/// clock is set forward, objects are found to be due after so long at the latest; when it is set back, they are due
/// so much later.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What the consumers and the clock tell each other.
#[derive(Debug)]
pub struct Deadlines {
    fence: Mutex<Option<Fence>>,
    /// The moment that is waited for.
    awaited: AtomicI64,
    /// Told of an earlier one.
    sooner: Notify,
    /// Told when what was due has been judged.
    judged: Notify,
}

/// Which queue a fence is met in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Place {
    Events,
    DeadLetters,
}

/// The one fence that is on its way.
#[derive(Clone, Debug)]
struct Fence {
    id: String,
    /// What was due then is judged.
    cutoff: i64,
    met_in_events: bool,
    met_in_dead_letters: bool,
}

impl Default for Deadlines {
    fn default() -> Self {
        let awaited = AtomicI64::new(i64::MAX);
        Self { fence: Mutex::default(), awaited, sooner: Notify::new(), judged: Notify::new() }
    }
}

impl Deadlines {
    /// There is an object that is due at this time.
    pub(crate) fn heard_of(&self, due_at: i64) {
        if due_at < self.awaited.load(Ordering::SeqCst) {
            self.sooner.notify_one();
        }
    }

    /// A fence was met. What was due at the time that is returned may be judged now. One that is not on its way, from before a
    /// restart for instance, says nothing.
    pub(crate) fn met(&self, id: &str, place: Place) -> Option<i64> {
        let mut fence = self.fence();
        let fence = fence.as_mut().filter(|fence| fence.id == id)?;
        match place {
            Place::Events => fence.met_in_events = true,
            Place::DeadLetters => fence.met_in_dead_letters = true,
        }
        (fence.met_in_events && fence.met_in_dead_letters).then_some(fence.cutoff)
    }

    /// What was due has been judged.
    pub(crate) fn judged(&self, id: &str) {
        self.fence().take_if(|fence| fence.id == id);
        self.judged.notify_one();
    }

    /// The fence that is on its way, or a new one.
    fn raise(&self, now: i64) -> Fence {
        let new =
            || Fence { id: Uuid::now_v7().to_string(), cutoff: now, met_in_events: false, met_in_dead_letters: false };
        self.fence().get_or_insert_with(new).clone()
    }

    fn fence(&self) -> MutexGuard<'_, Option<Fence>> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends fences.
pub trait SendFence: Send + Sync + 'static {
    /// Sends one of this id, which may be on its way already.
    fn send_fence(&self, id: &str) -> impl Future<Output = Result<(), PublishError>> + Send;
}

impl SendFence for Bus {
    async fn send_fence(&self, id: &str) -> Result<(), PublishError> {
        self.fence(id).await
    }
}

/// The task that waits for the next moment at which an object is due.
#[derive(Debug)]
pub struct Clock<F> {
    /// Says when that is.
    pub record: Arc<Record>,
    /// Shared with the consumers.
    pub deadlines: Arc<Deadlines>,
    /// Where fences go.
    pub fences: F,
}

impl<F: SendFence> Clock<F> {
    /// Sends fences, each when something is due, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        while let Some(()) = shutdown.run_until_cancelled(self.round()).await {}
    }

    async fn round(&self) {
        // From here on whatever is new is told of, and does not get lost between reading and waiting.
        self.deadlines.awaited.store(i64::MAX, Ordering::SeqCst);
        let next = match self.record.next_due().await {
            Ok(next) => next.unwrap_or(i64::MAX),
            Err(error) => {
                warn!("cannot read what is due: {error}");
                return sleep(MIN_BETWEEN_FENCES).await;
            }
        };
        let now = bus::now().as_microsecond();
        if next <= now {
            return self.judge(now).await;
        }
        self.deadlines.awaited.store(next, Ordering::SeqCst);
        let rest = Duration::from_micros(next.saturating_sub(now).unsigned_abs());
        let _ = timeout(rest.min(LOOK_AGAIN), self.deadlines.sooner.notified()).await;
    }

    /// Sends a fence and waits until it was met.
    async fn judge(&self, now: i64) {
        let fence = self.deadlines.raise(now);
        let pause = sleep(MIN_BETWEEN_FENCES);
        match self.fences.send_fence(&fence.id).await {
            Ok(()) => {
                let _ = timeout(FENCE_PATIENCE, self.deadlines.judged.notified()).await;
            }
            Err(error) => warn!("deadlines wait for the bus: {error}"),
        }
        pause.await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_due_is_judged_once_its_fence_was_met_in_both_queues() {
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.met("stale", Place::Events), None);
        let fence = deadlines.raise(5);
        assert_eq!(deadlines.raise(9).id, fence.id, "there is one at a time");
        assert_eq!(deadlines.met(&fence.id, Place::Events), None);
        assert_eq!(deadlines.met("another", Place::DeadLetters), None);
        assert_eq!(deadlines.met(&fence.id, Place::DeadLetters), Some(5));
        assert_eq!(deadlines.met(&fence.id, Place::Events), Some(5), "until it is judged, which may be tried again");
        deadlines.judged(&fence.id);
        assert_eq!(deadlines.met(&fence.id, Place::Events), None);
        assert_ne!(deadlines.raise(9).id, fence.id);
    }
}
