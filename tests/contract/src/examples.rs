//! Examples of events: the files that the tests of the bus hold each type's JSON against.

use std::fs;

use anyhow::Context;
use bus::Headers;
use serde_json::Value;
use testkit::repository;

use crate::event_types::EventType;

/// An event as it is on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What it shows, such as `object_finished_failed`.
    pub name: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Value,
}

/// All examples of a type of event.
///
/// # Errors
/// If there is none, or one cannot be read.
pub fn examples(event: &EventType) -> anyhow::Result<Vec<Example>> {
    let folder = repository().join("libs/bus/tests/golden");
    let mut examples = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(&event.name.to_lowercase()) {
            let mut file: Value = serde_json::from_slice(&fs::read(&path)?).with_context(|| name.clone())?;
            let headers = serde_json::from_value(file["headers"].take()).with_context(|| name.clone())?;
            examples.push(Example { name, headers, body: file["body"].take() });
        }
    }
    anyhow::ensure!(!examples.is_empty(), "{} has no example in {}", event.name, folder.display());
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(examples)
}
