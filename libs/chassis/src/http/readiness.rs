//! Whether a service can do its work now.

use std::{fmt, sync::Arc};

/// A check's name and what it says.
pub(super) type Report = (&'static str, Result<(), String>);

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Named checks, all of which must pass. A check only looks at what is known already (a `watch` channel, an atomic); it
/// does not wait.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
}

impl Readiness {
    /// Ready, as long as no check says otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. Its error says for people what is missing.
    #[must_use]
    pub fn check(mut self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push((name, Arc::new(check)));
        self
    }

    /// Adds the checks of `other`, for what consists of several.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.checks.extend(other.checks);
        self
    }

    /// Asks all checks.
    ///
    /// # Errors
    /// What is missing: `bus: not connected; database: locked`.
    pub fn ready(&self) -> Result<(), String> {
        let reports: Vec<_> = self.ask().collect();
        all_pass(&reports)
    }

    /// Each check's name and what it says now.
    pub(super) fn ask(&self) -> impl Iterator<Item = Report> {
        self.checks.iter().map(|(name, check)| (*name, check()))
    }
}

/// Nothing is missing, or all that is.
pub(super) fn all_pass(reports: &[Report]) -> Result<(), String> {
    let missing: Vec<String> =
        reports.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?))).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.ask()).finish()
    }
}
