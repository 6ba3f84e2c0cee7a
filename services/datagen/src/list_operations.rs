//! `GET /api/operations`: the catalogue.

use std::sync::Arc;

use axum::extract::State;
use chassis::http::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{door::Door, submission::DEFAULT_OPERATION};

/// What can be done to objects.
#[derive(Serialize, ToSchema)]
pub(crate) struct Operations {
    /// By name.
    operations: Vec<Operation>,
}

/// Something that can be done to an object.
#[derive(Serialize, ToSchema)]
struct Operation {
    /// What an object names it by.
    #[schema(examples("plusone"))]
    name: String,
    /// What it does.
    summary: String,
    /// The JSON Schema of the parameters that it takes.
    #[schema(value_type = Object)]
    parameters: Value,
    /// Whether it is that of an object that names none.
    default: bool,
}

/// The operations: what can be done to objects
#[utoipa::path(
    get,
    path = "/api/operations",
    tag = "operations",
    responses((status = OK, description = "All of them.", body = Operations))
)]
pub(crate) async fn list_operations(State(door): State<Arc<Door>>) -> Json<Operations> {
    let operations = door.catalogue.iter().map(|operation| Operation {
        name: operation.name().to_owned(),
        summary: operation.summary().to_owned(),
        parameters: operation.parameters_schema(),
        default: operation.name() == DEFAULT_OPERATION,
    });
    Json(Operations { operations: operations.collect() })
}
