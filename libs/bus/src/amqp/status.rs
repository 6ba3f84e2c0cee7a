//! What runs and what does not, by name.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The state of every part of the transport. One that was entered and did not say `up` is down.
#[derive(Clone, Default)]
pub(super) struct Status(Arc<Inner>);

#[derive(Default)]
struct Inner {
    down: Mutex<BTreeMap<String, String>>,
    failed: Mutex<Option<String>>,
    has_failed: CancellationToken,
}

impl Status {
    pub(super) fn down(&self, part: &str, reason: String) {
        self.lock().insert(part.to_owned(), reason);
    }

    pub(super) fn up(&self, part: &str) {
        self.lock().remove(part);
    }

    pub(super) fn is_up(&self, part: &str) -> bool {
        !self.lock().contains_key(part)
    }

    /// What does not run, and why.
    pub(super) fn get(&self) -> Result<(), String> {
        let down = self.lock();
        if down.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (part, reason) in down.iter() {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{part}: {reason}");
        }
        Err(text)
    }

    /// Says that this transport cannot go on in this process. The first reason stands.
    pub(super) fn fail(&self, reason: &str) {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
        self.0.has_failed.cancel();
    }

    pub(super) async fn failed(&self) -> String {
        self.0.has_failed.cancelled().await;
        let reason = self.0.failed.lock();
        reason.unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.down.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
