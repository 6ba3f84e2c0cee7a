//! How long things took, in memory that does not grow with their number.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits that are kept of each latency: percentiles are within 0.1 %.
const DIGITS: u8 = 3;
/// Longer ones count as this: a day, in microseconds.
const MAX_US: u64 = 86_400_000_000;

/// Latencies, to the microsecond.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What people want to know of them, in milliseconds; none if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Spread {
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_US, DIGITS).expect("one to a day, with three digits, is in bounds"))
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.record_us(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// One more, in microseconds.
    pub fn record_us(&mut self, latency_us: u64) {
        self.0.saturating_record(latency_us);
    }

    /// Of all of them.
    pub fn spread(&self) -> Spread {
        let some = (!self.0.is_empty()).then_some(&self.0);
        let at = |quantile| some.map(|all| milliseconds(all.value_at_quantile(quantile)));
        Spread {
            mean: some.map(|all| all.mean().round() / 1000.0),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

fn milliseconds(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.spread(), Spread::default());
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let spread = latencies.spread();
        for (told, expected) in [(spread.p50, 500.0), (spread.p90, 900.0), (spread.p99, 990.0), (spread.max, 1000.0)] {
            let told = told.unwrap_or_default();
            assert!((told - expected).abs() <= expected / 1000.0, "{told} and not {expected}");
        }
    }

    #[test]
    fn what_is_longer_than_a_day_counts_as_a_day() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::MAX);
        assert!(latencies.spread().max.is_some_and(|max| max >= 86_400_000.0));
    }
}
