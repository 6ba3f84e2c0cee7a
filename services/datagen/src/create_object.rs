//! `POST /api/objects`: an object is accepted when the bus has it, and not before.

use std::{sync::Arc, time::Duration};

use axum::{Extension, extract::State};
use bus::{
    PublishError,
    events::{Json as Data, Milliseconds, Object, ObjectCreated, ObjectId, OperationName, Parameters},
};
use chassis::http::{
    Json, Problem, Raw, Submitter,
    responses::{BadRequest, PayloadTooLarge, RequestTimeout, Unavailable, Unprocessable, UnsupportedMediaType},
};
use http::{HeaderMap, HeaderName, StatusCode, header::LOCATION};
use jiff::Timestamp;
use serde::Serialize;
use tracing::{info, warn};
use utoipa::{
    ToSchema,
    openapi::{OpenApi, RefOr, Required},
};

use crate::{
    accept::{Headers, accept},
    door::{Door, Entered},
    submission::Submission,
};

/// How long a client waits for the bus before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);
/// When it should come back.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// The longest data that the answer repeats, in bytes of JSON.
const MAX_ECHO_BYTES: usize = 64 * 1024;

/// Submit an object
///
/// Answered when the object is durable: from then on it will be finished and counted, whatever fails. Then
/// `GET /api/objects/{id}?wait=10` says what became of it. `POST /objects` is the same.
#[utoipa::path(
    post,
    path = "/api/objects",
    tag = "objects",
    params(Headers),
    request_body(
        description = "None: an object is generated. Text: it is the data of `word-frequencies`. JSON: whatever is to be \
                       different from that.",
        content(
            (
                Submission = "application/json",
                examples(
                    ("powers" = (
                        summary = "Numbers, each to the third power, in two tasks",
                        value = json!({"operation": "pow", "parameters": {"exponent": 3}, "data": [0, 1, 2, 3, 4], "tasks": 2})
                    )),
                    ("words" = (
                        summary = "A text whose words are counted",
                        value = json!({"name": "a rhyme", "data": "Row, row, row your boat"})
                    )),
                    ("generated" = (summary = "A generated text, in ten tasks", value = json!({"tasks": 10})))
                )
            ),
            (String = "text/plain", example = "Row, row, row your boat"),
        )
    ),
    responses(
        (
            status = CREATED,
            description = "The object is accepted.",
            body = Accepted,
            headers(("Location" = String, description = "Where it is, relative to this address.")),
            links(("show" = (
                operation_id = "show_object",
                parameters(("id" = "$response.body#/id"), ("wait" = "10")),
                description = "What became of it."
            )))
        ),
        BadRequest,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMediaType,
        Unprocessable,
        Unavailable
    )
)]
pub(crate) async fn create_object(
    State(door): State<Arc<Door>>,
    submitter: Option<Extension<Submitter>>,
    headers: HeaderMap,
    _entered: Entered,
    Raw(body): Raw,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Accepted>), Problem> {
    let submitter = submitter.map(|Extension(submitter)| submitter);
    let event = ObjectCreated { object: accept(&door, submitter, &headers, body).await? };
    let _admitted = door.backlog.admit(&event.object)?;
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
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(object.into())))
}

/// Says that there may be no body: utoipa has words only for one that may be `null`.
pub(crate) fn may_have_no_body(document: &mut OpenApi) {
    let operation = document.paths.paths.get_mut("/api/objects").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = operation.and_then(|operation| operation.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
}

/// An object that was accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Names the object for ever.
    #[schema(value_type = Uuid)]
    id: ObjectId,
    /// What people call it.
    name: String,
    /// What is done to it.
    #[schema(value_type = String)]
    operation: OperationName,
    /// The operation's parameters.
    #[schema(value_type = Object)]
    parameters: Parameters,
    /// Into how many tasks it is split, if it has as many elements.
    tasks: u32,
    /// How long it may take before it is given up, in milliseconds.
    #[schema(value_type = f64)]
    deadline_ms: Milliseconds,
    created_at: Timestamp,
    #[schema(inline)]
    status: AcceptedStatus,
    /// How long the data is as JSON.
    data_bytes: usize,
    /// The data, unless it is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Data>,
}

/// As the record will show it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AcceptedStatus {
    Created,
}

impl From<Object> for Accepted {
    fn from(object: Object) -> Self {
        let data_bytes = object.data.as_str().len();
        Self {
            id: object.id,
            name: object.name,
            operation: object.operation,
            parameters: object.parameters,
            tasks: object.tasks,
            deadline_ms: object.deadline_ms,
            created_at: object.created_at,
            status: AcceptedStatus::Created,
            data_bytes,
            data: (data_bytes <= MAX_ECHO_BYTES).then_some(object.data),
        }
    }
}
