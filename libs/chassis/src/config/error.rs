//! What is wrong with the configuration, in words for whoever wrote it.

use std::fmt;

/// More of a value than this is not shown; enough to recognise it by.
const SHOWN_CHARS: usize = 120;

/// One variable and what is wrong with it. Holds no secret, so that it may be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadVariable {
    name: String,
    /// Quoted, shortened; absent for a secret.
    shown: Option<String>,
    /// Absent if the variable is missing.
    reason: Option<String>,
}

/// The configuration cannot be used: one line a variable. `main` ends with [`EXIT_CONFIG`](super::EXIT_CONFIG).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    variables: Vec<BadVariable>,
}

impl ConfigError {
    /// For what only the service can judge, such as two settings that do not go together. Secrets are left out
    /// [by the name](is_secret) of the variable; `reason` says what is allowed.
    pub fn not_allowed(name: &str, value: &str, reason: &str) -> Self {
        Self::from(BadVariable::new(name, value, reason))
    }

    /// What is wrong here and there, together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.variables.extend(other.variables);
        self
    }

    /// Which variables are bad.
    pub fn variables(&self) -> &[BadVariable] {
        &self.variables
    }
}

impl BadVariable {
    pub(super) fn new(name: &str, value: &str, reason: &str) -> Self {
        let secret = is_secret(name);
        // serde's own messages quote what they got.
        let reason =
            if secret && reason.contains(value) { "the value cannot be used".to_owned() } else { readable(reason) };
        Self { name: name.to_owned(), shown: (!secret).then(|| quoted(value)), reason: Some(reason) }
    }

    /// The same, of a variable that was given by another name, such as its flag's.
    pub(super) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// For an error that no variable alone gives: one is missing.
    pub(super) fn of_whole(error: &envy::Error) -> Self {
        match error {
            envy::Error::MissingValue(field) => Self { name: field.to_uppercase(), shown: None, reason: None },
            envy::Error::Custom(reason) => {
                Self { name: "the environment".to_owned(), shown: None, reason: Some(readable(reason)) }
            }
        }
    }

    /// The variable's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether a variable's value must not be shown: its name contains `TOKEN`, `PASSWORD` or `SECRET`, or it is `QUEUE_URL`
/// or `DATABASE_URL`, which may hold a password. Files with such (`API_TOKEN_FILE`) count, too: somebody may put the secret
/// itself there.
pub fn is_secret(name: &str) -> bool {
    ["TOKEN", "PASSWORD", "SECRET", "QUEUE_URL"].iter().any(|part| name.contains(part)) || name == "DATABASE_URL"
}

/// What envy and the standard library say, in words that tell what is allowed.
fn readable(reason: &str) -> String {
    let reason = reason.split(" while parsing value ").next().unwrap_or(reason);
    match reason {
        "invalid digit found in string" => "expected a whole number",
        "number too large to fit in target type" => "the number is too large",
        "number too small to fit in target type" => "the number is too small",
        "invalid float literal" => "expected a number",
        "provided string was not `true` or `false`" => "expected true or false",
        "invalid socket address syntax" => "expected an address like 127.0.0.1:8000",
        other => other,
    }
    .to_owned()
}

/// In quotes, with control characters escaped, no longer than [`SHOWN_CHARS`].
fn quoted(value: &str) -> String {
    if value.chars().count() <= SHOWN_CHARS {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(SHOWN_CHARS).collect();
    format!("{start:?}…")
}

impl fmt::Display for BadVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(shown) = &self.shown {
            write!(f, "={shown}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " is not allowed: {reason}"),
            None => f.write_str(" is missing"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, variable) in self.variables.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            variable.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<BadVariable> for ConfigError {
    fn from(variable: BadVariable) -> Self {
        Self { variables: vec![variable] }
    }
}

impl From<Vec<BadVariable>> for ConfigError {
    fn from(variables: Vec<BadVariable>) -> Self {
        Self { variables }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name() {
        for name in
            ["API_TOKEN", "RABBITMQ_PASSWORD", "CLIENT_SECRET_FILE", "QUEUE_URL", "QUEUE_URL_FILE", "DATABASE_URL"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["LISTEN", "STATISTICS_URL", "EXCHANGE"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_service_can_add_its_own_verdict() {
        let error = ConfigError::not_allowed("TASK_TIMEOUT", "2h", "expected at most 25m");
        assert_eq!(error.to_string(), r#"TASK_TIMEOUT="2h" is not allowed: expected at most 25m"#);
        let error = ConfigError::not_allowed("QUEUE_URL", "amqp://x", "expected amqp:// or amqps://");
        assert_eq!(error.to_string(), "QUEUE_URL is not allowed: expected amqp:// or amqps://");
    }

    #[test]
    fn a_long_value_is_shortened() {
        let error = ConfigError::not_allowed("LISTEN", &"é".repeat(1_000_000), "expected an address");
        assert!(error.to_string().chars().count() < 200);
    }
}
