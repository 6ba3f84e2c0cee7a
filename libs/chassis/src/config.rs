//! Settings from environment variables, read once, in `main`.
//!
//! A service declares a flat struct whose fields all have a default and calls [`load`]. The field `listen` is the variable
//! `LISTEN`. A bad value names the variable, the value and what is allowed; all of them are reported at once; `main` then
//! ends with [`EXIT_CONFIG`].
//!
//! - **An empty value counts as unset**, since compose files and Kubernetes manifests pass on what they do not have as an
//!   empty string. So no setting may give the empty string a meaning that differs from its default.
//! - Only names in upper case count: a stray `listen` or `exchange` of somebody's shell is not a setting.
//! - The value of a [secret variable](is_secret) is never shown, and neither is a reason that quotes it.
//! - A program that takes settings as flags, too, adds them to [`Variables`]: a flag wins, and is blamed by its own name.
//! - Flat means flat: `#[serde(flatten)]` does not work with text values. Several structs may be loaded one after another.

mod byte_size;
mod count;
mod error;
mod names;
mod operations_file;
mod secret;
mod span;
mod token;
mod variables;

use serde::de::DeserializeOwned;

pub use byte_size::ByteSize;
pub use count::Count;
pub use error::{BadVariable, ConfigError, is_secret};
pub use names::Names;
pub use operations_file::OperationsFile;
pub use secret::Secret;
pub use span::{Span, SpanRange};
pub(crate) use token::{Token, owner as token_owner};
pub use token::{TokenFile, Tokens};
pub use variables::{Variables, flag_name};

/// The exit code for a configuration that cannot be used: `EX_USAGE` of BSD's `sysexits.h`. An orchestrator's operator
/// sees from it that restarting will not help.
pub const EXIT_CONFIG: u8 = 64;

/// Why a text is not a value: says what is allowed, without repeating the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(pub(crate) String);

impl NotAllowed {
    /// `expected` reads like `expected a time like 250ms`; it must not repeat the text, which may be a secret.
    pub fn new(expected: impl Into<String>) -> Self {
        Self(expected.into())
    }
}

/// Reads the process's environment into `T`.
///
/// # Errors
/// As [`Variables::load`].
pub fn load<T: DeserializeOwned>() -> Result<T, ConfigError> {
    Variables::of_environment().load()
}

/// As [`load`], from the given names and values.
///
/// # Errors
/// As [`Variables::load`].
pub fn load_from<T, I>(variables: I) -> Result<T, ConfigError>
where
    T: DeserializeOwned,
    I: IntoIterator<Item = (String, String)>,
{
    variables.into_iter().collect::<Variables>().load()
}

/// Implements `Deserialize` through `FromStr`, for a value type of one's own. The crate that calls it depends on serde.
#[macro_export]
macro_rules! deserialize_by_parsing {
    ($($type:ty),+ $(,)?) => {$(
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    )+};
}

/// Implements `Deserialize` and `Serialize` through `FromStr` and `Display`.
macro_rules! text_value {
    ($type:ident $(<$(const $param:ident: $kind:ty),+>)?) => {
        impl<'de $($(, const $param: $kind)+)?> serde::Deserialize<'de> for $type $(<$($param),+>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl $(<$(const $param: $kind),+>)? serde::Serialize for $type $(<$($param),+>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
use text_value;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::SocketAddr;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Settings {
        listen: SocketAddr,
        task_timeout: Span,
        distribution_count: u32,
        api_token: Option<Secret>,
        queue_url: Picky,
        verbose: bool,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self {
                listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
                task_timeout: Span::seconds(60),
                distribution_count: 3,
                api_token: None,
                queue_url: Picky,
                verbose: false,
            }
        }
    }

    /// Accepts nothing and is indiscreet about it.
    #[derive(Debug, PartialEq)]
    struct Picky;

    impl<'de> serde::Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            Err(serde::de::Error::custom(format!("I do not like {text}")))
        }
    }

    fn load_pairs(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        load_from(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    fn message(pairs: &[(&str, &str)]) -> String {
        load_pairs(pairs).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_set_is_the_default() {
        assert_eq!(load_pairs(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn what_is_set_is_taken() {
        let settings = load_pairs(&[
            ("LISTEN", "0.0.0.0:80"),
            ("TASK_TIMEOUT", "250ms"),
            ("API_TOKEN", "abc"),
            ("VERBOSE", "true"),
        ])
        .unwrap();
        assert_eq!(settings.listen, SocketAddr::from(([0, 0, 0, 0], 80)));
        assert_eq!(settings.task_timeout, Span::milliseconds(250));
        assert_eq!(settings.api_token.unwrap().expose(), "abc");
        assert!(settings.verbose);
    }

    #[test]
    fn an_empty_value_counts_as_unset() {
        let settings = load_pairs(&[("LISTEN", ""), ("DISTRIBUTION_COUNT", ""), ("API_TOKEN", "")]).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn a_name_in_lower_case_is_not_a_setting() {
        let settings = load_pairs(&[("listen", "nonsense"), ("Listen", "nonsense"), ("LISTEN", "[::1]:1")]).unwrap();
        assert_eq!(settings.listen.port(), 1);
    }

    #[test]
    fn a_bad_value_names_the_variable_the_value_and_what_is_allowed() {
        assert_eq!(
            message(&[("LISTEN", "foo"), ("HOME", "/root")]),
            r#"LISTEN="foo" is not allowed: expected an address like 127.0.0.1:8000"#
        );
        assert_eq!(
            message(&[("DISTRIBUTION_COUNT", "-1")]),
            r#"DISTRIBUTION_COUNT="-1" is not allowed: expected a whole number"#
        );
        assert_eq!(
            message(&[("DISTRIBUTION_COUNT", "4294967296")]),
            r#"DISTRIBUTION_COUNT="4294967296" is not allowed: the number is too large"#
        );
        assert_eq!(message(&[("VERBOSE", "yes")]), r#"VERBOSE="yes" is not allowed: expected true or false"#);
        assert_eq!(
            message(&[("TASK_TIMEOUT", "5 minutes\n")]),
            r#"TASK_TIMEOUT="5 minutes\n" is not allowed: expected a time like 250ms, 3s, 5m, 24h or 7d"#
        );
    }

    #[test]
    fn all_bad_values_are_reported_at_once() {
        let message = message(&[("LISTEN", "foo"), ("TASK_TIMEOUT", "bar"), ("DISTRIBUTION_COUNT", "3")]);
        assert_eq!(message.lines().count(), 2, "{message}");
        assert!(message.contains("LISTEN=") && message.contains("TASK_TIMEOUT="), "{message}");
    }

    #[test]
    fn a_secret_is_never_shown_not_even_by_an_indiscreet_reason() {
        let error = load_pairs(&[("QUEUE_URL", "amqp://guest:swordfish@host")]).unwrap_err();
        assert_eq!(error.to_string(), "QUEUE_URL is not allowed: the value cannot be used");
        assert!(!format!("{error:?}").contains("swordfish"));
    }

    #[test]
    fn a_missing_value_without_default_is_named() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only its absence matters")]
        struct Strict {
            cluster_name: String,
        }
        let error = load_from::<Strict, _>([("HOME".to_owned(), "/".to_owned())]).unwrap_err();
        assert_eq!(error.to_string(), "CLUSTER_NAME is missing");
    }
}
