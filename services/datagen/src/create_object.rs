//! `POST /api/objects`: an object is accepted when the bus has it, and not before.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bus::{
    PublishError,
    events::{Object, ObjectCreated},
};
use chassis::http::{Problem, Raw};
use http::{HeaderMap, StatusCode, header::LOCATION};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{accept::accept, service::Door};

/// How long a client waits for the bus before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// When it should come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// The longest data that the answer repeats, in bytes of JSON.
const MAX_ECHO_BYTES: usize = 64 * 1024;

pub(crate) async fn create_object(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let event = ObjectCreated { object: accept(&door, &headers, &body).await? };
    door.bus.publish(&event, None, PATIENCE).await.map_err(|error| match error {
        PublishError::TooLarge { .. } => Problem::payload_too_large(format!("{error}.")),
        // It may have been taken, or may yet be: whoever repeats it with an Idempotency-Key gets the same object.
        error => {
            warn!(object.id = %event.object.id, "not accepted: {error}");
            Problem::unavailable(RETRY_AFTER, format!("The bus did not take the object: {error}."))
        }
    })?;
    let object = event.object;
    info!(object.id = %object.id, operation = %object.operation, bytes = object.data.as_str().len(), "accepted");
    let location = format!("/api/objects/{}", object.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(answer(object)?)).into_response())
}

/// The object, as the record will show it.
fn answer(object: Object) -> Result<Value, Problem> {
    let bytes = object.data.as_str().len();
    let mut answer = json!({
        "id": object.id,
        "name": object.name,
        "operation": object.operation,
        "parameters": object.parameters,
        "tasks": object.tasks,
        "deadline_ms": object.deadline_ms,
        "created_at": object.created_at,
        "status": "created",
        "data_bytes": bytes,
    });
    if bytes <= MAX_ECHO_BYTES {
        answer["data"] = object.data.parse().map_err(Problem::internal)?;
    }
    Ok(answer)
}
