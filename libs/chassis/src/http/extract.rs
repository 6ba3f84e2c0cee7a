//! axum's extractors, with [`Problem`]s for rejections.

use std::error::Error;

use anyhow::Chain;
use axum::extract::{
    FromRequest, FromRequestParts, Request,
    rejection::{BytesRejection, FormRejection, JsonRejection},
};
use bytes::Bytes;
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use super::{FromObject, Problem, bounded_body::TooSlow};

/// A JSON body, which is an object, or any JSON as an answer. 400 if it is not JSON, 415 without `Content-Type: application/json`, 422 if it does not
/// say what is expected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

/// A body as an HTML form sends it. Errors as [`Json`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Form<T>(pub T);

/// A body as it came.
#[derive(Debug, Clone, Default)]
pub struct Raw(pub Bytes);

/// What stands after the `?`. 400 if it is not what is expected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

/// The variable parts of the path. 400 if they are not what is expected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(FromObject(value))) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(Problem::unsupported_media_type(&["application/json"]))
            }
            Err(JsonRejection::BytesRejection(rejection)) => Err(unread(&rejection)),
            Err(rejection) => Err(Problem::new(rejection.status(), innermost(&rejection))),
        }
    }
}

impl<T: serde::Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Form::from_request(request, state).await {
            Ok(axum::Form(value)) => Ok(Self(value)),
            Err(FormRejection::InvalidFormContentType(_)) => {
                Err(Problem::unsupported_media_type(&["application/x-www-form-urlencoded"]))
            }
            Err(FormRejection::BytesRejection(rejection)) => Err(unread(&rejection)),
            Err(rejection) => Err(Problem::new(rejection.status(), innermost(&rejection))),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| unread(&rejection))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query: Result<axum::extract::Query<T>, _> = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|rejection| Problem::bad_request(innermost(&rejection)))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status().is_server_error() => Err(Problem::internal(rejection)),
            Err(rejection) => Err(Problem::new(rejection.status(), innermost(&rejection))),
        }
    }
}

/// The body did not come, not in time, or is too long.
fn unread(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::payload_too_large("The body is longer than is accepted here."),
        _ => not_arrived(rejection),
    }
}

/// The body did not come, or not in time.
pub(super) fn not_arrived(error: &(dyn Error + 'static)) -> Problem {
    match Chain::new(error).find_map(|error| error.downcast_ref::<TooSlow>()) {
        Some(too_slow) => Problem::request_timeout(too_slow.to_string()),
        None => Problem::bad_request("The body did not arrive whole."),
    }
}

/// What is wrong, without what axum says in front of it.
fn innermost(rejection: &(dyn Error + 'static)) -> String {
    Chain::new(rejection).last().unwrap_or(rejection).to_string()
}
