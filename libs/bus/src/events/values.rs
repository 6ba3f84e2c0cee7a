//! The values that events carry, each checked once, where it enters.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

/// What an object asks for beside its data: a JSON object, in the order of its keys.
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// The name of an operation, and so a word of a routing key: 1 to 64 of `a`–`z`, `0`–`9`, `-` and
/// `_`, beginning with a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("pattern" = "^[a-z0-9][a-z0-9_-]{0,63}$"))]
pub struct OperationName(String);

impl OperationName {
    /// The longest name, in bytes. A routing key has at most 255.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not an operation's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name an operation: 1 to 64 of a-z, 0-9, - and _ are allowed, a letter or digit first")]
pub struct InvalidOperationName(String);

impl FromStr for OperationName {
    type Err = InvalidOperationName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = name.len() <= Self::MAX_BYTES
            && name.bytes().next().is_some_and(word)
            && name.bytes().all(|byte| word(byte) || b"-_".contains(&byte));
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            let shown = name.chars().take(Self::MAX_BYTES).collect();
            Err(InvalidOperationName(shown))
        }
    }
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OperationName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A span of time in milliseconds with a fraction: finite, not negative, at most 100 years.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Milliseconds(#[schemars(range(min = 0.0, max = Milliseconds::MAX))] f64);

impl Milliseconds {
    /// 100 years: what is longer is a mistake, and would overflow sums of microseconds.
    pub const MAX: f64 = 100.0 * 365.25 * 86_400_000.0;

    /// The span as a number of milliseconds.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The span in whole microseconds, rounded.
    pub fn as_micros(self) -> i64 {
        (self.0 * 1000.0).round() as i64
    }

    /// The span of so many microseconds; a negative one (clocks differ) counts as none.
    pub fn from_micros(micros: i64) -> Self {
        Self((micros.max(0) as f64 / 1000.0).min(Self::MAX))
    }
}

impl From<Duration> for Milliseconds {
    /// Rounds to microseconds; what is longer than [`Milliseconds::MAX`] counts as that.
    fn from(span: Duration) -> Self {
        Self::from_micros(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
    }
}

impl<'de> Deserialize<'de> for Milliseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let span = f64::deserialize(deserializer)?;
        if (0.0..=Self::MAX).contains(&span) {
            Ok(Self(span))
        } else {
            Err(de::Error::custom(format!("{span} is not a span of time: 0 to {} milliseconds are allowed", Self::MAX)))
        }
    }
}

/// JSON that travels as it is: checked to be JSON, but not taken apart until someone needs it.
///
/// So numbers keep all their digits, and whoever only passes data on does not pay for parsing it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Parses the text.
    ///
    /// # Errors
    /// If it does not fit `T`, is nested deeper than 128 levels, or has an integer of more than 64 bits, which would be
    /// rounded to an `f64` without a word. Other numbers are what an `f64` has of them, as JSON's readers expect it
    /// ([RFC 8259, section 6](https://www.rfc-editor.org/rfc/rfc8259#section-6)).
    pub fn parse<T: de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        match long_integer(self.0.get()) {
            None => serde_json::from_str(self.0.get()),
            Some(digits) => Err(de::Error::custom(format!(
                "the integer {} is longer than 64 bits; allowed: -2^63 to 2^64-1, or its digits as a string",
                shortened(digits)
            ))),
        }
    }

    /// Reads an optional field in which `null` is a value, by `#[serde(default, deserialize_with = "…")]`: only a field that
    /// is absent is none.
    ///
    /// # Errors
    /// As for any JSON.
    pub fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(Some)
    }

    /// The JSON text of a value.
    ///
    /// # Errors
    /// If the value cannot be JSON, such as a map whose keys are not strings.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Self)
    }
}

/// The first integer of a JSON text that neither an `i64` nor a `u64` can be.
fn long_integer(json: &str) -> Option<&str> {
    /// Each integer of fewer is one of 64 bits.
    const MANY: usize = "-9223372036854775809".len() - 1;
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| matches!(c, '"' | '-' | '0'..='9')) {
        rest = &rest[at..];
        let length = if rest.starts_with('"') {
            string_length(rest)
        } else {
            let number = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
            rest.find(|c| !number(c)).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        let is_integer = |token: &str| !token.contains(['"', '.', 'e', 'E']);
        if length >= MANY && is_integer(token) && token.parse::<i64>().is_err() && token.parse::<u64>().is_err() {
            return Some(token);
        }
        rest = after;
    }
    None
}

/// How long the string is that a JSON text begins with, both quotes included.
fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

/// An integer as it fits a line.
fn shortened(digits: &str) -> String {
    const MANY: usize = 40;
    if digits.len() <= MANY { digits.to_owned() } else { format!("{}…", &digits[..MANY]) }
}

impl FromStr for Json {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        RawValue::from_string(text.to_owned()).map(Self)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_operation_name_is_one_word_of_a_routing_key() {
        for name in ["nop", "word-frequencies", "9_lives", &"a".repeat(64)] {
            assert!(name.parse::<OperationName>().is_ok(), "{name}");
        }
        for name in ["", "A", "a.b", "#", "a*", "-a", "a b", &"a".repeat(65)] {
            assert!(name.parse::<OperationName>().is_err(), "{name}");
        }
    }

    #[test]
    fn milliseconds_refuse_what_is_not_a_span_of_time() {
        for text in ["-1", "1e300", "null", "\"5\""] {
            assert!(serde_json::from_str::<Milliseconds>(text).is_err(), "{text}");
        }
        let span: Milliseconds = serde_json::from_str("1.5").unwrap();
        assert_eq!(span.as_micros(), 1500);
    }

    #[test]
    fn what_would_lose_digits_is_not_parsed() {
        let parse = |text: &str| text.parse::<Json>().unwrap().parse::<serde_json::Value>();
        for fits in [
            "[9223372036854775807, -9223372036854775808, 18446744073709551615]",
            r#"{"12345678901234567890123": ["12345678901234567890123", "\\\"12345678901234567890123\\", 1]}"#,
            "[1234567890123456789012.5, 12345678901234567890123e1, 1E-30, -0, 0.12345678901234567890123]",
            r#""12345678901234567890123""#,
        ] {
            assert!(parse(fits).is_ok(), "{fits}");
        }
        for (long, told) in [
            ("18446744073709551616", "18446744073709551616"),
            ("-9223372036854775809", "-9223372036854775809"),
            (r#"{"a":["\\",{"b":12345678901234567890123}]}"#, "12345678901234567890123"),
            (&"9".repeat(300), "99…"),
        ] {
            let error = parse(long).unwrap_err().to_string();
            assert!(error.contains(told) && error.len() < 200, "{long}: {error}");
        }
    }

    #[test]
    fn json_keeps_every_digit() {
        let text = "[12345678901234567890123, 0.10, 1e3]";
        let json: Json = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&json).unwrap(), text);
    }
}
