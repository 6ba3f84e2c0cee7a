//! Helpers that every operation's parameters need.

use serde_json::{Value, json};

use crate::{OperationError, Parameters};

/// Refuses parameters whose names are not among `allowed`: a misspelt one must not be ignored silently.
///
/// # Errors
/// [`OperationError::InvalidParameters`] names the first unknown one and lists the allowed ones.
pub fn allow_parameters(parameters: &Parameters, allowed: &[&str]) -> Result<(), OperationError> {
    let Some(unknown) = parameters.keys().find(|name| !allowed.contains(&name.as_str())) else {
        return Ok(());
    };
    let allowed = match allowed {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    Err(OperationError::InvalidParameters(format!("unknown parameter `{unknown}`; allowed: {allowed}")))
}

/// The schema of an operation that has no parameters.
pub fn schema_without_parameters() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {},
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(allowed: &[&str]) -> String {
        let mut parameters = Parameters::new();
        parameters.insert("exponnet".into(), json!(1));
        allow_parameters(&parameters, allowed).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_list_of_allowed_ones() {
        assert_eq!(refusal(&[]), "invalid parameters: unknown parameter `exponnet`; allowed: none");
        assert_eq!(
            refusal(&["base", "exponent"]),
            "invalid parameters: unknown parameter `exponnet`; allowed: base, exponent"
        );
    }

    #[test]
    fn no_parameters_are_always_allowed() {
        assert_eq!(allow_parameters(&Parameters::new(), &[]), Ok(()));
    }
}
