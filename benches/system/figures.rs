//! What was measured, by name and by round: medians, spread, ratios.

use std::collections::BTreeMap;

/// Values of one kind, one or more a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

/// All samples of a run.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, Samples>);

impl Samples {
    /// One more.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value below which `percent` of the samples are; the nearest sample. None without samples.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
    }

    /// The middle; of an even number the mean of both.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.get(sorted.len().saturating_sub(1) / 2)?, sorted.get(sorted.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// The smallest and the greatest.
    pub fn spread(&self) -> Option<(f64, f64)> {
        Some((self.percentile(0.0)?, self.percentile(100.0)?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each multiplied.
    pub fn times(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|value| value * factor).collect())
    }

    /// Each divided by what `other` was in the same round: what slows a machine for a while slows both.
    pub fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

impl Figures {
    /// One more value of this name.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().add(value);
    }

    /// What was measured under this name.
    pub fn get(&self, name: &str) -> Option<&Samples> {
        self.0.get(name)
    }

    /// Every name that begins so, without that beginning, and its samples.
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Samples)> {
        self.0.iter().filter_map(move |(name, samples)| Some((name.strip_prefix(prefix)?, samples)))
    }
}
