//! What these tests share.

use std::fs;

use contract::Flow;
use jsonschema::{Draft, Validator};
use serde_json::Value;
use testkit::repository;
use tokio::sync::OnceCell;

/// A file of the repository.
pub fn file(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The flow, which is recorded once.
pub async fn flow() -> &'static Flow {
    static FLOW: OnceCell<Flow> = OnceCell::const_new();
    FLOW.get_or_init(async || contract::flow().await.unwrap()).await
}

/// The document as the code makes it.
pub async fn document() -> Value {
    serde_json::from_str(&contract::asyncapi(flow().await).unwrap()).unwrap()
}

/// What is valid by a schema of the document.
pub fn validator(document: &Value, schema: &Value) -> Validator {
    let mut root = serde_json::json!({"allOf": [schema]});
    root["components"] = document["components"].clone();
    jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true).build(&root).unwrap()
}

/// Why a value is not valid; empty if it is.
pub fn errors(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
