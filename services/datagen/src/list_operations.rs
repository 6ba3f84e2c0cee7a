//! `GET /api/operations`: the catalogue.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{service::Door, submission::DEFAULT_OPERATION};

pub(crate) async fn list_operations(State(door): State<Arc<Door>>) -> Json<Value> {
    let operations: Vec<Value> = door
        .catalogue
        .iter()
        .map(|operation| {
            json!({
                "name": operation.name(),
                "summary": operation.summary(),
                "parameters": operation.parameters_schema(),
                "default": operation.name() == DEFAULT_OPERATION,
            })
        })
        .collect();
    Json(json!({ "operations": operations }))
}
