//! What the clients know: which objects were accepted, and how it went.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Which submission an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    pub client: u64,
    pub number: u64,
}

/// Shared by all clients.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

/// What happened at the front door.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// By their ids: what was answered with 2xx.
    pub accepted: BTreeMap<String, Origin>,
    by_origin: BTreeMap<Origin, String>,
    /// Requests that were answered with 503 or the like: try again.
    pub put_off: u64,
    /// Requests that were not answered: nobody knows what became of them, until the same request is answered.
    pub unknown: u64,
    /// Answers that must not be.
    pub wrong: Vec<String>,
}

impl Ledger {
    /// An object was accepted, now or, with the same request, before.
    pub fn accepted(&self, id: String, origin: Origin) {
        let mut entries = self.entries();
        let same_request = entries.by_origin.insert(origin, id.clone()).filter(|before| *before != id);
        let same_object = entries.accepted.insert(id.clone(), origin).filter(|before| *before != origin);
        entries.wrong.extend(same_request.map(|before| format!("{origin:?} is object {before} and object {id}")));
        entries.wrong.extend(same_object.map(|before| format!("object {id} is {before:?} and {origin:?}")));
    }

    pub fn put_off(&self) {
        self.entries().put_off += 1;
    }

    pub fn unknown(&self) {
        self.entries().unknown += 1;
    }

    pub fn wrong(&self, what: String) {
        self.entries().wrong.push(what);
    }

    /// How many objects were accepted.
    pub fn count(&self) -> usize {
        self.entries().accepted.len()
    }

    /// All of it.
    pub fn into_entries(self) -> Entries {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
