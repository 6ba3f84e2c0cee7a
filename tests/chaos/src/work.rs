//! What is submitted, and what must come of it, computed here and by none of the services.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// The longest data, in bytes; the shortest is one byte, and each order of magnitude is as frequent as the others.
const MAX_BYTES: f64 = 100_000.0;
/// How many different words there are.
const VOCABULARY: u32 = 300;
const NUMBERS_BELOW: u64 = 1000;
/// A number to this power is still exact.
const MAX_EXPONENT: u32 = 5;
const MAX_TASKS: u64 = 8;
/// Of an object that does not say: the default of datagen.
const DEFAULT_TASKS: u64 = 3;

/// One submission. None of them can fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// None: it is generated where it is accepted.
    data: Option<Data>,
    tasks: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Text(String),
    PlusOne(Vec<u64>),
    Pow(Vec<u64>, u32),
    Same(Vec<u64>),
}

/// How often each word occurs.
pub type Counts = BTreeMap<String, u64>;

/// What must come of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The operation.
    pub operation: &'static str,
    /// The result of the whole.
    pub result: Outcome,
    /// Into how many parts it is split.
    pub parts: u64,
}

/// A result, of the whole or of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// How often each word occurs: those of the parts are added.
    Counts(Counts),
    /// Numbers: those of the parts stand one after the other.
    Numbers(Vec<u64>),
}

impl Work {
    /// Submission `number` of a client: always the same one.
    pub fn of(seed: u64, client: u64, number: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // A stream each; the plan has stream 0.
        random.set_stream((client + 1) << 32 | number);
        let bytes = MAX_BYTES.powf(random.random()) as usize;
        let numbers: Vec<u64> = (0..bytes / 4 + 1).map(|_| random.random_range(0..NUMBERS_BELOW)).collect();
        let data = match random.random_range(0..8) {
            0 => None,
            1 => Some(Data::PlusOne(numbers)),
            2 => Some(Data::Pow(numbers, random.random_range(0..=MAX_EXPONENT))),
            3 => Some(Data::Same(numbers)),
            _ => Some(Data::Text(text(&mut random, bytes))),
        };
        let tasks = random.random_bool(0.5).then(|| random.random_range(1..=MAX_TASKS));
        // What is generated has no body, which could say it.
        Self { tasks: data.as_ref().and(tasks), data }
    }

    /// The body of the request and its media type; none for what is generated.
    pub fn body(&self) -> Option<(&'static str, String)> {
        let mut body = match self.data.as_ref()? {
            Data::Text(text) if self.tasks.is_none() => return Some(("text/plain", text.clone())),
            Data::Text(text) => json!({"data": text}),
            Data::PlusOne(numbers) => json!({"operation": "plusone", "data": numbers}),
            Data::Pow(numbers, exponent) => {
                json!({"operation": "pow", "parameters": {"exponent": exponent}, "data": numbers})
            }
            Data::Same(numbers) => json!({"operation": "nop", "data": numbers}),
        };
        if let Some(tasks) = self.tasks {
            body["tasks"] = tasks.into();
        }
        Some(("application/json", body.to_string()))
    }

    /// What must come of it; `data` is what the record has of it.
    ///
    /// # Errors
    /// If that is not what was submitted.
    pub fn expected(&self, data: &Value) -> anyhow::Result<Expected> {
        let tasks = self.tasks.unwrap_or(DEFAULT_TASKS);
        let of_numbers = |operation, numbers: &[u64], each: &dyn Fn(u64) -> u64| {
            ensure!(*data == json!(numbers), "its data is not what was submitted");
            let result = Outcome::Numbers(numbers.iter().copied().map(each).collect());
            Ok(Expected { operation, result, parts: tasks.min(numbers.len() as u64) })
        };
        match &self.data {
            Some(Data::PlusOne(numbers)) => of_numbers("plusone", numbers, &|number| number + 1),
            Some(Data::Pow(numbers, exponent)) => of_numbers("pow", numbers, &|number| number.pow(*exponent)),
            Some(Data::Same(numbers)) => of_numbers("nop", numbers, &|number| number),
            Some(Data::Text(text)) => {
                ensure!(data.as_str() == Some(text), "its data is not what was submitted");
                Ok(of_text(text, tasks))
            }
            None => Ok(of_text(data.as_str().context("what was generated is not a text")?, tasks)),
        }
    }
}

