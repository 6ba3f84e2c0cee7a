//! `DELETE /delete-frequencies`: the totals of words begin anew.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chassis::http::{
    Problem,
    responses::{GatewayTimeout, Unavailable},
};
use http::{HeaderMap, Method};

use crate::record::Record;

const TOTALS: &str = "/api/totals/word-frequencies";
const DELETED: &str = "Deleted";

/// Forget how often words occurred: the totals begin anew
///
/// The same as `DELETE /api/totals/word-frequencies`.
#[utoipa::path(
    delete,
    path = "/delete-frequencies",
    tag = "words",
    responses(
        (status = OK, description = "They do.", body = String, content_type = "text/plain", example = "Deleted"),
        Unavailable,
        GatewayTimeout
    )
)]
pub(crate) async fn delete_frequencies(State(record): State<Record>, headers: HeaderMap) -> Result<Response, Problem> {
    let answer = record.ask(Method::DELETE, TOTALS, &headers).await?;
    Ok(if answer.status().is_success() { DELETED.into_response() } else { answer })
}
