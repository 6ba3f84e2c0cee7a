//! Whether the record can be written, for the readiness check.

use std::sync::{Mutex, PoisonError};

/// What is wrong with the record now; at first, that it is not open.
#[derive(Debug)]
pub struct Health(Mutex<Option<String>>);

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(Some("the database is not open yet".to_owned())))
    }
}

impl Health {
    /// It works.
    pub fn well(&self) {
        self.set(None);
    }

    /// It does not, for this reason.
    pub fn ill(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Whether it works.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check(&self) -> Result<(), String> {
        let reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone().map_or(Ok(()), Err)
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}