/// Words of lower-case letters with one space between them, at least one, of about so many bytes.
fn text(random: &mut ChaCha8Rng, bytes: usize) -> String {
    let letter = |place: u32| char::from(b'a' + u8::try_from(place % 26).unwrap_or_default());
    let mut text = letter(random.random_range(0..26)).to_string();
    while text.len() + 4 < bytes {
        let number = random.random_range(0..VOCABULARY);
        text.extend([' ', letter(number / 26), letter(number), 'x']);
    }
    text
}

/// Both our texts and the generated ones are ASCII words with spaces and full stops between them.
fn of_text(text: &str, tasks: u64) -> Expected {
    let mut counts = Counts::new();
    let elements = text.split_whitespace();
    for element in elements.clone() {
        let word = element.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
        *counts.entry(word).or_default() += 1;
    }
    let parts = tasks.min(elements.count() as u64);
    Expected { operation: "word-frequencies", result: Outcome::Counts(counts), parts }
}

impl Outcome {
    /// A result as the record has it.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(json: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(json)?;
        Ok(match value.is_array() {
            true => Self::Numbers(serde_json::from_value(value)?),
            false => Self::Counts(serde_json::from_value(value)?),
        })
    }

    /// What the results of all parts, in order, come to.
    ///
    /// # Errors
    /// If there are none, or of several kinds.
    pub fn of_parts(parts: impl IntoIterator<Item = Self>) -> anyhow::Result<Self> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().context("there are no parts")?;
        for part in parts {
            match (&mut whole, part) {
                (Self::Counts(whole), Self::Counts(part)) => add(whole, &part),
                (Self::Numbers(whole), Self::Numbers(part)) => whole.extend(part),
                _ => anyhow::bail!("its parts are of several kinds"),
            }
        }
        Ok(whole)
    }
}

/// Adds counts to others.
fn add(whole: &mut Counts, part: &Counts) {
    for (word, count) in part {
        *whole.entry(word.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::num::NonZeroUsize;

    use operations::Catalogue;

    use super::*;

    #[test]
    fn what_is_expected_is_what_the_operations_give() {
        let mut operations = BTreeMap::<&str, usize>::new();
        for number in 0..300 {
            let work = Work::of(1, 2, number);
            let body = match work.body() {
                None => continue,
                Some(("text/plain", text)) => json!({"data": text}),
                Some((_, body)) => serde_json::from_str(&body).unwrap(),
            };
            let expected = work.expected(&body["data"]).unwrap();
            let operation = Catalogue::built_in().get(expected.operation).unwrap();
            let parameters = body["parameters"].as_object().cloned().unwrap_or_default();
            let tasks = NonZeroUsize::new(body["tasks"].as_u64().unwrap_or(DEFAULT_TASKS) as usize).unwrap();
            let parts = operation.scatter(&body["data"], &parameters, tasks).unwrap();
            assert_eq!(parts.len() as u64, expected.parts, "{body}");
            let result = operations::run(&*operation, &body["data"], &parameters, tasks).unwrap();
            assert_eq!(Outcome::read(&result.to_string()).unwrap(), expected.result, "{body}");
            *operations.entry(expected.operation).or_default() += 1;
        }
        assert!(operations.len() == 4 && operations.values().all(|count| *count > 10), "{operations:?}");
    }

    #[test]
    fn submissions_are_of_all_sizes_and_some_are_generated() {
        let bodies: Vec<_> = (0..300).map(|number| Work::of(1, 2, number).body()).collect();
        let sizes = || bodies.iter().flatten().map(|(_, body)| body.len());
        assert!(sizes().min().unwrap() <= 2 && sizes().max().unwrap() > 50_000);
        assert!(bodies.iter().filter(|body| body.is_none()).count() > 10);
        assert_eq!(Work::of(1, 2, 3), Work::of(1, 2, 3));
        assert_ne!(Work::of(1, 2, 3), Work::of(1, 2, 4));
    }

    #[test]
    fn data_that_was_changed_on_its_way_is_noticed() {
        let work = Work { data: Some(Data::PlusOne(vec![1, 2])), tasks: None };
        assert!(work.expected(&json!([1, 2])).is_ok() && work.expected(&json!([1, 3])).is_err());
    }
}
