//! Times: what people give, and what the commands take.

use std::{str::FromStr, time::Duration};

use chassis::config::Span;

/// How long it is waited before something is tried again that failed in passing.
pub const RETRY: Duration = Duration::from_secs(1);

/// A time on the command line: a whole number of seconds, or with a unit like `5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(Duration);

impl Time {
    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let with_unit = if is_number { format!("{text}s") } else { text.to_owned() };
        let span: Span = with_unit.parse().map_err(|_| "expected seconds, or a time like 250ms, 5m or 24h")?;
        Ok(Self(span.duration()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_need_no_unit() {
        for (text, milliseconds) in [("0", 0), ("30", 30_000), ("250ms", 250), ("5m", 300_000)] {
            assert_eq!(text.parse(), Ok(Time(Duration::from_millis(milliseconds))), "{text}");
        }
        for text in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert!(text.parse::<Time>().is_err_and(|told| told.contains("5m")), "{text}");
        }
    }
}
