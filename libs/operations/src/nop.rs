//! `nop`: what comes in goes out.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::operation::QUICK_BYTES_IF_LINEAR;
use crate::{
    Operation, OperationError, Parameters, allow_parameters, gather_elements, scatter_elements,
    schema_without_parameters,
};

/// Does nothing to any data, part by part: the result is the data.
#[derive(Debug, Clone, Copy)]
pub struct Nop;

impl Operation for Nop {
    fn name(&self) -> &str {
        "nop"
    }

    fn summary(&self) -> &str {
        "Gives back any JSON data unchanged; an array is split by its elements."
    }

    fn parameters_schema(&self) -> Value {
        schema_without_parameters()
    }

    fn quick_bytes(&self) -> usize {
        QUICK_BYTES_IF_LINEAR
    }

    fn check(&self, _data: &Value, parameters: &Parameters) -> Result<(), OperationError> {
        allow_parameters(parameters, &[])
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
        self.check(part, parameters)?;
        Ok(part.clone())
    }

    fn gather(&self, partials: Vec<Value>, _parameters: &Parameters) -> Result<Value, OperationError> {
        gather_elements(partials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{any_json, assert_parts_never_show, some_parts};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_data_comes_back_exactly_whatever_the_number_of_parts(data in any_json(), parts in some_parts()) {
            let elements = data.as_array().map_or(1, Vec::len);
            assert_parts_never_show(&Nop, &data, &Parameters::new(), parts, elements, &data);
        }
    }
}
