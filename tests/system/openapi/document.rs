//! The document of an interface, and whether what is served is as it says.

use jsonschema::Validator;
use reqwest::{Response, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::System;

pub struct Document(pub Value);

impl Document {
    /// That of the front door.
    pub async fn of(system: &System) -> Self {
        Self(system.get("/openapi.json").await.unwrap())
    }

    /// Method, path, and what is said of it.
    pub fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
    }

    /// What a schema of the document allows; it may refer to others.
    pub fn validator(&self, schema: &Value) -> Validator {
        let whole = json!({"allOf": [schema], "components": self.0["components"]});
        jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap()
    }

    /// Panics unless it is OpenAPI 3.1, all that it refers to is there, and every operation is told from the others.
    pub fn assert_valid(&self) {
        assert!(self.0["openapi"].as_str().unwrap().starts_with("3.1."), "{}", self.0["openapi"]);
        assert!(self.0["info"]["title"].is_string() && self.0["info"]["version"].is_string(), "{}", self.0["info"]);
        for reference in references(&self.0) {
            let found = reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer));
            assert!(found.is_some(), "{reference} leads nowhere");
        }
        // Each of them is a schema of JSON Schema itself.
        for schema in self.0["components"]["schemas"].as_object().unwrap().values() {
            self.validator(schema);
        }
        let mut ids: Vec<_> = self.operations().map(|(_, _, operation)| operation["operationId"].as_str()).collect();
        ids.sort();
        let all = ids.len();
        ids.dedup();
        assert!(ids.len() == all && !ids.contains(&None), "{ids:?}");
        for (method, path, operation) in self.operations() {
            let named = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
            for name in named {
                assert!(parameters(operation, "path").any(|known| known["name"] == name), "{method} {path}: {name}");
            }
        }
    }

    /// Panics unless an answer is one of those that the document knows.
    pub async fn assert_allows(&self, method: &str, path: &str, answer: Response) -> Value {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let media_type = headers[CONTENT_TYPE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        let body = if media_type.ends_with("json") { serde_json::from_str(&text).unwrap() } else { json!(text) };

        let response = &self.0["paths"][path][method]["responses"][status.as_str()];
        let schema = &response["content"][&media_type]["schema"];
        assert!(schema.is_object(), "{method} {path} is not known to be answered with {status} {media_type}: {text}");
        if let Err(error) = self.validator(schema).validate(&body) {
            panic!("{method} {path}: {status} {text}: at {}: {error}", error.instance_path());
        }
        for name in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
            assert!(headers.contains_key(name), "{method} {path}: {status} without {name}");
        }
        body
    }
}

/// What an operation takes in its `path`, `query` or `header`.
pub fn parameters<'a>(operation: &'a Value, place: &str) -> impl Iterator<Item = &'a Value> {
    let all = operation["parameters"].as_array().map_or([].as_slice(), Vec::as_slice).iter();
    all.filter(move |parameter| parameter["in"] == place)
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
