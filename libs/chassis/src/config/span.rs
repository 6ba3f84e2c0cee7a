//! Spans of time as people write them.

use std::{fmt, str::FromStr, time::Duration};

use super::{NotAllowed, text_value};

/// No setting may be longer, so that adding it to a point in time cannot overflow: ten years.
const MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Largest first, which is how [`Span`] chooses one to be written in.
const UNITS_MS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A span of time: a whole number and a unit, `0s`, `250ms`, `3s`, `5m`, `24h` or `7d`; at most ten years (`3650d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// One span of time, `3s`, or any between two, both included, `3s..5s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanRange {
    low: Span,
    high: Span,
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// So many milliseconds, for defaults. More than ten years are ten years.
    pub const fn milliseconds(milliseconds: u64) -> Self {
        let max_ms = MAX.as_secs() * 1000;
        Self(Duration::from_millis(if milliseconds < max_ms { milliseconds } else { max_ms }))
    }

    /// So many seconds, for defaults. More than ten years are ten years.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds < MAX.as_secs() { seconds } else { MAX.as_secs() }))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl SpanRange {
    /// From `low` to `high`, or the other way round.
    pub const fn new(low: Span, high: Span) -> Self {
        if low.0.as_millis() <= high.0.as_millis() { Self { low, high } } else { Self { low: high, high: low } }
    }

    /// The shortest.
    pub const fn low(self) -> Duration {
        self.low.0
    }

    /// The longest.
    pub const fn high(self) -> Duration {
        self.high.0
    }

    /// The span at `fraction` (from 0 to 1) of the way from the shortest to the longest. A random number from 0 to 1, such
    /// as `rand::random::<f64>()`, picks any with the same likelihood.
    pub fn at(self, fraction: f64) -> Duration {
        let width = self.high.0.saturating_sub(self.low.0);
        self.low.0 + width.mul_f64(fraction.clamp(0.0, 1.0)).min(width)
    }
}

impl FromStr for Span {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let expected = || NotAllowed::new("expected a time like 250ms, 3s, 5m, 24h or 7d");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, unit_ms) = UNITS_MS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
        if number.is_empty() {
            return Err(expected());
        }
        let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
        milliseconds
            .map(Duration::from_millis)
            .filter(|duration| *duration <= MAX)
            .map(Self)
            .ok_or_else(|| NotAllowed::new("expected at most 3650d"))
    }
}

impl FromStr for SpanRange {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let expected = |_| NotAllowed::new("expected a time like 3s, or a range like 3s..5s");
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let (low, high): (Span, Span) = (low.parse().map_err(expected)?, high.parse().map_err(expected)?);
        if low > high {
            return Err(NotAllowed::new("expected a range that starts with the shorter time, like 3s..5s"));
        }
        Ok(Self { low, high })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fitting = UNITS_MS.iter().find(|(_, unit_ms)| milliseconds.is_multiple_of(*unit_ms));
        match fitting {
            Some((unit, unit_ms)) if milliseconds > 0 => write!(f, "{}{unit}", milliseconds / unit_ms),
            _ => f.write_str("0s"),
        }
    }
}

impl fmt::Display for SpanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { self.low.fmt(f) } else { write!(f, "{}..{}", self.low, self.high) }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Span> for SpanRange {
    fn from(span: Span) -> Self {
        Self { low: span, high: span }
    }
}

text_value!(Span);
text_value!(SpanRange);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for (text, milliseconds) in
            [("0s", 0), ("250ms", 250), ("3s", 3_000), ("5m", 300_000), ("7d", 604_800_000), ("1500ms", 1_500)]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::milliseconds(milliseconds));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("24h".parse::<Span>().unwrap().to_string(), "1d");
    }

    #[test]
    fn nothing_else_is_a_span() {
        for text in
            ["", "s", "3", "-3s", "+3s", "3 s", "3S", "1.5s", "3s5", "3w", "٣s", "3s..", "99999999999999999999s"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("3651d".parse::<Span>().unwrap_err().to_string(), "expected at most 3650d");
        assert_eq!("18446744073709551615d".parse::<Span>().unwrap_err().to_string(), "expected at most 3650d");
    }

    #[test]
    fn a_range_is_one_span_or_two() {
        let range: SpanRange = "3s..5s".parse().unwrap();
        assert_eq!((range.low(), range.high()), (Duration::from_secs(3), Duration::from_secs(5)));
        assert_eq!(range.to_string(), "3s..5s");
        assert_eq!(range.at(0.0), Duration::from_secs(3));
        assert_eq!(range.at(0.5), Duration::from_secs(4));
        assert_eq!(range.at(1.0), Duration::from_secs(5));
        assert_eq!(range.at(f64::MAX), Duration::from_secs(5));

        let range: SpanRange = "3s".parse().unwrap();
        assert_eq!((range.at(0.7), range.to_string()), (Duration::from_secs(3), "3s".to_owned()));

        for text in ["", "..", "3s..", "..5s", "5s..3s", "3s...5s", "3s-5s"] {
            assert!(text.parse::<SpanRange>().is_err(), "{text}");
        }
    }
}
