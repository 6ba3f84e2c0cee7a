//! The schema of an operation's parameters, as it is declared, and checked against.

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::{OperationError, Parameters, allow_parameters, schema_without_parameters};

/// The one draft that is read.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// So many things that are wrong are told at once.
const MAX_TOLD: usize = 3;
/// What is wrong with one thing is told in so many characters: whoever declares a pattern decides how long it is.
const MAX_TOLD_CHARS: usize = 300;

/// A JSON Schema of an object, ready to check with.
pub(crate) struct Schema {
    schema: Value,
    validator: Validator,
    /// The only names there may be, where the schema is as simple as that: told better than by the validator.
    names: Option<Vec<String>>,
}

impl Schema {
    /// No parameters.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(None).expect("it is a schema")
    }

    /// The schema that was declared; without one there are no parameters. What is left open is as it is everywhere here: an
    /// object, and nothing in it that is not named, because a misspelt parameter must not be ignored.
    ///
    /// # Errors
    /// Why it is no schema, for people.
    pub(crate) fn new(declared: Option<Parameters>) -> Result<Self, String> {
        let mut schema = match declared {
            None => schema_without_parameters(),
            Some(declared) => Value::Object(declared),
        };
        for (keyword, only) in [("$schema", DRAFT), ("type", "object")] {
            match &schema[keyword] {
                Value::Null => schema[keyword] = json!(only),
                Value::String(given) if given == only => {}
                _ => return Err(format!("{keyword} of parameters; allowed: {only}")),
            }
        }
        if schema["additionalProperties"].is_null() {
            schema["additionalProperties"] = json!(false);
        }
        // Nothing is fetched: what is referred to must stand in the schema itself.
        let checked = jsonschema::draft202012::meta::validate(&schema).map_err(|error| told(&error));
        let built = checked.and_then(|()| jsonschema::draft202012::new(&schema).map_err(|error| told(&error)));
        let validator = built.map_err(|error| format!("parameters are no JSON Schema: {error}"))?;
        let simple = schema["additionalProperties"] == false && schema.get("patternProperties").is_none();
        let properties = schema.get("properties").and_then(Value::as_object);
        let names = || properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default();
        Ok(Self { names: simple.then(names), validator, schema })
    }

    pub(crate) fn as_value(&self) -> &Value {
        &self.schema
    }

    /// # Errors
    /// [`OperationError::InvalidParameters`] says what is wrong where, without repeating a value.
    pub(crate) fn check(&self, parameters: &Parameters) -> Result<(), OperationError> {
        if let Some(names) = &self.names {
            allow_parameters(parameters, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        let parameters = Value::Object(parameters.clone());
        let wrong: Vec<String> =
            self.validator.iter_errors(&parameters).take(MAX_TOLD).map(|error| told(&error)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(OperationError::InvalidParameters(wrong.join("; "))) }
    }
}

fn told(error: &jsonschema::ValidationError<'_>) -> String {
    let (place, what) = (error.instance_path().to_string(), error.masked().to_string());
    let told = if place.is_empty() { what } else { format!("`{place}`: {what}") };
    told.chars().take(MAX_TOLD_CHARS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(value: Value) -> Parameters {
        value.as_object().unwrap().clone()
    }

    fn schema(value: Value) -> Result<Schema, String> {
        Schema::new(Some(object(value)))
    }

    #[test]
    fn what_is_left_open_is_a_closed_object_of_the_newest_draft() {
        let schema = schema(json!({"properties": {"times": {"type": "integer"}}})).unwrap();
        assert_eq!(schema.as_value()["$schema"], DRAFT);
        assert_eq!(schema.as_value()["type"], "object");
        assert_eq!(schema.as_value()["additionalProperties"], false);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_its_value() {
        let properties = json!({"times": {"type": "integer", "minimum": 1}, "to": {"enum": ["upper", "lower"]}});
        let schema = schema(json!({"properties": properties, "required": ["to"]})).unwrap();
        for (parameters, told) in [
            (json!({"to": "upper", "tmes": 1}), "unknown parameter `tmes`; allowed: times, to"),
            (json!({}), "\"to\" is a required property"),
            (json!({"to": "s3cret"}), "`/to`"),
            (json!({"to": "upper", "times": 0}), "`/times`: value is less than the minimum of 1"),
            (json!({"to": "upper", "times": "s3cret"}), "`/times`: value is not of type \"integer\""),
        ] {
            let error = schema.check(&object(parameters)).unwrap_err();
            assert!(matches!(error, OperationError::InvalidParameters(_)));
            assert!(error.to_string().contains(told) && !error.to_string().contains("s3cret"), "{error}");
        }
        assert_eq!(schema.check(&object(json!({"to": "lower", "times": 1.0}))), Ok(()));
    }

    #[test]
    fn without_a_schema_there_are_no_parameters() {
        assert!(Schema::none().check(&Parameters::new()).is_ok());
        let error = Schema::none().check(&object(json!({"a": 1}))).unwrap_err().to_string();
        assert!(error.contains("allowed: none"), "{error}");
    }

    #[test]
    fn an_open_schema_stays_open() {
        let schema = schema(json!({"additionalProperties": {"type": "string"}})).unwrap();
        assert!(schema.check(&object(json!({"any": "text"}))).is_ok());
        assert!(schema.check(&object(json!({"any": 1}))).is_err());
    }

    #[test]
    fn what_is_no_schema_of_an_object_is_refused() {
        for (bad, told) in [
            (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "2020-12"),
            (json!({"type": "array"}), "object"),
            (json!({"properties": {"a": {"type": "text"}}}), "no JSON Schema"),
            (json!({"properties": {"a": {"pattern": "("}}}), "no JSON Schema"),
            (json!({"$ref": "https://example.com/schema.json"}), "no JSON Schema"),
            (json!({"required": "a"}), "no JSON Schema"),
        ] {
            let error = schema(bad.clone()).err().unwrap_or_else(|| panic!("{bad} is taken for a schema"));
            assert!(error.contains(told), "{bad}: {error}");
        }
    }
}
