//! What every operation promises, and data to try it on.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Catalogue, Nop, Operation, OperationError, Parameters, run};

/// Characters and runs that decide something in UAX #29, in normalisation or in lower-casing.
#[rustfmt::skip] // a line each would be two screens
const NASTY: &[&str] = &[
    " ", "  ", "\t", "\r", "\n", "\r\n", "\u{B}", "\u{85}", "\u{A0}", "\u{1680}", "\u{2007}", "\u{2028}", "\u{2029}",
    "\u{202F}", "\u{3000}", "\u{200B}", "\u{180E}", "\u{FEFF}", "\u{AD}", "\u{2060}", "\u{200C}", "\u{200D}", "a",
    "B", "don't", "rock 'n' roll", "'", "’", "“", "”", "\"", ".", ",", ":", ";", "-", "—", "_", "·", "!", "a.b",
    "3.14", "1,000", "1\u{202F}000", "7", "٣", "naïve", "nai\u{308}ve", "e\u{301}", " \u{301}", "\u{345}",
    " \u{345}a", "Å", "\u{212B}", "K", "İ", "ß", "ẞ", "J\u{30C}", "Ϊ\u{301}", "Σ", "ΟΔΟΣ", "Σ'", "ʰΣ", "мир", "א",
    "א\"א", "א'", "漢字", "ひらがな", "カタカナ", "ไทย", "한", "\u{1112}\u{1161}\u{11AB}", "\u{600}1", "😀", "👩\u{200D}🚀", "👍🏽",
    "❤\u{FE0F}", "\u{1F1E6}", "\u{1F1E9}\u{1F1EA}", "1\u{FE0F}\u{20E3}", "ℹ", "Ⓜ", "\u{0}",
];

pub(crate) fn nasty_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(NASTY).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Elements of a text: runs without white space, where U+202F counts as none.
pub(crate) fn elements_of(text: &str) -> usize {
    text.split(|c: char| c.is_whitespace() && c != '\u{202F}').filter(|element| !element.is_empty()).count()
}

pub(crate) fn some_parts() -> impl Strategy<Value = NonZeroUsize> {
    prop_oneof![9 => 1..50_usize, 1 => Just(usize::MAX)].prop_filter_map("zero", NonZeroUsize::new)
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e300..1e300).prop_map(Value::from),
        nasty_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 60, 8, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            1 => prop::collection::btree_map("[a-z]{0,3}", inner, 0..4).prop_map(|object| json!(object)),
        ]
    })
}

fn any_parameters() -> impl Strategy<Value = Parameters> {
    let exponent = prop_oneof![3 => (0..5).prop_map(Value::from), 1 => any_json()];
    let parameters = prop::collection::btree_map("exponent|other", exponent, 0..2);
    parameters.prop_map(|parameters| parameters.into_iter().collect())
}

/// Gathered equals whole equals `direct`, and the number of parts is the one promised for that many elements.
#[track_caller]
pub(crate) fn assert_parts_never_show(
    operation: &dyn Operation,
    data: &Value,
    parameters: &Parameters,
    parts: NonZeroUsize,
    elements: usize,
    direct: &Value,
) {
    let scattered = operation.scatter(data, parameters, parts).expect("valid data is scattered");
    assert_eq!(scattered.len(), parts.get().min(elements).max(1));
    assert_eq!(run(operation, data, parameters, parts).as_ref(), Ok(direct));
    assert_eq!(run(operation, data, parameters, NonZeroUsize::MIN).as_ref(), Ok(direct));
}

proptest! {
    #[test]
    fn what_check_accepts_runs_and_what_it_refuses_does_not(
        data in any_json(), parameters in any_parameters(), parts in some_parts()
    ) {
        for operation in Catalogue::built_in().iter() {
            let result = run(operation, &data, &parameters, parts);
            match operation.check(&data, &parameters) {
                Ok(()) => prop_assert!(matches!(result, Ok(_) | Err(OperationError::Execution(_))), "{result:?}"),
                Err(refused) => {
                    prop_assert_eq!(operation.execute(&data, &parameters), Err(refused.clone()));
                    prop_assert_eq!(result, Err(refused));
                }
            }
        }
    }
}

#[test]
fn every_schema_is_closed_and_says_which_draft_it_is() {
    for operation in Catalogue::built_in().iter() {
        let schema = operation.parameters_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{}", operation.name());
        assert_eq!(schema["type"], "object", "{}", operation.name());
        assert_eq!(schema["additionalProperties"], false, "{}", operation.name());
    }
}

/// `nop` under another name.
pub(crate) struct Named(pub(crate) &'static str);

impl Operation for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn summary(&self) -> &str {
        Nop.summary()
    }

    fn parameters_schema(&self) -> Value {
        Nop.parameters_schema()
    }

    fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        Nop.check(data, parameters)
    }

    fn scatter(
        &self,
        data: &Value,
        parameters: &Parameters,
        parts: NonZeroUsize,
    ) -> Result<Vec<Value>, OperationError> {
        Nop.scatter(data, parameters, parts)
    }

    fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError> {
        Nop.execute(part, parameters)
    }

    fn gather(&self, partials: Vec<Value>, parameters: &Parameters) -> Result<Value, OperationError> {
        Nop.gather(partials, parameters)
    }
}
