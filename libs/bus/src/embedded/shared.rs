//! What the handles, the subscriptions and the writer share.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::state::State;

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Tells the writer that there is something to write, or to read.
    pub(super) news: Notify,
    /// What does not work now, by what it is.
    trouble: Mutex<BTreeMap<String, String>>,
    failure: OnceLock<String>,
    pub(super) failed: CancellationToken,
    /// It is to end: what cannot be written or read now is not waited for any more.
    pub(super) closing: CancellationToken,
    /// The writer has ended.
    pub(super) ended: CancellationToken,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what does not work, or that it works again.
    pub(super) fn set_trouble(&self, what: &str, reason: Option<String>) {
        let mut trouble = self.trouble();
        match reason {
            Some(reason) => {
                trouble.insert(what.to_owned(), reason);
            }
            None => {
                trouble.remove(what);
            }
        }
    }

    pub(super) fn status(&self) -> Result<(), String> {
        let refused = self.state().refused.clone();
        let trouble = self.trouble();
        let all: Vec<String> =
            refused.iter().chain(trouble.iter()).map(|(what, why)| format!("{what}: {why}")).collect();
        if all.is_empty() { Ok(()) } else { Err(all.join("; ")) }
    }

    /// Says that this transport cannot go on in this process. The first reason stands.
    pub(super) fn fail(&self, reason: &str) {
        let _ = self.failure.set(reason.to_owned());
        self.failed.cancel();
    }

    pub(super) fn failure(&self) -> String {
        self.failure.get().cloned().unwrap_or_default()
    }
}
