//! Whole numbers with a least and a most.

use std::{fmt, str::FromStr};

use super::{NotAllowed, text_value};

/// A whole number from `MIN` to `MAX`, both included: a setting's bounds stand in its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// For defaults: the nearest number within the bounds.
    pub const fn clamped(number: u64) -> Self {
        const { assert!(MIN <= MAX, "the least is more than the most") };
        Self(if number < MIN {
            MIN
        } else if number > MAX {
            MAX
        } else {
            number
        })
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number, to size things by.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> FromStr for Count<MIN, MAX> {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        text.parse()
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Self)
            .ok_or_else(|| NotAllowed::new(format!("expected a whole number from {MIN} to {MAX}")))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_value!(Count<const MIN: u64, const MAX: u64>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_within_the_bounds_is_a_count() {
        for text in ["1", "3", "100"] {
            assert_eq!(text.parse::<Count<1, 100>>().unwrap().to_string(), text);
        }
        for text in ["", "0", "101", "-1", "three", "99999999999999999999999"] {
            let error = text.parse::<Count<1, 100>>().unwrap_err();
            assert_eq!(error.to_string(), "expected a whole number from 1 to 100", "{text}");
        }
        assert_eq!(Count::<1, 100>::clamped(0).get(), 1);
        assert_eq!(Count::<1, 100>::clamped(1000).get(), 100);
    }
}
