//! What was injected, and what went wrong that nobody injected.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::plan::Kind;

/// Shared by everything that faults happen to.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

/// The counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Faults that happened.
    pub injected: BTreeMap<Kind, u64>,
    /// Processes that ended by themselves, or did not end well when they were told to.
    pub troubles: Vec<String>,
}

impl Tally {
    pub fn injected(&self, kind: Kind) {
        *self.counts().injected.entry(kind).or_default() += 1;
    }

    pub fn trouble(&self, trouble: String) {
        self.counts().troubles.push(trouble);
    }

    /// All of it.
    pub fn into_counts(self) -> Counts {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
