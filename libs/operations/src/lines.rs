//! Text made of lines. A line ends with its line feed; only the last one may lack it.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::OperationError;
use crate::operation::kind;

/// Cuts a text into consecutive runs of whole lines, whose numbers of lines differ by at most one, never an empty one unless
/// the text is empty.
pub(crate) fn scatter_lines(text: &str, parts: NonZeroUsize) -> Vec<&str> {
    let lines = text.split_inclusive('\n').count();
    let parts = parts.get().min(lines).max(1);
    let (length, one_longer) = (lines / parts, lines % parts);
    let mut rest = text;
    (0..parts)
        .map(|part| {
            let taken = rest.split_inclusive('\n').take(length + usize::from(part < one_longer));
            let (head, tail) = rest.split_at(taken.map(str::len).sum());
            rest = tail;
            head
        })
        .collect()
}

/// Puts texts together, in order, with nothing between them.
///
/// # Errors
/// [`OperationError::InvalidData`] when there is nothing to gather, or when a partial result is no text.
pub(crate) fn gather_texts(partials: &[Value]) -> Result<Value, OperationError> {
    if partials.is_empty() {
        return Err(OperationError::InvalidData("there is no partial result to gather".into()));
    }
    let text = |(position, partial): (usize, &Value)| match partial {
        Value::String(text) => Ok(text.clone()),
        other => Err(OperationError::InvalidData(format!(
            "partial result {position} is {}; allowed: a text, as a string",
            kind(other)
        ))),
    };
    partials.iter().enumerate().map(text).collect::<Result<String, _>>().map(Value::String)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn scatter(text: &str, parts: usize) -> Vec<&str> {
        scatter_lines(text, NonZeroUsize::new(parts).unwrap())
    }

    #[test]
    fn lines_stay_whole_and_keep_their_ends() {
        assert_eq!(scatter("a\nb\r\nc\nd\ne", 3), ["a\nb\r\n", "c\nd\n", "e"]);
        assert_eq!(scatter("a\n\n\n", 9), ["a\n", "\n", "\n"]);
    }

    #[test]
    fn a_text_without_lines_is_one_empty_part() {
        assert_eq!(scatter("", 3), [""]);
        assert_eq!(scatter("a", 3), ["a"]);
    }

    #[test]
    fn gathering_nothing_or_what_is_no_text_is_an_error() {
        assert_eq!(gather_texts(&[json!("a\n"), json!("b")]), Ok(json!("a\nb")));
        assert!(gather_texts(&[]).is_err());
        let error = gather_texts(&[json!("a"), json!(1)]).unwrap_err().to_string();
        assert!(error.contains("partial result 1 is a number"), "{error}");
    }
}
