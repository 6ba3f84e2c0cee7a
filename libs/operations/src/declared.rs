//! An operation that was declared in a file: cut and gathered as it says, executed by a command or by somebody else.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::command::Command;
use crate::lines::{gather_texts, scatter_lines};
use crate::operation::{Execution, kind};
use crate::schema::Schema;
use crate::{Operation, OperationError, Parameters, gather_elements, scatter_elements};

/// An operation of a file.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) parameters: Schema,
    pub(crate) scatter: Scatter,
    pub(crate) gather: Gather,
    /// None: somebody else executes its tasks.
    pub(crate) command: Option<Command>,
}

/// How data is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scatter {
    /// Not at all.
    Whole,
    /// An array, into slices.
    Array,
    /// A text, into runs of lines.
    Lines,
}

/// How partial results become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gather {
    /// There is one, which is the result.
    Single,
    /// One after the other: arrays if the data was one, texts if it was lines.
    Concatenate,
    /// Each is an element of an array: the one way by which the number of parts shows, for whoever wants it.
    List,
}

impl Operation for Declared {
    fn name(&self) -> &str {
        &self.name
    }

    fn summary(&self) -> &str {
        &self.description
    }

    fn parameters_schema(&self) -> Value {
        self.parameters.as_value().clone()
    }

    fn is_offered_unasked(&self) -> bool {
        self.command.is_some()
    }

