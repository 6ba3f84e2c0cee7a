//! Whose turn it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Whose turn it is on a connection. It is its client's, who may send or read, unless a body is being read and what came of
/// it has not been done: then the client cannot go on, and whatever it does not do is no fault of it. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Turn(Arc<Mutex<Option<Instant>>>);

impl Turn {
    /// On a new connection.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    /// It is the client's; since when.
    pub(super) fn theirs(&self) -> Instant {
        *self.theirs_since().get_or_insert_with(Instant::now)
    }

    /// It is ours.
    pub(super) fn ours(&self) {
        *self.theirs_since() = None;
    }

    /// Since when the client could have gone on: not yet, if it is our turn.
    pub(super) fn since(&self) -> Instant {
        self.theirs_since().unwrap_or_else(Instant::now)
    }

    fn theirs_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
