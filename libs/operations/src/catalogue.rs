//! Which operations there are, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Flaky, Nop, Operation, PlusOne, Pow, WordFrequencies};

/// The longest name of an operation, in bytes: it is a word of a routing key (255 bytes at most) beside others.
const MAX_NAME_BYTES: usize = 64;

/// Operations by name, each name once, sorted. Cloning shares the operations.
#[derive(Clone)]
pub struct Catalogue {
    operations: BTreeMap<String, Arc<dyn Operation>>,
}

impl Catalogue {
    /// The operations of this crate. One of your own is one line here, or one [`with`](Self::with) elsewhere.
    pub fn built_in() -> Self {
        let operations: [Arc<dyn Operation>; _] = [
            // One line each, in the order of their names.
            Arc::new(Flaky),
            Arc::new(Nop),
            Arc::new(PlusOne),
            Arc::new(Pow),
            Arc::new(WordFrequencies),
        ];
        Self { operations: operations.into_iter().map(|operation| (operation.name().to_owned(), operation)).collect() }
    }

    /// Adds an operation.
    ///
    /// # Errors
    /// A name that is not `[a-z0-9][a-z0-9_-]{0,63}`, or that is taken: a different operation under a known name would
    /// change what is already on its way.
    pub fn with(mut self, operation: impl Operation) -> Result<Self, RegistrationError> {
        let name = operation.name().to_owned();
        if !is_valid(&name) {
            return Err(RegistrationError::InvalidName(name));
        }
        if self.operations.contains_key(&name) {
            return Err(RegistrationError::Duplicate(name));
        }
        self.operations.insert(name, Arc::new(operation));
        Ok(self)
    }

    /// Keeps only the named operations; a name given twice is kept once, no names leave nothing.
    ///
    /// # Errors
    /// The first name that is unknown.
    pub fn only(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, UnknownOperation> {
        let keep = |name: &str| self.get(name).map(|operation| (name.to_owned(), operation));
        let operations = names.into_iter().map(|name| keep(name.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { operations })
    }

    /// Keeps only what is [offered unasked](Operation::is_offered_unasked).
    #[must_use]
    pub fn offered_unasked(mut self) -> Self {
        self.operations.retain(|_, operation| operation.is_offered_unasked());
        self
    }

    /// The operation of that name.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Operation>, UnknownOperation> {
        self.operations
            .get(name)
            .cloned()
            .ok_or_else(|| UnknownOperation { name: name.to_owned(), known: self.names().map(str::to_owned).collect() })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.operations.keys().map(String::as_str)
    }

    /// All operations, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Operation> {
        self.operations.values().map(|operation| &**operation)
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

/// No operation has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown operation `{name}`; known: {}", known.join(", "))]
pub struct UnknownOperation {
    /// The name that was asked for.
    pub name: String,
    /// The names that would have been found, sorted.
    pub known: Vec<String>,
}

/// Why an operation was not added to a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The name cannot be a word of a routing key.
    #[error("`{0}` cannot name an operation; allowed: a to z, 0 to 9, `_` and `-`, not first, at most 64 in all")]
    InvalidName(String),
    /// The name is taken.
    #[error("there is an operation named `{0}` already")]
    Duplicate(String),
}

fn is_valid(name: &str) -> bool {
    let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    name.len() <= MAX_NAME_BYTES && name.bytes().all(inside) && !name.is_empty() && !name.starts_with(['_', '-'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::properties::Named;

    #[test]
    fn the_built_in_operations_are_found_by_valid_names() {
        let catalogue = Catalogue::built_in();
        assert_eq!(catalogue.names().collect::<Vec<_>>(), ["flaky", "nop", "plusone", "pow", "word-frequencies"]);
        for operation in catalogue.iter() {
            assert!(is_valid(operation.name()));
            assert_eq!(catalogue.get(operation.name()).unwrap().name(), operation.name());
        }
    }

    #[test]
    fn an_unknown_operation_is_refused_with_the_list_of_known_ones() {
        let message = Catalogue::built_in().get("sqrt").err().unwrap().to_string();
        assert_eq!(message, "unknown operation `sqrt`; known: flaky, nop, plusone, pow, word-frequencies");
    }

    #[test]
    fn a_subset_knows_only_what_was_named() {
        let subset = Catalogue::built_in().only(["pow", "nop", "pow"]).unwrap();
        assert_eq!(format!("{subset:?}"), r#"{"nop", "pow"}"#);
        assert_eq!(subset.only(["plusone"]).unwrap_err().known, ["nop", "pow"]);
    }

    #[test]
    fn what_fails_on_purpose_is_not_offered_unasked() {
        let offered = Catalogue::built_in().offered_unasked();
        assert_eq!(offered.names().collect::<Vec<_>>(), ["nop", "plusone", "pow", "word-frequencies"]);
    }

    #[test]
    fn a_name_can_be_taken_only_once() {
        let catalogue = Catalogue::built_in().with(Named("mine")).unwrap();
        assert_eq!(catalogue.get("mine").unwrap().name(), "mine");
        assert_eq!(catalogue.with(Named("mine")).unwrap_err(), RegistrationError::Duplicate("mine".into()));
        assert!(Catalogue::built_in().with(Named("nop")).is_err());
    }

    #[test]
    fn a_name_must_fit_into_a_routing_key() {
        let longest = "a".repeat(64);
        for name in ["0", "a_b-c9", longest.as_str()] {
            assert!(is_valid(name), "{name}");
        }
        let too_long = "a".repeat(65);
        for name in ["", "-a", "_a", "A", "a.b", "a b", "é", "#", too_long.as_str()] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(matches!(Catalogue::built_in().with(Named("a.b")), Err(RegistrationError::InvalidName(_))));
    }
}
