//! Arithmetic on data that is a number or an array of numbers: integers exactly, anything else as `f64`.
//!
//! An integer is what the JSON reader kept as one: between -2^63 and 2^64-1. What is written longer is refused where it is read.

use serde_json::{Number, Value};

use crate::OperationError;
use crate::operation::kind;

/// Refuses what is neither a number nor an array of numbers.
pub(crate) fn check_numbers(data: &Value) -> Result<(), OperationError> {
    let offender = match data {
        Value::Number(_) => None,
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .find(|(_, element)| !element.is_number())
            .map(|(position, element)| format!("element [{position}] is {}", kind(element))),
        other => Some(format!("this is {}", kind(other))),
    };
    match offender {
        None => Ok(()),
        Some(what) => Err(OperationError::InvalidData(format!("{what}; allowed: a number or an array of numbers"))),
    }
}

/// Applies `integer` or `float` to the number, or to each number of the array. `None` from `integer` is an overflow of
/// `i128`; a float that is not finite has no result either.
///
/// # Errors
/// Data that [`check_numbers`] refuses; a result that JSON cannot hold, with the position of its element in this part
/// and the element itself.
pub(crate) fn map_numbers(
    part: &Value,
    integer: impl Fn(i128) -> Option<i128>,
    float: impl Fn(f64) -> f64,
) -> Result<Value, OperationError> {
    check_numbers(part)?;
    let map = |number: &Value| {
        let result = match exact(number) {
            Some(exact) => narrow(integer(exact)?),
            None => Number::from_f64(float(number.as_f64()?)),
        };
        result.map(Value::Number)
    };
    match part {
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .map(|(position, element)| {
                map(element).ok_or_else(|| no_result(&format!("element [{position}] of the part"), element))
            })
            .collect(),
        number => map(number).ok_or_else(|| no_result("the number", number)),
    }
}

fn exact(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn narrow(integer: i128) -> Option<Number> {
    let signed = i64::try_from(integer).map(Number::from);
    signed.or_else(|_| u64::try_from(integer).map(Number::from)).ok()
}

fn no_result(place: &str, element: &Value) -> OperationError {
    OperationError::Execution(format!(
        "{place}, {element}: the result is out of range (integers: 64 bits, -2^63 to 2^64-1; others: finite f64)"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_use_the_whole_range_of_64_bits_signed_and_unsigned() {
        let extremes = json!([i64::MIN, -1, 0, i64::MAX, u64::MAX]);
        assert_eq!(map_numbers(&extremes, Some, |x| x), Ok(extremes));
    }

    #[test]
    fn a_result_out_of_range_names_its_element() {
        let huge = |part| map_numbers(&part, |_| Some(1 << 64), |_| f64::INFINITY);
        let error = huge(json!([7])).unwrap_err().to_string();
        assert!(error.contains("element [0] of the part, 7"), "{error}");
        let error = huge(json!(0.5)).unwrap_err().to_string();
        assert!(error.contains("the number, 0.5"), "{error}");
    }

    #[test]
    fn what_is_no_number_is_refused_by_its_position_and_without_its_content() {
        let error = check_numbers(&json!([1, 2.5, "secret"])).unwrap_err().to_string();
        assert_eq!(error, "invalid data: element [2] is a string; allowed: a number or an array of numbers");
        assert!(check_numbers(&json!({"a": 1})).is_err());
        assert!(check_numbers(&json!([[1]])).is_err());
    }
}
