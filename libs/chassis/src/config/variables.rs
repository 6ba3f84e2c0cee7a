//! Where settings come from: the environment, and flags that win over it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{BadVariable, ConfigError};

/// What settings are read from: names of variables with their values.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, Given>);

#[derive(Clone)]
struct Given {
    value: String,
    by_flag: bool,
}

/// The flag of a variable, without its dashes: `queue-url` of `QUEUE_URL`.
pub fn flag_name(variable: &str) -> String {
    variable.to_ascii_lowercase().replace('_', "-")
}

impl Variables {
    /// The process's environment.
    pub fn of_environment() -> Self {
        // Not `std::env::vars`, which panics when any variable, also one that is none of ours, is not UTF-8.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .collect()
    }

    /// Sets `variable` by its flag, whatever it was before.
    pub fn set_by_flag(&mut self, variable: &str, value: String) {
        self.0.insert(variable.to_owned(), Given { value, by_flag: true });
    }

    /// Reads them into `T`.
    ///
    /// # Errors
    /// Every variable whose value is not allowed, and the first that is missing if `T` has a field without a default.
    pub fn load<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let set = || self.0.iter().filter(|(_, given)| !given.value.is_empty());
        envy::from_iter(set().map(|(name, given)| (name.clone(), given.value.clone()))).map_err(|error| {
            let bad: Vec<_> = set().filter_map(|(name, given)| culprit::<T>(name, given)).collect();
            if bad.is_empty() { ConfigError::from(BadVariable::of_whole(&error)) } else { ConfigError::from(bad) }
        })
    }
}

/// Only names in upper case are settings.
impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let is_setting = |name: &str| !name.contains(|c: char| c.is_lowercase());
        let given = |value| Given { value, by_flag: false };
        Self(
            variables
                .into_iter()
                .filter(|(name, _)| is_setting(name))
                .map(|(name, value)| (name, given(value)))
                .collect(),
        )
    }
}

/// envy does not say which variable a type of ours refused, so each one is tried alone.
fn culprit<T: DeserializeOwned>(name: &str, given: &Given) -> Option<BadVariable> {
    match envy::from_iter::<_, T>([(name.to_owned(), given.value.clone())]) {
        Err(envy::Error::Custom(reason)) => {
            let bad = BadVariable::new(name, &given.value, &reason);
            Some(if given.by_flag { bad.named(format!("--{}", flag_name(name))) } else { bad })
        }
        // Missing: the others are, since they were left out.
        Ok(_) | Err(envy::Error::MissingValue(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        task_count: Option<u8>,
        queue_url: Option<u8>,
    }

    fn variables(flags: &[(&str, &str)]) -> Variables {
        let mut variables: Variables = [("TASK_COUNT".to_owned(), "3".to_owned())].into_iter().collect();
        for (name, value) in flags {
            variables.set_by_flag(name, (*value).to_owned());
        }
        variables
    }

    #[test]
    fn a_flag_wins_over_the_variable() {
        let settings: Settings = variables(&[("TASK_COUNT", "5")]).load().unwrap();
        assert_eq!((settings.task_count, settings.queue_url), (Some(5), None));
        let settings: Settings = variables(&[("TASK_COUNT", "")]).load().unwrap();
        assert_eq!(settings.task_count, None, "an empty one counts as unset");
    }

    #[test]
    fn a_bad_flag_is_named_as_it_was_given_and_a_secret_is_not_shown() {
        let error = variables(&[("TASK_COUNT", "many"), ("QUEUE_URL", "s3cret")]).load::<Settings>().unwrap_err();
        let told = error.to_string();
        assert!(told.contains(r#"--task-count="many" is not allowed: expected a whole number"#), "{told}");
        assert!(told.contains("--queue-url is not allowed") && !told.contains("s3cret"), "{told}");
    }
}
