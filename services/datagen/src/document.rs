//! The document of the front door: of what it serves itself, and of what it forwards as statistics documents that.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use chassis::http::{Elsewhere, responses::GatewayTimeout};
use http::{Request, Uri};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tracing::debug;
use utoipa::IntoResponses;

use crate::forward::Statistics;

/// How long statistics may take: somebody looks at an empty page meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest document that is read: several times what it is.
const MAX_BYTES: usize = 1024 * 1024;
/// The paths that are forwarded begin with this.
const FORWARDED: &str = "/api/";

const MISSING: &str = "\n\n**Incomplete:** statistics cannot be reached now, so that what it serves is missing here: objects \
                       and what became of them, statistics, and totals.";

#[async_trait]
impl Elsewhere for Statistics {
    async fn complete(&self, mut own: Value) -> Value {
        let asked = timeout(PATIENCE, self.document()).await.context("no answer in time");
        match asked.flatten() {
            Ok(theirs) => add(&mut own, &theirs),
            Err(error) => {
                debug!("the document of statistics is missing: {error:#}");
                let description = own["info"]["description"].as_str().unwrap_or_default();
                own["info"]["description"] = format!("{description}{MISSING}").into();
            }
        }
        own
    }
}

impl Statistics {
    async fn document(&self) -> anyhow::Result<Value> {
        let target = self.target(&Uri::from_static("/openapi.json"))?;
        let answer =
            self.ask(Request::get(target).body(Body::empty())?).await.map_err(|problem| anyhow!("{problem}"))?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        let document = to_bytes(answer.into_body(), MAX_BYTES).await?;
        Ok(serde_json::from_slice(&document)?)
    }
}

/// Adds what is forwarded; what is served here stays as it is. What is no document adds nothing.
fn add(own: &mut Value, theirs: &Value) {
    let forwarded = members(&theirs["paths"]).filter(|(path, _)| path.starts_with(FORWARDED));
    for (path, methods) in forwarded {
        for (method, operation) in members(methods) {
            let mut operation = operation.clone();
            for (status, answer) in GatewayTimeout::responses() {
                add_absent(&mut operation, &["responses"], &status, &json!(answer));
            }
            add_absent(own, &["paths", path], method, &operation);
        }
    }
    for (kind, components) in members(&theirs["components"]) {
        for (name, component) in members(components) {
            add_absent(own, &["components", kind], name, component);
        }
    }
    let tags = theirs["tags"].as_array().into_iter().flatten();
    if let Some(known) = own["tags"].as_array_mut() {
        for tag in tags {
            if known.iter().all(|other| other["name"] != tag["name"]) {
                // The last one is for those who run a service.
                known.insert(known.len().saturating_sub(1), tag.clone());
            }
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Adds a member to the object at `place`, which is made if it is not there; nothing if the member is there already, or if what
/// is there is no object.
fn add_absent(document: &mut Value, place: &[&str], name: &str, member: &Value) {
    let mut at = Some(document);
    for step in place {
        let object = at.and_then(Value::as_object_mut);
        at = object.map(|object| object.entry(*step).or_insert_with(|| Map::new().into()));
    }
    if let Some(object) = at.and_then(Value::as_object_mut) {
        object.entry(name).or_insert_with(|| member.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forwarded_is_added_and_what_is_served_here_stays() {
        let mut own = json!({"paths": {"/api/a": {"post": {"own": 1}}}, "tags": [{"name": "t"}, {"name": "service"}]});
        let theirs = json!({
            "paths": {
                "/api/a": {"get": {"responses": {"200": {}}}, "post": {"own": 2}},
                "/api/b": {"get": {"responses": {}}},
                "/livez": {"get": {}},
            },
            "components": {"schemas": {"S": {}}},
            "tags": [{"name": "t", "theirs": true}, {"name": "u"}],
        });
        add(&mut own, &theirs);
        assert_eq!(own["paths"]["/api/a"]["post"], json!({"own": 1}));
        let answers: Vec<_> = members(&own["paths"]["/api/a"]["get"]["responses"]).map(|(status, _)| status).collect();
        assert_eq!(answers, ["200", "504"]);
        assert!(own["paths"]["/api/b"]["get"].is_object() && own["paths"].get("/livez").is_none(), "{own}");
        assert_eq!(own["components"], json!({"schemas": {"S": {}}}));
        assert_eq!(own["tags"], json!([{"name": "t"}, {"name": "u"}, {"name": "service"}]));
    }

    #[test]
    fn what_is_no_document_adds_nothing() {
        let before = json!({"paths": {}, "tags": []});
        for theirs in [json!(null), json!([]), json!({"paths": 1, "components": [], "tags": {}})] {
            let mut own = before.clone();
            add(&mut own, &theirs);
            assert_eq!(own, before);
        }
        let mut own = before.clone();
        add(&mut own, &json!({"paths": {"/api/a": {"parameters": []}}}));
        assert_eq!(own["paths"]["/api/a"], json!({"parameters": []}));
    }
}
