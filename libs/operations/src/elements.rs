//! Data made of elements: an array has its elements, anything else is one element.
//!
//! The format of a part keeps the two apart without a wrapper. The parts of an array are arrays, its consecutive
//! slices (the empty array is one empty slice). Data that is no array has one part, which is the data itself, and so is
//! no array either. Hence a part that is no array stands alone, and whatever is gathered from arrays was an array.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::OperationError;
use crate::operation::kind;

/// Cuts an array into consecutive slices whose lengths differ by at most one, never an empty one unless the array is
/// empty; data that is no array stays whole.
pub fn scatter_elements(data: &Value, parts: NonZeroUsize) -> Vec<Value> {
    let Value::Array(elements) = data else {
        return vec![data.clone()];
    };
    let parts = parts.get().min(elements.len()).max(1);
    let (length, one_longer) = (elements.len() / parts, elements.len() % parts);
    let mut rest = elements.as_slice();
    (0..parts)
        .map(|part| {
            let (head, tail) = rest.split_at(length + usize::from(part < one_longer));
            rest = tail;
            Value::Array(head.to_vec())
        })
        .collect()
}

/// Puts together what [`scatter_elements`] took apart, element by element in order.
///
/// # Errors
/// [`OperationError::InvalidData`] when there is nothing to gather, or when a partial result among several is no array.
pub fn gather_elements(partials: Vec<Value>) -> Result<Value, OperationError> {
    let several = partials.len() > 1;
    let mut partials = partials.into_iter().enumerate();
    let mut elements = match partials.next() {
        Some((_, Value::Array(elements))) => elements,
        Some((_, single)) if !several => return Ok(single),
        Some((position, other)) => return Err(no_array(position, &other)),
        None => return Err(OperationError::InvalidData("there is no partial result to gather".into())),
    };
    for (position, partial) in partials {
        match partial {
            Value::Array(mut more) => elements.append(&mut more),
            other => return Err(no_array(position, &other)),
        }
    }
    Ok(Value::Array(elements))
}

fn no_array(position: usize, partial: &Value) -> OperationError {
    let kind = kind(partial);
    OperationError::InvalidData(format!("partial result {position} is {kind}; allowed among several: an array"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn scatter(data: Value, parts: usize) -> Vec<Value> {
        scatter_elements(&data, NonZeroUsize::new(parts).unwrap())
    }

    #[test]
    fn slices_are_consecutive_and_nearly_equal() {
        assert_eq!(scatter(json!([0, 1, 2, 3, 4, 5, 6]), 3), [json!([0, 1, 2]), json!([3, 4]), json!([5, 6])]);
    }

    #[test]
    fn there_are_never_more_parts_than_elements() {
        assert_eq!(scatter(json!(["a", "b"]), usize::MAX), [json!(["a"]), json!(["b"])]);
    }

    #[test]
    fn an_empty_array_is_one_empty_part_and_comes_back_as_an_empty_array() {
        assert_eq!(scatter(json!([]), 3), [json!([])]);
        assert_eq!(gather_elements(vec![json!([])]), Ok(json!([])));
    }

    #[test]
    fn an_array_of_one_array_does_not_lose_its_brackets() {
        assert_eq!(scatter(json!([[1]]), 3), [json!([[1]])]);
        assert_eq!(gather_elements(vec![json!([[1]])]), Ok(json!([[1]])));
    }

    #[test]
    fn a_value_that_is_no_array_is_its_own_only_part() {
        for value in [json!(null), json!("a b"), json!({"a": [1, 2]}), json!(7)] {
            let scattered = scatter(value.clone(), 3);
            assert_eq!(scattered, std::slice::from_ref(&value));
            assert_eq!(gather_elements(scattered), Ok(value));
        }
    }

    #[test]
    fn gathering_nothing_or_loose_values_is_an_error() {
        assert!(gather_elements(vec![]).is_err());
        assert!(gather_elements(vec![json!(1), json!([2])]).is_err());
        let error = gather_elements(vec![json!([1]), json!("2")]).unwrap_err();
        assert!(error.to_string().contains("partial result 1 is a string"), "{error}");
    }
}
