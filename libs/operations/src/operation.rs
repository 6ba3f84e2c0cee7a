//! The contract of an operation.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde_json::Value;

use crate::command::Command;

/// An object's parameters: what the person who submitted it may set, by name.
pub type Parameters = serde_json::Map<String, Value>;

/// Counters that accumulate over all objects of an operation, by name.
pub type Totals = BTreeMap<String, u64>;

/// What [`Operation::quick_bytes`] is for operations whose work is in proportion to the bytes: 0.1 ms or so.
pub(crate) const QUICK_BYTES_IF_LINEAR: usize = 4096;

/// What is done to an object. Every function is pure and deterministic.
///
/// For all data and parameters that [`check`](Self::check) accepts and for any number of parts, gathering what was
/// executed on each scattered part, in order, gives the same as doing it in one part. [`run`] is that sentence as code.
pub trait Operation: Send + Sync + 'static {
    /// The stable name: `[a-z0-9][a-z0-9_-]{0,63}`, because it is a word of a routing key and part of a queue's name.
    fn name(&self) -> &str;

    /// One sentence for people.
    fn summary(&self) -> &str;

    /// The JSON Schema (draft 2020-12) of the parameters, an object with `additionalProperties: false` unless a file says
    /// otherwise.
    fn parameters_schema(&self) -> Value;

    /// At the door: would `scatter` and `execute` take this? What is accepted here fails later only by what
    /// executing it brings to light, [`OperationError::Execution`].
    ///
    /// # Errors
    /// Data or parameters that are not acceptable, in words that say what is allowed.
    fn check(&self, data: &Value, parameters: &Parameters) -> Result<(), OperationError>;

    /// Cuts the data into parts, in order, nothing lost: at least one, at most as many as wished. There are fewer only
    /// when the data has fewer elements; data without elements is one part.
    ///
    /// # Errors
    /// Whatever [`check`](Self::check) refuses.
    fn scatter(&self, data: &Value, parameters: &Parameters, parts: NonZeroUsize)
    -> Result<Vec<Value>, OperationError>;

    /// Turns one part into its partial result.
    ///
    /// # Errors
    /// A part that `scatter` cannot have made, parameters that [`check`](Self::check) refuses, or
    /// [`OperationError::Execution`].
    fn execute(&self, part: &Value, parameters: &Parameters) -> Result<Value, OperationError>;

    /// Makes one result of the partial results, which stand in the order of their parts and are all there.
    ///
    /// # Errors
    /// No partial result, one that `execute` cannot have made, or [`OperationError::Execution`].
    fn gather(&self, partials: Vec<Value>, parameters: &Parameters) -> Result<Value, OperationError>;

    /// Data or a part of up to so many bytes of JSON takes each function far less than a millisecond, whatever is in it, so
    /// that a thread of its own would cost more than it. Nothing is known to be so quick unless an operation says so.
    fn quick_bytes(&self) -> usize {
        0
    }

    /// Whether a processor offers it without being told to. One that is not offered unasked waits for a processor whose
    /// `OPERATIONS` names it.
    fn is_offered_unasked(&self) -> bool {
        true
    }

    /// Who executes its tasks: [`execute`](Self::execute), unless it was declared in a file.
    fn execution(&self) -> Execution<'_> {
        Execution::Here
    }

    /// What this gathered result adds to the operation's totals; nothing for an operation that keeps none.
    fn totals(&self, _result: &Value) -> Option<Totals> {
        None
    }
}

/// Who executes the tasks of an operation.
#[derive(Debug, Clone, Copy)]
pub enum Execution<'a> {
    /// [`Operation::execute`].
    Here,
    /// A program that a processor starts for each.
    Command(&'a Command),
    /// A processor that is not ours: its own business.
    Elsewhere,
}

/// Why an operation did not do its work. The same input fails in the same way each time, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The data, a part or a partial result is not of the kind that the operation works on.
    #[error("invalid data: {0}")]
    InvalidData(String),
    /// A parameter is unknown, missing or out of bounds.
    #[error("invalid parameters: {0}")]
    InvalidParameters(String),
    /// Data and parameters are fine, but there is no result: an overflow, for example.
    #[error("execution failed: {0}")]
    Execution(String),
    /// Not this time: another attempt may succeed. Only for what depends on more than its input.
    #[error("not this time: {0}")]
    Transient(String),
}

impl OperationError {
    /// Whether another attempt may succeed.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

/// The whole operation here and now: what the distributed system must agree with, whatever the number of parts.
///
/// # Errors
/// The first error of `scatter`, `execute` or `gather`.
pub fn run(
    operation: &dyn Operation,
    data: &Value,
    parameters: &Parameters,
    parts: NonZeroUsize,
) -> Result<Value, OperationError> {
    let scattered = operation.scatter(data, parameters, parts)?;
    let partials = scattered.iter().map(|part| operation.execute(part, parameters)).collect::<Result<_, _>>()?;
    operation.gather(partials, parameters)
}

/// What a value is, for people: error messages name the kind and never repeat a payload.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
