//! `word-frequencies`: how often each word occurs in a text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroUsize;

use serde_json::Value;

use crate::operation::{QUICK_BYTES_IF_LINEAR, kind};
use crate::{
    Operation, OperationError, Parameters, Totals, allow_parameters, scatter_text, schema_without_parameters, words,
};

/// Counts the [`words()`] of a text. Partial results and result are objects, word to count.
#[derive(Debug, Clone, Copy)]
pub struct WordFrequencies;

impl Operation for WordFrequencies {
    fn name(&self) -> &str {
        "word-frequencies"
    }

    fn summary(&self) -> &str {
        "Counts how often each word occurs in a text, whatever its case."
    }

    fn parameters_schema(&self) -> Value {
        schema_without_parameters()
    }

    fn quick_bytes(&self) -> usize {
        QUICK_BYTES_IF_LINEAR
    }

    fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        allow_parameters(parameters, &[])?;
        text(data).map(|_| ())
    }

    fn scatter(
        &self,
        data: &Value,
        parameters: &Parameters,
        parts: NonZeroUsize,
    ) -> Result<Vec<Value>, OperationError> {
        self.check(data, parameters)?;
        Ok(scatter_text(text(data)?, parts).into_iter().map(Value::from).collect())
    }

    fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError> {
        allow_parameters(parameters, &[])?;
        let mut counts: HashMap<Cow<'_, str>, u64> = HashMap::new();
        for word in words(text(part)?) {
            *counts.entry(word).or_default() += 1;
        }
        let sorted: Totals = counts.into_iter().map(|(word, count)| (word.into_owned(), count)).collect();
        Ok(object(sorted))
    }

    fn gather(&self, partials: Vec<Value>, _parameters: &Parameters) -> Result<Value, OperationError> {
        let mut partials = partials.iter().map(counters);
        let nothing = || OperationError::InvalidData("there is no partial result to gather".into());
        let mut sums = partials.next().ok_or_else(nothing)??;
        for partial in partials {
            for (word, count) in partial? {
                let sum = sums.entry(word).or_default();
                *sum = sum.checked_add(count).ok_or_else(|| {
                    OperationError::Execution("a word occurs more often than 64 bits can count".into())
                })?;
            }
        }
        Ok(object(sums))
    }

    fn totals(&self, result: &Value) -> Option<Totals> {
        counters(result).ok()
    }
}

fn text(data: &Value) -> Result<&str, OperationError> {
    let refused = || OperationError::InvalidData(format!("this is {}; allowed: a text, as a string", kind(data)));
    data.as_str().ok_or_else(refused)
}

fn counters(partial: &Value) -> Result<Totals, OperationError> {
    let refused = || OperationError::InvalidData("allowed as a partial result: an object, word to count".into());
    let object = partial.as_object().ok_or_else(refused)?;
    object.iter().map(|(word, count)| Ok((word.clone(), count.as_u64().ok_or_else(refused)?))).collect()
}

/// Sorted by word, so that the same counts are the same bytes.
fn object(counts: Totals) -> Value {
    counts.into_iter().map(|(word, count)| (word, Value::from(count))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::properties::{assert_parts_never_show, elements_of, nasty_text, some_parts};
    use proptest::prelude::*;
    use serde_json::json;
    use unicode_normalization::UnicodeNormalization;
    use unicode_segmentation::UnicodeSegmentation;

    fn count(text: &str) -> Value {
        WordFrequencies.execute(&json!(text), &Parameters::new()).unwrap()
    }

    #[test]
    fn case_and_punctuation_do_not_matter() {
        assert_eq!(count("A, a! “a”"), json!({"a": 3}));
        assert_eq!(count("Don't, don't -- 'DON'T'"), json!({"don't": 3}));
    }

    #[test]
    fn a_text_without_words_counts_nothing() {
        for text in ["", " \n", "— … !", "😀"] {
            assert_eq!(count(text), json!({}), "{text:?}");
        }
    }

    #[test]
    fn gathering_adds_up_and_refuses_what_is_no_count() {
        let gather = |partials| WordFrequencies.gather(partials, &Parameters::new());
        assert_eq!(gather(vec![json!({"a": 1, "b": 2}), json!({}), json!({"b": 3})]), Ok(json!({"a": 1, "b": 5})));
        assert!(gather(vec![]).is_err());
        for partial in [json!([1]), json!({"a": -1}), json!({"a": "1"})] {
            assert!(gather(vec![json!({}), partial.clone()]).is_err(), "{partial}");
        }
        let overflow = gather(vec![json!({"a": u64::MAX}), json!({"a": 1})]);
        assert!(matches!(overflow, Err(OperationError::Execution(_))));
    }

    #[test]
    fn the_totals_are_the_counts() {
        let expected = Totals::from([("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert_eq!(WordFrequencies.totals(&count("a b a")), Some(expected));
        assert_eq!(WordFrequencies.totals(&json!(null)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_counted_the_same_whatever_the_number_of_parts(text in nasty_text(), parts in some_parts()) {
            let mut direct = Totals::new();
            for word in text.unicode_words() {
                let lower = word.nfc().collect::<String>().to_lowercase();
                *direct.entry(lower.nfc().collect()).or_default() += 1;
            }
            let (data, elements) = (json!(text), elements_of(&text));
            assert_parts_never_show(&WordFrequencies, &data, &Parameters::new(), parts, elements, &json!(direct));
        }

        #[test]
        fn composed_and_decomposed_texts_are_counted_the_same(text in nasty_text()) {
            prop_assert_eq!(count(&text.nfc().collect::<String>()), count(&text.nfd().collect::<String>()));
        }
    }
}
