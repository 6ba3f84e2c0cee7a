//! `POST /api/objects`: an object is accepted when the bus has it, and not before.

use axum::{
    Extension, RequestExt,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bus::events::{Json as Data, Milliseconds, Object, ObjectId, OperationName, Parameters};
use chassis::http::{
    Json, Problem, Raw, Submitter,
    responses::{BadRequest, PayloadTooLarge, RequestTimeout, Unavailable, Unprocessable, UnsupportedMediaType},
};
use http::{HeaderMap, StatusCode, header::LOCATION};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tracing::debug;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{OpenApi, RefOr, Required},
};

use crate::{
    bulk::{BulkLine, create_objects},
    door::{Entered, Front},
    identity::Identity,
    prefer::{PREFERENCE_APPLIED, Wait},
    submission::{NDJSON, Submission, TEXT, media_type},
};

/// The longest data that the answer repeats, in bytes of JSON.
const MAX_ECHO_BYTES: usize = 64 * 1024;

/// What of the headers stands in the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
pub(crate) struct Headers {
    /// Makes a repeated request the same request: with the same key and the same body it is the same object, however often
    /// it is sent. Send it again whenever you did not get the answer. Of many objects, each is the same with the same key at
    /// the same line.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
    /// `wait=N`: answer when the object has finished, or after N seconds, at most 60
    /// ([RFC 7240](https://www.rfc-editor.org/rfc/rfc7240#section-4.3)). What is no number of seconds is ignored.
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=10")]
    prefer: Option<String>,
}

/// Submit an object, or many
///
/// Answered when the object is durable: from then on it will be finished and counted, whatever fails. Then
/// `GET /api/objects/{id}?wait=10` says what became of it; with `Prefer: wait=10` the answer does. `POST /objects` is the same.
///
/// As `application/x-ndjson` the body is many objects, each a JSON object in a line, and the answer is lines, too: while they
/// are sent, it says which are durable and which are refused, and in its last line whether all was read. While too much
/// waits, the body is not read on. An upload that broke off is sent again with the same `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/api/objects",
    tag = "objects",
    params(Headers),
    request_body(
        description = "None: an object is generated. Text: it is the data of `word-frequencies`. JSON: whatever is to be \
                       different from that; NDJSON: the same in each line, for an object each.",
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
            (Submission = "application/x-ndjson"),
        )
    ),
    responses(
        (
            status = CREATED,
            description = "The object is accepted. With `Prefer: wait=N`, which `Preference-Applied` then repeats, it is \
                           shown as `GET /api/objects/{id}` does.",
            body = Created,
            headers(("Location" = String, description = "Where it is, relative to this address.")),
            links(("show" = (
                operation_id = "show_object",
                parameters(("id" = "$response.body#/id"), ("wait" = "10")),
                description = "What became of it."
            )))
        ),
        (
            status = OK,
            description = "What becomes of the lines, as they come: each of these is a line.",
            body = BulkLine,
            content_type = "application/x-ndjson"
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
    State(front): State<Front>,
    submitter: Option<Extension<Submitter>>,
    headers: HeaderMap,
    mut request: Request,
) -> Result<Response, Problem> {
    let submitter = submitter.map(|Extension(submitter)| submitter);
    let media_type = media_type(&headers);
    if media_type == NDJSON {
        return create_objects(front.door, submitter, &headers, request).await;
    }
    // Before the body: who is refused is told so before it is read.
    let entered: Entered = request.extract_parts_with_state(&front).await?;
    let Raw(body) = request.extract_with_state(&front).await?;
    let identify = if media_type == TEXT { Identity::of_text } else { Identity::of };
    let identity = identify(submitter, &headers, &body)?;
    let submission = Submission::read(&media_type, &body)?;
    drop(body);
    let object = front.door.accept(identity, submission).await?;
    let object = front.door.publish(object).await?;
    // Whoever waits now takes no room.
    drop(entered);
    let location = [(LOCATION, location(object.id))];
    if let Some(wait) = Wait::preferred(&headers)
        && let Some(shown) = front.when_finished(object.id, wait, &headers).await
    {
        return Ok((StatusCode::CREATED, location, [(PREFERENCE_APPLIED, wait.applied()?)], shown).into_response());
    }
    Ok((StatusCode::CREATED, location, Json(Accepted::from(object))).into_response())
}

impl Front {
    /// An object that was accepted, as the record shows it when it has finished or the wait is over. None if the record does
    /// not know it by then, or cannot be asked: it is accepted all the same, and whoever submitted it is told so.
    async fn when_finished(&self, id: ObjectId, wait: Wait, user: &HeaderMap) -> Option<Response> {
        let asked = self.door.stopping.run_until_cancelled(self.record.object(id, wait, user)).await?;
        match asked {
            Ok(answer) if answer.status() == StatusCode::OK => return Some(answer),
            Ok(answer) => debug!(object.id = %id, "not shown: {}", answer.status()),
            Err(problem) => debug!(object.id = %id, "not shown: {problem}"),
        }
        None
    }
}

/// Where an object is.
pub(crate) fn location(id: ObjectId) -> String {
    format!("/api/objects/{id}")
}

/// Says that there may be no body: utoipa has words only for one that may be `null`.
pub(crate) fn may_have_no_body(document: &mut OpenApi) {
    let operation = document.paths.paths.get_mut("/api/objects").and_then(|path| path.post.as_mut());
    if let Some(RefOr::T(body)) = operation.and_then(|operation| operation.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
}

/// What is answered.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only described")]
pub(crate) enum Created {
    Accepted(Accepted),
    Shown(Shown),
}

/// An object as the record shows it: all of it is described where it is shown.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "only described")]
pub(crate) struct Shown {
    #[schema(value_type = Uuid)]
    id: ObjectId,
    /// Where it stands: `created`, `running`, `succeeded`, `failed` or `timed_out`.
    status: String,
    tasks: Vec<Value>,
    timeline: Vec<Value>,
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
