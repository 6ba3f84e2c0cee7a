//! Lists of names.

use std::{fmt, str::FromStr};

use super::{NotAllowed, text_value};

/// More names than this are a mistake, not a setting.
const MAX: usize = 1_000;

/// Names between commas, `word-frequency, primes`. Space around a name does not count, and neither does a name said twice;
/// the order stays. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// The names, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether `name` is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }
}

impl FromStr for Names {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            let misfit = |c: char| c.is_whitespace() || c.is_control();
            if name.is_empty() || name.contains(misfit) || names.len() == MAX {
                return Err(NotAllowed::new(format!("expected up to {MAX} names between commas, like first,second")));
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Ok(Self(names))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

text_value!(Names);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stand_between_commas() {
        let names: Names = " word-frequency , primes,primes".parse().unwrap();
        assert_eq!(names.iter().collect::<Vec<_>>(), ["word-frequency", "primes"]);
        assert!(names.contains("primes") && !names.contains("prime"));
        assert_eq!(names.to_string(), "word-frequency,primes");
    }

    #[test]
    fn a_list_with_a_gap_is_not_a_list() {
        for text in ["", " ", ",", "a,", ",a", "a,,b", "a b"] {
            assert!(text.parse::<Names>().is_err(), "{text:?}");
        }
    }
}
