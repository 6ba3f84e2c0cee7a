//! `pow`: to the power of a parameter.

use std::num::NonZeroUsize;

use serde_json::{Value, json};

use crate::numbers::{check_numbers, map_numbers};
use crate::operation::QUICK_BYTES_IF_LINEAR;
use crate::{Operation, OperationError, Parameters, allow_parameters, gather_elements, scatter_elements};

/// Raises a number, or each number of an array, to the power `exponent`.
#[derive(Debug, Clone, Copy)]
pub struct Pow;

impl Pow {
    /// The greatest exponent: 2.0 to the power of 1023 is the greatest power of two that an `f64` holds, and no integer
    /// but 0, 1 and -1 gets even to the power of 64.
    pub const MAX_EXPONENT: u32 = 1023;

    fn exponent(parameters: &Parameters) -> Result<u32, OperationError> {
        allow_parameters(parameters, &["exponent"])?;
        parameters.get("exponent").and_then(integer).filter(|exponent| *exponent <= Self::MAX_EXPONENT).ok_or_else(
            || {
                OperationError::InvalidParameters(format!(
                    "`exponent`, which is needed; allowed: an integer from 0 to {}",
                    Self::MAX_EXPONENT
                ))
            },
        )
    }
}

impl Operation for Pow {
    fn name(&self) -> &str {
        "pow"
    }

    fn summary(&self) -> &str {
        "Raises a number, or each number of an array, to the power `exponent`; integers exactly, within 64 bits."
    }

    fn parameters_schema(&self) -> Value {
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"exponent": {"type": "integer", "minimum": 0, "maximum": Self::MAX_EXPONENT}},
            "required": ["exponent"],
            "additionalProperties": false,
        })
    }

    fn quick_bytes(&self) -> usize {
        QUICK_BYTES_IF_LINEAR
    }

    fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        Self::exponent(parameters)?;
        check_numbers(data)
    }

    fn scatter(
        &self,
        data: &Value,
        parameters: &Parameters,
        parts: NonZeroUsize,
    ) -> Result<Vec<Value>, OperationError> {
        self.check(data, parameters)?;
        Ok(scatter_elements(data, parts))
    }

    fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError> {
        let exponent = Self::exponent(parameters)?;
        map_numbers(part, |n| n.checked_pow(exponent), |x| float_power(x, exponent))
    }

    fn gather(&self, partials: Vec<Value>, _parameters: &Parameters) -> Result<Value, OperationError> {
        gather_elements(partials)
    }
}

/// To JSON Schema `3.0` is an integer, so it is one here.
fn integer(value: &Value) -> Option<u32> {
    match value.as_u64() {
        Some(integer) => u32::try_from(integer).ok(),
        // The cast saturates, and what it changed is no integer in range.
        None => value.as_f64().map(|float| (float as u32, float)).filter(|(n, x)| f64::from(*n) == *x).map(|(n, _)| n),
    }
}

/// By squaring. The precision of `f64::powi` differs from platform to platform, that of a multiplication does not, and
/// a task must give the same result on every processor.
fn float_power(base: f64, exponent: u32) -> f64 {
    let (mut result, mut square, mut bits) = (1.0, base, exponent);
    while bits > 0 {
        if bits & 1 == 1 {
            result *= square;
        }
        square *= square;
        bits >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::properties::{assert_parts_never_show, some_parts};
    use proptest::prelude::*;

    fn to_the(exponent: Value) -> Parameters {
        Parameters::from_iter([("exponent".to_owned(), exponent)])
    }

    fn pow(data: Value, exponent: u32) -> Result<Value, OperationError> {
        Pow.execute(&data, &to_the(json!(exponent)))
    }

    #[test]
    fn integers_stay_integers_and_floats_stay_floats() {
        assert_eq!(pow(json!([0, 1, 2, -3, 0.5, -2.0]), 3), Ok(json!([0, 1, 8, -27, 0.125, -8.0])));
        assert_eq!(pow(json!(7), 2), Ok(json!(49)));
    }

    #[test]
    fn anything_to_the_power_of_zero_is_one() {
        assert_eq!(pow(json!([0, -5, u64::MAX, 0.0, 1e300]), 0), Ok(json!([1, 1, 1, 1.0, 1.0])));
    }

    #[test]
    fn powers_reach_both_ends_of_64_bits() {
        assert_eq!(pow(json!([2, -2]), 63), Ok(json!([9_223_372_036_854_775_808_u64, i64::MIN])));
        assert_eq!(pow(json!([1, -1, 2.0]), Pow::MAX_EXPONENT), Ok(json!([1, -1, 2_f64.powi(1023)])));
    }

    #[test]
    fn an_overflow_is_an_error_that_names_the_element() {
        for (data, exponent, element) in [
            (json!([1, 2]), 64, "[1] of the part, 2:"),
            (json!([-2]), 64, "[0] of the part, -2:"),
            (json!([u64::MAX]), 2, "18446744073709551615"),
            (json!(1e200), 2, "the number, 1e+200"),
        ] {
            let error = pow(data, exponent).unwrap_err();
            assert!(matches!(error, OperationError::Execution(_)));
            assert!(error.to_string().contains(element), "{error}");
        }
    }

    #[test]
    fn the_exponent_is_an_integer_within_its_bounds_and_must_be_there() {
        for exponent in [json!(0), json!(3), json!(3.0), json!(1023)] {
            assert_eq!(Pow.check(&json!([]), &to_the(exponent.clone())), Ok(()), "{exponent}");
        }
        for exponent in [json!(-1), json!(1024), json!(0.5), json!(1e300), json!("3"), json!(null)] {
            let error = Pow.check(&json!([]), &to_the(exponent)).unwrap_err().to_string();
            assert!(error.contains("an integer from 0 to 1023"), "{error}");
        }
        assert!(Pow.check(&json!([]), &Parameters::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_integers_are_multiplied_out_whatever_the_number_of_parts(
            numbers in prop::collection::vec(-200_i64..200, 0..40), exponent in 0_u32..=8, parts in some_parts()
        ) {
            let direct: Vec<i64> = numbers.iter().map(|n| (0..exponent).map(|_| n).product()).collect();
            let elements = numbers.len();
            let exponent = to_the(json!(exponent));
            assert_parts_never_show(&Pow, &json!(numbers), &exponent, parts, elements, &json!(direct));
        }

        #[test]
        fn floats_come_close_to_multiplying_them_out(base in -1.5..1.5_f64, exponent in 0..=Pow::MAX_EXPONENT) {
            let direct: f64 = (0..exponent).map(|_| base).product();
            let power = pow(json!(base), exponent).unwrap().as_f64().unwrap();
            prop_assert!((power - direct).abs() <= direct.abs() * 1e-11 + f64::MIN_POSITIVE, "{power} {direct}");
        }
    }
}