    fn execution(&self) -> Execution<'_> {
        self.command.as_ref().map_or(Execution::Elsewhere, Execution::Command)
    }

    fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        self.parameters.check(parameters)?;
        let allowed = match (self.scatter, data) {
            (Scatter::Whole, _) | (Scatter::Array, Value::Array(_)) | (Scatter::Lines, Value::String(_)) => {
                return Ok(());
            }
            (Scatter::Array, _) => "an array",
            (Scatter::Lines, _) => "a text, as a string",
        };
        Err(OperationError::InvalidData(format!("this is {}; allowed: {allowed}", kind(data))))
    }

    fn scatter(
        &self,
        data: &Value,
        parameters: &Parameters,
        parts: NonZeroUsize,
    ) -> Result<Vec<Value>, OperationError> {
        self.check(data, parameters)?;
        Ok(match (self.scatter, data) {
            (Scatter::Array, data) => scatter_elements(data, parts),
            (Scatter::Lines, Value::String(text)) => scatter_lines(text, parts).into_iter().map(Value::from).collect(),
            (Scatter::Whole | Scatter::Lines, data) => vec![data.clone()],
        })
    }

    fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError> {
        self.check(part, parameters)?;
        let by = if self.command.is_some() { "a command" } else { "a processor that is not part of EBS" };
        Err(OperationError::Execution(format!("{} is executed by {by}, and not here", self.name)))
    }

    fn gather(&self, mut partials: Vec<Value>, _parameters: &Parameters) -> Result<Value, OperationError> {
        match (self.gather, self.scatter) {
            (Gather::List, _) => Ok(Value::Array(partials)),
            (Gather::Concatenate, Scatter::Lines) => gather_texts(&partials),
            (Gather::Concatenate, _) => match partials.iter().position(|partial| !partial.is_array()) {
                None => gather_elements(partials),
                Some(position) => Err(OperationError::InvalidData(format!(
                    "partial result {position} is {}; allowed: an array",
                    kind(&partials[position])
                ))),
            },
            (Gather::Single, _) => match (partials.pop(), partials.is_empty()) {
                (Some(result), true) => Ok(result),
                (None, _) => Err(OperationError::InvalidData("there is no partial result to gather".into())),
                (Some(_), false) => Err(OperationError::InvalidData("several partial results; allowed: one".into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::properties::{any_json, nasty_text, some_parts};
    use crate::schema::Schema;
    use proptest::prelude::*;
    use serde_json::json;

    fn declared(scatter: Scatter, gather: Gather) -> Declared {
        let (name, description) = ("mine".to_owned(), String::new());
        Declared { name, description, parameters: Schema::none(), scatter, gather, command: None }
    }

    /// What a processor does to each part, then gathered.
    fn run(
        operation: &Declared,
        data: &Value,
        parts: NonZeroUsize,
        execute: impl Fn(&Value) -> Value,
    ) -> (usize, Result<Value, OperationError>) {
        let scattered = operation.scatter(data, &Parameters::new(), parts).unwrap();
        let partials = scattered.iter().map(execute).collect();
        (scattered.len(), operation.gather(partials, &Parameters::new()))
    }

    /// Each element alone gives none, one or two.
    fn each_element(part: &Value) -> Value {
        let given = |element: &Value| match element {
            Value::Null => vec![],
            Value::Array(_) => vec![json!([element]), element.clone()],
            other => vec![json!({ "was": other })],
        };
        part.as_array().unwrap().iter().flat_map(given).collect()
    }

    /// Each line alone gives none, one or two.
    fn each_line(part: &Value) -> Value {
        let given = |line: &str| line.trim_end_matches('\n').repeat(line.chars().count() % 3) + "\n";
        part.as_str().unwrap().split_inclusive('\n').map(given).collect::<String>().into()
    }

    proptest! {
        #[test]
        fn the_number_of_parts_of_an_array_never_shows(data in prop::collection::vec(any_json(), 0..20), parts in some_parts()) {
            let (elements, data) = (data.len(), Value::Array(data));
            let (count, result) = run(&declared(Scatter::Array, Gather::Concatenate), &data, parts, each_element);
            prop_assert_eq!(count, parts.get().min(elements).max(1));
            prop_assert_eq!(result, Ok(each_element(&data)));
        }

        #[test]
        fn the_number_of_parts_of_lines_never_shows(text in nasty_text(), parts in some_parts()) {
            let (lines, data) = (text.split_inclusive('\n').count(), Value::from(text));
            let (count, result) = run(&declared(Scatter::Lines, Gather::Concatenate), &data, parts, each_line);
            prop_assert_eq!(count, parts.get().min(lines).max(1));
            prop_assert_eq!(result, Ok(each_line(&data)));
        }

        #[test]
        fn nothing_of_a_text_is_lost(text in nasty_text(), parts in some_parts()) {
            let (_, result) = run(&declared(Scatter::Lines, Gather::Concatenate), &json!(text), parts, Value::clone);
            prop_assert_eq!(result, Ok(json!(text)));
        }

        #[test]
        fn what_is_whole_is_one_part_whatever_is_wished(data in any_json(), parts in some_parts()) {
            let (count, result) = run(&declared(Scatter::Whole, Gather::Single), &data, parts, |part| json!([part]));
            prop_assert_eq!(count, 1);
            prop_assert_eq!(result, Ok(json!([data])));
        }

        #[test]
        fn what_check_refuses_is_not_scattered(data in any_json(), parts in some_parts()) {
            for scatter in [Scatter::Whole, Scatter::Array, Scatter::Lines] {
                let operation = declared(scatter, Gather::List);
                let checked = operation.check(&data, &Parameters::new());
                let scattered = operation.scatter(&data, &Parameters::new(), parts);
                prop_assert_eq!(checked, scattered.map(|_| ()));
            }
        }
    }

    #[test]
    fn a_list_has_the_partial_results_in_order() {
        let list = declared(Scatter::Array, Gather::List);
        let two = NonZeroUsize::new(2).unwrap();
        let (_, result) = run(&list, &json!([1, 2, 3]), two, |part| part.as_array().unwrap().len().into());
        assert_eq!(result, Ok(json!([2, 1])));
    }

    #[test]
    fn a_partial_result_of_the_wrong_kind_is_named() {
        for (scatter, bad, told) in [(Scatter::Array, json!("a"), "an array"), (Scatter::Lines, json!([]), "a text")] {
            let gathered = declared(scatter, Gather::Concatenate).gather(vec![bad], &Parameters::new());
            let error = gathered.unwrap_err().to_string();
            assert!(error.contains("partial result 0") && error.contains(told), "{error}");
        }
    }

    #[test]
    fn nobody_executes_it_here() {
        let error = declared(Scatter::Whole, Gather::Single).execute(&json!(1), &Parameters::new()).unwrap_err();
        assert!(error.to_string().contains("not here"), "{error}");
    }
}
