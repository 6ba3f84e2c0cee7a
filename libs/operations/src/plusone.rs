//! `plusone`: one more.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::numbers::{check_numbers, map_numbers};
use crate::operation::QUICK_BYTES_IF_LINEAR;
use crate::{
    Operation, OperationError, Parameters, allow_parameters, gather_elements, scatter_elements,
    schema_without_parameters,
};

/// Adds one to a number, or to each number of an array.
#[derive(Debug, Clone, Copy)]
pub struct PlusOne;

impl Operation for PlusOne {
    fn name(&self) -> &str {
        "plusone"
    }

    fn summary(&self) -> &str {
        "Adds one to a number, or to each number of an array; integers exactly, within 64 bits."
    }

    fn parameters_schema(&self) -> Value {
        schema_without_parameters()
    }

    fn quick_bytes(&self) -> usize {
        QUICK_BYTES_IF_LINEAR
    }

    fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        allow_parameters(parameters, &[])?;
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
        allow_parameters(parameters, &[])?;
        map_numbers(part, |n| n.checked_add(1), |x| x + 1.0)
    }

    fn gather(&self, partials: Vec<Value>, _parameters: &Parameters) -> Result<Value, OperationError> {
        gather_elements(partials)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::properties::{assert_parts_never_show, some_parts};
    use proptest::prelude::*;
    use serde_json::json;

    fn plus_one(data: Value) -> Result<Value, OperationError> {
        PlusOne.execute(&data, &Parameters::new())
    }

    #[test]
    fn integers_stay_integers_and_floats_stay_floats() {
        assert_eq!(plus_one(json!([-1, 0, 41, 0.5, 1e300, -1.0])), Ok(json!([0, 1, 42, 1.5, 1e300, 0.0])));
        assert_eq!(plus_one(json!(41)), Ok(json!(42)));
    }

    #[test]
    fn it_is_exact_where_floats_and_signed_integers_end() {
        assert_eq!(plus_one(json!(9_007_199_254_740_992_u64)), Ok(json!(9_007_199_254_740_993_u64)));
        assert_eq!(plus_one(json!(i64::MAX)), Ok(json!(9_223_372_036_854_775_808_u64)));
        assert_eq!(plus_one(json!(i64::MIN)), Ok(json!(i64::MIN + 1)));
    }

    #[test]
    fn an_overflow_is_an_error_that_names_the_element() {
        let error = plus_one(json!([1, u64::MAX])).unwrap_err();
        assert!(matches!(error, OperationError::Execution(_)));
        assert!(error.to_string().contains("element [1] of the part, 18446744073709551615"), "{error}");
    }

    proptest! {
        #[test]
        fn any_integers_become_one_more_whatever_the_number_of_parts(
            numbers in prop::collection::vec(any::<i64>(), 0..40), parts in some_parts()
        ) {
            let direct: Vec<_> = numbers.iter().map(|n| match n.checked_add(1) {
                Some(sum) => json!(sum),
                None => json!(n.unsigned_abs() + 1),
            }).collect();
            let elements = numbers.len();
            assert_parts_never_show(&PlusOne, &json!(numbers), &Parameters::new(), parts, elements, &json!(direct));
        }

        #[test]
        fn any_floats_become_one_more_whatever_the_number_of_parts(
            numbers in prop::collection::vec(-1e300..1e300, 0..40), parts in some_parts()
        ) {
            let direct: Vec<_> = numbers.iter().map(|x| x + 1.0).collect();
            let elements = numbers.len();
            assert_parts_never_show(&PlusOne, &json!(numbers), &Parameters::new(), parts, elements, &json!(direct));
        }
    }
}
